// Generation through the native API: fields, types and meanings, streaming and not.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { instant, server_for_suite, Stream, text_of, wait_until } from './harness.mjs';

const metrics = [
  'total_duration',
  'load_duration',
  'prompt_eval_count',
  'prompt_eval_duration',
  'eval_count',
  'eval_duration',
];
const sky =
  'The sky is blue because air scatters the blue part of sunlight more than the red part. ' +
  'This is called Rayleigh scattering, and it sends blue light to us from every side.';

// What an answer holds, but for what says more than Ollama does: how much of the prompt did not have to be computed,
// and which part of load_duration was the queue's.
const fields_of = (answer) =>
  Object.keys(answer)
    .filter((name) => !['prompt_eval_cached_count', 'queue_duration'].includes(name))
    .sort();

function check_metrics(answer) {
  for (const name of metrics) assert.ok(Number.isInteger(answer[name]) && answer[name] > 0, `${name}: ${answer[name]}`);
  const { total_duration, load_duration, queue_duration, prompt_eval_duration, eval_duration } = answer;
  assert.ok(queue_duration > 0 && queue_duration <= load_duration, JSON.stringify(answer));
  assert.ok(total_duration >= load_duration + prompt_eval_duration + eval_duration, JSON.stringify(answer));
}

describe('generate', () => {
  const server = server_for_suite();

  test('answers in one object', async () => {
    const before = Date.now();
    const answer = await server.generate('Why is the sky blue?');
    assert.equal(answer.model, 'cria');
    assert.equal(answer.response, sky);
    assert.equal(answer.done, true);
    assert.equal(answer.done_reason, 'stop');
    const created = instant(answer.created_at);
    assert.ok(created >= before - 1 && created <= Date.now() + 1, answer.created_at);
    assert.ok(answer.context.length > 10 && answer.context.every(Number.isInteger));
    check_metrics(answer);
    assert.ok(answer.total_duration < (Date.now() - before + 1) * 1e6, 'durations are nanoseconds');
    const known = ['model', 'created_at', 'response', 'done', 'done_reason', 'context', ...metrics];
    assert.deepEqual(fields_of(answer), known.sort());
  });

  test('streams by default, one JSON object a line', async () => {
    const stream = server.stream('Why is the sky blue?');
    await stream.ended;
    const { headers, statusCode } = stream.call.response;
    assert.equal(statusCode, 200);
    assert.equal(headers['content-type'], 'application/x-ndjson');
    const last = stream.items.pop();
    assert.ok(stream.items.length > 10);
    for (const item of stream.items) {
      assert.deepEqual(Object.keys(item), ['model', 'created_at', 'response', 'done']);
      assert.equal(item.done, false);
      assert.equal(item.model, 'cria');
    }
    assert.equal(text_of(stream.items) + last.response, sky);
    assert.equal(last.done, true);
    assert.equal(last.done_reason, 'stop');
    check_metrics(last);
    const times = [...stream.items, last].map((item) => instant(item.created_at));
    assert.deepEqual(
      times,
      [...times].sort((a, b) => a - b),
    );
  });

  test('counts the tokens it computes', async () => {
    const answer = await server.generate('Count to 20', { options: { num_predict: 5 } });
    assert.equal(answer.eval_count, 5);
    assert.equal(answer.done_reason, 'length');
    assert.equal(answer.context.length, answer.prompt_eval_count + answer.eval_count);
    assert.ok('1, 2, 3, 4, 5'.startsWith(answer.response) && answer.response.length > 2, answer.response);
  });

  test('stops where it is told to', async () => {
    const whole = '1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12';
    for (const stop of [['7'], ['nowhere', ' 7, 8'], [', 12', '6, 7']]) {
      const answer = await server.generate('Count to 12', { options: { stop } });
      const at = Math.min(
        ...[stop]
          .flat()
          .map((text) => whole.indexOf(text))
          .filter((index) => index >= 0),
      );
      assert.equal(answer.response, whole.slice(0, at), JSON.stringify(stop));
      assert.equal(answer.done_reason, 'stop');
      const stream = server.stream('Count to 12', { options: { stop } });
      await stream.ended;
      assert.equal(text_of(stream.items), whole.slice(0, at), `streamed: ${JSON.stringify(stop)}`);
    }
  });

  test('a seed decides', async () => {
    const tell = async (seed) =>
      (await server.generate('Tell me a story.', { options: { temperature: 1, seed } })).response;
    const [first, again, other] = [await tell(7), await tell(7), await tell(8)];
    assert.equal(first, again);
    assert.notEqual(first, other);
  });

  test('sampling options reach the sampler', async () => {
    const tell = (options) => server.generate('Tell me a story.', { options: { num_predict: 40, ...options } });
    const greedy = (await tell({ temperature: 0 })).response;
    assert.equal((await tell({ temperature: 2, top_k: 1, seed: 3 })).response, greedy);
    assert.equal((await tell({ temperature: 2, top_p: 0.0001, seed: 3 })).response, greedy);
    assert.equal((await tell({ temperature: 2, min_p: 1, seed: 3 })).response, greedy);
    assert.notEqual((await tell({ temperature: 2, top_k: 0, top_p: 1, seed: 3 })).response, greedy);
    const penalty = { repeat_penalty: 1.9, repeat_last_n: 64, presence_penalty: 1.5, frequency_penalty: 1.5 };
    assert.notEqual(
      (await server.generate('Count to 30', { options: penalty })).response,
      (await server.generate('Count to 30')).response,
    );
  });

  test('format json and a JSON schema', async () => {
    const prompt = 'Ollama is 22 years old and is busy saving the world. Respond using JSON';
    const free = await server.generate(prompt, { format: 'json' });
    assert.deepEqual(JSON.parse(free.response), { age: 22, available: false });
    const format = {
      type: 'object',
      properties: { available: { type: 'boolean' }, age: { type: 'integer' }, city: { enum: ['Lima', 'Oslo'] } },
      required: ['available', 'age', 'city'],
    };
    const bound = JSON.parse((await server.generate(prompt, { format })).response);
    assert.deepEqual(Object.keys(bound).sort(), ['age', 'available', 'city']);
    assert.equal(typeof bound.available, 'boolean');
    assert.ok(Number.isInteger(bound.age));
    assert.match(bound.city, /^(Lima|Oslo)$/);
  });

  test('raw leaves the prompt as it is', async () => {
    const turn = '<|im_start|>user\nCount to 5<|im_end|>\n<|im_start|>assistant\n';
    const raw = await server.generate(turn, { raw: true });
    assert.equal(raw.response, '1, 2, 3, 4, 5');
    assert.equal(raw.context, undefined);
    const bare = await server.generate('<|im_start|>user\nRepeat after me: sun', {
      raw: true,
      options: { num_predict: 1 },
    });
    const framed = await server.generate('<|im_start|>user\nRepeat after me: sun', { options: { num_predict: 1 } });
    assert.ok(framed.prompt_eval_count > bare.prompt_eval_count, 'without raw the template surrounds the prompt');
  });

  test('system stands before the prompt', async () => {
    const system = 'Here is a list.\nAna: 417\nBen: 802\nEva: 135';
    assert.equal((await server.generate('What is the number of Ben?', { system })).response, 'Ben: 802');
    const other = system.replace('802', '333');
    assert.equal((await server.generate('What is the number of Ben?', { system: other })).response, 'Ben: 333');
  });

  test('a template of the request replaces that of the model', async () => {
    const template = '<|im_start|>user\nCount to {{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n';
    assert.equal((await server.generate('6', { template })).response, '1, 2, 3, 4, 5, 6');
  });

  test('suffix fills in the middle', async () => {
    const answer = await server.generate('def add(a, b):\n', {
      suffix: '\n    return result\n',
      options: { num_predict: 30 },
    });
    assert.match(answer.response, /result = a \+ b/);
  });

  test('context carries a conversation on', async () => {
    const first = await server.generate('My name is Eva.');
    assert.equal(first.response, 'Hello, Eva!');
    const second = await server.generate('What is the capital of France?', { context: first.context });
    const third = await server.generate('What is my name?', { context: second.context });
    assert.equal(third.response, 'Your name is Eva.');
    assert.ok(third.context.length > second.context.length && second.context.length > first.context.length);
  });
});

