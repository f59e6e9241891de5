// Prints what the cases of ./dev attack have left as a table: node table.mjs ROWS [--json FILE]
import fs from 'node:fs';

const [rows_file, ...options] = process.argv.slice(2);
const lines = fs.existsSync(rows_file) ? fs.readFileSync(rows_file, 'utf8').split('\n').filter(Boolean) : [];
const rows = lines.map((line) => JSON.parse(line));
const seconds = (ms) => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`);
const cell = (value) => String(value).replaceAll('|', '\\|').replaceAll(/\s+/g, ' ');
const names = ['healthz', 'same', 'other', 'slow'];
console.log(`| case | status | front, MiB | others, MiB | took | ${names.join(' | ')} | verdict |`);
console.log(`|${'---|'.repeat(6 + names.length)}`);
for (const { name, status, memory_mib = '–', children_mib, took_s, gaps, problems } of rows) {
  const waits = names.map((one) => (gaps[one] ? `${seconds(gaps[one].calm_ms)} → ${seconds(gaps[one].gap_ms)}` : ''));
  const verdict = problems.length === 0 ? 'holds' : `**${problems.join('; ').slice(0, 300)}**`;
  console.log(`| ${[name, status, memory_mib, children_mib, `${took_s} s`, ...waits, verdict].map(cell).join(' | ')} |`);
}
const bad = rows.filter(({ problems }) => problems.length > 0).length;
console.log(`\n${rows.length} cases: ${rows.length - bad} hold, ${bad} do not`);
console.log('A victim\'s waits: the longest without an attack → during it.');
if (options[0] === '--json' && options[1]) fs.writeFileSync(options[1], `${JSON.stringify(rows, null, 1)}\n`);
