// Models that load, wait for memory, leave it, and cannot be loaded.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';

import { broken, renamed, slow } from './gguf.mjs';
import {
  is_alive,
  Server,
  server_for_suite,
  server_for_test,
  short,
  signal,
  sleep,
  wait_until,
} from './harness.mjs';
import { loads_in, stalled_load, view_of, waiting_for } from './loads.mjs';

const failed = (stream) => stream.ended.then(() => stream.items.at(-1)?.error);

describe('while a model loads', () => {
  const server = server_for_suite({ env: { OLLAMA_MAX_LOADED_MODELS: '4' } }, async (server) => {
    await server.create('slow', slow());
    await server.create('other', renamed('Othr'));
  });

  test('a loaded one answers as if nothing were', async () => {
    await server.generate('Count to 3');
    const { request, runner } = await stalled_load(server, 'slow');
    for (let i = 0; i < 20; i++) assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
    assert.equal((await view_of(server, 'slow')).state, 'loading');
    signal(runner, 'SIGCONT');
    await request.ended;
    await server.ok('/api/generate', { model: 'slow', keep_alive: 0 });
    await wait_until(() => !is_alive(runner), 'the runner has ended');
  });

  test('another loads too, and is first', async () => {
    const { request, runner } = await stalled_load(server, 'slow');
    assert.equal((await server.generate('Count to 3', { model: 'other' })).response, '1, 2, 3');
    assert.equal((await view_of(server, 'slow')).state, 'loading');
    assert.equal(request.items.length, 0);
    signal(runner, 'SIGCONT');
    await request.ended;
    assert.equal(request.items.at(-1).done, true);
  });

  test('it goes on when the client leaves that asked first, and ends with the last', async () => {
    await server.ok('/api/generate', { model: 'slow', keep_alive: 0 });
    await wait_until(async () => (await view_of(server, 'slow')) === undefined, 'it is cold again');
    const { request, runner } = await stalled_load(server, 'slow');
    const second = server.stream('Hello', { model: 'slow', options: { num_predict: 1 } });
    await wait_until(async () => (await waiting_for(server, 'slow')) === 2, 'two wait');
    request.close();
    await wait_until(async () => (await waiting_for(server, 'slow')) === 1, 'one has left');
    assert.ok(is_alive(runner));
    signal(runner, 'SIGCONT');
    await second.ended;
    assert.equal(second.items.at(-1).done, true);

    await server.ok('/api/generate', { model: 'slow', keep_alive: 0 });
    await wait_until(() => !is_alive(runner), 'it is cold again');
    const abandoned = await stalled_load(server, 'slow');
    abandoned.request.close();
    await wait_until(() => !is_alive(abandoned.runner), 'nobody waits, so the load is given up');
    const why = /unloading slow:latest: no request waits for it/;
    await wait_until(() => why.test(server.stderr), 'the log says why');
  });
});

// How often a model that fails may have been tried in so many milliseconds: the first pause is of ten seconds, and each
// is twice as long as the one before it.
function loads_allowed(ms) {
  let loads = 1;
  for (let pause = 10_000; ms >= pause; pause *= 2) {
    ms -= pause;
    loads++;
  }
  return loads;
}

