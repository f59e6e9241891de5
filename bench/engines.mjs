// Two builds of Drover against each other in one run, such as a prebuilt engine and one built from source:
//
//   DROVER_BIN_A=… DROVER_BIN_B=… node bench/engines.mjs [SECTION…] [--names prebuilt,source] [--rounds 5]
//                                                        [--busy N] [--models 1b,small] [--seconds 3] [--json]
//
// Without a section: all of them. Within each round the two take turns, and who begins changes, so that never two
// compute at the same time; both read the same model file and get the same prompts. A ratio is A's figure over B's of
// the same round, printed as the median of the rounds with the least and the most. --busy keeps N endless loops running
// meanwhile. --json prints one object with every round's figures instead of the table; what goes on is told on stderr.
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';

import { distinct_streams, schema_streams } from './versus/cases.mjs';
import { texts_per_second } from './versus/embeddings.mjs';
import { key_of, this_kind } from './versus/machine.mjs';
import { make_models } from './versus/models.mjs';
import { known, median, ratios } from './versus/numbers.mjs';
import { Drover, ends_with_us } from './versus/servers.mjs';
import { bench_folder as folder, drover_version } from './versus/setup.mjs';
import { in_turn, undisturbed, warm_up } from './versus/turns.mjs';
import { words_of } from './versus/words.mjs';

const say = (text) => console.error(text);
const die = (text) => {
  console.error(`engines: ${text}`);
  process.exit(2);
};

const { values: asked, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    names: { type: 'string', default: 'A,B' },
    rounds: { type: 'string', default: '5' },
    busy: { type: 'string', default: '0' },
    models: { type: 'string', default: '1b,small' },
    seconds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
});
const rounds = Number(asked.rounds);
const [large, small] = asked.models.split(',');

// ---- what is measured

const tokens_per_second = { unit: 'tokens/s', better: 'more' };
const texts_rate = { unit: 'texts/s', better: 'more' };
const seconds = { unit: 's', better: 'less' };

async function first_token({ clients: [client] }, words) {
  const chat = await client.chat([{ role: 'user', content: words(256, 'first') }], { max_tokens: 2 }).done;
  if (!chat.ok) throw new Error(`a request has failed: ${chat.error}`);
  return { 'first token after 256 words': chat.ttft / 1000 };
}

// One stream of each model, of a length that takes them about as long.
async function two_models({ clients }, words) {
  const lengths = [64, 400];
  const streams = async (which, salt) => {
    const start = performance.now();
    const chats = which.map((i) =>
      clients[i].chat([{ role: 'user', content: words(32, `${salt} ${i}`) }], { max_tokens: lengths[i] }),
    );
    for (const { done } of chats) {
      const chat = await done;
      if (!chat.ok) throw new Error(`a request has failed: ${chat.error}`);
    }
    return (performance.now() - start) / 1000;
  };
  const after = (await streams([0], 'after')) + (await streams([1], 'after'));
  const at_once = await streams([0, 1], 'at once');
  return {
    'two models, one after the other': after,
    'two models at once': at_once,
    'at once : one after the other': at_once / after,
  };
}

const on_schema = (i, name) => async ({ clients }, words) => {
  const { throughput } = await schema_streams(4, 1)(clients[i], words);
  return { [`4 streams held to a JSON schema, ${name}`]: throughput };
};

const embedding_loads = [1, 12].flatMap((length) => [1, 32].map((clients) => ({ length, clients })));
const embedding_row = ({ length, clients }) =>
  `${length === 1 ? 'one word' : `${length} words`}, ${clients === 1 ? 'one client' : `${clients} clients`}`;
const embeddings = (load) => async ({ clients: [client] }) => ({
  [embedding_row(load)]: await texts_per_second(client, { ...load, milliseconds: 1000 * Number(asked.seconds) }),
});

// Each has servers of its own, with all of `models` loaded; `measures` are (server, words) => {row: value}, where
// server.clients has a client for each of the models.
const sections = {
  streams: {
    models: [large],
    settings: { slots: 16, context: 2048 },
    rows: {
      '1 streams': tokens_per_second,
      '4 streams': tokens_per_second,
      '16 streams': tokens_per_second,
      'first token after 256 words': seconds,
    },
    measures: [
      ...[1, 4, 16].map((count) => ({ clients: [client] }, words) => distinct_streams(count)(client, words)),
      first_token,
    ],
  },
  models: {
    models: [large, small],
    settings: { slots: 4, context: 2048 },
    rows: {
      'two models, one after the other': seconds,
      'two models at once': seconds,
      'at once : one after the other': { unit: 'times', better: 'less' },
    },
    measures: [two_models],
  },
  schema: {
    models: [large, small],
    settings: { slots: 4, context: 2048 },
    rows: Object.fromEntries(
      [large, small].map((name) => [`4 streams held to a JSON schema, ${name}`, tokens_per_second]),
    ),
    measures: [large, small].map((name, i) => on_schema(i, name)),
  },
  embeddings: {
    models: ['minilm'],
    settings: {},
    rows: Object.fromEntries(embedding_loads.map((load) => [embedding_row(load), texts_rate])),
    measures: embedding_loads.map(embeddings),
  },
};

