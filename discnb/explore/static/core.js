// What is computed of a derivation: pure functions, no DOM. The same definitions as `discnb.signal`, to the bit where
// a mark depends on it; every position of a record is valid, so there is no mask.

/**
 * Settings under the names of `DiscObjective`.
 * @typedef {{temperature: number, window: number, pivot_sigma: number, align: string, amplifier: number,
 *   singular_sigma: number}} Settings
 * One model's view of the T positions; candidates and falls are [rank][position].
 * @typedef {{entropy: Float32Array, ce: Uint16Array, candidates: ArrayLike<number>[], falls: Uint16Array[],
 *   kl?: Float32Array[]}} Model
 * @typedef {{text: string, tokens: string[], positions: number, proof: [number, number], title: string, domain: string,
 *   labels: ArrayLike<number>, models: Record<string, Model>}} Sample
 * @typedef {{models: string[], temperatures: number[], steps: {ce: number, falls: number}, names: string[],
 *   samples: Sample[], settings: Settings, title: string}} Records
 */

export const ALIGNMENTS = ["forward", "backward", "rise"];
const TIE = 1e-12; // in units of the sequence's spread, as in discrepancy.py
const TINY = 2.2250738585072014e-308;

/**
 * D_t = (1/n) Σ_{j=1..n} |kl_{t+j} − kl_t| / j, in nats, at the positions where t..t+n lie inside.
 * @param {ArrayLike<number>} kl @param {number} window @returns {Float64Array} of length max(0, T − n)
 */
export function discrepancy(kl, window) {
  const D = new Float64Array(Math.max(0, kl.length - window));
  for (let t = 0; t < D.length; t++) {
    let steps = 0;
    for (let j = 1; j <= window; j++) steps += Math.abs(kl[t + j] - kl[t]) / j;
    D[t] = steps / window;
  }
  return D;
}

/**
 * Which values lie more than `sigma` population standard deviations above the mean, and that threshold.
 * Measured from the largest value in units of the spread, where a tie with the threshold is not marked.
 * @param {ArrayLike<number>} values @param {number} sigma @returns {{marked: Uint8Array, threshold: number}}
 */
export function exceeds(values, sigma) {
  const n = values.length, marked = new Uint8Array(n);
  let top = -Infinity, low = Infinity;
  for (let t = 0; t < n; t++) {
    if (!Number.isFinite(values[t])) throw new RangeError(`value ${t} is ${values[t]}; expected a finite number`);
    top = Math.max(top, values[t]);
    low = Math.min(low, values[t]);
  }
  if (n === 0) return { marked, threshold: NaN };
  const spread = Math.max(top - low, TINY);
  const deviation = new Float64Array(n);
  let mean = 0, variance = 0;
  for (let t = 0; t < n; t++) mean += deviation[t] = (values[t] - top) / spread;
  mean /= n;
  for (let t = 0; t < n; t++) variance += (deviation[t] - mean) ** 2;
  const threshold = mean + sigma * Math.sqrt(variance / n) + TIE;
  for (let t = 0; t < n; t++) marked[t] = +(deviation[t] > threshold);
  return { marked, threshold: top + spread * threshold };
}

/** @param {ArrayLike<number>} kl @param {Uint8Array} jumps where D is over its threshold @param {string} align */
function aligned(kl, jumps, align) {
  const pivot = new Uint8Array(kl.length);
  for (let t = 0; t < jumps.length; t++) {
    if (align === "forward") pivot[t] = jumps[t];
    else pivot[t + 1] = +(jumps[t] && (align === "backward" || kl[t + 1] > kl[t]));
  }
  return pivot;
}

/**
 * Everything the settings decide about one student's view of a derivation.
 *
 * `kd` = τ²·Σ w·kl / T and `energy` = ½·mean D² are the objective's terms; `jump` and `smooth` are Σ kl at pivots and
 * elsewhere; `kdShare` and `energyShare` are each position's part of Σ w·kl and of Σ D².
 * @param {ArrayLike<number>} kl nats @param {ArrayLike<number>} entropy nats @param {Settings} settings
 */
