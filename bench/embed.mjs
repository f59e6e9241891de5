// Texts embedded per second by one client and by many, with Drover and, beside it, with llama-server.
//
//   node bench/embed.mjs [--clients 32] [--seconds 3] [--rounds 3] [--words 2,12,varied] [--lists 32]
//                        [--model minilm|cria|FILE.gguf] [--llama-server PATH] [--drover PATH]
//
// Each client sends one text after another over a connection of its own; with --lists, one client also sends lists of
// so many texts. The servers take turns within a round, and who begins changes, so that all meet the same machine; what
// is printed is the median of the rounds, with the least and the most. The client does as little as it can with an
// answer: it runs on the processors that it measures.
//
// Both servers read the same file; a model from elsewhere is linked, or copied once, into the benchmarks' folder.
import { parseArgs } from 'node:util';

import { cria_file } from '../tests/e2e/harness.mjs';
import { texts_per_second } from './versus/embeddings.mjs';
import { embedding_model, make_models } from './versus/models.mjs';
import { median, ratios } from './versus/numbers.mjs';
import { Drover, LlamaServer } from './versus/servers.mjs';
import { bench_folder as folder, drover_binary } from './versus/setup.mjs';
import { in_turn } from './versus/turns.mjs';

const { values: asked } = parseArgs({
  options: {
    clients: { type: 'string', default: '32' },
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    words: { type: 'string', default: '2,12,varied' },
    lists: { type: 'string', default: '0' },
    model: { type: 'string', default: 'minilm' },
    drover: { type: 'string', default: drover_binary },
    'llama-server': { type: 'string' },
  },
});
const clients = Number(asked.clients);
const list_size = Number(asked.lists);
const milliseconds = Number(asked.seconds) * 1000;

// ---- the servers

function the_model() {
  if (asked.model === 'minilm') return make_models(folder, ['minilm'], console.error).minilm;
  return embedding_model(folder, asked.model === 'cria' ? cria_file : asked.model);
}

function start_llama_server(model) {
  const flags = ['--embedding', '-np', clients, '-kvu', '-b', 2048, '-ub', 2048];
  if (asked.model === 'cria') flags.push('--pooling', 'last');
  return LlamaServer.start({ binary: asked['llama-server'], folder, model, flags: flags.map(String) });
}

const measure = ({ client }, count, length, size) =>
  texts_per_second(client, { clients: count, length, size, milliseconds });

// ---- the tables

const spread = (numbers, digits = 0) =>
  `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)}-${Math.max(...numbers).toFixed(digits)})`;

async function table(servers, length) {
  const results = servers.map(({ name }) => ({ name, one: [], many: [], list: [] }));
  for (let round = 0; round < Number(asked.rounds); round++) {
    for (const at of in_turn([...servers.keys()], round)) {
      const { server } = servers[at];
      results[at].one.push(await measure(server, 1, length, 1));
      results[at].many.push(await measure(server, clients, length, 1));
      if (list_size > 0) results[at].list.push(await measure(server, 1, length, list_size));
    }
  }
  const columns = ['server', '1 client', `${clients} clients`, `${clients} : 1`];
  if (list_size > 0) columns.push(`1 client, lists of ${list_size}`);
  const print = (cells) => console.log(`| ${cells.join(' | ')} |`);
  console.log(`\n${asked.model}, texts of ${length} words: texts/s, median of ${asked.rounds} rounds (least-most)\n`);
  print(columns);
  print(columns.map(() => '---'));
  for (const { name, one, many, list } of results) {
    const cells = [name, spread(one), spread(many), spread(ratios(many, one), 2)];
    print(list_size > 0 ? [...cells, spread(list)] : cells);
  }
  if (servers.length < 2) return;
  const [mine, theirs] = results;
  const cells = ['drover : llama-server', ...['one', 'many'].map((key) => spread(ratios(mine[key], theirs[key]), 2)), ''];
  print(list_size > 0 ? [...cells, spread(ratios(mine.list, theirs.list), 2)] : cells);
}

// The servers end with this program.
process.on('SIGTERM', () => process.exit(143));
process.on('SIGINT', () => process.exit(130));

const model = the_model();
const servers = [{ name: 'drover', server: await Drover.start({ binary: asked.drover, folder, model }) }];
if (asked['llama-server']) servers.push({ name: 'llama-server', server: await start_llama_server(model) });
const lengths = asked.words.split(',');
for (const { server } of servers) await measure(server, 4, lengths[0], 1); // warms up
for (const length of lengths) await table(servers, length);
for (const { server } of servers) await server.stop();
