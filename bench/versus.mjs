// Drover against the engine's own server, from the same source, with the same models and one client:
//
//   ./dev bench [CASE…] [--rounds N] [--columns drover,llama,ollama_n,ollama_1] [--add] [--report]
//
// Without a case: all of them. In each round the servers take turns, so that never two compute at the same time, and
// who begins changes; all get the same prompts. llama-server is started with the flags that suit it best, and, in the
// first round only, also as Ollama starts it. --add keeps the rounds that were measured before and adds these;
// --report measures nothing. Results are in bench/results.json, which has a part for each kind of machine; RESULTS.md
// and results.svg are made from it.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { cases, columns } from './versus/cases.mjs';
import { chart } from './versus/chart.mjs';
import { this_kind } from './versus/machine.mjs';
import { make_models } from './versus/models.mjs';
import { report } from './versus/report.mjs';
import { read_results, results_of, write_results } from './versus/results.mjs';
import { Drover, LlamaServer } from './versus/servers.mjs';
import { bench_folder as folder, root } from './versus/setup.mjs';
import { drover_binary, drover_version, llama_binary, llama_build } from './versus/setup.mjs';
import { in_turn, undisturbed, warm_up } from './versus/turns.mjs';
import { words_of } from './versus/words.mjs';

const here = path.join(root, 'bench');
const say = (text) => console.log(text);
const die = (text) => {
  console.error(`bench: ${text}`);
  process.exit(2);
};

function parse(args) {
  const options = { cases: [], rounds: 3, columns: Object.keys(columns), add: false, report: false };
  const value = (name) => args.shift() ?? die(`${name} needs a value`);
  while (args.length > 0) {
    const arg = args.shift();
    if (arg === '--rounds') options.rounds = Number(value(arg));
    else if (arg === '--columns') options.columns = value(arg).split(',');
    else if (arg === '--add') options.add = true;
    else if (arg === '--report') options.report = true;
    else if (arg in cases) options.cases.push(arg);
    else die(`'${arg}' is no case and no option: ${Object.keys(cases).join(' ')}`);
  }
  for (const name of options.columns) if (!(name in columns)) die(`'${name}' is none of ${Object.keys(columns)}`);
  if (!(options.rounds >= 1)) die('--rounds needs a number');
  if (options.cases.length === 0) options.cases = Object.keys(cases);
  return options;
}

// ---- measuring

const start = (column, one, model) =>
  column.startsWith('drover')
    ? Drover.start({ name: column, binary: drover_binary, folder, model, ...one.settings[column] })
    : LlamaServer.start({ binary: llama_binary, folder, model, flags: one.settings[column].map(String) });

async function measure(key, options, models, found) {
  const one = cases[key];
  const old = options.add ? found.cases[key] : undefined;
  const entry = { rounds: old?.rounds ?? 0, values: old?.values ?? {}, disturbed: old?.disturbed ?? 0 };
  say(`\n-- ${key}: ${one.title}`);
  const servers = {};
  const measured = options.columns.filter((column) => column in one.settings);
  try {
    for (const column of measured) {
      servers[column] = await start(column, one, models[one.model]);
      await warm_up(servers[column].client);
    }
    found.about = about_this(found.about, servers.drover);
    Object.assign(entry, { drover: found.about.drover, engine: found.about.engine });
    for (let round = 0; round < options.rounds; round++) {
      const seed = entry.rounds;
      const taken = round === 0 ? measured : measured.filter((column) => !column.startsWith('ollama'));
      const round_values = Object.fromEntries(taken.map((column) => [column, {}]));
      for (const [i, part] of one.measures.entries()) {
        for (const column of in_turn(taken, seed + i)) {
          const once = (attempt) => part(servers[column].client, words_of(`${key} ${seed} ${attempt}`));
          const { values, disturbed } = await undisturbed(once, columns[column], say);
          Object.assign(round_values[column], values);
          if (disturbed) entry.disturbed++;
        }
      }
      for (const [column, values] of Object.entries(round_values)) {
        for (const row of Object.keys(one.rows)) {
          entry.values[row] ??= {};
          (entry.values[row][column] ??= [])[seed] = values[row] ?? null;
        }
        const shown = Object.entries(values).map(([row, value]) => `${row} ${value.toPrecision(3)}`);
        if (shown.length > 0) say(`  round ${seed + 1}, ${columns[column]}: ${shown.join('; ')}`);
      }
      entry.rounds++;
    }
  } finally {
    for (const server of Object.values(servers)) await server.stop();
  }
  entry.date = new Date().toISOString().slice(0, 10);
  entry.load_average = os.loadavg()[0];
  found.cases[key] = entry;
}

// What is known of this machine and of both programs; of the one that does not run now, what was known before.
function about_this(before, drover) {
  const git = (...args) =>
    execFileSync('git', ['-c', `safe.directory=${root}`, ...args], { cwd: root, encoding: 'utf8' }).trim();
  const about = {
    ...this_kind(),
    memory: `${Math.round(os.totalmem() / 2 ** 30)} GiB`,
    system: `${os.type()} ${os.release()}, Node ${process.versions.node}`,
    drover: before.drover,
    engine: before.engine,
    llama: llama_build() ?? before.llama,
    measured: new Date().toISOString(),
  };
  if (drover === undefined) return about;
  const version = `${drover_version(drover_binary)}, ${git('rev-parse', '--short', 'HEAD')}`;
  return { ...about, drover: version, engine: drover.engine };
}

// The servers end with this program.
process.on('SIGTERM', () => process.exit(143));
process.on('SIGINT', () => process.exit(130));

const options = parse(process.argv.slice(2));
const file = path.join(here, 'results.json');
const results = read_results(file);
if (!options.report) {
  const models = make_models(folder, new Set(options.cases.map((key) => cases[key].model)), say);
  const found = results_of(results, this_kind());
  for (const key of options.cases) {
    await measure(key, options, models, found);
    write_results(file, results);
  }
}
fs.writeFileSync(path.join(here, 'RESULTS.md'), report(results));
fs.writeFileSync(path.join(here, 'results.svg'), chart(results));
say(`\n${path.relative(root, here)}/RESULTS.md and results.svg are written`);
