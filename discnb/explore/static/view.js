import { ALIGNMENTS, analyse, candidates, discrepancy, energyOf, fate, snap, unpack } from "./core.js";

// What a person sees. The texts of a data set reach the page by textContent and attributes only, never as markup.

/** @typedef {{get(name: string): any, set(name: string, value: any): void, on(heard: () => void): () => void}} State */

const LEVELS = 10; // of the colour ramp
const SETTINGS = ["temperature", "window", "pivot_sigma", "align", "amplifier", "singular_sigma"];
const SHARED = [...SETTINGS, "view", "sample", "selected"];
const SLIDERS = [
  ["pivot_sigma", "pivot σ", 0, 5, 0.05, "Standard deviations of D above its mean that make a pivot"],
  ["singular_sigma", "entropy σ", 0, 4, 0.05, "Standard deviations of entropy above its mean that make it singular"],
  ["window", "window n", 1, 8, 1, "Tokens the discrepancy looks ahead"],
  ["amplifier", "amplifier", 1, 10, 0.25, "KD weight of a pivot"],
];
const FATES = ["persistent", "new", "resolved"];
const SORTS = { order: "in order", energy: "by energy", kl: "by KL" };
const KEYS = "← → token   ↑ ↓ line   n p pivot   Home End   Esc";

/** An element; a property starting with `on` is a listener, one with a hyphen or `role` an attribute. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Three significant digits, without exponents where they are short. */
function digits(x) {
  if (x === 0) return "0";
  if (!Number.isFinite(x)) return "–";
  if (Math.abs(x) < 1e-3) return x.toExponential(1);
  return Math.abs(x) >= 100 ? x.toFixed(0) : x.toPrecision(3);
}

function percent(x) {
  if (x > 0 && x < 1e-4) return "< 0.01 %";
  return `${(100 * x).toFixed(x >= 0.1 || x === 0 ? 0 : x >= 0.001 ? 1 : 2)} %`;
}

