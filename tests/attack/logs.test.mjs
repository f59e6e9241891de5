// What strangers can write into the log, and how much of it.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { cria, renamed } from '../e2e/gguf.mjs';
import { with_template } from '../e2e/gguf_parts.mjs';
import { sleep } from '../e2e/harness.mjs';
import { attacks } from './attack.mjs';

const forged = '2026-11-28T00:00:00.000 info  request id=FORGED outcome=stop';
const evil = `x\r\n${forged}\u001b[31m\u001b]0;title\u0007\u0000\u007f\u0085\u2028\u202e\u009b`;

// Every line a record of its own, none that a stranger has written, and no control characters.
function check_text(text) {
  for (const line of text.split('\n').slice(0, -1)) {
    if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}/.test(line)) throw new Error(`no record: ${JSON.stringify(line.slice(0, 200))}`);
    if (/^\S+ info\s+request id=FORGED/.test(line)) throw new Error(`forged: ${JSON.stringify(line.slice(0, 200))}`);
    if (/[\x00-\x08\x0b-\x1f\x7f\u0080-\u009f]/.test(line)) throw new Error(`control characters: ${JSON.stringify(line.slice(0, 200))}`);
  }
}
function check_json(text) {
  for (const line of text.split('\n').slice(0, -1)) {
    const { message } = JSON.parse(line);
    if (typeof message !== 'string') throw new Error(`no record: ${line.slice(0, 200)}`);
  }
}

