// HTTP that is wrong, ambiguous, slow or endless.
import net from 'node:net';

import { attacks, mib, short } from './attack.mjs';
import { sleep } from '../e2e/harness.mjs';

const host = 'Host: localhost\r\n';
const get = `GET /api/version HTTP/1.1\r\n${host}\r\n`;
const body = '{"model":"cria","prompt":"Count to 3","stream":false,"options":{"num_predict":4}}';
const post = (headers, text = body, target = '/api/generate') => `POST ${target} HTTP/1.1\r\n${host}${headers}\r\n${text}`;
const chunk = (text) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
const length = `Content-Length: ${body.length}\r\n`;
const chunked = 'Transfer-Encoding: chunked\r\n';

// Each of these could be read as one request by a proxy and as two by the server, or the other way round.
const smuggled = [
  post(`Content-Length: 6\r\n${chunked}`, `0\r\n\r\n${get}`),
  post(`${chunked}Content-Length: 6\r\n`, `0\r\n\r\n${get}`),
  post(`Content-Length: 4\r\n${chunked}`, `${(get.length + 2).toString(16)}\r\n${get}\r\n0\r\n\r\n`),
  post(`Content-Length: 5\r\nContent-Length: ${body.length}\r\n`, `${body}${get}`),
  post(`Content-Length: ${body.length}\r\nContent-Length: 0\r\n`, `${body}${get}`),
  post(`Content-Length: ${body.length}, 0\r\n`, `${body}${get}`),
  post(`Content-Length: +${body.length}\r\n`, `${body}${get}`),
  post(`Content-Length: -1\r\n`, get),
  post(`Content-Length: 0x10\r\n`, get),
  post(`Content-Length: 1 0\r\n`, get),
  post(`Content-Length: \r\n`, get),
  post(`Content-Length: 18446744073709551616\r\n`, get),
  post(`Content-Length: 99999999999999999999999999999\r\n`, get),
  post(`Content-Length : ${body.length}\r\n`, `${body}${get}`),
  post(`Content-Length\r\n`, get),
  post('Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${get}`),
  post('Transfer-Encoding: identity\r\n', `0\r\n\r\n${get}`),
  post('Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${get}`),
  post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', `0\r\n\r\n${get}`),
  post('Transfer-Encoding:\x0bchunked\r\n', `0\r\n\r\n${get}`),
  post('Transfer-Encoding : chunked\r\n', `0\r\n\r\n${get}`),
  post(' Transfer-Encoding: chunked\r\n', `0\r\n\r\n${get}`),
  post('X: y\r\n Transfer-Encoding: chunked\r\n', `0\r\n\r\n${get}`),
  post('Transfer-Encoding:\r\n chunked\r\n', `0\r\n\r\n${get}`),
  post(`X: y\rContent-Length: 0\r\n`, get),
  post(`X: y\0z\r\n${length}`, `${body}${get}`),
  post(`X y: z\r\n${length}`, `${body}${get}`),
  post(`: z\r\n${length}`, `${body}${get}`),
  post(`${host}${length}`, `${body}${get}`), // two Hosts
  `POST /api/generate HTTP/1.0\r\n${chunked}\r\n0\r\n\r\n${get}`,
  `GET  /api/version HTTP/1.1\r\n${host}\r\n${get}`,
  `GET /api/version HTTP/1.1 \r\n${host}\r\n${get}`,
  `GET /api/ver sion HTTP/1.1\r\n${host}\r\n${get}`,
  `GET /api/version\r\n${host}\r\n${get}`,
  `GET /api/version HTTP/2.0\r\n${host}\r\n${get}`,
  ` GET /api/version HTTP/1.1\r\n${host}\r\n${get}`,
  `GE\0T /api/version HTTP/1.1\r\n${host}\r\n${get}`,
];

const chunks = [
  'zz\r\n',
  '-1\r\nx\r\n0\r\n\r\n',
  '+5\r\nhello\r\n0\r\n\r\n',
  '0x5\r\nhello\r\n0\r\n\r\n',
  '5_0\r\nhello\r\n0\r\n\r\n',
  '5 5\r\nhello\r\n0\r\n\r\n',
  ' 5\r\nhello\r\n0\r\n\r\n',
  '\r\nhello\r\n0\r\n\r\n',
  'ffffffffffffffff\r\nx',
  '10000000000000005\r\nhello\r\n0\r\n\r\n',
  '5\r\nhelloXX0\r\n\r\n',
  '5\nhello\n0\n\n',
  `5;${'x'.repeat(mib)}\r\nhello\r\n0\r\n\r\n`,
  `${'0'.repeat(mib)}5\r\nhello\r\n0\r\n\r\n`,
  `0\r\n${'X: y\r\n'.repeat(200_000)}\r\n`,
  `0\r\nX: ${'y'.repeat(mib)}\r\n\r\n`,
];

const oddities = [
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  '\r\n\r\n\r\n\r\nGARBAGE\r\n\r\n',
  'GET / HTTP/9.9\r\n\r\n',
  'GET /\r\n\r\n',
  'GET /api/version HTTP/1.1\r\n\r\n',
  `CONNECT example.org:443 HTTP/1.1\r\n${host}\r\n`,
  `TRACE / HTTP/1.1\r\n${host}\r\n`,
  `OPTIONS * HTTP/1.1\r\n${host}\r\n`,
  `GET http://example.org/ HTTP/1.1\r\n${host}\r\n`,
  `GET //example.org/../../etc/passwd HTTP/1.1\r\n${host}\r\n`,
  `GET /api/blobs/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1\r\n${host}\r\n`,
  `GET /ui/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1\r\n${host}\r\n`,
  `GET /%00 HTTP/1.1\r\n${host}\r\n`,
  `GET /%zz HTTP/1.1\r\n${host}\r\n`,
  `GET /api/tags?${'a=b&'.repeat(10_000)} HTTP/1.1\r\n${host}\r\n`,
  `GET / HTTP/1.1\r\n${host}X: \x80\xff\r\n\r\n`,
  `GET / HTTP/1.1\r\n${host}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n`,
  `GET / HTTP/1.1\r\n${host}Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`,
  `GET / HTTP/1.1\r\n${host}Range: bytes=${'0-0,'.repeat(10_000)}0-0\r\n\r\n`,
  post('Expect: nonsense\r\n' + length),
];

// Statuses of raw requests, some at a time. None may have more answers than one, or no end.
async function all(arena, texts, how) {
  const found = await each(texts, 8, (text) => arena.raw(text, how));
  const shown = (i) => JSON.stringify(texts[i].length > 300 ? `${texts[i].slice(0, 200)} … ${texts[i].slice(-50)}` : texts[i]);
  const wrong = found.flatMap(({ statuses, closed }, i) => {
    if (statuses.filter((status) => status >= 200).length > 1) return [`${statuses} for ${shown(i)}`];
    return statuses.length === 0 && !closed && !how?.wait_s ? [`no answer to ${shown(i)}`] : [];
  });
  if (wrong.length > 0) throw new Error(wrong.join('; '));
  return found.flatMap(({ statuses }) => (statuses.length > 0 ? statuses : [0]));
}

async function each(items, at_once, work) {
  const results = [];
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const i = next++;
      results[i] = await work(items[i], i);
    }
  };
  await Promise.all(Array.from({ length: at_once }, lane));
  return results;
}

