// bench/results.svg: for each row with a counterpart, how much better Drover is than llama-server on the kind of
// machine that was measured last, on a scale of powers of two. Readable on light and dark pages.
import { cases } from './cases.mjs';
import { ratio_of } from './report.mjs';
import { newest_first, title_of } from './results.mjs';

const row_height = 24;
const label_width = 330;
const plot_width = 430;
const right = 90;
const top = 46;

const escape = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');

function bars_of(measured) {
  const bars = [];
  for (const [key, one] of Object.entries(cases)) {
    for (const [name, row] of Object.entries(one.rows)) {
      const ratio = ratio_of(measured[key]?.values[name]);
      if (ratio === undefined || ratio === 0 || (row.ratio_min === undefined && row.ratio_max === undefined)) continue;
      const better = row.better === 'more' ? ratio : 1 / ratio;
      bars.push({ label: `(${key}) ${name}${name === 'throughput' ? `, ${row.unit}` : ''}`, better });
    }
  }
  return bars;
}

export function chart(results) {
  const [{ about, cases: measured }] = newest_first(results);
  const bars = bars_of(measured);
  const logs = bars.map(({ better }) => Math.log2(better));
  const low = Math.min(-1, ...logs.map(Math.floor));
  const high = Math.max(1, ...logs.map(Math.ceil));
  const x = (log) => label_width + ((log - low) / (high - low)) * plot_width;
  const bottom = top + bars.length * row_height + 4;
  const height = bottom + 24;
  const width = label_width + plot_width + right;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13">`,
    `<style>
  text { fill: #1f2328 } .grid { stroke: #d0d7de } .one { stroke: #57606a } .good { fill: #2da44e } .bad { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .grid { stroke: #30363d } .one { stroke: #8b949e } .good { fill: #3fb950 } .bad { fill: #f85149 }
  }
</style>`,
    `<text x="0" y="16" font-weight="600">How many times better Drover is than llama-server (right of 1: better)</text>`,
  ];
  for (let log = low; log <= high; log++) {
    const name = log < 0 ? `1/${2 ** -log}` : `${2 ** log}`;
    parts.push(
      `<line class="${log === 0 ? 'one' : 'grid'}" x1="${x(log)}" x2="${x(log)}" y1="${top - 6}" y2="${bottom}"/>`,
      `<text x="${x(log)}" y="${top - 12}" text-anchor="middle" font-size="11">${name}</text>`,
    );
  }
  for (const [i, { label, better }] of bars.entries()) {
    const y = top + i * row_height;
    const end = x(Math.log2(better));
    const [from, to] = [Math.min(x(0), end), Math.max(x(0), end)];
    const value = better >= 10 ? better.toFixed(0) : better.toFixed(2);
    parts.push(
      `<text x="${label_width - 10}" y="${y + 15}" text-anchor="end">${escape(label)}</text>`,
      `<rect class="${better >= 0.995 ? 'good' : 'bad'}" x="${from.toFixed(1)}" y="${y + 4}" width="${Math.max(to - from, 1).toFixed(1)}" height="${row_height - 9}" rx="2"/>`,
      `<text x="${(to + 6).toFixed(1)}" y="${y + 15}">${value} ×</text>`,
    );
  }
  const machine = escape(`${title_of(about)}, ${about.measured.slice(0, 10)}`);
  parts.push(`<text x="0" y="${bottom + 18}" font-size="11">${machine}</text>`);
  return `${parts.join('\n')}\n</svg>\n`;
}