// ---- the run

// Endless loops beside what is measured. They end with this program, also if it is killed.
function keep_busy(count) {
  const loop = 'const parent = process.ppid; while (process.ppid === parent) for (let i = 0; i < 1e8; i++);';
  for (let i = 0; i < count; i++) ends_with_us(spawn(process.execPath, ['-e', loop], { stdio: 'ignore' }));
}

async function start({ letter, binary }, { models: wanted, settings }, models) {
  const [first, ...others] = wanted.map((model) => models[model]);
  const server = await Drover.start({ name: `drover-${letter}`, binary, folder, model: first, ...settings });
  for (const model of others) await server.load(model);
  for (const [i, client] of server.clients.entries()) {
    if (models[wanted[i]].embeds) await texts_per_second(client, { clients: 4, length: 1, milliseconds: 300 });
    else await warm_up(client);
  }
  return server;
}

// Adds to each program's `figures` a list for each row, with a value for each round. Returns the number of measurements
// that others have disturbed.
async function run_section(key, programs, models) {
  const section = sections[key];
  let disturbances = 0;
  say(`\n-- ${key}`);
  const servers = new Map();
  for (const program of programs) servers.set(program, await start(program, section, models));
  for (const [program, server] of servers) program.engine = server.engine;
  for (let round = 0; round < rounds; round++) {
    for (const [i, measure] of section.measures.entries()) {
      for (const program of in_turn(programs, round + i)) {
        const once = (attempt) => measure(servers.get(program), words_of(`${key} ${round} ${attempt}`));
        const { values = {}, disturbed } = await undisturbed(once, program.name, say);
        if (disturbed) disturbances++;
        for (const [row, value] of Object.entries(values)) {
          (program.figures[row] ??= Array(rounds).fill(null))[round] = value;
          say(`  round ${round + 1}, ${program.name}: ${row} ${value.toPrecision(3)} ${section.rows[row].unit}`);
        }
      }
    }
  }
  for (const server of servers.values()) await server.stop();
  return disturbances;
}

const spread = (values) => ({ median: median(values), least: Math.min(...values), most: Math.max(...values) });

function row_of(section, name, [a, b]) {
  const [ones, others] = [a.figures[name], b.figures[name]];
  const all = ratios(ones, others);
  const ratio = all.length > 0 ? spread(all) : undefined;
  return { section, name, ...sections[section].rows[name], a: ones, b: others, ratios: all, ratio };
}

function print_table({ machine, busy, programs, rows, disturbed }) {
  console.log(`${machine}; ${rounds} rounds${busy > 0 ? `, beside ${busy} busy loops` : ''}`);
  if (disturbed > 0) console.log(`${disturbed} measurements were disturbed by others on the machine`);
  for (const { name, binary, version, engine } of programs) {
    console.log(`- ${name}: ${binary}, ${version}${engine === undefined ? '' : `, engine ${engine}`}`);
  }
  const [a, b] = programs.map(({ name }) => name);
  console.log(`\n| | unit | better | ${a} | ${b} | ${a} : ${b} | least | most |`);
  console.log('|---|---|---|---:|---:|---:|---:|---:|');
  const middle = (values) => (known(values).length > 0 ? median(known(values)).toPrecision(4) : '–');
  for (const { section, name, unit, better, a: ones, b: others, ratio } of rows) {
    const found = ratio === undefined ? ['–', '–', '–'] : Object.values(ratio).map((value) => value.toFixed(3));
    console.log(`| ${[`${section}: ${name}`, unit, better, middle(ones), middle(others), ...found].join(' | ')} |`);
  }
}

for (const name of positionals) if (!(name in sections)) die(`'${name}' is none of ${Object.keys(sections).join(' ')}`);
if (!(rounds >= 1)) die('--rounds needs a number');
const names = asked.names.split(',');
if (names.length !== 2 || names[0] === names[1]) die('--names needs two names: prebuilt,source');
if (small === undefined) die('--models needs two models, the large one first: 1b,small');
const programs = ['A', 'B'].map((letter, i) => {
  const binary = process.env[`DROVER_BIN_${letter}`] ?? die(`DROVER_BIN_${letter} names one of the two programs`);
  return { letter, name: names[i], binary, version: drover_version(binary), figures: {} };
});

process.on('SIGTERM', () => process.exit(143));
process.on('SIGINT', () => process.exit(130));

const chosen = positionals.length > 0 ? positionals : Object.keys(sections);
const models = make_models(folder, new Set(chosen.flatMap((key) => sections[key].models)), say);
const busy = Number(asked.busy);
keep_busy(busy);
let disturbed = 0;
for (const key of chosen) disturbed += await run_section(key, programs, models);
const rows = chosen.flatMap((key) => Object.keys(sections[key].rows).map((name) => row_of(key, name, programs)));
const result = {
  machine: key_of(this_kind()),
  date: new Date().toISOString(),
  rounds,
  busy,
  disturbed,
  programs: programs.map(({ figures, ...program }) => program),
  rows,
};
if (asked.json) console.log(JSON.stringify(result, null, 1));
else print_table(result);
process.exit(0); // the busy loops end