// Connections that write something every `every_ms` until the server has had enough: the statuses that they were told.
async function drip(arena, count, first, piece, every_ms, wait_s) {
  const sockets = Array.from({ length: count }, () => arena.socket());
  const told = sockets.map(() => '');
  for (const [i, socket] of sockets.entries()) {
    socket.on('data', (part) => (told[i] += part.toString('latin1')));
    socket.write(first, 'latin1');
  }
  const start = performance.now();
  let alive = sockets;
  while (alive.length > 0 && performance.now() - start < wait_s * 1000) {
    await sleep(every_ms);
    alive = alive.filter((socket) => !socket.closed && !socket.readableEnded);
    for (const socket of alive) socket.write(piece, 'latin1');
  }
  if (alive.length > 0) throw new Error(`${alive.length} of ${count} connections are there after ${wait_s} s`);
  return told.map((text) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0));
}

// Sends all of an upload before it reads anything, as Python's http.client does.
async function upload_and_then_read(arena, size) {
  const text = Buffer.alloc(size, 'x');
  const digest = await arena.server.upload(text);
  const socket = net.connect(arena.server.port, '127.0.0.1');
  arena.keep(socket).pause();
  let error;
  socket.on('error', (problem) => (error ??= problem));
  const ended = new Promise((resolve) => socket.once('close', resolve));
  socket.write(`POST /api/blobs/${digest} HTTP/1.1\r\n${host}Content-Length: ${size}\r\nConnection: close\r\n\r\n`);
  for (let at = 0; at < size && !error; at += 16384)
    await new Promise((resolve) => socket.write(text.subarray(at, at + 16384), resolve));
  if (error) return 0;
  let answer = '';
  socket.on('data', (part) => (answer += part)).resume();
  await ended;
  return Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0);
}