export function analyse(kl, entropy, settings) {
  const { temperature, window, pivot_sigma, align, amplifier, singular_sigma } = settings;
  const T = kl.length;
  if (entropy.length !== T) throw new RangeError(`${entropy.length} entropies for ${T} values of KL`);
  if (!ALIGNMENTS.includes(align)) throw new RangeError(`align is ${align}; expected one of ${ALIGNMENTS.join(", ")}`);
  for (let t = 0; t < T; t++) {
    if (!Number.isFinite(kl[t])) throw new RangeError(`KL ${t} is ${kl[t]}; expected a finite number`);
  }
  const D = discrepancy(kl, window);
  const { marked: jumps, threshold } = exceeds(D, pivot_sigma);
  const { marked: singular, threshold: singularThreshold } = exceeds(entropy, singular_sigma);
  const pivot = aligned(kl, jumps, align);
  const weight = new Float64Array(T);

  let pivots = 0, singulars = 0, jump = 0, smooth = 0, weights = 0, weighted = 0, squares = 0;
  for (let t = 0; t < T; t++) {
    weight[t] = pivot[t] ? amplifier : 1;
    pivots += pivot[t];
    singulars += singular[t];
    if (pivot[t]) jump += kl[t];
    else smooth += kl[t];
    weights += weight[t];
    weighted += weight[t] * kl[t];
  }
  for (const d of D) squares += d * d;
  return {
    D, threshold, singular, singularThreshold, pivot, weight, pivots, singulars, jump, smooth,
    meanWeight: weights / Math.max(1, T),
    kd: (temperature ** 2 * weighted) / Math.max(1, T),
    energy: energyOf(D, squares),
    kdShare: (/** @type {number} */ t) => (weight[t] * kl[t]) / (weighted || 1),
    energyShare: (/** @type {number} */ t) => (t < D.length ? D[t] ** 2 / (squares || 1) : 0),
  };
}

/** Gap energy ½·mean D², 0 where nothing is defined. @param {Float64Array} D */
export function energyOf(D, squares = D.reduce((sum, d) => sum + d * d, 0)) {
  return (0.5 * squares) / Math.max(1, D.length);
}

/** A position's fate between two students. @param {number} was @param {number} is */
export function fate(was, is) {
  return was ? (is ? "persistent" : "resolved") : is ? "new" : "";
}

/** The temperature kept that is nearest. @param {number[]} temperatures @param {number} wanted */
export function snap(temperatures, wanted) {
  return temperatures.reduce((best, t) => (Math.abs(t - wanted) < Math.abs(best - wanted) ? t : best));
}

/**
 * The records in what `pack` of record.py made.
 * @param {Uint8Array} packed @returns {Promise<Records>}
 */
export async function unpack(packed) {
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(plain).arrayBuffer());
  const start = 4 + new DataView(bytes.buffer).getUint32(0, true);
  const { arrays, samples, ...header } = JSON.parse(new TextDecoder().decode(bytes.subarray(4, start)));

  /** @type {Record<string, any[]>} each array as its rows */
  const columns = {};
  let at = start;
  for (const [name, kind, ...shape] of arrays) {
    const size = kind === "Uint16" ? 2 : 4, [width, rows] = [shape.at(-1), shape.length > 1 ? shape[0] : 1];
    const count = width * rows, joined = new Uint8Array(count * size);
    for (let plane = 0; plane < size; plane++) {
      for (let i = 0; i < count; i++) joined[i * size + plane] = bytes[at++];
    }
    const Kind = { Uint16: Uint16Array, Uint32: Uint32Array, Float32: Float32Array }[kind];
    columns[name] = Array.from({ length: rows }, (_, row) => new Kind(joined.buffer, row * width * size, width));
  }

  let position = 0, token = 0;
  for (const sample of samples) {
    const rows = (/** @type {string} */ name) =>
      columns[name].map((row) => row.subarray(position, position + sample.positions));
    let end = 0;
    sample.tokens = Array.from(columns.lengths[0].subarray(token, token + sample.positions + 1), (length) =>
      sample.text.slice(end, (end += length)));
    [sample.labels] = rows("labels");
    sample.models = {};
    for (const model of header.models) {
      const [[entropy], [ce]] = [rows(`${model}.entropy`), rows(`${model}.ce`)];
      sample.models[model] = { entropy, ce, candidates: rows(`${model}.candidates`), falls: rows(`${model}.falls`) };
      if (model !== "teacher") sample.models[model].kl = rows(`${model}.kl`);
    }
    position += sample.positions;
    token += sample.positions + 1;
  }
  return { ...header, samples };
}

/**
 * A model's candidates at a position, most probable first: number of the token's name, and probability.
 * @param {Model} model @param {number} t @param {number} perNat steps per nat
 */
export function candidates(model, t, perNat) {
  let steps = 0;
  return model.candidates.map((row, rank) => {
    steps += model.falls[rank][t];
    return { name: row[t], probability: Math.exp(-steps / perNat) };
  });
}
