// Whose fault it is that a runner dies, hangs or is slow: that request's, and nobody else's.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { endless } from './gguf.mjs';
import { is_alive, server_for_suite, server_for_test, wait_until, without_end } from './harness.mjs';
import { loads_in, view_of } from './loads.mjs';

const crash_text = /^model runner has unexpectedly stopped/;

describe('a runner crashes', () => {
  const server_with_endless = async (t) => {
    const server = await server_for_test(t, { env: { OLLAMA_NUM_PARALLEL: '2' } });
    await server.create('endless', endless());
    return server;
  };
  // Not streamed, so that it has sent nothing until it is whole.
  const whole = (server, num_predict) =>
    server.post('/api/generate', {
      model: 'endless',
      prompt: 'Tell me a story.',
      stream: false,
      options: { num_predict, temperature: 0 },
    });
  const running = async (server) => (await view_of(server, 'endless'))?.running ?? 0;
  const runs = (server, count) => wait_until(async () => (await running(server)) === count, `${count} run`);

  test('nobody knows at what: each is repeated, alone, and both are answered', async (t) => {
    const server = await server_with_endless(t);
    const undisturbed = (await whole(server, 2000)).json.response;
    const [victim] = server.runners();
    let ended = 0;
    const answers = [whole(server, 2000), whole(server, 2000)].map((answer) => answer.finally(() => ended++));
    await runs(server, 2);
    process.kill(victim, 'SIGABRT'); // which sanitizers leave alone
    await wait_until(() => !is_alive(victim), 'it has died');
    await wait_until(() => /the runner of endless:latest ended unexpectedly: signal 6/.test(server.stderr), 'the server knows');
    let together = 0;
    const look = wait_until(async () => {
      together = Math.max(together, await running(server));
      return ended === 2;
    }, 'both are answered');
    for (const { status, json, text } of await Promise.all(answers)) {
      assert.equal(status, 200, text);
      assert.equal(json.response, undisturbed);
    }
    await look;
    assert.equal(together, 1, 'never both at once');
    assert.deepEqual(loads_in(server.stderr), ['endless', 'endless']);
  });

  test('under one request alone: that one is not tried again', async (t) => {
    const server = await server_with_endless(t);
    const answer = whole(server, without_end);
    await runs(server, 1);
    process.kill(server.runners()[0], 'SIGABRT');
    const { status, json } = await answer;
    assert.equal(status, 500);
    assert.match(json.error, crash_text);
    assert.deepEqual(loads_in(server.stderr), ['endless'], 'and its model is not loaded for it');
    assert.equal((await whole(server, 3)).json.eval_count, 3, 'the next one is served');
  });

  test('because somebody killed it: all are repeated together', async (t) => {
    const server = await server_with_endless(t);
    await whole(server, 1);
    const answers = [whole(server, 3000), whole(server, 3000)];
    await runs(server, 2);
    process.kill(server.runners()[0], 'SIGKILL');
    await wait_until(() => /the runner of endless:latest ended unexpectedly: signal 9/.test(server.stderr), 'the server knows');
    await runs(server, 2);
    for (const { status, text } of await Promise.all(answers)) assert.equal(status, 200, text);
  });
});

// Each of them can mean so many things after a few tokens, or after one, that to list them takes seconds or for ever.
const object = (x) => ({ type: 'object', properties: { x }, required: ['x'] });
const branch = (name) => ({
  type: 'object',
  properties: { x: { $ref: '#/$defs/tree' }, [name]: { type: 'integer' } },
  required: ['x', name],
});
const explosive = {
  'repetitions of repetitions': object({ type: 'string', pattern: '^((a{0,30}){0,30}){0,30}b$' }),
  'and of any characters': object({ type: 'string', pattern: '^((.{0,20}x?){0,20}y?){0,20}b$' }),
  'a tree whose branches begin alike': {
    $defs: { tree: { anyOf: [branch('y'), branch('z')] } },
    $ref: '#/$defs/tree',
  },
};

describe('a schema whose grammar takes too long', () => {
  const server = server_for_suite({ env: { OLLAMA_NUM_PARALLEL: '4' } }, (server) =>
    server.create('endless', endless()),
  );
  const ask = (format) =>
    server.post('/api/generate', {
      model: 'endless',
      prompt: 'aaaa',
      stream: false,
      format,
      options: { temperature: 0, num_predict: 500 },
    });

  for (const [name, format] of Object.entries(explosive)) {
    test(`${name}: ends its own answer, and no other waits for it`, async (t) => {
      const others = server.stream('Tell me a story.', { model: 'endless', options: { num_predict: without_end } });
      t.after(() => others.close());
      await others.more(5);
      let longest = 0;
      let last = performance.now();
      const watch = (async () => {
        for (;;) {
          await others.more(1);
          longest = Math.max(longest, performance.now() - last);
          last = performance.now();
        }
      })().catch(() => {});
      const { status, json } = await ask(format);
      t.diagnostic(`the longest gap of a stream beside it was ${longest.toFixed(0)} ms`);
      assert.deepEqual([status, json], [400, { error: 'the grammar of this schema takes too long' }]);
      await others.more(5);
      others.close();
      await watch;
      assert.ok(others.items.every((item) => item.error === undefined));
    });
  }

  test('is no schema that is merely large', async () => {
    const names = Array.from({ length: 150 }, (_, i) => `p${i}`);
    const schemas = [
      { type: 'object', properties: Object.fromEntries(names.map((name) => [name, { type: 'integer' }])) },
      object({ enum: Array.from({ length: 900 }, (_, i) => `value number ${i}`) }),
      object({ type: 'array', items: object({ anyOf: names.map((name) => object({ const: name })) }), minItems: 3 }),
      object({ type: 'string', pattern: '^(a|aa|aaa)*b$' }),
    ];
    for (const format of schemas) {
      const { status, text } = await ask(format);
      assert.equal(status, 200, text);
    }
  });
});
