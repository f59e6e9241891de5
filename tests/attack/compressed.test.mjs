// Bodies that are compressed, and become more than was sent.
import zlib from 'node:zlib';

import { attacks, mib } from './attack.mjs';

const post = (arena, bytes, coding, target = '/api/generate') =>
  arena.ask('POST', target, bytes, { headers: { 'content-encoding': coding } }).then(({ status }) => status);
const unpacked = 256 * mib; // four times what a body may be
const bombs = {};
const bomb = (coding) => (bombs[coding] ??= zlib[`${coding}Sync`](Buffer.alloc(unpacked, ' ')));

// Zstandard by hand: blocks that say "this byte, 128 KiB of it".
function zstd_bomb(bytes, window = 0x88) {
  const size = 128 << 10;
  const count = Math.ceil(bytes / size);
  const blocks = Buffer.alloc(count * 4);
  for (let i = 0; i < count; i++) {
    blocks.writeUIntLE((size << 3) | (1 << 1) | (i === count - 1 ? 1 : 0), i * 4, 3);
    blocks[i * 4 + 3] = 0x20;
  }
  return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, window]), blocks]);
}

const honest = Buffer.from('{"model":"cria","prompt":"Count to 3","stream":false,"options":{"num_predict":4}}');

attacks('compressed', {}, [
  {
    name: 'a bomb of each kind',
    short: true,
    status: [400, 413],
    attack: (arena) =>
      arena.statuses([
        () => post(arena, bomb('gzip'), 'gzip'),
        () => post(arena, bomb('deflate'), 'deflate'),
        () => post(arena, zstd_bomb(16 * unpacked), 'zstd'),
      ]),
  },
  {
    name: 'a bomb, 32 at the same time',
    status: [400, 413, 429, 503],
    memory_mib: 1200,
    attack: (arena) => arena.statuses(Array.from({ length: 32 }, () => () => post(arena, bomb('gzip'), 'gzip')), 32),
  },
  {
    name: 'a bomb in a bomb',
    status: [400, 413, 415],
    attack: (arena) =>
      arena.statuses([
        () => post(arena, zlib.gzipSync(bomb('gzip')), 'gzip, gzip'),
        () => post(arena, zlib.gzipSync(bomb('gzip')), 'gzip'),
        () => post(arena, zlib.gzipSync(bomb('gzip')), Array(1000).fill('gzip').join()),
      ]),
  },
  {
    name: 'zstd that wants a window of gigabytes',
    status: [400, 413],
    attack: (arena) => arena.statuses([0xa8, 0xf8, 0xff].map((window) => () => post(arena, zstd_bomb(1 << 20, window), 'zstd'))),
  },
  {
    name: 'what is broken, cut off, or followed by more',
    short: true,
    status: [200, 400, 415],
    attack: (arena) => {
      const whole = zlib.gzipSync(honest);
      const wrong_sum = Buffer.from(whole);
      wrong_sum[wrong_sum.length - 8] ^= 1;
      const cases = [
        [whole, 'gzip'],
        [wrong_sum, 'gzip'],
        [whole.subarray(0, 20), 'gzip'],
        [Buffer.concat([whole, Buffer.from('more')]), 'gzip'],
        [Buffer.concat(Array(1000).fill(zlib.gzipSync(Buffer.alloc(0)))), 'gzip'],
        [honest, 'gzip'],
        [honest, 'zstd'],
        [whole, 'deflate'],
        [whole, 'br'],
        [honest, 'nonsense'],
        [Buffer.alloc(0), 'gzip'],
      ];
      return arena.statuses(cases.map(([bytes, coding]) => () => post(arena, bytes, coding)));
    },
  },
  {
    name: 'a bomb to every route that reads a body',
    status: [400, 404, 411, 413],
    attack: (arena) =>
      arena.statuses(
        ['/api/chat', '/api/embed', '/api/show', '/api/create', '/v1/chat/completions', '/v1/responses', '/v1/messages'].map(
          (target) => () => post(arena, bomb('gzip'), 'gzip', target),
        ),
      ),
  },
]);