describe('chat', () => {
  const server = server_for_suite();
  const chat = (messages, extra) =>
    server.ok('/api/chat', { model: 'cria', messages, stream: false, options: { temperature: 0 }, ...extra });
  const user = (content) => ({ role: 'user', content });
  const assistant = (content) => ({ role: 'assistant', content });

  test('answers in one object', async () => {
    const answer = await chat([user('What is the capital of Peru?')]);
    assert.equal(answer.model, 'cria');
    assert.deepEqual(answer.message, assistant('The capital of Peru is Lima.'));
    assert.equal(answer.done, true);
    assert.equal(answer.done_reason, 'stop');
    instant(answer.created_at);
    check_metrics(answer);
    assert.deepEqual(fields_of(answer), ['model', 'created_at', 'message', 'done', 'done_reason', ...metrics].sort());
  });

  test('streams by default', async () => {
    const call = server.call('POST', '/api/chat', {
      model: 'cria',
      messages: [user('Count to 30')],
      options: { temperature: 0 },
    });
    const stream = new Stream(call);
    await stream.ended;
    assert.equal(call.response.headers['content-type'], 'application/x-ndjson');
    assert.ok(stream.items.length > 20);
    for (const item of stream.items) assert.equal(item.message.role, 'assistant');
    assert.ok(stream.items.slice(0, -1).every((item) => item.done === false && item.done_reason === undefined));
    assert.equal(text_of(stream.items), Array.from({ length: 30 }, (_, i) => i + 1).join(', '));
    assert.equal(stream.items.at(-1).done_reason, 'stop');
    check_metrics(stream.items.at(-1));
  });

  test('knows the turns before', async () => {
    const messages = [
      user('My name is Omar.'),
      assistant('Hello, Omar!'),
      user('What is 2 + 3?'),
      assistant('5'),
      user('What is my name?'),
    ];
    assert.equal((await chat(messages)).message.content, 'Your name is Omar.');
    messages[0].content = 'My name is Pia.';
    messages[1].content = 'Hello, Pia!';
    assert.equal((await chat(messages)).message.content, 'Your name is Pia.');
  });

  test('a system message and a format', async () => {
    const messages = [
      { role: 'system', content: 'Here is a list.\nAna: wolf\nBen: owl' },
      user('What is the animal of Ana?'),
    ];
    assert.equal((await chat(messages)).message.content, 'Ana: wolf');
    const json = await chat([user('Cria is 7 years old and is free today. Respond using JSON')], { format: 'json' });
    assert.deepEqual(JSON.parse(json.message.content), { age: 7, available: true });
  });
});