attacks('http', {}, [
  {
    name: 'requests that are one or two',
    short: true,
    status: [400, 403, 501, 505],
    attack: (arena) => all(arena, smuggled),
  },
  {
    name: 'two lengths that are the same, or lines that end with LF alone',
    short: true,
    status: [200, 400], // either way of reading them is the same
    attack: (arena) => all(arena, [post(length + length), post(length).replaceAll('\r\n', '\n')]),
  },
  {
    name: 'chunks that are none',
    short: true,
    status: [400, 413, 431, 499],
    attack: (arena) => all(arena, chunks.map((text) => post(chunked, text)), { half: true }),
  },
  {
    name: 'what is no HTTP, or none that is served here',
    short: true,
    status: [200, 204, 301, 307, 400, 403, 404, 405, 417, 421, 426, 501, 505],
    attack: (arena) => all(arena, oddities),
  },
  {
    name: 'heads that are huge',
    short: true,
    status: [400, 414, 431],
    memory_mib: 64,
    attack: (arena) =>
      all(
        arena,
        [
          `GET /${'a'.repeat(mib)} HTTP/1.1\r\n${host}\r\n`,
          `GET / HTTP/1.1\r\n${host}X: ${'y'.repeat(mib)}\r\n\r\n`,
          `GET / HTTP/1.1\r\n${host}${'y'.repeat(mib)}: x\r\n\r\n`,
          `GET / HTTP/1.1\r\n${host}${'X: y\r\n'.repeat(100_000)}\r\n`,
          `${'G'.repeat(mib)} / HTTP/1.1\r\n${host}\r\n`,
          `GET / HTTP/1.1\r\n${host}X: ${'y'.repeat(32 * mib)}`,
          '\r\n'.repeat(mib),
        ],
      ),
  },
  {
    name: 'heads that have as many lines as fit',
    status: [200, 400, 431],
    attack: (arena) => all(arena, Array(50).fill(`GET /api/version HTTP/1.1\r\n${host}${'a:\r\n'.repeat(15_000)}\r\n`)),
  },
  {
    name: '1,000 requests at once on one connection',
    short: true,
    status: [200],
    attack: async (arena) => {
      const { statuses } = await arena.raw(get.repeat(1000), { quiet_ms: 1000 });
      if (statuses.length !== 1000) throw new Error(`${statuses.length} answers`);
      return statuses;
    },
  },
  {
    name: '1,000,000 requests on ten connections that read nothing',
    memory_mib: 64,
    attack: async (arena) => {
      const sockets = Array.from({ length: 10 }, () => arena.socket().pause());
      for (const socket of sockets) for (let i = 0; i < 100; i++) socket.write(get.repeat(1000));
      await sleep(5000);
      return [];
    },
  },
  {
    name: 'a request whose sender closes its side at once',
    short: true,
    status: [100, 200], // the first asks whether somebody is still there
    attack: async (arena) => {
      const texts = [post(length), post(chunked, `${chunk(body)}0\r\n\r\n`), get];
      return all(arena, texts, { half: true, quiet_ms: 5000 });
    },
  },
  {
    name: 'requests that end anywhere',
    short: true,
    status: [0, 200, 400, 408, 499],
    attack: (arena) => {
      const whole = post(length + 'X-Client-Id: a\r\n');
      const every = short ? 23 : 3;
      const ends = Array.from({ length: Math.floor(whole.length / every) }, (_, i) => i * every);
      return all(arena, ends.map((end) => whole.slice(0, end)), { half: true, wait_s: 10 });
    },
  },
  {
    name: 'an upload that is answered before it was sent',
    short: true,
    status: [200, 201],
    attack: async (arena) => [await upload_and_then_read(arena, 6 * mib), await upload_and_then_read(arena, 24 * mib)],
  },
  {
    name: 'a large upload that is refused by its head',
    status: [400, 403, 404, 413],
    attack: async (arena) => {
      const evil = { origin: 'https://evil.example' };
      const large = Buffer.alloc(48 * mib, 'x');
      return arena.statuses([
        () => arena.ask('POST', '/api/generate', large, { headers: evil }),
        () => arena.ask('POST', '/api/nowhere', large),
        () => arena.ask('POST', '/api/blobs/sha256:nonsense', large),
        () => arena.ask('POST', '/api/generate', Buffer.alloc(80 * mib, 'x')),
      ]);
    },
  },
  {
    name: 'heads that come a byte at a time, 500 connections',
    status: [0],
    within_s: 75,
    attack: (arena) => drip(arena, 500, `GET / HTTP/1.1\r\n${host}X: `, 'y', 1000, 60),
  },
  {
    name: 'bodies that come a byte at a time, 500 connections',
    status: [408],
    within_s: 200,
    attack: (arena) => drip(arena, 500, post('Content-Length: 1000000\r\n', '{'), ' ', 5000, 180),
  },
  {
    name: 'chunks that come a byte at a time, 200 connections',
    status: [408],
    within_s: 200,
    attack: (arena) => drip(arena, 200, post(chunked, ''), '1\r\n \r\n', 5000, 180),
  },
  {
    name: 'uploads that come a byte at a time, 100 connections',
    status: [408],
    within_s: 200,
    attack: (arena) =>
      drip(arena, 100, post('Content-Length: 1000000\r\n', 'x', `/api/blobs/sha256:${'a'.repeat(64)}`), 'x', 5000, 180),
  },
  {
    name: 'a body that is announced and never sent, and 100-continue',
    short: true,
    status: [0, 100, 400, 408, 413],
    attack: async (arena) => {
      const heads = [
        post('Expect: 100-continue\r\nContent-Length: 1000000\r\n', ''),
        post('Expect: 100-continue\r\nContent-Length: 99999999999\r\n', ''),
        post('Content-Length: 99999999999\r\n', ''),
      ];
      return all(arena, heads, { wait_s: 2 });
    },
  },
]);
