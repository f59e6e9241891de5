// Texts embedded per second by one client and by many, with Drover and, beside it, with llama-server.
//
//   node bench/embed.mjs [--clients 32] [--seconds 3] [--rounds 3] [--words 2,12,varied] [--lists 32]
//                        [--model minilm|cria|FILE.gguf] [--llama-server PATH] [--drover PATH]
//
// Each client sends one text after another over a connection of its own; with --lists, one client also sends lists of
// so many texts. The servers take turns within a round, and who begins changes, so that all meet the same machine; what
// is printed is the median of the rounds, with the least and the most. The client does as little as it can with an
// answer: it runs on the processors that it measures.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { bert } from '../tests/e2e/bert.mjs';
import { cria_file, free_port } from '../tests/e2e/harness.mjs';
import { read_vocabulary } from './versus/models.mjs';

const { values: asked } = parseArgs({
  options: {
    clients: { type: 'string', default: '32' },
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    words: { type: 'string', default: '2,12,varied' },
    lists: { type: 'string', default: '0' },
    model: { type: 'string', default: 'minilm' },
    drover: { type: 'string', default: process.env.DROVER_BIN ?? 'build/release/drover' },
    'llama-server': { type: 'string' },
  },
});
const clients = Number(asked.clients);
const list_size = Number(asked.lists);
const milliseconds = Number(asked.seconds) * 1000;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-bench-'));

// ---- the model

// The shape of all-MiniLM-L6 with the vocabulary of such models and random weights: its speed is real, its vectors mean
// nothing.
const minilm = { width: 384, layers: 6, heads: 12, feed_forward: 1536, context: 512 };

// A vocabulary from the engine's source, which the build has fetched.
function vocabulary_file() {
  const cache =
    process.env.DROVER_CACHE_DIR ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'drover');
  const source = fs.readdirSync(cache).find((name) => name.startsWith('llama.cpp-'));
  return path.join(cache, source ?? 'llama.cpp', 'models/ggml-vocab-bert-bge.gguf');
}

function model_file() {
  if (asked.model === 'cria') return cria_file;
  if (asked.model !== 'minilm') return asked.model;
  const file = path.join(folder, 'minilm.gguf');
  fs.writeFileSync(file, bert({ ...minilm, vocabulary: read_vocabulary(vocabulary_file()) }));
  return file;
}

// ---- the servers

