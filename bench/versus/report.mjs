// bench/RESULTS.md, from the results.
import { cases, columns } from './cases.mjs';

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

function figure(value, unit) {
  if (unit === '%') return `${(100 * value).toFixed(1)} %`;
  if (unit === 'requests/s') return value.toFixed(0);
  if (unit === '') return String(value);
  return value.toFixed(value < 1 ? 3 : value < 100 ? 2 : 1);
}

// A round in which it was not measured, or failed, counts for nothing.
const known = (values) => (values ?? []).filter((value) => typeof value === 'number');

function spread_of(all, show) {
  const [low, high] = [Math.min(...all), Math.max(...all)];
  return all.length > 1 && low !== high ? ` <sub>${show(low)}–${show(high)}</sub>` : '';
}

function cell(values, unit) {
  const all = known(values);
  return all.length === 0 ? '–' : `${figure(median(all), unit)}${spread_of(all, (value) => figure(value, unit))}`;
}

// Drover's figure against llama-server's, for each round that has both and where the other one is not zero.
function ratios_of(values) {
  const [own, other] = [values?.drover ?? [], values?.llama ?? []];
  return known(own.map((value, round) => (value !== null && other[round] > 0 ? value / other[round] : undefined)));
}

// The median of the rounds' ratios; undefined without any.
export function ratio_of(values) {
  const ratios = ratios_of(values);
  return ratios.length > 0 ? median(ratios) : undefined;
}

// What the line asks for, and whether it is met: {text, met}; undefined without a line.
function judge(row, values) {
  const ratio = ratio_of(values);
  const own = known(values?.drover).length > 0 ? median(known(values.drover)) : undefined;
  if (row.ratio_min !== undefined) return { text: `≥ ${row.ratio_min} ×`, met: ratio >= row.ratio_min };
  if (row.ratio_max !== undefined) return { text: `≤ ${row.ratio_max} ×`, met: ratio <= row.ratio_max };
  if (row.min !== undefined) return { text: `≥ ${figure(row.min, row.unit)}`, met: own >= row.min };
  if (row.max !== undefined) return { text: `≤ ${figure(row.max, row.unit)}`, met: own <= row.max };
  return undefined;
}

function table(key, entry) {
  const one = cases[key];
  const shown = Object.keys(columns).filter((column) => column in one.settings);
  const lines = [
    `| | unit | ${shown.map((column) => columns[column]).join(' | ')} | ratio | line | |`,
    `|---|---|${'---:|'.repeat(shown.length + 2)}---|`,
  ];
  for (const [name, row] of Object.entries(one.rows)) {
    const values = entry.values[name];
    const ratio = ratio_of(values);
    const line = judge(row, values);
    const fields = [
      name,
      row.unit,
      ...shown.map((column) => cell(values?.[column], row.unit)),
      ratio === undefined ? '' : `${ratio.toFixed(2)}${spread_of(ratios_of(values), (value) => value.toFixed(2))}`,
      line?.text ?? '',
      line === undefined ? '' : line.met ? 'met' : '**missed**',
    ];
    lines.push(`| ${fields.join(' | ')} |`);
  }
  return lines.join('\n');
}

const disturbed = ({ disturbed: count = 0 }) =>
  count > 0 ? `, ${count} measurements disturbed by others on the machine` : '';

export function report({ about = {}, cases: measured }) {
  const parts = [
    `# Drover against the engine's own server

\`./dev bench\` has written this page; its figures are in results.json. Both servers are built from the same llama.cpp
(${about.llama ?? '?'}) with the same options, read the same model file, have as large a KV cache, and are driven by one
client over the same endpoint, \`POST /v1/chat/completions\`, with the same prompts, at temperature 0.8. They take
turns, so never two compute at the same time. A figure is the median of the rounds, with the lowest and the highest beside it;
the ratio, Drover's figure over llama-server's, is taken in each round, and its median shown: the machine's own speed
changes from one minute to the next.

llama-server runs with \`-np N -kvu\` and what else suits a case. The two columns on the right show it as Ollama
starts it: with N places that each own a part of the cache (\`-np N\`), and with the one place that is Ollama's
default (\`-np 1\`); these were measured in the first round only.

- machine: ${about.machine ?? '?'}
- system: ${about.system ?? '?'}
- Drover: ${about.drover ?? '?'}

The models have real shapes and random weights: "1b" is llama3.2's 1B at Q4_K_M (763 MiB), "small" has about a
twentieth of its work for each token of a prompt, "tiny" next to none.

![ratios](results.svg)
`,
  ];
  for (const [key, one] of Object.entries(cases)) {
    const entry = measured[key];
    if (entry === undefined) continue;
    parts.push(
      `## (${key}) ${one.title}

${table(key, entry)}

Model ${one.model}; ${entry.rounds} rounds on ${entry.date}${disturbed(entry)}. Drover: OLLAMA_NUM_PARALLEL=${one.settings.drover.places},
OLLAMA_CONTEXT_LENGTH=${one.settings.drover.context}. llama-server: \`${one.settings.llama.join(' ')}\`.
${one.note === undefined ? '' : `\n${one.note}\n`}`,
    );
  }
  return parts.join('\n');
}
