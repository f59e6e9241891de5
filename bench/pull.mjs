// How long a pull takes against `curl` of the same blob, from docker-registry on loopback: node bench/pull.mjs [MB]
//
// A pull also checks the digest and makes the file durable, and says so here: curl's time is given as it is, and with
// the sha256sum and the sync that would have to follow.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

import { Server } from '../tests/e2e/harness.mjs';
import { DockerRegistry, lines_of, model_of } from '../tests/e2e/registry.mjs';

const size = Number(process.argv[2] ?? 500) * 1_000_000;
const rounds = 3;
const seconds = (start) => (performance.now() - start) / 1000;
const best = (times) => Math.min(...times).toFixed(2);

// Bytes that nobody can compress, made quickly.
function content() {
  const bytes = Buffer.alloc(size);
  let block = createHash('sha512').update('drover').digest();
  for (let at = 0; at < size; at += 64) {
    if (at % (1 << 20) === 0) block = createHash('sha512').update(block).digest();
    block.copy(bytes, at);
    bytes.writeUInt32LE(at >>> 6, Math.min(at, size - 4));
  }
  return bytes;
}

const registry = await new DockerRegistry().start();
const server = await new Server().start();
try {
  const model = model_of(content());
  const [{ digest }] = model.manifest.layers;
  const name = `${registry.host}/library/big`;
  const blobs = path.join(server.models, 'blobs');
  for (const [key, bytes] of model.blobs) fs.writeFileSync(path.join(blobs, key.replace(':', '-')), bytes);
  const folder = path.join(server.models, 'manifests', registry.host, 'library', 'big');
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'latest'), JSON.stringify(model.manifest));
  let start = performance.now();
  assert.deepEqual((await lines_of(server, 'push', { model: name })).last, { status: 'success' });
  console.log(`push                        ${seconds(start).toFixed(2)} s`);

  const run = (command, args) => {
    const begun = performance.now();
    const { status, stderr } = spawnSync(command, args, { maxBuffer: 1 << 20 });
    assert.equal(status, 0, `${command}: ${stderr}`);
    return seconds(begun);
  };
  const curl = [];
  const checked = [];
  const pull = [];
  for (let round = 0; round < rounds; round++) {
    const file = path.join(blobs, 'of-curl');
    const fetched = run('curl', ['-sSf', '-o', file, `http://${registry.host}/v2/library/big/blobs/${digest}`]);
    curl.push(fetched);
    checked.push(fetched + run('sha256sum', [file]) + run('sync', [file]));
    fs.rmSync(file);
    await server.send('DELETE', '/api/delete', { model: name });
    start = performance.now();
    assert.deepEqual((await lines_of(server, 'pull', { model: name })).last, { status: 'success' });
    pull.push(seconds(start));
  }
  console.log(`${size / 1e6} MB, best of ${rounds}`);
  console.log(`curl                        ${best(curl)} s`);
  console.log(`curl, sha256sum and sync    ${best(checked)} s`);
  console.log(`pull                        ${best(pull)} s`);
  console.log(`pull / curl                 ${(Math.min(...pull) / Math.min(...curl)).toFixed(2)}`);
  console.log(`pull / curl, checked        ${(Math.min(...pull) / Math.min(...checked)).toFixed(2)}`);
} finally {
  await server.stop();
  await registry.stop();
}