describe('a load', () => {
  test('without progress fails after OLLAMA_LOAD_TIMEOUT; others do not notice', async (t) => {
    const server = await server_for_test(t, { env: { OLLAMA_LOAD_TIMEOUT: '10' } });
    await server.create('slow', slow());
    const { request, runner } = await stalled_load(server, 'slow');
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
    assert.match(await failed(request), /^timed out waiting for llama runner to start - no progress for 10s/);
    await wait_until(() => !is_alive(runner), 'its runner is killed');
  });

  test('that fails is not tried for each request; the error is kept and shown', async (t) => {
    const server = await server_for_test(t);
    await server.create('broken', broken());
    const answers = [];
    const start = performance.now();
    for (let i = 0; i < 10; i++) answers.push(await server.post('/api/generate', { model: 'broken', prompt: 'Hello' }));
    const more = Array.from({ length: 10 }, () => server.post('/api/generate', { model: 'broken', prompt: 'Hello' }));
    answers.push(...(await Promise.all(more)));
    for (const { status, json } of answers) assert.deepEqual([status, json], [500, answers[0].json]);
    assert.match(answers[0].json.error, /^unable to load model/);
    const loads = loads_in(server.stderr).length;
    assert.ok(loads <= loads_allowed(performance.now() - start), `${loads} loads for 20 requests`);
    const view = await view_of(server, 'broken');
    assert.equal(view.state, 'backoff');
    assert.equal(view.error, answers[0].json.error);
    assert.match(server.stderr, /error .*broken:latest cannot be loaded: unable/);
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });

  // Each process has so much address space: enough for the model, and not for its context.
  test('for lack of memory evicts an idle model and is tried once more', { skip: short }, async (t) => {
    const server = await server_for_test(t, { wrapper: ['prlimit', `--as=${380 << 20}`] });
    await server.create('large', slow({ context: 32_768 }));
    await server.generate('Count to 3');
    const request = { model: 'large', prompt: 'Hello', options: { num_ctx: 32_768, num_predict: 1 } };
    const { status, json } = await server.post('/api/generate', request);
    assert.deepEqual([status, Object.keys(json)], [500, ['error']], JSON.stringify(json));
    assert.match(json.error, /memory/);
    const failures = () => server.stderr.match(/large:latest cannot be loaded: .*memory/g)?.length;
    await wait_until(() => failures() === 2, 'the log shows two attempts');
    assert.deepEqual(loads_in(server.stderr), ['cria', 'large', 'large']);
    assert.match(server.stderr, /unloading cria:latest: another model needs its memory/);
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
    const smaller = { ...request, stream: false, options: { num_ctx: 2048, num_predict: 1 } };
    assert.equal((await server.ok('/api/generate', smaller)).eval_count, 1, 'what does fit is not refused');
  });
});

describe('OLLAMA_MAX_LOADED_MODELS=1', () => {
  const names = { A: 'aaaa', B: 'bbbb', C: 'cccc' };
  const server = server_for_suite({ env: { OLLAMA_MAX_LOADED_MODELS: '1' } }, async (server) => {
    for (const name of Object.values(names)) await server.create(name, renamed(name));
  });

  test('A B A A C A B C, asked at once: three loads', async () => {
    // Few tokens: all that wait for a model are served within its turn, which is five seconds.
    const brief = (model) => ({ model, options: { num_predict: 1 } });
    const { request, runner } = await stalled_load(server, names.A, () => server.stream('Count to 9', brief(names.A)));
    const before = loads_in(server.stderr).length - 1;
    const others = [];
    for (const letter of 'BAACABC') {
      others.push(server.generate('Count to 9', brief(names[letter])));
      await wait_until(
        async () => {
          const { models } = (await server.get('/api/ps')).json;
          return models.reduce((sum, { running, waiting }) => sum + running + waiting, 0) === others.length + 1;
        },
        'it waits',
      );
    }
    signal(runner, 'SIGCONT');
    for (const { eval_count } of await Promise.all(others)) assert.equal(eval_count, 1);
    await request.ended;
    assert.deepEqual(loads_in(server.stderr).slice(before), [names.A, names.B, names.C]);
  });

  test('a busy model gives way when its turn is over', async (t) => {
    const before = server.stderr.length;
    // Some always wait, so that the model is never idle.
    let over = false;
    const keep_busy = async () => {
      while (!over) await server.generate('Count to 100', { model: names.A });
    };
    const busy = Promise.all(Array.from({ length: 5 }, keep_busy));
    await wait_until(async () => (await view_of(server, names.A))?.waiting > 2, 'it generates, and others wait');
    assert.equal((await server.generate('Count to 9', { model: names.B })).response, '1, 2, 3, 4, 5, 6, 7, 8, 9');
    over = true;
    await busy;
    const time_of = (what) => Date.parse(new RegExp(`^(\\S+) .*${what}`, 'm').exec(server.stderr.slice(before))[1]);
    const turn = time_of(`unloading ${names.A}:latest`) - time_of(`loaded ${names.A}:latest`);
    t.diagnostic(`the other model got in after a turn of ${turn.toFixed(0)} ms`);
    assert.ok(turn > 4900, 'a turn lasts five seconds');
  });
});

