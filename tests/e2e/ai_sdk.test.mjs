// The AI SDK (`ai`) over its provider ai-sdk-ollama, unchanged.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { embed, embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamObject, streamText, tool } from 'ai';
import { createOllama } from 'ai-sdk-ollama';

import {
  capital_answer,
  hold,
  json_answer,
  json_question,
  json_schema,
  tools as cria_tools,
  waiting,
  weather_question,
} from './faces.mjs';
import { endless } from './gguf.mjs';
import { server_for_suite, server_for_test } from './harness.mjs';

const temperature = 0;
const capital = 'What is the capital of Japan?';
const first_20 = Array.from({ length: 20 }, (_, i) => i + 1).join(', ');
const all = async (stream) => {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
};
const tools_with = (execute) =>
  Object.fromEntries(
    cria_tools.map(({ name, description, schema }) => [name, tool({ description, inputSchema: jsonSchema(schema), execute })]),
  );

describe('the AI SDK', () => {
  const server = server_for_suite({}, (server) => server.create('endless', endless()));
  const model = (name = 'cria', settings = {}, url = server.url) => createOllama({ baseURL: url })(name, settings);
  const once = { maxRetries: 0, temperature };

  test('generateText', async () => {
    const { text, finishReason, usage } = await generateText({ model: model(), prompt: capital, ...once });
    assert.equal(text, capital_answer);
    assert.equal(finishReason, 'stop');
    assert.ok(usage.inputTokens > 5 && usage.outputTokens > 3);
  });

  test('a conversation with a system prompt', async () => {
    const messages = [
      { role: 'user', content: 'Count to 3' },
      { role: 'assistant', content: '1, 2, 3' },
      { role: 'user', content: capital },
    ];
    const { text } = await generateText({ model: model(), system: 'You are Cria.', messages, ...once });
    assert.equal(text, capital_answer);
  });

  test('streamText', async () => {
    const result = streamText({ model: model(), prompt: 'Count to 20', ...once });
    const parts = await all(result.textStream);
    assert.ok(parts.length > 10);
    assert.equal(parts.join(''), first_20);
    assert.equal(await result.finishReason, 'stop');
    assert.ok((await result.usage).outputTokens > 10);
  });

  test('maxOutputTokens and stopSequences', async () => {
    const cut = await generateText({ model: model(), prompt: 'Count to 20', maxOutputTokens: 3, ...once });
    assert.equal(cut.finishReason, 'length');
    assert.equal(cut.usage.outputTokens, 3);
    const stopped = await generateText({ model: model(), prompt: 'Count to 20', stopSequences: ['4'], ...once });
    assert.equal(stopped.text.trimEnd(), '1, 2, 3,');
  });

  test('tools: called, run, and answered from', async () => {
    const asked = [];
    const tools = tools_with(async ({ city }) => {
      asked.push(city);
      return '11 degrees celsius';
    });
    const prompt = weather_question;
    const result = await generateText({ model: model(), prompt, tools, stopWhen: stepCountIs(3), ...once });
    assert.deepEqual(asked, ['Tokyo']);
    assert.deepEqual(result.steps[0].toolCalls.map(({ toolName, input }) => ({ toolName, input })), [
      { toolName: 'get_weather', input: { city: 'Tokyo' } },
    ]);
    assert.match(result.text, /11/);
  });

  test('tools in a stream', async () => {
    const result = streamText({ model: model(), prompt: weather_question, tools: tools_with(undefined), ...once });
    const calls = (await all(result.fullStream)).filter(({ type }) => type === 'tool-call');
    assert.deepEqual(calls.map(({ toolName, input }) => ({ toolName, input })), [
      { toolName: 'get_weather', input: { city: 'Tokyo' } },
    ]);
  });

  test('generateObject and streamObject', async () => {
    const schema = jsonSchema(json_schema);
    const settings = { structuredOutputs: true };
    const { object } = await generateObject({ model: model('cria', settings), schema, prompt: json_question, ...once });
    assert.deepEqual(object, json_answer);
    const stream = streamObject({ model: model('cria', settings), schema, prompt: json_question, ...once });
    const partial = await all(stream.partialObjectStream);
    assert.deepEqual(partial.at(-1), json_answer);
    assert.deepEqual(await stream.object, json_answer);
  });

  test('thinking', async () => {
    const { text, reasoningText } = await generateText({
      model: model('cria', { think: true }),
      prompt: capital,
      ...once,
    });
    assert.equal(text, capital_answer);
    assert.ok(reasoningText.length > 0);
  });

  test('embed and embedMany', async () => {
    const embedder = createOllama({ baseURL: server.url }).embedding('cria');
    const { embedding } = await embed({ model: embedder, value: 'The sun is warm' });
    assert.equal(embedding.length, 256);
    const { embeddings } = await embedMany({ model: embedder, values: ['The river is cold', 'The sun is warm'] });
    assert.equal(embeddings.length, 2);
    const cosine = embedding.reduce((sum, value, i) => sum + value * embeddings[1][i], 0);
    assert.ok(cosine > 0.999, `cosine ${cosine}`);
  });

  test('errors', async () => {
    const ask = (...args) => generateText({ model: model(...args), prompt: 'Hello', ...once });
    await assert.rejects(ask('nobody'), /not found/);
    await assert.rejects(ask('cria', {}, 'http://127.0.0.1:9'));
    const errors = [];
    const result = streamText({ model: model('nobody'), prompt: 'Hello', onError: ({ error }) => errors.push(error), ...once });
    await all(result.fullStream);
    assert.match(String(errors[0]), /not found/);
  });

  // It stops reading, and leaves its connection open.
  test('an abort ends the stream, and costs nobody else', async () => {
    const abort = new AbortController();
    const result = streamText({
      model: model('endless'),
      prompt: 'Hello',
      abortSignal: abort.signal,
      onError: () => {},
      ...once,
    });
    let parts = 0;
    try {
      for await (const part of result.textStream) if (part && ++parts === 5) abort.abort();
    } catch (error) {
      assert.equal(error.name, 'AbortError');
    }
    const { text } = await generateText({ model: model(), prompt: capital, ...once });
    assert.equal(text, capital_answer);
  });

  test('a server that is busy is an error', async (t) => {
    const busy = await server_for_test(t, { env: { OLLAMA_MAX_QUEUE: '1' } });
    await busy.create('endless', endless());
    const holder = await hold(busy);
    const waiter = busy.stream('Hello', { model: 'endless' });
    await waiting(busy, 1);
    await assert.rejects(generateText({ model: model('endless', {}, busy.url), prompt: 'Hello', ...once }), /server busy/);
    waiter.close();
    holder.close();
  });
});
