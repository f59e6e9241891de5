// The official ollama client for JavaScript, unchanged.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Ollama } from 'ollama';

import { endless } from './gguf.mjs';
import { server_for_suite, wait_until, without_end } from './harness.mjs';

const options = { temperature: 0 };
const model = 'cria';

describe('the ollama npm client', () => {
  const server = server_for_suite({}, (server) => server.create('endless', endless()));
  const client = () => new Ollama({ host: server.url });
  // The client has no class for its errors to be checked against, only a name.
  const response_error = (status_code, error) => ({ name: 'ResponseError', status_code, error });

  test('generate', async () => {
    const answer = await client().generate({ model, prompt: 'Count to 8', options });
    assert.equal(answer.response, '1, 2, 3, 4, 5, 6, 7, 8');
    assert.equal(answer.done, true);
    let text = '';
    for await (const part of await client().generate({ model, prompt: 'Count to 8', stream: true, options }))
      text += part.response;
    assert.equal(text, answer.response);
  });

  test('chat', async () => {
    const messages = [{ role: 'user', content: 'What is the capital of Japan?' }];
    const answer = await client().chat({ model, messages, options });
    assert.deepEqual(answer.message, { role: 'assistant', content: 'The capital of Japan is Tokyo.' });
    const parts = [];
    for await (const part of await client().chat({ model, messages, stream: true, options })) parts.push(part);
    assert.equal(parts.map((part) => part.message.content).join(''), 'The capital of Japan is Tokyo.');
    assert.deepEqual(parts.map((part) => part.done).filter(Boolean), [true]);
    assert.ok(parts.at(-1).eval_count > 3);
  });

  test('format', async () => {
    const format = {
      type: 'object',
      properties: { age: { type: 'integer' }, available: { type: 'boolean' } },
      required: ['age', 'available'],
    };
    const prompt = 'Ollama is 22 years old and is busy saving the world. Respond using JSON';
    const { response } = await client().generate({ model, prompt, format, options });
    assert.deepEqual(JSON.parse(response), { age: 22, available: false });
  });

  test('tool_choice forces a call, with thinking and in a stream too', async () => {
    const messages = [{ role: 'user', content: 'What is the capital of Japan?' }];
    const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
    const tools = ['get_weather', 'get_time'].map((name) => ({ type: 'function', function: { name, parameters } }));
    const plain = await client().chat({ model, messages, tools, options });
    assert.equal(plain.message.tool_calls, undefined);
    for (const extra of [{}, { think: true }]) {
      const { message } = await client().chat({ model, messages, tools, options, tool_choice: 'required', ...extra });
      assert.match(message.tool_calls[0].function.name, /^get_(weather|time)$/);
      assert.equal(typeof message.tool_calls[0].function.arguments.city, 'string');
      const calls = [];
      const body = { model, messages, tools, options, tool_choice: { type: 'function', function: { name: 'get_time' } } };
      for await (const part of await client().chat({ ...body, ...extra, stream: true }))
        calls.push(...(part.message.tool_calls ?? []));
      assert.equal(calls[0].function.name, 'get_time');
    }
  });

  test('abort ends one stream and frees its slot', async () => {
    const own = client();
    const stream = await own.generate({
      model: 'endless',
      prompt: 'Tell me a story.',
      stream: true,
      options: { num_predict: without_end },
    });
    let parts = 0;
    await assert.rejects(
      async () => {
        for await (const part of stream) {
          assert.equal(part.done, false);
          if (++parts === 5) stream.abort();
        }
      },
      { name: 'AbortError' },
    );
    const next = await own.generate({ model: 'endless', prompt: 'Hello', options: { num_predict: 2 } });
    assert.equal(next.eval_count, 2);
    const left = / route=\/api\/generate model=endless:latest outcome=disconnected /;
    await wait_until(() => left.test(server.stderr), 'the log says that the client has left');
  });

  test('list, ps, show, version', async () => {
    const own = client();
    const { models } = await own.list();
    assert.deepEqual(models.map(({ name }) => name).sort(), ['cria:latest', 'endless:latest']);
    await own.generate({ model, prompt: '' });
    assert.ok((await own.ps()).models.some(({ name, context_length }) => name === 'cria:latest' && context_length > 0));
    const shown = await own.show({ model });
    assert.equal(shown.details.family, 'llama');
    assert.equal(shown.model_info['llama.block_count'], 4);
    assert.match((await own.version()).version, /^\d/);
  });

  test('create, copy, delete', async () => {
    const own = client();
    const statuses = [];
    const stream = await own.create({
      model: 'mine',
      from: 'cria',
      system: 'Here is a list.\nAna: wolf\nBen: owl',
      parameters: options,
      stream: true,
    });
    for await (const { status } of stream) statuses.push(status);
    assert.equal(statuses.at(-1), 'success');
    assert.deepEqual(await own.copy({ source: 'mine', destination: 'copied' }), { status: 'success' });
    assert.equal((await own.generate({ model: 'copied', prompt: 'What is the animal of Ben?' })).response, 'Ben: owl');
    for (const name of ['mine', 'copied']) assert.deepEqual(await own.delete({ model: name }), { status: 'success' });
    assert.equal((await own.list()).models.length, 2);
  });

  test('errors', async () => {
    const own = client();
    const missing = response_error(404, "model 'nobody' not found");
    await assert.rejects(own.generate({ model: 'nobody', prompt: 'Hello' }), missing);
    await assert.rejects(own.generate({ model: 'nobody', prompt: 'Hello', stream: true }), missing);
    await assert.rejects(own.show({ model: 'nobody' }), missing);
    await assert.rejects(own.delete({ model: 'nobody' }), missing);
    await assert.rejects(own.chat({ model: '', messages: [] }), response_error(400, 'model is required'));
  });
});
