// A disk that is full, files that may not grow, a folder that may not be written.
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { renamed } from '../e2e/gguf.mjs';
import { sha256 } from '../e2e/harness.mjs';
import { attacks, mib } from './attack.mjs';

// In a container a mount may not be permitted; then files that may not grow have to do.
const unshare = ['unshare', process.getuid() === 0 ? '-m' : '-rm'];
const may_mount = spawnSync(unshare[0], [unshare[1], 'mount', '-t', 'tmpfs', 'tmpfs', os.tmpdir()]).status === 0;
const no_growth = { wrapper: ['sh', '-c', 'ulimit -f 20480; exec "$@"', 'sh'] }; // beyond 10 MiB

// A folder for models that the server's own mount namespace has on a small disk. The namespace goes with the server.
function small_disk(size_mib) {
  if (!may_mount) return no_growth;
  const models = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-attack-disk-'));
  process.once('exit', () => fs.rmSync(models, { recursive: true, force: true }));
  const mount = `mount -t tmpfs -o size=${size_mib}m,mode=0777 tmpfs "$0" && exec "$@"`;
  return { models, wrapper: [...unshare, 'sh', '-c', mount, models] };
}

// Makes the folders of the store read-only ones, and back.
function set_read_only(arena, is_read_only) {
  const { pid } = arena.server.process;
  const script = is_read_only ? 'mount --bind "$0/$1" "$0/$1" && mount -o remount,bind,ro "$0/$1"' : 'umount "$0/$1"';
  const namespace = ['-t', `${pid}`, '-m', ...(process.getuid() === 0 ? [] : ['-U', '--preserve-credentials'])];
  for (const folder of ['blobs', 'manifests']) execFileSync('nsenter', [...namespace, 'sh', '-c', script, arena.server.models, folder]);
}

const upload = (arena, bytes) => arena.ask('POST', `/api/blobs/sha256:${sha256(bytes)}`, bytes, { headers: { 'content-type': 'application/octet-stream' } });
const large = (fill) => Buffer.alloc(40 * mib, fill);

// Errors speak of models and blobs, and not of this machine's folders.
function no_paths(arena, answers) {
  for (const { text } of answers)
    if (text.includes(arena.server.models) || /(^|[^:/\w])\/(tmp|root|home|var|proc)\//.test(text)) throw new Error(`an absolute path: ${text.slice(0, 300)}`);
  return answers.map(({ status }) => status);
}
const left_over = (arena) => {
  const root = `/proc/${arena.server.process.pid}/root${arena.server.models}/blobs`;
  const odd = fs.readdirSync(root).filter((name) => !/^sha256-[0-9a-f]{64}$/.test(name));
  if (odd.length > 0) throw new Error(`left over: ${odd.join(', ')}`);
};

const read_only = {
  name: 'read-only: everything that writes',
  short: true,
  status: [400, 403, 404, 500, 507],
  attack: async (arena) => {
    set_read_only(arena, true);
    const answers = [
      await upload(arena, large('a')),
      await arena.ask('POST', '/api/create', { model: 'made', from: 'cria', system: 'x', stream: false }),
      await arena.ask('POST', '/api/copy', { source: 'cria', destination: 'copied' }),
      await arena.ask('DELETE', '/api/delete', { model: 'other' }),
    ];
    set_read_only(arena, false);
    const { status, text } = await arena.ask('POST', '/api/copy', { source: 'cria', destination: 'copied' });
    if (status !== 200) throw new Error(`after it: ${status} ${text}`);
    return no_paths(arena, answers);
  },
};

attacks('disk', small_disk(30), [
  ...(may_mount ? [read_only] : []),
  {
    name: 'full: an upload',
    short: true,
    status: [507],
    attack: async (arena) => {
      const answers = [await upload(arena, large('a')), await upload(arena, large('b'))];
      left_over(arena);
      return no_paths(arena, answers);
    },
  },
  {
    name: 'full: 8 uploads at the same time, then one that fits',
    status: [201, 507],
    attack: async (arena) => {
      const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => upload(arena, large(String(i)))));
      answers.push(await upload(arena, renamed('Fits')));
      if (answers.at(-1).status !== 201) throw new Error(`what fits is refused: ${answers.at(-1).text}`);
      return no_paths(arena, answers);
    },
  },
  {
    name: 'full: creating, copying, quantizing',
    short: true,
    status: [200, 201, 507],
    attack: async (arena) => {
      const filler = Buffer.alloc(mib, 'f');
      const answers = [];
      for (const piece of [filler, Buffer.alloc(60_000)])
        for (let i = 0; i < 40 && answers.at(-1)?.status !== 507; i++) answers.push(await upload(arena, Buffer.concat([piece, Buffer.from(`${i}`)])));
      const create = (body) => arena.ask('POST', '/api/create', { stream: false, ...body });
      answers.push(await create({ model: 'made', from: 'cria', system: 's'.repeat(300_000) }));
      answers.push(await create({ model: 'small', from: 'cria', quantize: 'Q8_0' }));
      answers.push(await arena.ask('POST', '/api/copy', { source: 'cria', destination: 'copied' }));
      return no_paths(arena, answers);
    },
  },
  {
    name: 'files that may not grow beyond 10 MiB',
    short: true,
    fresh: { models: undefined, ...no_growth },
    status: [507],
    attack: async (arena) => no_paths(arena, [await upload(arena, large('a')), await upload(arena, large('b'))]),
  },
]);
