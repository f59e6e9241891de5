// The setting that would help those that wait, on a machine that is as idle as the test says.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

import { endless } from './gguf.mjs';
import { run_program, server_for_test, wait_until, without_end } from './harness.mjs';

// A server that reads from a file of ours how its processors are used: `use.idle` is the share of them that is idle.
async function server_on(t, use, env) {
  const probe = await run_program('unshare', ['-rm', 'true']);
  if (probe.code !== 0) return t.skip('this machine lets no test say how idle it is');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-stat-'));
  const file = path.join(folder, 'stat');
  const times = { busy: 1000, idle: 1000 };
  // In place, and always as long as before: a reader never finds half of it.
  const write = () => {
    times.busy += 100 * (1 - use.idle);
    times.idle += 100 * use.idle;
    const [busy, idle] = [times.busy, times.idle].map((value) => `${Math.round(value)}`.padStart(12));
    const handle = fs.openSync(file, fs.existsSync(file) ? 'r+' : 'w');
    fs.writeSync(handle, `cpu ${busy} 0 0 ${idle} 0 0 0 0 0 0\ncpu0 0\ncpu1 0\n`, 0);
    fs.closeSync(handle);
  };
  write();
  const timer = setInterval(write, 100);
  t.after(() => {
    clearInterval(timer);
    fs.rmSync(folder, { recursive: true });
  });
  const mount = `mount --bind '${file}' /proc/stat && exec "$0" "$@"`;
  return server_for_test(t, { env, wrapper: ['unshare', '-rm', 'bash', '-c', mount] });
}

// `count` requests that do not end; the first of them runs.
async function occupy(t, server, count) {
  const streams = Array.from({ length: count }, () =>
    server.stream('Tell me a story.', { model: 'endless', options: { num_predict: without_end } }),
  );
  t.after(() => streams.forEach((stream) => stream.close()));
  await streams[0].more();
}

const advice = async (server) => (await server.get('/api/queue')).json.advice;
const said = (server) => server.stderr.match(/info +a larger OLLAMA_\w+ .*/g) ?? [];

test('requests that wait for a slot', async (t) => {
  const use = { idle: 0.6 };
  const server = await server_on(t, use, { OLLAMA_NUM_PARALLEL: '1' });
  if (!server) return;
  await server.create('endless', endless());
  await occupy(t, server, 3);
  await wait_until(async () => (await advice(server)) !== undefined, 'a setting is named');
  const { setting, text } = await advice(server);
  assert.equal(setting, 'OLLAMA_NUM_PARALLEL');
  const words = /^a larger OLLAMA_NUM_PARALLEL than 1 \(or auto\) would help: 2 requests wait for endless:latest while [56]\d % of the processors are idle$/;
  assert.match(text, words);
  await wait_until(() => said(server).length > 0, 'the log says so');
  // The one that runs takes all there is.
  use.idle = 0.05;
  await wait_until(async () => (await advice(server)) === undefined, 'no setting would help');
  use.idle = 0.6;
  await wait_until(async () => (await advice(server)) !== undefined, 'it would again');
  assert.equal(said(server).length, 1, 'which the log has said');
});

test('a model that waits for another one', async (t) => {
  const server = await server_on(t, { idle: 0.6 }, { OLLAMA_MAX_LOADED_MODELS: '1', OLLAMA_NUM_PARALLEL: '4' });
  if (!server) return;
  await server.create('endless', endless());
  await occupy(t, server, 1);
  const call = server.call('POST', '/api/generate', { model: 'cria', prompt: 'Hello' });
  t.after(() => call.close());
  await wait_until(async () => (await advice(server)) !== undefined, 'a setting is named');
  const { setting, text } = await advice(server);
  assert.equal(setting, 'OLLAMA_MAX_LOADED_MODELS');
  assert.match(text, /than 1 would help: 1 request waits for cria:latest while .* and there is memory for it$/);
});