// All the places that a stranger's words get to.
async function write_everywhere(arena) {
  const { server } = arena;
  const from = server.stderr.length;
  const header = evil.replaceAll(/[\r\n\0]/g, '\t').replaceAll(/[^\x20-\x7e\x1b\x07\t]/g, '?');
  const say = (target, body) => () => arena.ask('POST', target, body);
  const found = await arena.statuses([
    say('/api/generate', { model: 'cria', prompt: 'x', stream: false, options: { [evil]: 1, num_predict: 2 } }),
    say('/api/generate', { model: evil, prompt: 'x' }),
    say('/api/chat', { model: 'cria', messages: [{ role: evil, content: 'x' }], stream: false, options: { num_predict: 2 } }),
    say('/api/chat', { model: 'cria', messages: [{ role: 'user', content: 'x' }], tools: [{ type: 'function', function: { name: evil, parameters: { [evil]: 1 } } }], stream: false, options: { num_predict: 2 } }),
    say('/api/generate', { model: 'cria', prompt: 'x', format: { type: evil }, stream: false, options: { num_predict: 2 } }),
    say('/api/generate', { model: 'cria', prompt: 'x', format: { pattern: evil, type: 'string' }, stream: false, options: { num_predict: 2 } }),
    say('/api/create', { model: evil, from: 'cria' }),
    say('/api/create', { model: 'made', from: evil }),
    say('/api/create', { model: 'made', files: { [evil]: `sha256:${'a'.repeat(64)}` } }),
    say('/api/create', { model: 'made', from: 'cria', template: `{{ ${evil} }}`, stream: false }),
    say('/api/create', { model: 'made', from: 'cria', parameters: { [evil]: 5 }, stream: false }),
    say('/api/copy', { source: 'cria', destination: evil }),
    say(`/api/${encodeURIComponent(evil)}`, {}),
    say(`/api/blobs/${encodeURIComponent(evil)}`, 'x'),
    say('/v1/chat/completions', { model: 'cria', messages: [{ role: 'user', content: 'x' }], [evil]: 1, max_tokens: 2 }),
    say('/v1/messages', { model: 'cria', max_tokens: 2, messages: [{ role: 'user', content: 'x' }], [evil]: 1 }),
    ...['x-client-id', 'x-request-id', 'user-agent', 'authorization', 'origin', 'x-priority', 'traceparent', 'content-encoding', 'x-request-timeout', 'x-forwarded-for'].map(
      (name) => async () => {
        const body = JSON.stringify({ model: 'cria', prompt: 'x', stream: false, options: { num_predict: 2 } });
        const { statuses } = await arena.raw(`POST /api/generate HTTP/1.1\r\nHost: localhost\r\n${name}: ${header}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
        return statuses[0] ?? 0;
      },
    ),
  ]);
  // A model that says it: the engine's own lines, and the text of an exception.
  const named = renamed('Name');
  named.write('A\n\u001bB', named.indexOf('Name'), 'latin1');
  const raising = with_template(cria(), `{{ raise_exception(${JSON.stringify(evil.replaceAll(/[^\x20-\x7e\r\n\x1b\x07]/g, '?'))}) }}`, evil);
  for (const file of [named, raising]) {
    found.push((await arena.create('said', file)).status);
    found.push((await arena.chat({ model: 'said' })).status);
    await arena.remove('said');
  }
  await sleep(300);
  return { found, text: server.stderr.slice(from) };
}

const statuses = [0, 200, 400, 403, 404, 408, 415, 422, 500];
const log_kib = async (arena, attack) => {
  const from = arena.server.stderr.length;
  const found = await attack();
  await sleep(500);
  return { found, kib: (arena.server.stderr.length - from) / 1024 };
};
const at_most = (kib, most) => {
  if (kib > most) throw new Error(`${Math.round(kib)} KiB of log`);
};

// A command for a server whose standard error nobody reads: a FIFO that this process has open and leaves as it is.
function stuck() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-attack-'));
  process.once('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
  const fifo = path.join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  fs.openSync(fifo, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  return ['sh', '-c', 'exec "$@" 2>"$0"', fifo];
}

attacks('logs', { env: { OLLAMA_DEBUG: '1' } }, [
  {
    name: 'forged lines and control characters, as text',
    short: true,
    status: statuses,
    attack: async (arena) => {
      const { found, text } = await write_everywhere(arena);
      check_text(text);
      return found;
    },
  },
  {
    name: 'forged lines and control characters, as JSON',
    fresh: { env: { DROVER_LOG_FORMAT: 'json' } },
    status: statuses,
    attack: async (arena) => {
      const { found, text } = await write_everywhere(arena);
      check_json(text);
      return found;
    },
  },
  {
    name: '8,000 options that are none',
    short: true,
    attack: async (arena) => {
      const options = Object.fromEntries(Array.from({ length: 8000 }, (_, i) => [`option${i}`, 1]));
      const { found, kib } = await log_kib(arena, async () => [(await arena.generate({ options })).status]);
      at_most(kib, 128); // the victims have lines of their own
      return found;
    },
  },
  {
    name: 'names of a megabyte, wherever there are names',
    status: [200, 400, 404, 413, 431],
    attack: async (arena) => {
      const name = 'n'.repeat(1_000_000);
      const { found, kib } = await log_kib(arena, () =>
        arena.statuses([
          () => arena.generate({ options: { [name]: 1 } }),
          () => arena.generate({ model: name }),
          () => arena.generate({ format: name }),
          () => arena.generate({ keep_alive: name }),
          () => arena.generate({ think: name }),
          () => arena.chat({ messages: [{ role: name, content: 'x' }] }),
          () => arena.ask('POST', '/api/create', { model: 'made', from: name, stream: false }),
          () => arena.ask('POST', '/v1/chat/completions', { model: 'cria', messages: [{ role: 'user', content: 'x' }], tool_choice: name, max_tokens: 2 }),
          () => arena.ask('POST', '/v1/responses', { model: 'cria', input: 'x', previous_response_id: name, max_output_tokens: 16 }),
        ]),
      );
      at_most(kib, 400);
      return found;
    },
  },
  {
    name: '2,000 requests that are refused',
    status: [400, 404, 405, 429],
    attack: async (arena) => {
      const { found, kib } = await log_kib(arena, () =>
        arena.statuses(Array.from({ length: 2000 }, (_, i) => () => arena.ask('POST', ['/api/nowhere', '/api/generate', '/api/tags'][i % 3], 'no JSON')), 8),
      );
      at_most(kib, 2500);
      return found;
    },
  },
  {
    name: 'a log that nobody reads',
    short: true,
    fresh: { wrapper: stuck() },
    status: [200],
    within_s: 60,
    attack: (arena) => arena.statuses(Array.from({ length: 400 }, () => () => arena.generate()), 4),
  },
]);
