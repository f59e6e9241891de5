// Texts embedded per second by one client and by many, with Drover and, beside it, with llama-server.
//
//   node bench/embed.mjs [--clients 32] [--seconds 5] [--rounds 3] [--words 12] [--model minilm|cria|FILE.gguf]
//                        [--llama-server PATH] [--drover PATH]
//
// Each client sends one text after another over a connection of its own. The servers take turns within a run, so that
// both meet the same machine; what is printed is the median of the rounds.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { bert } from '../tests/e2e/bert.mjs';
import { cria_file, free_port } from '../tests/e2e/harness.mjs';

const { values: asked } = parseArgs({
  options: {
    clients: { type: 'string', default: '32' },
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '3' },
    words: { type: 'string', default: '12' },
    model: { type: 'string', default: 'minilm' },
    drover: { type: 'string', default: process.env.DROVER_BIN ?? 'build/release/drover' },
    'llama-server': { type: 'string' },
  },
});
const clients = Number(asked.clients);
const milliseconds = Number(asked.seconds) * 1000;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-bench-'));

// The shape of all-MiniLM-L6 with random weights: its speed is real, its vectors mean nothing.
const minilm = { width: 384, layers: 6, heads: 12, feed_forward: 1536, context: 512 };

function model_file() {
  if (asked.model === 'cria') return cria_file;
  if (asked.model !== 'minilm') return asked.model;
  const file = path.join(folder, 'minilm.gguf');
  fs.writeFileSync(file, bert(minilm));
  return file;
}

function post(port, target, body, agent) {
  const text = JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const request = http.request({ host: '127.0.0.1', port, method: 'POST', path: target, headers, agent }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('end', () => {
        const whole = Buffer.concat(parts).toString();
        if (answer.statusCode === 200) resolve(whole);
        else reject(new Error(`${target}: ${answer.statusCode} ${whole}`));
      });
    });
    request.on('error', reject);
    request.end(text);
  });
}

// Starts a program and waits until `ready` says that it answers.
async function start(name, program, args, env, ready) {
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
  await once(child, 'spawn');
  const until = Date.now() + 60_000;
  while (!(await ready().catch(() => false))) {
    if (child.exitCode !== null || Date.now() > until) throw new Error(`${name} does not answer`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return child;
}

async function start_drover(file) {
  const port = await free_port();
  const env = { OLLAMA_HOST: `127.0.0.1:${port}`, OLLAMA_MODELS: path.join(folder, 'models'), HOME: folder };
  const get = () => fetch(`http://127.0.0.1:${port}/`).then((answer) => answer.ok);
  const child = await start('drover', asked.drover, ['serve'], env, get);
  const bytes = fs.readFileSync(file);
  const { createHash } = await import('node:crypto');
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  await fetch(`http://127.0.0.1:${port}/api/blobs/${digest}`, { method: 'POST', body: bytes });
  await post(port, '/api/create', { model: 'bench', files: { 'model.gguf': digest }, stream: false });
  return { name: 'drover', child, port };
}

async function start_llama_server(file) {
  const port = await free_port();
  const args = ['-m', file, '--port', port, '--embedding', '-np', clients, '-kvu', '-b', 2048, '-ub', 2048];
  if (asked.model === 'cria') args.push('--pooling', 'last');
  const get = () => fetch(`http://127.0.0.1:${port}/health`).then((answer) => answer.ok);
  const child = await start('llama-server', asked['llama-server'], args.map(String), {}, get);
  return { name: 'llama-server', child, port };
}

function text_of(client, turn) {
  const words = ['seven', 'llamas', 'walk', 'to', 'the', 'river', 'and', 'drink', 'before', 'it', 'rains', 'again'];
  return Array.from({ length: Number(asked.words) }, (_, i) => words[(client * 5 + turn + i * i) % words.length]).join(' ');
}

// Texts per second with so many clients.
async function measure(server, count) {
  const until = performance.now() + milliseconds;
  const started = performance.now();
  let texts = 0;
  const client = async (index) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let turn = 0; performance.now() < until; turn++) {
      await post(server.port, '/v1/embeddings', { model: 'bench', input: text_of(index, turn) }, agent);
      texts++;
    }
    agent.destroy();
  };
  await Promise.all(Array.from({ length: count }, (_, index) => client(index)));
  return (texts * 1000) / (performance.now() - started);
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

const servers = [];
try {
  const file = model_file();
  servers.push(await start_drover(file));
  if (asked['llama-server']) servers.push(await start_llama_server(file));
  const results = servers.map(() => ({ one: [], many: [] }));
  for (const server of servers) await measure(server, 1); // loads the model
  for (let round = 0; round < Number(asked.rounds); round++) {
    for (const [i, server] of servers.entries()) {
      results[i].one.push(await measure(server, 1));
      results[i].many.push(await measure(server, clients));
    }
  }
  console.log(`${asked.model}, texts of ${asked.words} words, texts/s (median of ${asked.rounds} rounds)`);
  console.log(`| server | 1 client | ${clients} clients | ratio |\n|---|---|---|---|`);
  for (const [i, server] of servers.entries()) {
    const one = median(results[i].one);
    const many = median(results[i].many);
    console.log(`| ${server.name} | ${one.toFixed(0)} | ${many.toFixed(0)} | ${(many / one).toFixed(2)} |`);
  }
} finally {
  for (const { child } of servers) child.kill('SIGTERM');
  for (const { child } of servers) if (child.exitCode === null) await once(child, 'exit');
  fs.rmSync(folder, { recursive: true, force: true });
}