describe('the context', () => {
  const server = server_for_suite({ env: { OLLAMA_CONTEXT_LENGTH: '512' } });
  const ask = (num_ctx, extra) => server.generate('Count to 3', { options: { num_ctx, ...extra } });

  test('grows once, and never for a request that asks for less', async () => {
    await server.generate('Count to 3');
    assert.equal((await view_of(server, 'cria')).context_length, 512);
    const [first] = server.runners();
    for (const num_ctx of [256, 512, undefined]) assert.equal((await ask(num_ctx)).response, '1, 2, 3');
    assert.deepEqual(server.runners(), [first]);
    assert.equal((await ask(1024)).response, '1, 2, 3');
    assert.equal((await view_of(server, 'cria')).context_length, 1024);
    await wait_until(() => !is_alive(first), 'the smaller one has ended');
    for (const num_ctx of [256, 512, undefined, 1024]) await ask(num_ctx);
    assert.deepEqual(loads_in(server.stderr), ['cria', 'cria']);
  });

  test('that a request asks for limits it', async () => {
    await ask(512);
    const answer = await server.generate('Count to 200', { shift: false, options: { num_ctx: 64 } });
    assert.equal(answer.done_reason, 'length');
    assert.ok(answer.prompt_eval_count + answer.eval_count <= 64, `${answer.prompt_eval_count} + ${answer.eval_count}`);
    assert.ok((await server.generate('Count to 150', { shift: false })).eval_count > 64, 'and no other');
  });
});

describe('DROVER_PIN', () => {
  test('loads at start, keeps, reloads after a crash, and refuses what does not fit beside', async (t) => {
    const server = await server_for_test(t, { env: { DROVER_PIN: 'cria', OLLAMA_MAX_LOADED_MODELS: '1' } });
    await server.create('other', renamed('Othr'));
    await wait_until(async () => (await server.get('/readyz')).status === 200, '/readyz');
    assert.deepEqual(loads_in(server.stderr), ['cria']);
    const [runner] = server.runners();
    await server.generate('Count to 3', { keep_alive: 0 });
    const refused = await server.post('/api/generate', { model: 'other', prompt: 'Count to 3' });
    assert.equal(refused.status, 503, refused.text);
    assert.match(refused.json.error, /pinned/);
    assert.deepEqual(server.runners(), [runner]);
    signal(runner, 'SIGKILL');
    await wait_until(
      async () => !is_alive(runner) && (await view_of(server, 'cria'))?.state === 'loaded',
      'it is loaded again, though nobody asks',
    );
    // Long enough for a second hand that would load it too.
    await sleep(1500);
    assert.deepEqual(loads_in(server.stderr), ['cria', 'cria']);
  });

  test('/readyz waits for a model that cannot be loaded', async (t) => {
    const models = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-e2e-models-'));
    t.after(() => fs.rmSync(models, { recursive: true, force: true }));
    const first = await new Server({ models }).start();
    await first.create('broken', broken());
    await first.create('good', renamed('Good'));
    await first.stop();
    const start = performance.now();
    const server = await server_for_test(t, { models, env: { DROVER_PIN: 'broken, good' } });
    await wait_until(async () => (await view_of(server, 'good'))?.state === 'loaded', 'the other is loaded');
    await wait_until(async () => (await view_of(server, 'broken'))?.state === 'backoff', 'a load has failed');
    await sleep(1500); // it is asked for once a second
    const { status, text } = await server.get('/readyz');
    assert.deepEqual([status, text], [503, 'broken:latest is not loaded yet']);
    assert.equal((await server.get('/healthz')).status, 200);
    const loads = loads_in(server.stderr).filter((model) => model === 'broken').length;
    assert.ok(loads <= loads_allowed(performance.now() - start), `${loads} loads`);
    assert.equal((await server.generate('Count to 3', { model: 'good' })).response, '1, 2, 3');
  });
});
