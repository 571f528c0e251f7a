// Run after core.js as one module by test_core.py: a request on standard input, answers on standard output.
import { readFileSync } from "node:fs";

const { cases = [], packed } = JSON.parse(readFileSync(0, "utf8"));
const number = (x) => (typeof x === "string" ? Number(x) : x); // JSON has no NaN
const plain = (x) => (ArrayBuffer.isView(x) ? Array.from(x) : x);

const answers = cases.map(({ kl, entropy, settings }) => {
  try {
    const a = analyse(kl.map(number), entropy.map(number), settings);
    const shares = kl.map((_, t) => [a.kdShare(t), a.energyShare(t)]);
    return { ...Object.fromEntries(Object.entries(a).map(([name, value]) => [name, plain(value)])), shares };
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
});

let records = null;
if (packed) {
  records = await unpack(Uint8Array.from(atob(packed), (character) => character.charCodeAt(0)));
  for (const sample of records.samples) {
    sample.labels = plain(sample.labels);
    for (const model of Object.values(sample.models)) {
      const { entropy, ce, kl = [] } = model;
      model.first = sample.labels.map((_, t) => candidates(model, t, records.steps.falls));
      Object.assign(model, { entropy: plain(entropy), ce: plain(ce), kl: kl.map(plain) });
      delete model.candidates;
      delete model.falls;
    }
  }
}
console.log(JSON.stringify({ answers, records, snapped: [0.1, 1.2, 1.3, 9].map((t) => snap([1, 1.5, 2], t)) }));
