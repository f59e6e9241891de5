// Drover against the engine's own server, from the same source, with the same models and one client:
//
//   ./dev bench [CASE…] [--rounds N] [--columns drover,llama,ollama_n,ollama_1] [--add] [--report]
//
// Without a case: all of them. In each round the servers take turns, so that never two compute at the same time, and
// who begins changes; all get the same prompts. llama-server is started with the flags that suit it best, and, in the
// first round only, also as Ollama starts it. --add keeps the rounds that were measured before and adds these;
// --report measures nothing. Results are in bench/results.json; RESULTS.md and results.svg are made from it.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { cases, columns } from './versus/cases.mjs';
import { chart } from './versus/chart.mjs';
import { LoadWatch } from './versus/load.mjs';
import { make_models } from './versus/models.mjs';
import { report } from './versus/report.mjs';
import { Drover, LlamaServer } from './versus/servers.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('..', import.meta.url));
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

// ---- the programs and the models

const drover_binary = process.env.DROVER_BIN ?? path.join(root, 'build/release/drover');
const llama_binary = process.env.LLAMA_SERVER_BIN ?? path.join(root, 'build/release/llama-server');
const cache =
  process.env.DROVER_CACHE_DIR ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'drover');
const folder = path.join(cache, 'bench');

function engine_source() {
  const build = path.dirname(path.dirname(fs.realpathSync(llama_binary)));
  const cached = fs.readFileSync(path.join(build, 'CMakeCache.txt'), 'utf8');
  return /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(cached)[1];
}

const start = (column, one, model) =>
  column.startsWith('drover')
    ? Drover.start({ binary: drover_binary, folder, model, ...one.settings[column] })
    : LlamaServer.start({ binary: llama_binary, folder, model, flags: one.settings[column].map(String) });

// ---- prompts

// Words that are one token each in llama3's vocabulary.
const vocabulary =
  'apple river stone cloud garden window mountain paper silver music winter bridge candle forest letter market ocean ' +
  'pencil queen rabbit story table train valley water yellow bread chair door earth fire glass house island jacket ' +
  'kitchen lamp mirror night orange plate road snow tower uncle voice wheel year bird coat dream engine flower gold ' +
  'hill ink jungle key leaf moon nest oil pearl rope';
const word_list = vocabulary.split(' ');

// A source of random words that depends on nothing but its name.
function words_of(name) {
  return (count, salt) => {
    let state = 2166136261;
    for (const character of `${name} ${salt}`) state = Math.imul(state ^ character.charCodeAt(0), 16777619);
    const next = () => {
      state = (state + 0x9e3779b9) | 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      return (mixed ^ (mixed >>> 15)) >>> 0;
    };
    return Array.from({ length: count }, () => word_list[next() % word_list.length]).join(' ');
  };
}

// ---- measuring

const others_max = 0.05; // of all processors, used by others: more, and a measurement does not count
const retries = 1;

const warm_up = (server) =>
  server.client.chat([{ role: 'user', content: 'warm' }], { max_tokens: 8, stream: false }).done;

// Measures once, and anew if others have used the processors meanwhile.
async function undisturbed(part, client, column, name, entry) {
  for (let attempt = 0; ; attempt++) {
    const watch = new LoadWatch();
    let values;
    try {
      values = await part(client, words_of(`${name} ${attempt}`));
    } catch (error) {
      say(`  ${columns[column]}: ${error.message}`);
      return undefined;
    }
    const others = watch.others();
    if (others <= others_max) return values;
    say(`  ${columns[column]}: others used ${(100 * others).toFixed(0)} % of the processors`);
    if (attempt === retries) {
      entry.disturbed = (entry.disturbed ?? 0) + 1;
      return values;
    }
  }
}

async function measure(key, options, models, results) {
  const one = cases[key];
  const old = options.add ? results.cases[key] : undefined;
  const entry = { rounds: old?.rounds ?? 0, values: old?.values ?? {}, disturbed: old?.disturbed ?? 0 };
  say(`\n-- ${key}: ${one.title}`);
  const servers = {};
  const measured = options.columns.filter((column) => column in one.settings);
  try {
    for (const column of measured) {
      servers[column] = await start(column, one, models[one.model]);
      await warm_up(servers[column]);
    }
    for (let round = 0; round < options.rounds; round++) {
      const seed = entry.rounds;
      const taken = round === 0 ? measured : measured.filter((column) => !column.startsWith('ollama'));
      const round_values = Object.fromEntries(taken.map((column) => [column, {}]));
      for (const [i, part] of one.measures.entries()) {
        const begins = (seed + i) % taken.length;
        for (const column of [...taken.slice(begins), ...taken.slice(0, begins)]) {
          const values = await undisturbed(part, servers[column].client, column, `${key} ${seed}`, entry);
          Object.assign(round_values[column], values);
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
  results.cases[key] = entry;
}

function drover_version() {
  const told = execFileSync(drover_binary, ['--version'], { encoding: 'utf8' });
  return /version is (\S+)/.exec(told)[1];
}

function about_this() {
  const git = (...args) =>
    execFileSync('git', ['-c', `safe.directory=${root}`, ...args], { cwd: root, encoding: 'utf8' }).trim();
  return {
    machine: `${os.cpus().length} cores of ${os.cpus()[0].model.trim()}, ${Math.round(os.totalmem() / 2 ** 30)} GiB`,
    system: `${os.type()} ${os.release()}, Node ${process.versions.node}`,
    drover: `${drover_version()}, ${git('rev-parse', '--short', 'HEAD')}`,
    llama: path.basename(engine_source()),
  };
}

// The servers end with this program.
process.on('SIGTERM', () => process.exit(143));
process.on('SIGINT', () => process.exit(130));

const options = parse(process.argv.slice(2));
const file = path.join(here, 'results.json');
const results = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : { cases: {} };
if (!options.report) {
  const models = make_models(folder, engine_source(), say);
  for (const key of options.cases) {
    await measure(key, options, models, results);
    results.about = about_this();
    fs.writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`);
  }
}
fs.writeFileSync(path.join(here, 'RESULTS.md'), report(results));
fs.writeFileSync(path.join(here, 'results.svg'), chart(results));
say(`\n${path.relative(root, here)}/RESULTS.md and results.svg are written`);