const visible = (text) => (text === "" ? "·" : text.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥"));

/** @param {Record<string, any>} values @returns {State} for a page without a kernel */
export function localState(values) {
  const listeners = new Set();
  return {
    get: (name) => values[name],
    set(name, value) {
      values[name] = value;
      for (const heard of listeners) heard();
    },
    on(heard) {
      listeners.add(heard);
      return () => listeners.delete(heard);
    },
  };
}

/**
 * Build the explorer in `root` and keep it in step with `state`; returns what takes it down again.
 * @param {HTMLElement} root @param {import("./core.js").Records} data @param {State} state
 */
export function mount(root, data, state) {
  const uid = `disc-${Math.random().toString(36).slice(2, 9)}`;
  const students = data.models.filter((model) => model !== "teacher");
  const both = students.length === 2;
  const settings = () => Object.fromEntries(SETTINGS.map((name) => [name, state.get(name)]));
  const later = (milliseconds, work) => {
    let timer = 0;
    return (...given) => (clearTimeout(timer), (timer = setTimeout(work, milliseconds, ...given)));
  };

  // ---- what is shown now, derived from `state` by update()
  let shown = {}; // the state that the page shows
  let sample = data.samples[0];
  let order = data.samples.map((_, i) => i); // of the samples, as filtered and sorted
  let hovered = null;
  let spans = []; // one element a token
  let found = {}; // each student's analysis
  const student = () => (students.includes(shown.view) ? shown.view : students.at(-1));
  const position = () => hovered ?? shown.selected;

  // ---- controls
  const live = h("p", { className: "unseen", role: "status", "aria-live": "polite" });
  const say = later(450, (text) => (live.textContent = text));

  const radios = [...students, "teacher"].map((view) =>
    h("input", { type: "radio", name: uid, value: view, onchange: () => state.set("view", view) }));
  const views = h("fieldset", { className: "views" }, h("legend", { className: "unseen", textContent: "View" }),
    ...radios.map((radio) => h("label", {}, radio, h("span", { textContent: radio.value }))));

  const sliders = {};
  const slider = (name, label, title, range, read, write, show) => {
    const input = h("input", { type: "range", ...range, id: `${uid}-${name}`, title });
    const output = h("output", { htmlFor: input.id });
    input.addEventListener("input", () => write(+input.value));
    sliders[name] = () => {
      const value = read();
      if (+input.value !== value) input.value = value;
      output.textContent = show();
      input.setAttribute("aria-valuetext", output.textContent);
    };
    return h("div", { className: "slider" }, h("label", { htmlFor: input.id, textContent: label }), output, input);
  };
  const { temperatures } = data;
  const align = h("select", {
    id: `${uid}-align`,
    title: "The token that a jump marks: the last before it, its landing, that only if KL rises",
    onchange: () => state.set("align", align.value),
  }, ...ALIGNMENTS.map((name) => new Option(name, name)));
  const controls = h("div", { className: "controls" },
    ...SLIDERS.map(([name, label, min, max, step, title]) =>
      slider(name, label, title, { min, max, step }, () => state.get(name), (value) => state.set(name, value),
        () => (step < 1 ? state.get(name).toFixed(2) : String(state.get(name))))),
    slider("temperature", "temperature τ", "Temperature of both softmaxes in KL; KL is kept at these",
      { min: 0, max: temperatures.length - 1, step: 1 },
      () => temperatures.indexOf(snap(temperatures, state.get("temperature"))),
      (i) => state.set("temperature", temperatures[i]), () => String(state.get("temperature"))),
    h("div", { className: "slider" }, h("label", { htmlFor: align.id, textContent: "align" }),
      h("button", { type: "button", className: "plain", textContent: "reset", title: "Settings of the run",
        onclick: () => SETTINGS.forEach((name) => state.set(name, data.settings[name])) }), align));

  // ---- choosing a sample
  const domains = [...new Set(data.samples.map((one) => one.domain))].sort();
  const domain = h("select", { "aria-label": "Domain", onchange: () => list(true) }, new Option("all domains", ""),
    ...domains.filter(Boolean).map((name) => new Option(name, name)));
  const sort = h("select", { "aria-label": "Order of samples", onchange: () => list(true) },
    ...Object.entries(SORTS).map(([value, text]) => new Option(text, value)));
  const chosen = h("select", { className: "sample", "aria-label": "Sample", onchange: () => choose(+chosen.value) });
  const step = (by) => choose(order[(order.indexOf(shown.sample) + by + order.length) % order.length]);
  const picker = h("div", { className: "picker" }, domains.length > 1 ? domain : "", sort,
    h("button", { type: "button", "aria-label": "Previous sample", textContent: "‹", onclick: () => step(-1) }), chosen,
    h("button", { type: "button", "aria-label": "Next sample", textContent: "›", onclick: () => step(1) }));
  const choose = (index) => {
    state.set("selected", null);
    state.set("sample", index);
  };

  /** The samples' list with their energies; `move` shows its first if the present one is filtered out. */
  function list(move = false) {
    const { temperature, window } = settings();
    const rows = data.samples.map((one, index) => {
      const kl = one.models[student()].kl[temperatures.indexOf(temperature)];
      const mean = kl.reduce((a, b) => a + b, 0) / (kl.length || 1);
      return { index, one, energy: energyOf(discrepancy(kl, window)), kl: mean, order: -index };
    }).filter(({ one }) => !domain.value || one.domain === domain.value).sort((a, b) => b[sort.value] - a[sort.value]);
    order = rows.map(({ index }) => index);
    chosen.replaceChildren(...rows.map(({ index, one, energy, kl }) => {
      const facts = sort.value === "kl" ? `KL ${digits(kl)}` : `E ${digits(energy)}`;
      const title = one.title.length > 64 ? `${one.title.slice(0, 63)}…` : one.title;
      return new Option(`${facts} · ${one.domain ? `${one.domain} · ` : ""}${title}`, String(index));
    }));
    if (move && !order.includes(shown.sample)) choose(order[0]);
    chosen.value = String(shown.sample);
  }
  const listLater = later(150, list);

  // ---- totals
  const totals = h("dl", { className: "totals" });
  const total = (label, title) => {
    const [value, note] = [h("span"), h("small")];
    totals.append(h("div", { title }, h("dt", { textContent: label }), h("dd", {}, value, note)));
    return (text, beside = "") => {
      value.textContent = text;
      note.textContent = beside;
    };
  };
  const shows = {
    pivots: total("pivots", "Positions where the discrepancy is over its threshold"),
    singulars: total("singular", "Positions where entropy is over its threshold"),
    meanWeight: total("mean weight", "Mean KD weight of a position"),
    kd: total("KD", "τ² · Σ w·KL / T, in nats"),
    energy: total("E", "Gap energy: half the mean of D², in nats²"),
    split: total("jump : smooth", "KL at pivots and elsewhere, as parts of all KL"),
  };
  const split = h("span", { className: "split", "aria-hidden": "true" }, h("i"));
  totals.lastElementChild.lastElementChild.append(split);
  const fates = FATES.map((name) => h("span", { className: `fate ${name}` }));

  // ---- the strip chart: one unit a position wide; the upper part is KL, the lower D with its threshold
  const lines = Object.fromEntries(["kl", "D", "threshold", "marks", "cursor"].map((name) =>
    [name, s("path", { class: name })]));
  const chart = s("svg", { class: "chart", role: "img", preserveAspectRatio: "none" }, ...Object.values(lines));
  const scales = { kl: h("span"), D: h("span") };
  const strip = h("div", { className: "strip" }, scales.kl, scales.D, chart);
  const under = (event) => {
    const box = chart.getBoundingClientRect(), t = ((event.clientX - box.left) / box.width) * sample.positions;
    return sample.positions ? Math.max(0, Math.min(sample.positions - 1, Math.floor(t))) : null;
  };
  chart.addEventListener("pointermove", (event) => hover(under(event)));
  chart.addEventListener("pointerleave", () => hover(null));
  chart.addEventListener("click", (event) => select(under(event)));

  // ---- the text and the card
  const label = "Derivation, token by token";
  const text = h("div", { className: "text", tabIndex: 0, role: "listbox", "aria-label": label });
  const at = (event) => {
    const token = event.target.closest?.("[data-token]");
    return token && +token.dataset.token > 0 ? +token.dataset.token - 1 : null;
  };
  text.addEventListener("pointerover", (event) => hover(at(event)));
  text.addEventListener("pointerleave", () => hover(null));
  text.addEventListener("click", (event) => select(at(event)));
  const card = h("section", { className: "card", tabIndex: 0, "aria-label": "The token's card" });
  const legend = h("div", { className: "legend" });

  const button = (label, title, work) => h("button", { type: "button", textContent: label, title, onclick: work });
  const footer = h("footer", {}, legend, h("div", { className: "actions" },
    button("Copy CSV", "One row a position, to the clipboard", () => copy("CSV", csv())),
    button("Copy JSON", "Settings, totals and positions, to the clipboard", () => copy("JSON", json())),
    button("Save SVG", "The marked text as a figure", () => save(figure()))),
    h("p", { className: "note" }, h("kbd", { textContent: KEYS }),
      "KL(teacher ‖ student) in nats, the student’s own: its logits are not averaged at singular tokens, " +
      "as they are in a training step."));

  root.classList.add("disc-explorer");
  root.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  root.replaceChildren(
    h("header", {}, h("h2", {}, "Pivot explorer", h("small", { textContent: data.title })), views),
    picker, controls, totals, h("div", { className: "fates" }, ...(both ? fates : [])), strip,
    h("div", { className: "stage" }, text, card), footer, live);

  // ---- from state to page

  function update() {
    const before = shown;
    shown = Object.fromEntries(SHARED.map((name) => [name, state.get(name)]));
    shown.temperature = snap(temperatures, shown.temperature);
    const changed = new Set(SHARED.filter((name) => shown[name] !== before[name]));
    if (changed.size === 0) return;
    if (changed.has("sample")) {
      sample = data.samples[shown.sample];
      hovered = null;
      write();
    }
    // the kernel tells of a new sample before it takes back the old one's selection
    if (shown.selected >= sample.positions) shown.selected = null;
    if (changed.has("view") || changed.has("temperature") || changed.has("sample")) dye();
    const setting = [...changed].some((name) => name !== "selected");
    if (setting) {
      for (const show of Object.values(sliders)) show();
      align.value = shown.align;
      for (const radio of radios) radio.checked = radio.value === shown.view;
      found = Object.fromEntries(students.map((name) => {
        const { kl, entropy } = sample.models[name];
        return [name, analyse(kl[temperatures.indexOf(shown.temperature)], entropy, shown)];
      }));
      mark();
      sum();
      draw(["sample", "view", "temperature"].some((name) => changed.has(name)), changed.has("window"));
      say(summary());
      if (["temperature", "window", "view"].some((name) => changed.has(name))) (before.view ? listLater : list)();
      chosen.value = String(shown.sample);
    }
    point();
    if (!setting && shown.selected !== null) say(spoken(shown.selected));
  }

  /** The derivation's tokens as elements; white space stays in the text and is shown beside it. */
  function write() {
    const [first, last] = sample.proof;
    const proof = h("div", { className: "proof", role: "group", "aria-label": "Proof" });
    spans = sample.tokens.map((token, i) => {
      const span = h("span", { id: `${uid}-${i}`, role: "option", "aria-selected": "false" });
      span.dataset.token = String(i);
      for (const piece of token.split(/([ \n\t])/)) {
        const blank = { " ": "space", "\n": "newline", "\t": "tab" }[piece];
        if (blank) span.append(h("i", { className: blank, textContent: piece }));
        else if (piece) span.append(piece);
      }
      if (token === "") span.append(h("i", { className: "part" }));
      if (token.trim() === "") span.setAttribute("aria-label", visible(token));
      return span;
    });
    text.replaceChildren(...spans.slice(0, first), ...(last > first ? [proof] : []), ...spans.slice(last));
    proof.append(...spans.slice(first, last));
    text.scrollTop = 0;
  }

  /** What colours a view: a student's KL, or the teacher's own entropy. */
  const ground = (one, view) =>
    view === "teacher" ? one.models.teacher.entropy : one.models[view].kl[temperatures.indexOf(shown.temperature)];
  const tops = {};
  /** The darkest level's value, the same for both students and all samples: the 99th percentile. */
  function top() {
    const key = shown.view === "teacher" ? "teacher" : shown.temperature;
    if (!(key in tops)) {
      const views = key === "teacher" ? [key] : students;
      const all = data.samples.flatMap((one) => views.flatMap((view) => [...ground(one, view)])).sort((a, b) => a - b);
      tops[key] = Math.max(all[Math.floor(0.99 * (all.length - 1))] ?? 0, 1e-3);
    }
    return tops[key];
  }
  let levels = [];
  /** The level of every token: the root of the value, so that small KL can be told apart beside large. */
  function dye() {
    const most = top();
    levels = Array.from(ground(sample, shown.view), (x) =>
      Math.min(LEVELS - 1, Math.floor(LEVELS * Math.sqrt(Math.max(0, x) / most))));
    const bound = (k) => (k < LEVELS ? digits(most * (k / LEVELS) ** 2) : "more");
    const sign = (textContent, className = "") => h("span", { textContent, className });
    legend.replaceChildren(sign(shown.view === "teacher" ? "teacher’s entropy, nats" : "KL, nats"), sign("0"),
      ...Array.from({ length: LEVELS }, (_, k) =>
        h("i", { className: `k${k}`, title: `${bound(k)} to ${bound(k + 1)} nats` })),
      sign(`≥ ${bound(LEVELS - 1)}`), sign("pivot", "pivot sign"), sign("singular", "singular sign"),
      sign("proof", "bracket sign"));
  }

  const fateAt = (t) => (both ? fate(found.before.pivot[t], found.after.pivot[t]) : "");
  const singularAt = () => (shown.view === "teacher" ? teacherSingular : found[student()].singular);
  let teacherSingular = [];
  function mark() {
    if (shown.view === "teacher") {
      teacherSingular = analyse(new Float32Array(sample.positions), sample.models.teacher.entropy, shown).singular;
    }
    const { pivot } = found[student()], singular = singularAt();
    for (let t = 0; t < sample.positions; t++) {
      const name = `k${levels[t]}${pivot[t] ? " pivot" : ""}${singular[t] ? " singular" : ""} ${fateAt(t)}`;
      // comparing with a string of ours is much cheaper than asking the element
      const span = spans[t + 1];
      if (span.marks !== name) span.className = span.marks = name;
    }
  }

  function sum() {
    const a = found[student()], was = both && shown.view !== "before" ? found.before : null;
    const T = Math.max(1, sample.positions);
    const beside = (name) => (was ? `was ${digits(was[name])}` : "");
    shows.pivots(String(a.pivots), `of ${sample.positions}, ${percent(a.pivots / T)}`);
    shows.singulars(String(singularAt().reduce((x, y) => x + y, 0)), shown.view === "teacher" ? "of the teacher" : "");
    shows.meanWeight(a.meanWeight.toFixed(3), beside("meanWeight"));
    shows.kd(digits(a.kd), beside("kd"));
    shows.energy(digits(a.energy), beside("energy"));
    const jump = a.jump / (a.jump + a.smooth || 1);
    shows.split(`${percent(jump)} : ${percent(1 - jump)}`);
    split.firstChild.style.width = `${100 * jump}%`;
    if (both) {
      const count = { persistent: 0, new: 0, resolved: 0, "": 0 };
      for (let t = 0; t < sample.positions; t++) count[fateAt(t)]++;
      FATES.forEach((name, i) => (fates[i].textContent = `${count[name]} ${name}`));
    }
  }

  /** @param {boolean} all of it is new @param {boolean} reach D is new, but KL as it was */
  function draw(all, reach) {
    // whole numbers are quick to write: two units a position, a thousand from top to bottom
    const a = found[student()], kl = ground(sample, student()), T = sample.positions;
    const HIGH = 1000, FOOT = 580, CEIL = 40;
    const most = kl.reduce((x, y) => Math.max(x, y), 1e-9);
    const leap = a.D.reduce((x, y) => Math.max(x, y), 1e-9);
    const y = (t) => Math.round(FOOT - ((FOOT - CEIL) * Math.max(0, kl[t])) / most);
    const z = (d) => Math.round(HIGH - (320 * d) / leap);
    if (all) {
      let area = `M0 ${FOOT}`;
      for (let t = 0; t < T; t++) area += `V${y(t)}h2`;
      lines.kl.setAttribute("d", `${area}V${FOOT}Z`);
      chart.setAttribute("viewBox", `0 0 ${2 * Math.max(1, T)} ${HIGH}`);
    }
    if (all || reach) {
      let steps = "";
      for (let t = 0; t < a.D.length; t++) steps += `M${2 * t + 1} ${HIGH}V${z(a.D[t])}`;
      lines.D.setAttribute("d", steps);
    }
    let marks = "";
    for (let t = 0; t < T; t++) if (a.pivot[t]) marks += `M${2 * t + 1} ${FOOT}V${y(t)}`;
    lines.marks.setAttribute("d", marks);
    // a threshold beyond every D lies above the chart's lower part, or above the chart
    const level = Math.max(620, z(a.threshold));
    lines.threshold.setAttribute("d", Number.isFinite(level) ? `M0 ${level}H${2 * T}` : "");
    scales.kl.textContent = `KL ≤ ${digits(most)}`;
    scales.D.textContent = `D, threshold ${digits(a.threshold)}`;
    chart.setAttribute("aria-label", `KL and D along the derivation: ${summary()}`);
  }

  const summary = () => {
    const a = found[student()];
    return `${student()}: ${a.pivots} pivots in ${sample.positions} positions, ${a.singulars} singular, ` +
      `mean weight ${a.meanWeight.toFixed(3)}, KD ${digits(a.kd)}, energy ${digits(a.energy)}`;
  };
  const marksAt = (t) =>
    [found[student()].pivot[t] && "pivot", fateAt(t), singularAt()[t] && "singular"].filter(Boolean);
  const spoken = (t) => [`position ${t}`, visible(sample.tokens[t + 1]), `KL ${digits(ground(sample, student())[t])}`,
    ...marksAt(t)].join(", ");

  // ---- the token pointed at

  let pointed = null, active = null;
  function point() {
    const t = position();
    pointed?.removeAttribute("data-pointed");
    pointed = t === null ? null : spans[t + 1];
    pointed?.setAttribute("data-pointed", "");
    active?.setAttribute("aria-selected", "false");
    active = shown.selected === null ? null : spans[shown.selected + 1];
    active?.setAttribute("aria-selected", "true");
    if (active) text.setAttribute("aria-activedescendant", active.id);
    else text.removeAttribute("aria-activedescendant");
    lines.cursor.setAttribute("d", t === null ? "" : `M${2 * t + 1} 0V1000`);
    const hint = `Point at a token, or focus the text and use the keys: ${KEYS}`;
    card.replaceChildren(...(t === null ? [h("p", { className: "hint", textContent: hint })] : inspect(t)));
  }

  /** What the card says of a position: the figures of all models, and two models' candidates. */
  function inspect(t) {
    const now = student(), models = [...students, "teacher"];
    const margin = ({ D, threshold }) => `${D[t] > threshold ? "+" : "−"}${digits(Math.abs(D[t] - threshold))}`;
    // label, title, what a cell says of a model and its analysis, and whether it says so of the teacher too
    const rows = [
      ["KL", "At the temperature chosen, nats", (name) => digits(ground(sample, name)[t])],
      ["D", "Discrepancy, nats", (_, { D }) => (t < D.length ? digits(D[t]) : "–")],
      ["D − threshold", "Margin, nats", (_, one) => (t < one.D.length ? margin(one) : "–")],
      ["KD weight", "The amplifier at pivots", (_, { weight }) => `× ${weight[t]}`],
      ["share of KD", "Part of Σ w·KL", (_, { kdShare }) => percent(kdShare(t))],
      ["share of E", "Part of Σ D²", (_, { energyShare }) => percent(energyShare(t))],
      ["entropy", "At temperature 1, nats", (name) => digits(sample.models[name].entropy[t]), true],
      ["cross-entropy", "Nats", (name) => digits(sample.models[name].ce[t] / data.steps.ce), true],
    ];
    const cell = (tag, name, textContent) => h(tag, { textContent, className: name === now ? "now" : "" });
    const table = h("table", {}, h("tbody", {},
      h("tr", {}, h("td"), ...models.map((name) => Object.assign(cell("th", name, name), { scope: "col" }))),
      ...rows.map(([label, title, show, taught]) => h("tr", { title }, h("th", { scope: "row", textContent: label }),
        ...students.map((name) => cell("td", name, show(name, found[name]))),
        h("td", { textContent: taught ? show("teacher", null) : "" })))));
    return [
      h("h3", {}, h("code", { textContent: visible(sample.tokens[t + 1]) }),
        h("small", { textContent: `position ${t}` }),
        ...marksAt(t).map((name) => h("em", { className: name, textContent: name }))),
      table,
      h("div", { className: "bars" }, bars("teacher", t), bars(now, t)),
    ];
  }

  function bars(model, t) {
    const rows = candidates(sample.models[model], t, data.steps.falls).map(({ name, probability }) => {
      const bar = h("i");
      bar.style.width = `${100 * probability}%`;
      return h("li", { className: name === sample.labels[t] ? "label" : "" }, bar,
        h("code", { textContent: visible(data.names[name]) }), h("span", { textContent: percent(probability) }));
    });
    const label = `${model}: most probable tokens`;
    return h("div", {}, h("h4", { textContent: model }), h("ol", { "aria-label": label }, ...rows));
  }

  function hover(t) {
    if (t === hovered) return;
    hovered = t;
    point();
  }

  function select(t, scroll = false) {
    if (t === null) return;
    hovered = null;
    state.set("selected", t);
    point();
    if (scroll) spans[t + 1].scrollIntoView({ block: "nearest" });
  }

  /** The position above or below that is nearest in its line. */
  function vertical(t, by) {
    const middle = (i) => {
      const box = spans[i + 1].getClientRects()[0];
      return box && { x: (box.left + box.right) / 2, y: box.top };
    };
    const here = middle(t);
    let best = t, line = null, distance = Infinity;
    for (let i = t + by; i >= 0 && i < sample.positions; i += by) {
      const there = middle(i);
      if (!there || Math.abs(there.y - here.y) < 4) continue;
      line ??= there.y;
      if (Math.abs(there.y - line) > 4) break;
      if (Math.abs(there.x - here.x) < distance) [best, distance] = [i, Math.abs(there.x - here.x)];
    }
    return best;
  }

  function jump(by) {
    const { pivot } = found[student()], T = sample.positions;
    const from = shown.selected ?? (by > 0 ? -1 : T);
    for (let i = 1; i <= T; i++) {
      const t = (((from + by * i) % T) + T) % T;
      if (pivot[t]) return select(t, true);
    }
    say("no pivots");
  }

  const keyed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select")) event.stopPropagation(); // a slider's arrow is none of the host's
    if (event.target.tagName === "SELECT") return;
    const t = shown.selected ?? -1, last = sample.positions - 1, inText = event.target === text;
    const go = { n: () => jump(1), p: () => jump(-1), ...(inText && last >= 0 && {
      ArrowRight: () => select(Math.min(last, t + 1), true), ArrowLeft: () => select(Math.max(0, t - 1), true),
      ArrowDown: () => select(t < 0 ? 0 : vertical(t, 1), true),
      ArrowUp: () => select(t < 0 ? 0 : vertical(t, -1), true),
      Home: () => select(0, true), End: () => select(last, true), Escape: () => state.set("selected", null),
    }) }[event.key];
    if (!go) return;
    event.preventDefault();
    event.stopPropagation();
    go();
  };
  root.addEventListener("keydown", keyed);

  // ---- taking it away

  const table = () => {
    const a = found[student()], model = sample.models[student()], kl = ground(sample, student());
    return Array.from({ length: sample.positions }, (_, t) => ({
      position: t, token: sample.tokens[t + 1], kl: kl[t], D: t < a.D.length ? a.D[t] : null,
      pivot: a.pivot[t], singular: a.singular[t], weight: a.weight[t], kd_share: a.kdShare(t),
      energy_share: a.energyShare(t), entropy: model.entropy[t], ce: model.ce[t] / data.steps.ce,
      teacher_entropy: sample.models.teacher.entropy[t],
      proof: +(t + 1 >= sample.proof[0] && t + 1 < sample.proof[1]), fate: fateAt(t),
    }));
  };
  const csv = () => {
    const rows = table(), quoted = (x) => (typeof x === "string" ? `"${x.replaceAll('"', '""')}"` : x ?? "");
    const cells = [Object.keys(rows[0] ?? {}), ...rows.map(Object.values)];
    return cells.map((row) => row.map(quoted).join(",")).join("\r\n");
  };
  const json = () => {
    const { pivots, singulars, meanWeight, kd, energy, jump, smooth, threshold } = found[student()];
    const totals = { pivots, singulars, mean_weight: meanWeight, kd, energy, jump, smooth, threshold };
    const facts = { title: data.title, sample: sample.title, domain: sample.domain, student: student() };
    return JSON.stringify({ ...facts, settings: settings(), totals, positions: table() });
  };
  async function copy(kind, content) {
    try {
      await navigator.clipboard.writeText(content);
    } catch {
      // no permission, or no clipboard in this kind of page: the older way
      const area = h("textarea", { value: content, className: "unseen" });
      root.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) return say(`The browser did not allow copying ${kind}`);
    }
    say(`${kind} copied: ${sample.positions} positions`);
  }
  function save(svg) {
    const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
    h("a", { href: url, download: "derivation.svg" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
    say("SVG saved");
  }
  /** The marked text as a figure of its own, in the colours of the page. */
  function figure(columns = 96, wide = 8, tall = 22) {
    const of = getComputedStyle(root), [ink, accent, paper] = ["--ink", "--accent", "--paper"].map((name) =>
      of.getPropertyValue(name).trim());
    const { pivot } = found[student()], parts = [];
    let row = 0, column = 0;
    sample.tokens.forEach((token, i) => {
      const style = getComputedStyle(spans[i]), bold = i > 0 && pivot[i - 1], dotted = i > 0 && singularAt()[i - 1];
      for (const piece of token.split(/(\n)/).filter(Boolean)) {
        const characters = piece === "\n" ? ["↵"] : [...piece.replaceAll("\t", " ")];
        while (characters.length) {
          if (column >= columns) [row, column] = [row + 1, 0];
          const part = characters.splice(0, columns - column);
          const [x, y, width] = [column * wide, row * tall, part.length * wide];
          parts.push(s("rect", { x, y: y + 2, width, height: tall - 6, fill: i ? style.backgroundColor : "none" }));
          parts.push(s("text", { x, y: y + tall - 8, fill: style.color, textLength: width,
            "font-weight": bold ? 700 : 400, "xml:space": "preserve" }, part.join("")));
          const line = (at, stroke) => parts.push(s("path", { d: `M${x} ${at}h${width}`, ...stroke }));
          if (bold) line(y + tall - 3, { stroke: accent, "stroke-width": 2 });
          if (dotted) line(y + 1, { stroke: ink, "stroke-dasharray": "1.5 1.5" });
          column += part.length;
        }
        if (piece === "\n") [row, column] = [row + 1, 0];
      }
    });
    const [width, height] = [columns * wide + 24, (row + 1) * tall + 24];
    return s("svg", { xmlns: "http://www.w3.org/2000/svg", viewBox: `-12 -12 ${width} ${height}`, width, height,
      "font-family": "ui-monospace, Menlo, Consolas, monospace", "font-size": 13 },
    s("title", {}, `${sample.title} (${student()}): ${summary()}`),
    s("rect", { x: -12, y: -12, width: "100%", height: "100%", fill: paper }), ...parts);
  }

  // ---- dark or light, as the host is
  const media = matchMedia("(prefers-color-scheme: dark)");
  const hosts = [document];
  try {
    if (window.parent !== window) hosts.push(window.parent.document);
  } catch { /* another origin's page: its theme is not ours to read */ }
  const theme = () => (root.dataset.theme = hostTheme(hosts) ?? (media.matches ? "dark" : "light"));
  const watch = new MutationObserver(theme);
  for (const { documentElement, body } of hosts) {
    for (const element of [documentElement, body]) {
      watch.observe(element, { attributeFilter: ["data-theme", "data-jp-theme-light", "data-vscode-theme-kind"] });
    }
  }
  media.addEventListener("change", theme);
  theme();

  const unheard = state.on(update);
  update();
  return () => {
    unheard();
    watch.disconnect();
    media.removeEventListener("change", theme);
    root.removeEventListener("keydown", keyed);
    root.replaceChildren();
  };
}

/** `dark` or `light` where JupyterLab, Sphinx or VS Code says so. @param {Document[]} hosts */
function hostTheme(hosts) {
  for (const { documentElement, body } of hosts) {
    if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false" ? "dark" : "light";
    if (["dark", "light"].includes(documentElement.dataset.theme)) return documentElement.dataset.theme;
    if (body.dataset.vscodeThemeKind) return body.dataset.vscodeThemeKind.includes("light") ? "light" : "dark";
  }
}

/** In a page of its own: the records lie in it as base64. @param {HTMLElement} root @param {string} base64 */
export async function open(root, base64) {
  const data = await unpack(Uint8Array.from(atob(base64.trim()), (character) => character.charCodeAt(0)));
  return mount(root, data, localState({ ...data.settings, view: data.models.at(-2), sample: 0, selected: null }));
}

/** In a notebook: the state is the kernel's. */
async function render({ model, el }) {
  const bytes = model.get("_records");
  const data = await unpack(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  return mount(el, data, {
    get: (name) => model.get(name),
    set(name, value) {
      model.set(name, value);
      model.save_changes();
    },
    on(heard) {
      for (const name of SHARED) model.on(`change:${name}`, heard);
      return () => SHARED.forEach((name) => model.off(`change:${name}`, heard));
    },
  });
}

export default { render };