async function start(name, program, args, env, port, target) {
  const log = fs.openSync(path.join(folder, `${name}.log`), 'w');
  const child = spawn(program, args.map(String), { env: { ...process.env, ...env }, stdio: ['ignore', log, log] });
  fs.closeSync(log);
  await once(child, 'spawn');
  const until = Date.now() + 60_000;
  while (!(await fetch(`http://127.0.0.1:${port}${target}`).catch(() => undefined))?.ok) {
    if (child.exitCode !== null || Date.now() > until) throw new Error(`${name} does not answer`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { name, child, port };
}

async function start_drover(file) {
  const port = await free_port();
  const env = { OLLAMA_HOST: `127.0.0.1:${port}`, OLLAMA_MODELS: path.join(folder, 'models'), HOME: folder };
  const server = await start('drover', asked.drover, ['serve'], env, port, '/');
  const bytes = fs.readFileSync(file);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  await fetch(`http://127.0.0.1:${port}/api/blobs/${digest}`, { method: 'POST', body: bytes });
  const create = { model: 'bench', files: { 'model.gguf': digest }, stream: false };
  const answer = await fetch(`http://127.0.0.1:${port}/api/create`, { method: 'POST', body: JSON.stringify(create) });
  if (!answer.ok) throw new Error(await answer.text());
  return server;
}

async function start_llama_server(file) {
  const port = await free_port();
  const args = ['-m', file, '--port', port, '--embedding', '-np', clients, '-kvu', '-b', 2048, '-ub', 2048];
  if (asked.model === 'cria') args.push('--pooling', 'last');
  return start('llama-server', asked['llama-server'], args, {}, port, '/health');
}

// ---- the client

const words =
  'apple river stone cloud garden window mountain paper silver music winter bridge candle forest letter market ocean ' +
  'pencil queen rabbit story table train valley water yellow bread chair door earth fire glass house island jacket';
const word_list = words.split(' ');
// Words per text; most are short, some fill pages.
const varied = [2, 5, 9, 3, 14, 30, 7, 80, 4, 12, 200, 6];

function text_of(number, length) {
  const count = length === 'varied' ? varied[number % varied.length] : Number(length);
  return Array.from({ length: count }, (_, i) => word_list[(number * 7 + i * i + (number >> 5) * i) % 35]).join(' ');
}

function request_of(input) {
  const body = JSON.stringify({ model: 'bench', input });
  const head = 'POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n';
  return `${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

const head_end = Buffer.from('\r\n\r\n');

// Sends requests for as long as `next` gives some: each when the one before is answered, over a connection that is kept
// as long as the server keeps it, which llama-server does for 100 requests.
async function drive(port, next) {
  let request = next();
  while (request !== undefined) request = await drive_connection(port, request, next);
}

// Sends `request` and those that follow over one connection. The one that is left when the server closes it.
function drive_connection(port, request, next) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    let missing; // of the answer; unknown until its head is here
    let closes = false;
    let head = Buffer.alloc(0);
    const answered = () => {
      request = next();
      missing = undefined;
      head = Buffer.alloc(0);
      if (request !== undefined && !closes) return socket.write(request);
      socket.destroy();
      resolve(request);
    };
    socket.on('connect', () => socket.write(request));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the server has closed a connection')));
    socket.on('data', (bytes) => {
      if (missing !== undefined) {
        missing -= bytes.length;
      } else {
        head = Buffer.concat([head, bytes]);
        const end = head.indexOf(head_end);
        if (end < 0) return;
        const text = head.toString('latin1', 0, end);
        if (!text.startsWith('HTTP/1.1 200')) return reject(new Error(head.toString()));
        closes = /^connection: *close/im.test(text);
        missing = Number(/^content-length: *(\d+)/im.exec(text)[1]) - (head.length - end - head_end.length);
      }
      if (missing <= 0) answered();
    });
  });
}

// Texts per second with so many clients, each of whose requests has a list of `size` texts, or a single one.
async function measure(server, count, length, size) {
  const started = performance.now();
  let texts = 0;
  let answered = started;
  const client = async (index) => {
    let turn = -1;
    await drive(server.port, () => {
      if (turn >= 0) texts += size;
      answered = performance.now();
      turn++;
      if (answered - started > milliseconds) return undefined;
      const number = (index + turn * count) * size;
      if (size === 1) return request_of(text_of(number, length));
      return request_of(Array.from({ length: size }, (_, i) => text_of(number + i, length)));
    });
  };
  await Promise.all(Array.from({ length: count }, (_, index) => client(index)));
  return (texts * 1000) / (answered - started);
}

// ---- the tables

const sorted = (numbers) => [...numbers].sort((a, b) => a - b);
const median = (numbers) => sorted(numbers)[Math.floor(numbers.length / 2)];
const spread = (numbers, digits = 0) =>
  `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)}-${Math.max(...numbers).toFixed(digits)})`;
const ratios = (above, below) => above.map((value, i) => value / below[i]);

async function table(servers, length) {
  const results = servers.map(() => ({ one: [], many: [], list: [] }));
  for (let round = 0; round < Number(asked.rounds); round++) {
    for (let i = 0; i < servers.length; i++) {
      const at = (i + round) % servers.length;
      results[at].one.push(await measure(servers[at], 1, length, 1));
      results[at].many.push(await measure(servers[at], clients, length, 1));
      if (list_size > 0) results[at].list.push(await measure(servers[at], 1, length, list_size));
    }
  }
  const columns = ['server', '1 client', `${clients} clients`, `${clients} : 1`];
  if (list_size > 0) columns.push(`1 client, lists of ${list_size}`);
  const print = (cells) => console.log(`| ${cells.join(' | ')} |`);
  console.log(`\n${asked.model}, texts of ${length} words: texts/s, median of ${asked.rounds} rounds (least-most)\n`);
  print(columns);
  print(columns.map(() => '---'));
  for (const [i, { one, many, list }] of results.entries()) {
    const cells = [servers[i].name, spread(one), spread(many), spread(ratios(many, one), 2)];
    print(list_size > 0 ? [...cells, spread(list)] : cells);
  }
  if (servers.length < 2) return;
  const [mine, theirs] = results;
  const cells = ['drover : llama-server', ...['one', 'many'].map((key) => spread(ratios(mine[key], theirs[key]), 2)), ''];
  print(list_size > 0 ? [...cells, spread(ratios(mine.list, theirs.list), 2)] : cells);
}

const servers = [];
try {
  const file = model_file();
  servers.push(await start_drover(file));
  if (asked['llama-server']) servers.push(await start_llama_server(file));
  const lengths = asked.words.split(',');
  for (const server of servers) await measure(server, 4, lengths[0], 1); // loads the model
  for (const length of lengths) await table(servers, length);
} finally {
  for (const { name, child } of servers) child.kill(name === 'drover' ? 'SIGTERM' : 'SIGKILL'); // the latter waits for its clients
  for (const { child } of servers) if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  fs.rmSync(folder, { recursive: true, force: true });
}
