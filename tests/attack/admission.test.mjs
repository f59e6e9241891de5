// Very many requests that wait.
import { endless } from '../e2e/gguf.mjs';
import { sleep } from '../e2e/harness.mjs';
import { attacks, short } from './attack.mjs';
import { processor_ms } from './witness.mjs';

const most = short ? 2500 : 5000;
const address = (i) => `127.0.5.${1 + (i % 100)}`; // no more from one address than may be
const body = JSON.stringify({ model: 'endless', prompt: 'Tell me a story.', options: { num_predict: 1_000_000 } });
const text = `POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

async function waiting(arena) {
  const { json } = await arena.ask('GET', '/api/ps', undefined, { address: '127.0.0.3' });
  return json?.models?.find(({ name }) => name === 'endless:latest')?.waiting ?? 0;
}

// Sends requests until so many wait; the milliseconds of processor that it took the front.
async function fill(arena, from, to) {
  const before = processor_ms(arena.server.process.pid);
  for (let i = from; i < to; i++) {
    arena.socket(address(i)).resume().write(text);
    if (i % 50 === 49) await sleep(10);
  }
  for (const start = performance.now(); (await waiting(arena)) < to - 10; await sleep(100))
    if (performance.now() - start > 60_000) throw new Error(`${await waiting(arena)} of ${to} wait`);
  return processor_ms(arena.server.process.pid) - before;
}

async function queue_within(arena, ms_max) {
  const { status, json, ms } = await arena.ask('GET', '/api/queue', undefined, { address: '127.0.0.3' });
  if (status !== 200 || json.requests.length < 1000) throw new Error(`/api/queue: ${status}, ${json?.requests?.length} requests`);
  if (ms > ms_max) throw new Error(`/api/queue took ${Math.round(ms)} ms`);
}

attacks(
  'admission',
  {
    env: { OLLAMA_NUM_PARALLEL: '1', OLLAMA_MAX_QUEUE: '6000', OLLAMA_REQUEST_TIMEOUT: '1h' },
    prepare: (server) => server.create('endless', endless()),
    gap: { cap_ms: 3000 },
  },
  [
    {
      name: `${most} that wait: what one costs, and who asks for the queue`,
      short: true,
      status: [],
      victims: ['healthz', 'other'],
      within_s: 150,
      attack: async (arena) => {
        const first = await fill(arena, 0, 500);
        const rest = await fill(arena, 500, most);
        await queue_within(arena, 3000);
        const linear = ((most - 500) / 500) * first;
        if (rest > 3 * linear + 500) throw new Error(`500 cost ${first} ms of processor, ${most - 500} more ${rest} ms`);
        return [];
      },
    },
    {
      name: `${most} that wait: SIGTERM`,
      short: true,
      ends: true,
      status: [],
      within_s: 120,
      attack: async (arena) => {
        await fill(arena, 0, most);
        const { process: front } = arena.server;
        const start = performance.now();
        front.kill('SIGTERM');
        await arena.server.exited;
        const took = performance.now() - start;
        if (took > 10_000) throw new Error(`it ended after ${Math.round(took)} ms`); // 2 s are the running request's
        return [];
      },
    },
  ],
);
