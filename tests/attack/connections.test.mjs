// Very many connections, and what they keep to themselves.
import { sleep } from '../e2e/harness.mjs';
import { attacks, mib } from './attack.mjs';
import { status_of } from './witness.mjs';

const host = 'Host: localhost\r\n';
const get = `GET /api/version HTTP/1.1\r\n${host}\r\n`;
const begin = (size) => `POST /api/generate HTTP/1.1\r\n${host}Content-Length: ${size}\r\n\r\n`;
// Addresses of loopback beside the victims'.
const address = (i) => `127.0.${1 + Math.floor(i / 250)}.${1 + (i % 250)}`;
const statuses_of = (texts) => texts.map((text) => Number(/^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1])).filter(Boolean);

// Opens `count` connections, writes to each, and keeps them until the front takes no more memory: the statuses that came.
async function hold(arena, count, { write, from = () => undefined, for_ms = 3000 }) {
  const heard = [];
  const sockets = [];
  for (let i = 0; i < count; i++) {
    const socket = arena.socket(from(i));
    heard[i] = '';
    socket.on('data', (part) => (heard[i] += part.toString('latin1').slice(0, 100)));
    if (write) socket.write(write(i));
    sockets.push(socket);
    if (i % 100 === 99) await sleep(5);
  }
  const held = () => (status_of(arena.server.process.pid)?.resident ?? 0) / mib;
  for (let before = 0, now = held(); now > before + 1; now = held()) {
    before = now;
    await sleep(for_ms);
  }
  for (const socket of sockets) socket.destroy();
  return statuses_of(heard);
}

// Most of a body; what is sent on each connection is the same memory.
const part_of_body = () => Buffer.concat([Buffer.from(begin(21 * mib)), Buffer.alloc(20 * mib, ' ')]);

const occupied = { prompt: 'Tell me a story.', options: { num_predict: 60, temperature: 1 } };

attacks('connections', { gap: { cap_ms: 2500 } }, [
  {
    name: '100 bodies of 20 MiB that do not end',
    short: true,
    status: [408, 413, 429, 503],
    memory_mib: 768,
    within_s: 90,
    attack: (arena) => {
      const part = part_of_body();
      return hold(arena, 100, { write: () => part });
    },
  },
  {
    name: '400 bodies of 20 MiB that do not end, from 400 addresses',
    status: [408, 413, 429, 503],
    memory_mib: 2048,
    within_s: 150,
    attack: async (arena) => {
      const part = part_of_body();
      const found = [];
      for (let round = 0; round < 4; round++)
        found.push(...(await hold(arena, 100, { write: () => part, from: (i) => address(round * 100 + i) })));
      return found;
    },
  },
  {
    name: '200 uploads of blobs that do not end',
    status: [408, 413, 429, 503],
    attack: (arena) => {
      const upload = (i) => `POST /api/blobs/sha256:${i.toString(16).padStart(64, '0')} HTTP/1.1\r\n${host}Content-Length: 90000000\r\n\r\n${'x'.repeat(mib)}`;
      return hold(arena, 200, { write: upload, for_ms: 3000 });
    },
  },
  {
    name: '2,400 heads that are as large as they may be and have no body',
    short: true,
    status: [408, 431, 503],
    memory_mib: 512,
    within_s: 90,
    attack: (arena) => {
      const head = `POST /api/generate HTTP/1.1\r\n${host}Content-Length: 9\r\n`;
      const lines = 'a:\r\n'.repeat(15_000); // each is stored by itself
      const long = `X: ${'y'.repeat(60_000)}\r\n`;
      return hold(arena, 2400, { write: (i) => (i % 2 ? `${head}${lines}\r\n` : `${head}${long}\r\n`) });
    },
  },
  {
    name: '2,400 uploads of blobs that do not begin',
    status: [408, 503],
    memory_mib: 512,
    within_s: 90,
    attack: (arena) =>
      hold(arena, 2400, {
        write: (i) =>
          `POST /api/blobs/sha256:${i.toString(16).padStart(64, '0')} HTTP/1.1\r\n${host}Content-Length: 9\r\n\r\n`,
      }),
  },
  {
    name: '10,500 connections from one address that say nothing',
    short: true,
    status: [408, 429, 503],
    attack: (arena) => hold(arena, 10_500, { for_ms: 3000 }),
  },
  {
    name: '10,500 connections from one address, each after a request',
    status: [200, 408, 429, 503],
    within_s: 90,
    attack: (arena) => hold(arena, 10_500, { write: () => get, for_ms: 3000 }),
  },
  {
    name: '9,000 connections from 300 addresses',
    status: [408, 429, 503],
    within_s: 90,
    attack: (arena) => hold(arena, 9000, { from: (i) => address(i % 300), for_ms: 3000 }),
  },
  {
    name: '2,000 connections, one after the other',
    short: true,
    status: [],
    attack: async (arena) => {
      for (let i = 0; i < 2000; i += 50) {
        const some = Array.from({ length: 50 }, () => arena.socket());
        await Promise.all(some.map((socket) => new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))));
        for (const [at, socket] of some.entries()) at % 2 ? socket.destroy() : socket.resetAndDestroy();
      }
      return [];
    },
  },
  {
    name: '1,000 requests whose clients leave at once',
    short: true,
    status: [],
    attack: async (arena) => {
      const body = JSON.stringify({ model: 'cria', prompt: 'Tell me a story.', options: { temperature: 1 } });
      for (let i = 0; i < 1000; i++) {
        const socket = arena.socket();
        socket.write(begin(body.length) + body);
        socket.once('connect', () => setTimeout(() => socket.destroy(), i % 20));
        if (i % 20 === 19) await sleep(25);
      }
      await sleep(500);
      return [];
    },
  },
  {
    name: '200 streams that nobody reads',
    status: [200, 429, 503],
    memory_mib: 512,
    within_s: 60,
    attack: async (arena) => {
      const body = JSON.stringify({ model: 'cria', prompt: 'Count to 150', options: { temperature: 0 } });
      const sockets = Array.from({ length: 200 }, () => arena.socket().pause());
      for (const socket of sockets) socket.write(begin(body.length) + body);
      await sleep(10_000);
      return [];
    },
    gaps: { same: { cap_ms: 20_000 } }, // they are honest requests, and 200 of them
  },
  {
    name: '20 clients that call themselves something else each time',
    victims: ['healthz', 'other'],
    status: [200, 429, 503],
    attack: (arena) =>
      arena.statuses(
        Array.from({ length: 200 }, (_, i) => () => arena.generate(occupied, { headers: { 'x-client-id': `client ${i}`, authorization: `Bearer ${i}` } })),
        20,
      ),
  },
]);
