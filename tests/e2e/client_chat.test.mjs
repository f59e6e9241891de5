// Chat in full, with the official ollama client for JavaScript, unchanged: tools, thinking, formats, log probabilities,
// and what happens to conversations that are longer than the context.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Ollama } from 'ollama';

import {
  all,
  capital_answer,
  capital_question,
  hold,
  json_answer,
  json_question,
  json_schema,
  nobody_runs,
  tools as cria_tools,
  waiting,
  weather_question,
} from './faces.mjs';
import { cria, endless } from './gguf.mjs';
import { without_template } from './gguf_parts.mjs';
import { server_for_suite } from './harness.mjs';

const model = 'cria';
const options = { temperature: 0 };
const user = (content) => ({ role: 'user', content });
const weather = [user(weather_question)];
const tools = cria_tools.map(({ name, description, schema }) => ({
  type: 'function',
  function: { name, description, parameters: schema },
}));
const too_long = /the prompt is longer than the context length/;
const text_of = (parts) => parts.map(({ message }) => message.content).join('');
const thought_of = (parts) => parts.map(({ message }) => message.thinking ?? '').join('');

describe('the ollama npm client, in a chat', () => {
  const settings = { OLLAMA_MAX_QUEUE: '1' };
  const server = server_for_suite({ env: settings }, (server) => server.create('endless', endless()));
  const chat = (body) => new Ollama({ host: server.url }).chat({ model, options, ...body });
  const generate = (body) => new Ollama({ host: server.url }).generate({ model, options, ...body });
  // The prompt that a request makes of the model's template.
  const rendered = async (body) => (await chat({ ...body, _debug_render_only: true }))._debug_info.rendered_template;
  const refused = (body, status_code, error) =>
    assert.rejects(chat(body), (thrown) => {
      assert.equal(thrown.name, 'ResponseError');
      assert.equal(thrown.status_code, status_code, thrown.message);
      assert.match(thrown.error, error);
      return true;
    });

  test('tools: what is wrong with them', async () => {
    for (const wrong of ['x', [5], [{ type: 'function' }], [{ type: 'function', function: { name: 5 } }]]) {
      await refused({ messages: weather, tools: wrong }, 400, /tool/i);
    }
    const call = { role: 'assistant', content: '', tool_calls: [{ function: { name: 5, arguments: {} } }] };
    await refused({ messages: [...weather, call] }, 400, /name/);
    await server.create('simple', without_template(cria()));
    await refused({ model: 'simple', messages: weather, tools }, 400, /simple:latest does not support tools/);
    await refused({ model: 'simple', messages: weather, think: true }, 400, /"simple:latest" does not support thinking/);
  });

  test('a tool is called, and its result answered from', async () => {
    const { message, done_reason } = await chat({ messages: weather, tools });
    assert.equal(done_reason, 'stop');
    assert.equal(message.content, '');
    assert.equal(message.tool_calls.length, 1);
    assert.deepEqual(message.tool_calls[0].function, { index: 0, name: 'get_weather', arguments: { city: 'Tokyo' } });
    const result = { role: 'tool', tool_name: 'get_weather', content: '11 degrees celsius' };
    const answer = await chat({ messages: [...weather, message, result], tools });
    assert.equal(answer.message.tool_calls, undefined);
    assert.match(answer.message.content, /^The answer for Tokyo is: 11 degrees/);
  });

  test('a tool is called in a stream', async () => {
    const parts = await all(await chat({ messages: weather, tools, stream: true }));
    const calls = parts.flatMap(({ message }) => message.tool_calls ?? []);
    assert.deepEqual(calls.map((call) => call.function), [{ index: 0, name: 'get_weather', arguments: { city: 'Tokyo' } }]);
    assert.equal(text_of(parts), '');
    assert.equal(parts.at(-1).done, true);
    assert.equal(text_of(await all(await chat({ messages: capital_question, tools, stream: true }))), capital_answer);
  });

  test('several calls and their results reach the template in their order', async () => {
    const call = (name, city) => ({ function: { name, arguments: { city } } });
    const messages = [
      ...weather,
      { role: 'assistant', content: '', tool_calls: [call('get_weather', 'Tokyo'), call('get_time', 'Paris')] },
      { role: 'tool', tool_name: 'get_weather', content: 'FIRST' },
      { role: 'tool', tool_name: 'get_time', content: 'SECOND' },
    ];
    const prompt = await rendered({ messages, tools });
    const at = ['"get_weather"', '"Tokyo"', '"get_time"', '"Paris"', 'FIRST', 'SECOND'].map((word) => prompt.lastIndexOf(word));
    assert.ok(at.every((position) => position > 0), prompt);
    assert.deepEqual(at, [...at].sort((a, b) => a - b), prompt);
  });

  test('thinking stands apart, whole and in a stream', async () => {
    const { message } = await chat({ messages: capital_question, think: true });
    assert.equal(message.content, capital_answer);
    assert.ok(message.thinking.length > 5);
    for (const think of ['low', 'medium', 'high']) {
      assert.equal((await chat({ messages: capital_question, think })).message.content, capital_answer);
    }
    const parts = await all(await chat({ messages: capital_question, think: true, stream: true }));
    assert.equal(text_of(parts), capital_answer);
    assert.equal(thought_of(parts), message.thinking);
    const first_text = parts.findIndex(({ message: { content } }) => content !== '');
    assert.ok(first_text > 1, 'the thoughts come piece by piece, and first');
    assert.ok(parts.slice(first_text).every(({ message: { thinking } }) => !thinking));
    const without = await chat({ messages: capital_question, think: false });
    assert.deepEqual(without.message, { role: 'assistant', content: capital_answer });
    await refused({ messages: capital_question, think: 'loudly' }, 400, /invalid think value: "loudly"/);
    await refused({ messages: capital_question, think: 5 }, 400, /think must be a boolean or string/);
    const generated = await generate({ prompt: capital_question[0].content, think: true });
    assert.deepEqual([generated.response, generated.thinking], [capital_answer, message.thinking]);
  });

  test('a format, without thoughts and after them', async () => {
    const messages = [user(json_question)];
    assert.deepEqual(JSON.parse((await chat({ messages, format: 'json' })).message.content), json_answer);
    assert.deepEqual(JSON.parse((await chat({ messages, format: json_schema })).message.content), json_answer);
    const { message, eval_count } = await chat({ messages, format: json_schema, think: true });
    assert.deepEqual(Object.keys(JSON.parse(message.content)).sort(), ['age', 'available']);
    assert.ok(message.thinking.length > 0);
    const parts = await all(await chat({ messages, format: json_schema, think: true, stream: true }));
    assert.deepEqual([text_of(parts), thought_of(parts)], [message.content, message.thinking]);
    assert.equal(parts.at(-1).eval_count, eval_count, 'both in one pass');
    await refused({ messages, format: 'xml' }, 400, /^invalid format: "xml"; expected "json" or a valid JSON Schema object$/);
  });

  test('log probabilities, whole and in a stream', async () => {
    const asked = { messages: [user('Count to 3')], logprobs: true, top_logprobs: 3 };
    const { message, logprobs } = await chat(asked);
    assert.ok(logprobs.map(({ token }) => token).join('').startsWith(message.content));
    for (const { token, logprob, bytes, top_logprobs } of logprobs) {
      assert.ok(logprob <= 0);
      assert.equal(Buffer.from(bytes).toString(), token);
      assert.equal(top_logprobs.length, 3);
      assert.deepEqual(top_logprobs.map((top) => top.logprob).sort((a, b) => b - a), top_logprobs.map((top) => top.logprob));
      assert.equal(top_logprobs[0].token, token, 'the likeliest is taken');
    }
    const parts = await all(await chat({ ...asked, stream: true }));
    assert.deepEqual(parts.flatMap((part) => part.logprobs ?? []).map(({ token }) => token), logprobs.map(({ token }) => token));
    const [plain] = (await generate({ prompt: 'Count to 3', logprobs: true })).logprobs;
    assert.deepEqual(Object.keys(plain), ['token', 'logprob', 'bytes']);
    for (const top_logprobs of [-1, 21]) await refused({ ...asked, top_logprobs }, 400, /must be between 0 and 20/);
  });

  test('truncate: what is too long loses its oldest turns, or is an error', async () => {
    const turns = Array.from({ length: 60 }, (_, i) => [user(`Repeat after me: ${i} sun`), { role: 'assistant', content: `${i} sun` }]);
    const system = { role: 'system', content: 'You are Cria.' };
    const messages = [system, ...turns.flat(), ...capital_question];
    const short_context = { ...options, num_ctx: 128 };
    const answer = await chat({ messages, options: short_context });
    assert.equal(answer.message.content, capital_answer);
    assert.ok(answer.prompt_eval_count < 128, `${answer.prompt_eval_count}`);
    const prompt = await rendered({ messages, options: short_context });
    assert.match(prompt, /You are Cria\.[^]*59 sun[^]*capital of Japan/);
    assert.doesNotMatch(prompt, /Repeat after me: 0 sun/);
    await refused({ messages, options: short_context, truncate: false }, 400, too_long);
  });

  test('shift: an answer goes on beyond the context, or ends there', async () => {
    const long = { ...options, num_ctx: 64, num_predict: 200 };
    const story = { model: 'endless', prompt: 'Tell me a story.', options: long };
    const shifted = await generate(story);
    assert.deepEqual([shifted.eval_count, shifted.done_reason], [200, 'length']);
    const cut = await generate({ ...story, shift: false });
    assert.equal(cut.done_reason, 'length');
    assert.ok(cut.eval_count + cut.prompt_eval_count <= 64, `${cut.prompt_eval_count} + ${cut.eval_count}`);
  });

  test('an abort ends the stream, and frees its slot', async () => {
    const stream = await chat({ model: 'endless', messages: [user('Hello')], stream: true });
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
    await nobody_runs(server);
  });

  test('a full queue', async () => {
    const holder = await hold(server);
    const waiter = server.stream('Hello', { model: 'endless' });
    await waiting(server, 1);
    await refused({ model: 'endless', messages: [user('Hello')] }, 503, /^server busy, please try again\. {2}maximum pending/);
    waiter.close();
    holder.close();
    await nobody_runs(server);
  });
});