describe('characters', () => {
  const server = server_for_suite();
  // A grammar that allows but one answer makes cria say what it never learned, byte by byte.
  const text = 'Grüße, żółć 日本語 🦙🦙 naïve';
  const format = { type: 'string', enum: [text] };

  test('are never cut in a stream', async () => {
    const stream = server.stream('Hello', { format });
    await stream.ended;
    assert.equal(JSON.parse(text_of(stream.items)), text);
    assert.ok(stream.items.length > 10, 'it came in pieces');
    for (const { response } of stream.items) assert.doesNotMatch(response, /\ufffd/);
  });

  test('are never cut by num_predict', async () => {
    const lengths = new Set();
    for (let num_predict = 1; num_predict <= 24; num_predict++) {
      const { response } = await server.generate('Hello', { format, options: { num_predict } });
      assert.ok(`"${text}"`.startsWith(response), JSON.stringify(response));
      lengths.add(response.length);
    }
    assert.ok(lengths.size > 5 && lengths.size < 24, 'some limits fell into a character');
  });

  test('arrive whole in a prompt', async () => {
    const plain = await server.generate('Repeat after me: sun', { options: { num_predict: 1 } });
    const other = await server.generate('Repeat after me: sun 日本語 🦙', { options: { num_predict: 1 } });
    assert.ok(other.prompt_eval_count >= plain.prompt_eval_count + 10, 'each of its bytes is a token for cria');
  });
});

