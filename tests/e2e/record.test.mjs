// The record of a server's events, and its replay.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

import { drover, run_program, server_for_test, wait_until } from './harness.mjs';

const simulation = path.join(path.dirname(drover), 'tests/sim/dispatch_sim');

function file_for_test(t) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-record-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return path.join(folder, 'record.jsonl');
}

const events_of = (file) => fs.readFileSync(file, 'utf8').split('\n').slice(1, -1).map((line) => JSON.parse(line));

test('requests are recorded without what they say, and the record can be replayed', async (t) => {
  const file = file_for_test(t);
  const server = await server_for_test(t, { env: { DROVER_RECORD: file } });
  const body = { model: 'cria', prompt: 'What is a zeppelin?', stream: false, options: { num_predict: 20 } };
  const headers = { authorization: 'Bearer sk-secret' };
  const answers = await Promise.all([1, 2, 3, 4].map(() => server.send('POST', '/api/generate', body, headers)));
  for (const { status, text } of answers) assert.equal(status, 200, text);
  const finished = () => events_of(file).filter(({ e }) => e === 'finished');
  await wait_until(() => finished().length === 4, 'four ends are in the record');

  const text = fs.readFileSync(file, 'utf8');
  for (const secret of ['zeppelin', 'sk-secret', ...answers.map(({ json }) => json.response.trim())].filter((s) => s.length > 5))
    assert.ok(!text.includes(secret), `${secret} is nobody's business`);
  assert.equal(fs.statSync(file).mode & 0o777, 0o600);
  assert.equal(JSON.parse(text.split('\n')[0]).parallel, 1);
  const admitted = events_of(file).filter(({ e }) => e === 'admit');
  assert.equal(admitted.length, 4);
  assert.equal(new Set(admitted.map(({ client }) => client)).size, 1);
  assert.match(admitted[0].client, /^key:[0-9a-f]{8}~[0-9a-f]{8}$/);
  assert.equal(admitted[0].name, 'cria:latest');
  for (const { output } of finished()) assert.ok(output > 0 && output <= 20);

  if (!fs.existsSync(simulation)) return t.diagnostic('the simulation is not built: the record is not replayed');
  const { code, stdout } = await run_program(simulation, ['--replay', file]);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /replayed, same settings +4 /);
});

test('a record that cannot be written costs nothing but itself', async (t) => {
  const server = await server_for_test(t, { env: { DROVER_RECORD: '/nonexistent/folder/record.jsonl' } });
  await wait_until(() => server.stderr.includes('cannot record events to /nonexistent'), 'the log says so');
  await server.generate('Hello', { options: { num_predict: 2 } });
});
