// The official @anthropic-ai/sdk client, unchanged, and what it cannot show of the wire.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import {
  all,
  capital_answer,
  capital_question,
  hold,
  json_answer,
  json_question,
  json_schema,
  nobody_runs,
  parse_events,
  tools as cria_tools,
  waiting,
  weather_question,
} from './faces.mjs';
import { cria, endless } from './gguf.mjs';
import { without_template } from './gguf_parts.mjs';
import { server_for_suite, without_end } from './harness.mjs';

const model = 'cria';
const temperature = 0;
const max_tokens = 200;
const tools = cria_tools.map(({ name, description, schema }) => ({ name, description, input_schema: schema }));
const say = (content) => [{ role: 'user', content }];
const client_of = (server) => new Anthropic({ baseURL: server.url, apiKey: 'ollama', maxRetries: 0 });
const blocks = (message, type) => message.content.filter((block) => block.type === type);

describe('messages', () => {
  const server = server_for_suite({}, (server) => server.create('endless', endless()));
  const body_of = (body) => ({ model, temperature, max_tokens, ...body });
  const create = (body) => client_of(server).messages.create(body_of(body));
  const stream_of = (body) => client_of(server).messages.stream(body_of(body));

  test('one answer', async () => {
    const answer = await create({ messages: capital_question });
    assert.match(answer.id, /^msg_[0-9a-f]{24}$/);
    assert.equal(answer.type, 'message');
    assert.equal(answer.role, 'assistant');
    assert.equal(answer.model, model);
    assert.deepEqual(answer.content, [{ type: 'text', text: capital_answer }]);
    assert.equal(answer.stop_reason, 'end_turn');
    assert.equal(answer.stop_sequence, null);
    assert.ok(answer.usage.input_tokens > 5 && answer.usage.output_tokens > 3);
  });

  test('a stream, put together by the client', async () => {
    const stream = stream_of({ messages: capital_question });
    const events = await all(stream);
    const answer = await stream.finalMessage();
    assert.deepEqual(answer.content, [{ type: 'text', text: capital_answer }]);
    assert.equal(answer.stop_reason, 'end_turn');
    const types = events.map(({ type }) => type);
    assert.deepEqual(types.slice(0, 3), ['message_start', 'content_block_start', 'content_block_delta']);
    assert.deepEqual(types.slice(-3), ['content_block_stop', 'message_delta', 'message_stop']);
    assert.ok(types.filter((type) => type === 'content_block_delta').length > 3);
    const whole = await create({ messages: capital_question });
    assert.equal(events[0].message.usage.input_tokens, whole.usage.input_tokens, 'the count stands at the start');
    assert.equal(answer.usage.output_tokens, whole.usage.output_tokens);
  });

  test('the wire: each event has its name', async () => {
    const answer = await server.post('/v1/messages', body_of({ messages: capital_question, stream: true }));
    assert.equal(answer.headers['content-type'], 'text/event-stream');
    const events = parse_events(answer.text);
    assert.ok(events.length > 5);
    for (const { event, data } of events) assert.equal(event, data.type);
  });

  test('system, blocks, limits', async () => {
    const list = 'Here is a list.\nAna: 417\nBen: 902';
    for (const system of [list, [{ type: 'text', text: list }]]) {
      const messages = say([{ type: 'text', text: 'What is the number of Ben?' }]);
      const answer = await create({ system, messages });
      assert.equal(answer.content[0].text, 'Ben: 902');
    }
    const cut = await create({ messages: say('Count to 100'), max_tokens: 3 });
    assert.equal(cut.usage.output_tokens, 3);
    assert.equal(cut.stop_reason, 'max_tokens');
    const stopped = await create({ messages: say('Count to 100'), stop_sequences: [' 7'] });
    assert.equal(stopped.content[0].text, '1, 2, 3, 4, 5, 6,');
  });

  test('a schema', async () => {
    const output_config = { format: { type: 'json_schema', schema: json_schema } };
    const answer = await create({ messages: say(json_question), output_config });
    assert.deepEqual(JSON.parse(answer.content[0].text), json_answer);
  });

  test('thinking is a block of its own', async () => {
    const body = { messages: capital_question, thinking: { type: 'enabled', budget_tokens: 1024 }, max_tokens: 2000 };
    for (const answer of [await create(body), await stream_of(body).finalMessage()]) {
      assert.deepEqual(
        answer.content.map(({ type }) => type),
        ['thinking', 'text'],
      );
      assert.ok(answer.content[0].thinking.length > 5);
      assert.equal(answer.content[1].text, capital_answer);
    }
    for (const thinking of [undefined, { type: 'disabled' }]) {
      assert.equal(blocks(await create({ messages: capital_question, thinking }), 'thinking').length, 0);
    }
    const effort = { messages: capital_question, output_config: { effort: 'low' } };
    assert.equal(blocks(await create(effort), 'thinking').length, 1);
  });

  test('tools: a call, and its result fed back', async () => {
    const messages = say(weather_question);
    for (const streamed of [false, true]) {
      const first = streamed ? await stream_of({ messages, tools }).finalMessage() : await create({ messages, tools });
      assert.equal(first.stop_reason, 'tool_use');
      const [call] = blocks(first, 'tool_use');
      assert.equal(call.name, 'get_weather');
      assert.deepEqual(call.input, { city: 'Tokyo' });
      const result = { type: 'tool_result', tool_use_id: call.id, content: '21 degrees and sunny' };
      const history = [...messages, { role: 'assistant', content: first.content }, { role: 'user', content: [result] }];
      const answer = await create({ messages: history, tools });
      assert.equal(answer.content[0].text, 'The answer for Tokyo is: 21 degrees and sunny');
      assert.equal(answer.stop_reason, 'end_turn');
    }
    const none = await create({ messages, tools, tool_choice: { type: 'none' } });
    assert.equal(blocks(none, 'tool_use').length, 0);
    for (const tool_choice of [{ type: 'any' }, { type: 'tool', name: 'get_time' }]) {
      const forced = await create({ messages: say('Hello'), tools, tool_choice, max_tokens: 500 });
      assert.equal(forced.stop_reason, 'tool_use');
      assert.match(blocks(forced, 'tool_use')[0].name, tool_choice.name ? /^get_time$/ : /^get_/);
    }
    for (const tool_choice of [{ type: 'any' }, { type: 'tool', name: 'get_weather' }]) {
      assert.equal(blocks(await create({ messages, tools, tool_choice }), 'tool_use')[0].name, 'get_weather');
    }
  });

  test('a model that cannot think answers without', async () => {
    await server.create('plain', without_template(cria()));
    const thinking = { type: 'enabled', budget_tokens: 1024 };
    const answer = await create({ model: 'plain', messages: say('Hello'), thinking, max_tokens: 5 });
    assert.equal(blocks(answer, 'thinking').length, 0);
    assert.ok(answer.usage.output_tokens > 0);
  });

  test('count_tokens counts what a message would', async () => {
    const count = async (body) => (await client_of(server).messages.countTokens({ model, ...body })).input_tokens;
    for (const body of [
      { messages: capital_question },
      { messages: capital_question, system: 'Here is a list.\nAna: 417' },
      { messages: say(weather_question), tools },
    ]) {
      assert.equal(await count(body), (await create(body)).usage.input_tokens);
    }
    assert.ok((await count({ messages: say(weather_question), tools })) > (await count({ messages: say(weather_question) })));
    const words = 5000; // more than the context holds
    assert.ok((await count({ messages: say('llama '.repeat(words)) })) > words);
  });

  test('abort in mid-stream frees the place', async () => {
    const stream = await create({ model: 'endless', messages: say('Hello'), stream: true, max_tokens: without_end });
    let parts = 0;
    for await (const { type } of stream) {
      assert.notEqual(type, 'message_stop');
      if (++parts === 5) stream.controller.abort();
    }
    assert.ok(parts >= 5);
    await nobody_runs(server);
    assert.equal((await create({ model: 'endless', messages: say('Hello'), max_tokens: 2 })).usage.output_tokens, 2);
  });
});

