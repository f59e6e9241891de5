// Many clients that make, copy, use and delete the same model at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { endless, renamed } from './gguf.mjs';
import { server_for_test, sha256, wait_until, without_end } from './harness.mjs';
import { waiting_for } from './loads.mjs';
import { generator } from './prompts.mjs';

const clients = 8;
const rounds = 30;

test('whoever races with a delete is told that there is no such model, and an upload stays for its create', async (t) => {
  const server = await server_for_test(t);
  const bytes = renamed('Race');
  const digest = `sha256:${sha256(bytes)}`;
  const answers = {}; // by what was asked: how often each status came
  const unexpected = [];
  const note = (what, { status, text }, expected) => {
    answers[what] ??= {};
    answers[what][status] = (answers[what][status] ?? 0) + 1;
    if (!expected.includes(status)) unexpected.push(`${what}: ${status} ${text}`);
  };
  const make = async (model) => {
    const headers = { 'content-type': 'application/octet-stream' };
    note('upload', await server.send('POST', `/api/blobs/${digest}`, bytes, headers), [200, 201]);
    const create = { model, files: { 'model.gguf': digest }, stream: false };
    note('create', await server.post('/api/create', create), [200]);
  };
  const use = async (model) => {
    // Out of memory afterwards, so that the next one loads it again.
    const work = { model, prompt: 'Hello', stream: false, keep_alive: 0, options: { num_predict: 1 } };
    note('generate', await server.post('/api/generate', work), [200, 404]);
  };
  const copy = async (model, next) => {
    const destination = `race${next(2)}`;
    note('copy', await server.post('/api/copy', { source: model, destination }), [200, 404]);
  };
  const remove = async (model) => note('delete', await server.send('DELETE', '/api/delete', { model }), [200, 404]);
  await make('race0');
  const run = async (client) => {
    const next = generator(client);
    for (let round = 0; round < rounds; round++) {
      const model = `race${next(2)}`;
      await [make, use, use, copy, remove, remove][next(6)](model, next);
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, client) => run(client + 1)));
  t.diagnostic(JSON.stringify(answers));
  assert.deepEqual(unexpected, []);
});

test('a model that is deleted while a request waits for its load is not found, and found again when it is back', async (t) => {
  const server = await server_for_test(t, { env: { OLLAMA_MAX_LOADED_MODELS: '1' } });
  await server.create('endless', endless());
  await server.create('gone', renamed('Gone'));
  const occupant = server.stream('Tell me a story.', { model: 'endless', options: { num_predict: without_end } });
  await occupant.more(1);
  const work = { model: 'gone', prompt: 'Count to 3', stream: false, options: { temperature: 0 } };
  const answer = server.post('/api/generate', work);
  await wait_until(async () => (await waiting_for(server, 'gone')) === 1, 'it waits for memory');
  assert.equal((await server.send('DELETE', '/api/delete', { model: 'gone' })).status, 200);
  occupant.close();
  const { status, json } = await answer;
  assert.deepEqual([status, json], [404, { error: "model 'gone:latest' not found" }]);
  await server.create('gone', renamed('Gone'));
  assert.equal((await server.ok('/api/generate', work)).response, '1, 2, 3');
});