describe('loading and unloading', () => {
  const server = server_for_suite();
  const gone = () =>
    wait_until(
      async () => (await server.loaded_models()).length === 0 && server.runners().length === 0,
      'no model is loaded',
    );

  test('an empty prompt loads, keep_alive 0 unloads', async () => {
    assert.deepEqual(await server.loaded_models(), []);
    for (const [target, empty] of [
      ['/api/generate', { response: '' }],
      ['/api/chat', { message: { role: 'assistant', content: '' } }],
    ]) {
      const { created_at, ...loaded } = await server.ok(target, { model: 'cria' });
      instant(created_at);
      assert.deepEqual(loaded, { model: 'cria', ...empty, done: true, done_reason: 'load' });
      assert.equal((await server.loaded_models()).length, 1);
      assert.equal(server.runners().length, 1);
      const unloaded = await server.ok(target, { model: 'cria', keep_alive: 0 });
      assert.equal(unloaded.done_reason, 'unload');
      assert.equal(unloaded.done, true);
      await gone();
    }
  });

  test('ps shows what is loaded', async () => {
    const before = Date.now();
    await server.generate('Hello', { keep_alive: '10m' });
    const after = Date.now();
    const [model, ...others] = await server.loaded_models();
    assert.deepEqual(others, []);
    assert.equal(model.name, 'cria:latest');
    assert.equal(model.model, 'cria:latest');
    assert.ok(model.size > 6_000_000, `${model.size} bytes`);
    assert.match(model.digest, /^[0-9a-f]{64}$/);
    assert.equal(model.details.family, 'llama');
    assert.ok(model.size_vram >= 0 && model.size_vram <= model.size);
    assert.ok(model.context_length >= 2048, `${model.context_length}`);
    const ended = instant(model.expires_at) - 600_000; // when the request had: then its ten minutes began
    assert.ok(ended >= before - 1 && ended <= after + 1, `${model.expires_at} for one from ${before} to ${after}`);
  });

  test('keep_alive is seconds, a duration, or for ever', async () => {
    // The seconds from the request's begin and from its end until the model expires.
    const seconds = async (keep_alive) => {
      const before = Date.now();
      await server.generate('Hello', { keep_alive });
      const after = Date.now();
      const expires = instant((await server.loaded_models())[0].expires_at);
      return { most: (expires - before + 1) / 1000, least: (expires - after - 1) / 1000 };
    };
    for (const [keep_alive, wanted] of [
      [90, 90],
      ['1h30m', 5400],
    ]) {
      const { least, most } = await seconds(keep_alive);
      assert.ok(least <= wanted && wanted <= most, `${keep_alive}: ${least} to ${most} seconds`);
    }
    for (const for_ever of [-1, '-1s']) assert.ok((await seconds(for_ever)).least > 86400 * 365);
    await server.generate('Hello', { keep_alive: '300ms' });
    await gone();
  });

  test('keep_alive 0 with a prompt unloads after the answer', async () => {
    assert.equal((await server.generate('Count to 3', { keep_alive: 0 })).response, '1, 2, 3');
    await gone();
  });

  test('the load is part of the time', async () => {
    const first = await server.generate('Count to 3');
    const second = await server.generate('Count to 3');
    check_metrics(first);
    assert.ok(first.load_duration > second.load_duration, `${first.load_duration} > ${second.load_duration}`);
  });
});
