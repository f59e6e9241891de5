// @langchain/ollama, unchanged: what programs built on LangChain send and expect.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages';
import { ChatPromptTemplate } from '@langchain/core/prompts';
import { StringOutputParser } from '@langchain/core/output_parsers';
import { ChatOllama, Ollama, OllamaEmbeddings } from '@langchain/ollama';

import {
  all,
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

const capital = 'What is the capital of Japan?';
const tools = cria_tools.map(({ name, description, schema }) => ({
  type: 'function',
  function: { name, description, parameters: schema },
}));

describe('ChatOllama', () => {
  const server = server_for_suite({}, (server) => server.create('endless', endless()));
  const chat = (fields) => new ChatOllama({ model: 'cria', temperature: 0, baseUrl: server.url, maxRetries: 0, ...fields });

  test('one answer, with what it cost', async () => {
    const answer = await chat().invoke(capital);
    assert.equal(answer.content, capital_answer);
    const { input_tokens, output_tokens, total_tokens } = answer.usage_metadata;
    assert.ok(input_tokens > 5 && output_tokens > 3);
    assert.equal(total_tokens, input_tokens + output_tokens);
    assert.equal(answer.response_metadata.model, 'cria');
    assert.equal(answer.response_metadata.done_reason, 'stop');
  });

  test('a conversation', async () => {
    const messages = [new SystemMessage('You are Cria.'), new HumanMessage('Count to 3')];
    const first = await chat().invoke(messages);
    assert.equal(first.content, '1, 2, 3');
    const second = await chat().invoke([...messages, first, new HumanMessage(capital)]);
    assert.equal(second.content, capital_answer);
  });

  test('a stream', async () => {
    const parts = await all(await chat().stream('Count to 20'));
    assert.ok(parts.length > 10);
    const whole = parts.reduce((sum, part) => sum.concat(part));
    assert.equal(whole.content, Array.from({ length: 20 }, (_, i) => i + 1).join(', '));
    assert.ok(whole.usage_metadata.output_tokens > 10);
  });

  test('a chain, and many inputs side by side', async () => {
    const chain = ChatPromptTemplate.fromTemplate('Count to {last}').pipe(chat()).pipe(new StringOutputParser());
    assert.deepEqual(await chain.batch([{ last: 3 }, { last: 5 }, { last: 4 }]), ['1, 2, 3', '1, 2, 3, 4, 5', '1, 2, 3, 4']);
  });

  test('tools: the call, and the answer to its result', async () => {
    const bound = chat().bindTools(tools);
    const question = new HumanMessage(weather_question);
    const called = await bound.invoke([question]);
    assert.deepEqual(called.tool_calls.map(({ name, args, type }) => ({ name, args, type })), [
      { name: 'get_weather', args: { city: 'Tokyo' }, type: 'tool_call' },
    ]);
    const [{ id, name }] = called.tool_calls;
    const result = new ToolMessage({ content: '11 degrees celsius', tool_call_id: id ?? 'call_1', name });
    const answer = await bound.invoke([question, called, result]);
    assert.equal(answer.tool_calls.length, 0);
    assert.match(answer.content, /11/);
  });

  test('tools in a stream', async () => {
    const parts = await all(await chat().bindTools(tools).stream(weather_question));
    const { tool_calls } = parts.reduce((sum, part) => sum.concat(part));
    assert.deepEqual(tool_calls.map(({ name, args }) => ({ name, args })), [
      { name: 'get_weather', args: { city: 'Tokyo' } },
    ]);
  });

  test('structured output by schema, by tool and as JSON', async () => {
    assert.deepEqual(await chat().withStructuredOutput(json_schema, { method: 'jsonSchema' }).invoke(json_question), json_answer);
    assert.deepEqual(await chat().withStructuredOutput(json_schema, { method: 'jsonMode' }).invoke(json_question), json_answer);
    const [{ schema }] = cria_tools;
    const caller = chat().withStructuredOutput(schema, { method: 'functionCalling', name: 'get_weather' });
    assert.deepEqual(await caller.invoke(weather_question), { city: 'Tokyo' });
    const raw = await chat().withStructuredOutput(json_schema, { includeRaw: true }).invoke(json_question);
    assert.deepEqual(raw.parsed, json_answer);
  });

  test('format, stop and numPredict', async () => {
    assert.deepEqual(JSON.parse((await chat({ format: 'json' }).invoke(json_question)).content), json_answer);
    assert.equal((await chat().invoke('Count to 8', { stop: ['4'] })).content.trimEnd(), '1, 2, 3,');
    const cut = await chat({ numPredict: 3 }).invoke('Count to 8');
    assert.equal(cut.response_metadata.done_reason, 'length');
    assert.equal(cut.usage_metadata.output_tokens, 3);
  });

  test('thinking', async () => {
    const thought = await chat({ think: true }).invoke(capital);
    assert.equal(thought.content, capital_answer);
    assert.ok(thought.additional_kwargs.reasoning_content.length > 5);
    assert.equal((await chat({ think: false }).invoke(capital)).content, capital_answer);
  });

  test('errors', async () => {
    await assert.rejects(chat({ model: 'nobody' }).invoke('Hello'), /model 'nobody' not found/);
    await assert.rejects(chat({ model: 'nobody' }).stream('Hello').then(all), /model 'nobody' not found/);
    await assert.rejects(chat({ baseUrl: 'http://127.0.0.1:9' }).invoke('Hello'));
  });

  // It stops reading, and leaves its connection open.
  test('an abort ends the stream, and costs nobody else', async () => {
    const abort = new AbortController();
    const stream = await chat({ model: 'endless' }).stream('Hello', { signal: abort.signal });
    let parts = 0;
    await assert.rejects(async () => {
      for await (const part of stream) {
        assert.equal(typeof part.content, 'string');
        if (++parts === 5) abort.abort();
      }
    });
    assert.equal(parts, 5);
    assert.equal((await chat().invoke(capital)).content, capital_answer);
  });

  test('a server that is busy is an error', async (t) => {
    const busy = await server_for_test(t, { env: { OLLAMA_MAX_QUEUE: '1' } });
    await busy.create('endless', endless());
    const holder = await hold(busy);
    const waiter = busy.stream('Hello', { model: 'endless' });
    await waiting(busy, 1);
    await assert.rejects(chat({ model: 'endless', baseUrl: busy.url }).invoke('Hello'), /server busy/);
    waiter.close();
    holder.close();
  });
});

describe('Ollama and OllamaEmbeddings', () => {
  const server = server_for_suite();

  test('a completion, whole and streamed', async () => {
    const llm = new Ollama({ model: 'cria', temperature: 0, baseUrl: server.url });
    assert.equal(await llm.invoke('Count to 5'), '1, 2, 3, 4, 5');
    assert.equal((await all(await llm.stream('Count to 5'))).join(''), '1, 2, 3, 4, 5');
  });

  test('embeddings of one text and of several', async () => {
    const embeddings = new OllamaEmbeddings({ model: 'cria', baseUrl: server.url });
    const [one, other] = await embeddings.embedDocuments(['The sun is warm', 'The river is cold']);
    assert.equal(one.length, 256);
    assert.notDeepEqual(one, other);
    const alone = await embeddings.embedQuery('The sun is warm');
    const cosine = alone.reduce((sum, value, i) => sum + value * one[i], 0);
    assert.ok(cosine > 0.999, `cosine ${cosine}`);
    await assert.rejects(new OllamaEmbeddings({ model: 'nobody', baseUrl: server.url, maxRetries: 0 }).embedQuery('x'), /not found/);
  });
});