describe('errors', () => {
  const server = server_for_suite({ env: { OLLAMA_MAX_QUEUE: '1' } }, async (server) => {
    await server.create('endless', endless());
    await server.generate('Hello', { model: 'endless', options: { num_predict: 1 } });
  });
  const create = (body) =>
    client_of(server).messages.create({ model, max_tokens, messages: say('Hello'), ...body });
  // What the client makes of an error's body.
  const is = (status, type, text) => (error) => {
    assert.equal(error.status, status, error.message);
    assert.equal(error.error.type, 'error');
    assert.equal(error.error.error.type, type);
    assert.match(error.error.error.message, text);
    assert.match(error.error.request_id, /^req_/);
    return true;
  };

  test('unknown model', async () => {
    for (const stream of [false, true]) {
      await assert.rejects(create({ model: 'nobody', stream }), is(404, 'not_found_error', /^model 'nobody' not found$/));
    }
    await assert.rejects(
      client_of(server).messages.countTokens({ model: 'nobody', messages: capital_question }),
      is(404, 'not_found_error', /not found/),
    );
  });

  test('wrong types and values', async () => {
    for (const [body, text] of [
      [{ model: '' }, /^model is required$/],
      [{ model: 5 }, /MessagesRequest\.model of type string/],
      [{ max_tokens: undefined }, /^max_tokens is required and must be positive$/],
      [{ max_tokens: 0 }, /^max_tokens is required and must be positive$/],
      [{ max_tokens: 'many' }, /MessagesRequest\.max_tokens of type int/],
      [{ messages: [] }, /^messages is required$/],
      [{ messages: 'Hello' }, /MessagesRequest\.messages of type array/],
      [{ messages: [{ role: 'wizard', content: 'Hello' }] }, /invalid message role/],
      [{ messages: [{ role: 'user' }] }, /content is required/],
      [{ messages: say([{ type: 'image', source: { type: 'url', url: 'http://x/y.png' } }]) }, /image input is not supported/],
      [{ messages: say([{ type: 'document', source: {} }]) }, /"document" are not supported/],
      [{ messages: say([{ type: 'tool_use', name: 'f', input: {} }]) }, /missing required 'id'/],
      [{ temperature: 'hot' }, /MessagesRequest\.temperature of type float64/],
      [{ stream: 'yes' }, /MessagesRequest\.stream of type bool/],
      [{ stop_sequences: 'x' }, /MessagesRequest\.stop_sequences of type array/],
      [{ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, /"web_search_20250305" are not supported/],
      [{ tools, tool_choice: { type: 'tool', name: 'dance' } }, /not among the tools/],
      [{ tools, tool_choice: { type: 'perhaps' } }, /invalid tool_choice/],
    ]) {
      await assert.rejects(create(body), is(400, 'invalid_request_error', text), JSON.stringify(body));
    }
    assert.equal((await create({ messages: capital_question, temperature })).content[0].text, capital_answer);
  });

  test('what is no JSON', async () => {
    for (const path of ['/v1/messages', '/v1/messages/count_tokens']) {
      for (const body of ['', '{', '[]']) {
        const answer = await server.post(path, body);
        assert.equal(answer.status, 400, answer.text);
        assert.equal(answer.json.type, 'error');
        assert.equal(answer.json.error.type, 'invalid_request_error');
      }
    }
  });

  test('a full queue, and a wait that is too long', async () => {
    const holder = await hold(server);
    const ask = (body, headers) =>
      client_of(server).messages.create(
        { model: 'endless', max_tokens: 1, messages: say('Hello'), ...body },
        { headers: headers ?? {} },
      );
    const next = ask({}, { 'X-Request-Timeout': '1h' });
    await waiting(server, 1);
    await assert.rejects(ask({}), is(503, 'overloaded_error', /maximum pending requests exceeded/));
    holder.close();
    assert.equal((await next).usage.output_tokens, 1);

    const second = await hold(server);
    await assert.rejects(ask({}, { 'X-Request-Timeout': '1' }), is(503, 'overloaded_error', /model request timeout/));
    const stream = await ask({ stream: true }, { 'X-Request-Timeout': '5' });
    await assert.rejects(all(stream), (error) => {
      assert.equal(error.status, undefined, 'the status was sent while it waited');
      assert.equal(error.type, 'overloaded_error');
      return true;
    });
    second.close();
  });
});
