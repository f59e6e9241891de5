// bench/RESULTS.md, from the results.
import { cases, columns } from './cases.mjs';
import { known, median, ratios } from './numbers.mjs';
import { newest_first, title_of } from './results.mjs';

function figure(value, unit) {
  if (unit === '%') return `${(100 * value).toFixed(1)} %`;
  if (unit === 'requests/s') return value.toFixed(0);
  if (unit === '') return String(value);
  return value.toFixed(value < 1 ? 3 : value < 100 ? 2 : 1);
}

function spread_of(all, show) {
  const [low, high] = [Math.min(...all), Math.max(...all)];
  return all.length > 1 && low !== high ? ` <sub>${show(low)}–${show(high)}</sub>` : '';
}

function cell(values, unit) {
  const all = known(values);
  return all.length === 0 ? '–' : `${figure(median(all), unit)}${spread_of(all, (value) => figure(value, unit))}`;
}

// Drover's figure against llama-server's, in each round that has both.
const ratios_of = (values) => ratios(values?.drover, values?.llama);

// The median of the rounds' ratios; undefined without any.
export function ratio_of(values) {
  const all = ratios_of(values);
  return all.length > 0 ? median(all) : undefined;
}

// What a row is judged by, {of, show}: Drover's own figures if its line is about these, else the ratios; of each round.
function judged(row, values) {
  const own = row.min !== undefined || row.max !== undefined;
  return own
    ? { of: known(values?.drover), show: (value) => figure(value, row.unit) }
    : { of: ratios_of(values), show: (value) => value.toFixed(2) };
}

function worst_round(row, values) {
  const { of, show } = judged(row, values);
  if (of.length === 0) return '';
  return show(row.better === 'more' ? Math.min(...of) : Math.max(...of));
}

// What the line asks for, and whether it is met by the median and in how many of the rounds: {text, verdict}. A round
// without a figure has not met it. Undefined without a line.
function judge(row, values, rounds) {
  const bound = ['ratio_min', 'ratio_max', 'min', 'max'].find((name) => row[name] !== undefined);
  if (bound === undefined) return undefined;
  const limit = row[bound];
  const meets = bound.endsWith('min') ? (value) => value >= limit : (value) => value <= limit;
  const { of } = judged(row, values);
  const compared = !bound.startsWith('ratio') || known(values?.llama).length > 0;
  const sign = bound.endsWith('min') ? '≥' : '≤';
  const met = of.length > 0 && meets(median(of));
  return {
    text: `${sign} ${bound.startsWith('ratio') ? `${limit} ×` : figure(limit, row.unit)}`,
    verdict: !compared ? 'not compared' : `${met ? 'met' : '**missed**'}, ${of.filter(meets).length} of ${rounds}`,
  };
}

function table(key, entry) {
  const one = cases[key];
  const shown = Object.keys(columns).filter((column) => column in one.settings);
  const lines = [
    `| | unit | ${shown.map((column) => columns[column]).join(' | ')} | ratio | worst round | line | |`,
    `|---|---|${'---:|'.repeat(shown.length + 3)}---|`,
  ];
  for (const [name, row] of Object.entries(one.rows)) {
    const values = entry.values[name];
    const ratio = ratio_of(values);
    const line = judge(row, values, entry.rounds);
    const fields = [
      name,
      row.unit,
      ...shown.map((column) => cell(values?.[column], row.unit)),
      ratio === undefined ? '' : `${ratio.toFixed(2)}${spread_of(ratios_of(values), (value) => value.toFixed(2))}`,
      worst_round(row, values),
      line?.text ?? '',
      line?.verdict ?? '',
    ];
    lines.push(`| ${fields.join(' | ')} |`);
  }
  return lines.join('\n');
}

const disturbed = ({ disturbed: count = 0 }) =>
  count > 0 ? `, ${count} measurements disturbed by others on the machine` : '';

const drover_of = ({ drover, engine }) => (engine === undefined ? drover : `${drover}; engine ${engine}`);

// Of a case of one kind of machine. How it is set up is the same on all, so only the first one of the page says it.
function case_text(key, entry, about, described) {
  const one = cases[key];
  // Not all cases of a machine need be of the same day and build.
  const build = drover_of(entry) === drover_of(about) ? '' : `, Drover ${drover_of(entry)}`;
  const lines = [
    `### (${key}) ${one.title}`,
    '',
    table(key, entry),
    '',
    `${entry.rounds} rounds on ${entry.date}${build}${disturbed(entry)}.`,
  ];
  if (described.has(key)) return `${lines.join('\n')}\n`;
  described.add(key);
  const { slots, context } = one.settings.drover;
  lines.push(
    `Model ${one.model}. Drover: OLLAMA_NUM_PARALLEL=${slots}, OLLAMA_CONTEXT_LENGTH=${context}.`,
    `llama-server: \`${one.settings.llama.join(' ')}\`.`,
  );
  if (one.note !== undefined) lines.push('', one.note);
  return `${lines.join('\n')}\n`;
}

function kind_text({ about, cases: measured }, described) {
  const head = `## ${title_of(about)}

- instruction sets: ${about.flags.map((flag) => `\`${flag}\``).join(' ')}
- system: ${about.memory}, ${about.system}
- Drover: ${drover_of(about)}
- llama-server: ${about.llama ?? 'not built there'}
- last measured: ${about.measured.slice(0, 10)}
`;
  const parts = Object.keys(cases).filter((key) => key in measured);
  return [head, ...parts.map((key) => case_text(key, measured[key], about, described))].join('\n');
}

export function report(results) {
  const described = new Set();
  const kinds = newest_first(results);
  // As GitHub makes a heading's anchor.
  const anchor = (title) => title.toLowerCase().replace(/[^a-z0-9 _-]/g, '').replaceAll(' ', '-');
  const titles = kinds.map(({ about }) => `- [${title_of(about)}](#${anchor(title_of(about))})`);
  const head = `# Drover against the engine's own server

\`./dev bench\` has written this page; its figures are in results.json. Both servers have the same version of llama.cpp,
read the same model file, have as large a KV cache, and are driven by one client over the same endpoint,
\`POST /v1/chat/completions\`, with the same prompts, at temperature 0.8. They take turns, so never two compute at the
same time. A figure is the median of the rounds, with the lowest and the highest beside it; the ratio, Drover's figure
over llama-server's, is taken in each round, and its median shown: the machine's own speed changes from one minute to the
next. The worst round is that of the ratio, or of Drover's own figure where the line is about that. A line is met or
missed by the median; beside that stands in how many of the rounds it was met.

llama-server runs with \`-np N -kvu\` and what else suits a case. The two columns on its right show it as Ollama
starts it: with N slots that each own a part of the cache (\`-np N\`), and with the one slot that is Ollama's
default (\`-np 1\`); these were measured in the first round only.

The models have real shapes and random weights: "1b" is llama3.2's 1B at Q4_K_M (763 MiB), "small" has about a
twentieth of its work for each token of a prompt, "tiny" next to none.

There is a section for each kind of machine, which is a processor with its instruction sets and the number of its cores;
the one that was measured last comes first, and the chart is its own.

${titles.join('\n')}

![ratios](results.svg)
`;
  return [head, ...kinds.map((kind) => kind_text(kind, described))].join('\n');
}
