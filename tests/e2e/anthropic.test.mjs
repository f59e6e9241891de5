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
// All of a prompt: what was in the cache counts apart.
const prompt_tokens = ({ usage }) =>
  usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
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
    assert.equal(prompt_tokens(answer), prompt_tokens(whole));
    assert.equal(answer.usage.output_tokens, whole.usage.output_tokens);
  });

  test('the wire: each event has its name', async () => {
    const answer = await server.post('/v1/messages', body_of({ messages: capital_question, stream: true }));
    assert.equal(answer.headers['content-type'], 'text/event-stream');
    const events = parse_events(answer.text);
    assert.ok(events.length > 5);
    for (const { event, data } of events) assert.equal(event, data.type);
    const whole = await create({ messages: capital_question });
    assert.equal(events[0].data.message.usage.input_tokens, prompt_tokens(whole), 'the count stands at the start');
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
      assert.equal(await count(body), prompt_tokens(await create(body)));
    }
    assert.ok((await count({ messages: say(weather_question), tools })) > (await count({ messages: say(weather_question) })));
    const words = 5000; // more than the context holds
    assert.ok((await count({ messages: say('llama '.repeat(words)) })) > words);
  });

  test('what was in the cache counts apart, as Anthropic counts it', async () => {
    const list = Array.from({ length: 60 }, (_, i) => `Line ${i}`).join('\n');
    const messages = [...say(list), { role: 'assistant', content: 'Yes.' }, ...capital_question];
    const first = await create({ messages });
    const second = await create({ messages });
    const third = await stream_of({ messages }).finalMessage();
    assert.equal(prompt_tokens(first), prompt_tokens(second));
    for (const { usage } of [second, third]) {
      assert.ok(usage.cache_read_input_tokens > 60, JSON.stringify(usage));
      assert.ok(usage.input_tokens >= 1 && usage.input_tokens < prompt_tokens(first) / 2, JSON.stringify(usage));
      assert.equal(usage.cache_creation_input_tokens, 0);
    }
    assert.equal(prompt_tokens(third), prompt_tokens(first));
    const events = parse_events((await server.post('/v1/messages', body_of({ messages, stream: true }))).text);
    assert.deepEqual(events[0].data.message.usage, {
      input_tokens: prompt_tokens(first),
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 0,
      output_tokens: 0,
    });
    assert.deepEqual(events.find(({ event }) => event === 'message_delta').data.usage, third.usage);
  });

  test('abort in mid-stream frees the slot', async () => {
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

// What Claude Code sends, and what its conversations hold.
describe('blocks and tools of Anthropic', () => {
  const server = server_for_suite();
  const list = 'Here is a list.\nAna: 417\nBen: 902';
  const ben = 'What is the number of Ben?';
  const ask = async (body) => {
    const answer = await server.post('/v1/messages', { model, temperature, max_tokens, ...body });
    assert.equal(answer.status, 200, answer.text);
    return { warning: answer.headers['x-drover-warning'], ...answer.json };
  };
  const count = async (body) => (await server.ok('/v1/messages/count_tokens', { model, ...body })).input_tokens;
  const text = (value) => ({ type: 'text', text: value });

  test('unknown ones are left out, and named', async () => {
    const odd = [
      { type: 'tool_reference', tool_name: 'get_weather' },
      { type: 'container_upload', file_id: 'file_1' },
      { type: 'of_next_year', data: { deep: [1] } },
    ];
    const plain = await count({ system: list, messages: say(ben) });
    for (const block of odd) {
      const { content, warning } = await ask({ system: [text(list), block], messages: say([block, text(ben)]) });
      assert.deepEqual(content, [text('Ben: 902')]);
      assert.equal(warning, `content blocks of the type "${block.type}" are left out`);
      assert.equal(await count({ system: [text(list), block], messages: say([block, text(ben)]) }), plain);
    }
    assert.match(server.stderr, /request [0-9a-f]{16}: content blocks of the type "of_next_year" are left out/);
    const { warning } = await ask({ system: list, messages: say([...odd, ...odd, text(ben)]) });
    assert.equal(warning.split('; ').length, odd.length, 'each once');
  });

  test('a result of which nothing is text', async () => {
    const call = { type: 'tool_use', id: 'toolu_1', name: 'get_weather', input: { city: 'Tokyo' } };
    const history = (content) => [
      ...say(weather_question),
      { role: 'assistant', content: [call] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content }] },
    ];
    const empty = await count({ messages: history(''), tools });
    assert.equal(await count({ messages: history([{ type: 'tool_reference', tool_name: 'x' }]), tools }), empty);
    assert.equal(await count({ messages: history(undefined), tools }), empty);
    const answer = await ask({
      messages: history([{ type: 'tool_reference', tool_name: 'x' }, text('21 degrees and sunny')]),
      tools,
    });
    assert.equal(answer.content[0].text, 'The answer for Tokyo is: 21 degrees and sunny');
    const image = [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } }];
    const { warning } = await ask({ messages: history(image), tools });
    assert.match(warning, /"image" are left out/);
  });

  test('what a search found is text; a schema by its older name', async () => {
    const found = { type: 'search_result', source: 'https://x', title: 'Capitals', content: [{ type: 'text', text: 'It is Tokyo.' }] };
    const body = { model: 'cria', max_tokens: 60, messages: [{ role: 'user', content: [found, { type: 'text', text: 'Hello' }] }] };
    const bare = { messages: [{ role: 'user', content: 'Capitals (https://x)\nIt is Tokyo.\nHello' }] };
    assert.equal(await count({ messages: body.messages }), await count(bare));
    const schema = { type: 'object', properties: { a: { enum: ['x', 'y'] } }, required: ['a'], additionalProperties: false };
    const answer = await server.ok('/v1/messages', { ...body, output_format: { type: 'json_schema', schema } });
    assert.match(JSON.parse(answer.content[0].text).a, /^[xy]$/);
    const wrong = await server.post('/v1/messages', { ...body, output_format: { type: 'text' } });
    assert.equal(wrong.json.error.message, 'output_format must be of the type json_schema, with a schema');
  });

  test('documents that are text', async () => {
    const document = (source) => ({ type: 'document', source });
    for (const source of [
      { type: 'text', media_type: 'text/plain', data: list },
      { type: 'content', content: list },
      { type: 'content', content: [text(list)] },
    ]) {
      const { content, warning } = await ask({ messages: say([document(source), text(ben)]) });
      assert.deepEqual(content, [text('Ben: 902')], JSON.stringify(source));
      assert.equal(warning, undefined);
    }
    const pdf = document({ type: 'base64', media_type: 'application/pdf', data: 'AAAA' });
    const { warning } = await ask({ messages: say([pdf, text(ben)]) });
    assert.equal(warning, 'documents with a source of the type "base64" are left out');
  });

  test('what a server did is a call and its result', async () => {
    const search = { type: 'server_tool_use', id: 'srvtoolu_1', name: 'get_weather', input: { city: 'Tokyo' } };
    const answered = (content, type = 'web_search_tool_result') => [
      ...say(weather_question),
      { role: 'assistant', content: [search, { type, tool_use_id: 'srvtoolu_1', content }] },
      ...say('So?'),
    ];
    const same = (content) => [
      ...say(weather_question),
      { role: 'assistant', content: [{ ...search, type: 'tool_use' }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'srvtoolu_1', content }, text('So?')] },
    ];
    const page = (name) => ({ type: 'web_search_result', title: name, url: `http://${name}`, encrypted_content: 'zzz' });
    for (const [content, read, type] of [
      [[page('one'), page('two')], '- one: http://one\n- two: http://two\n'],
      [{ type: 'web_search_tool_result_error', error_code: 'max_uses_exceeded' }, 'web_search_tool_result_error: max_uses_exceeded'],
      ['sunny', 'sunny', 'mcp_tool_result'],
      [{ type: 'code_execution_result', stdout: '7' }, '{"type":"code_execution_result","stdout":"7"}', 'code_execution_tool_result'],
    ]) {
      assert.equal(await count({ messages: answered(content, type), tools }), await count({ messages: same(read), tools }), read);
      await ask({ messages: answered(content, type), tools });
    }
    // What the model says then stands behind the result.
    const [call, result] = [search, { type: 'web_search_tool_result', tool_use_id: 'srvtoolu_1', content: 'sunny' }];
    const whole = [...say('Hi'), { role: 'assistant', content: [call, result, text('It is sunny.')] }, ...say('So?')];
    const apart = [
      ...say('Hi'),
      { role: 'assistant', content: [{ ...call, type: 'tool_use' }] },
      { role: 'user', content: [{ ...result, type: 'tool_result' }] },
      { role: 'assistant', content: 'It is sunny.' },
      ...say('So?'),
    ];
    assert.equal(await count({ messages: whole, tools }), await count({ messages: apart, tools }));
  });

  test('tools with a type', async () => {
    const bash = { type: 'bash_20250124', name: 'bash' };
    const editor = { type: 'text_editor_20250728', name: 'str_replace_based_edit_tool', max_characters: 1000 };
    const search = { type: 'web_search_20250305', name: 'web_search', max_uses: 8 };
    const code = { type: 'code_execution_20250825', name: 'code_execution' };
    const messages = say(weather_question);
    const answer = await ask({ messages, tools: [bash, editor, ...tools] });
    assert.deepEqual(blocks(answer, 'tool_use')[0].input, { city: 'Tokyo' });
    assert.equal(answer.warning, undefined);
    assert.ok((await count({ messages, tools: [bash, ...tools] })) > (await count({ messages, tools })));

    const without = await ask({ messages, tools: [search, code, ...tools] });
    assert.deepEqual(blocks(without, 'tool_use')[0].input, { city: 'Tokyo' });
    assert.match(without.warning, /"web_search_20250305" are left out: .*; tools of the type "code_execution_20250825" are left out/);
    assert.equal(await count({ messages, tools: [search, code, ...tools] }), await count({ messages, tools }));
    // Claude Code's WebSearch: one tool, which has to be called.
    for (const tool_choice of [undefined, { type: 'tool', name: 'web_search' }, { type: 'any' }]) {
      const { content, warning } = await ask({ messages: capital_question, tools: [search], tool_choice });
      assert.deepEqual(content, [text(capital_answer)]);
      assert.match(warning, /web_search/);
    }
    const chosen = await ask({ messages, tools: [search, ...tools], tool_choice: { type: 'tool', name: 'get_weather' } });
    assert.equal(chosen.stop_reason, 'tool_use');
    const wrong = await server.post('/v1/messages', { model, max_tokens, messages, tools, tool_choice: { type: 'tool', name: 'x' } });
    assert.equal(wrong.status, 400);
  });

  test("Claude Code's first system block keeps no prefix from being shared", async () => {
    const billing = (id) => text(`x-anthropic-billing-header: cc_version=2.1.197.${id}; cc_entrypoint=sdk-cli;`);
    const system = [text(list), { ...text('Be brief.'), cache_control: { type: 'ephemeral' } }];
    const messages = say(ben);
    assert.equal(await count({ system: [billing('73f'), ...system], messages }), await count({ system, messages }));
    await ask({ system: [billing('73f'), ...system], messages });
    const { usage } = await ask({ system: [billing('66a'), ...system], messages });
    assert.ok(usage.input_tokens <= 2, JSON.stringify(usage));
    const quoted = [...system, billing('73f')];
    assert.ok((await count({ system: quoted, messages })) > (await count({ system, messages })), 'only the first one');
  });

  test('thinking of the history, and effort', async () => {
    const thought = { type: 'thinking', thinking: 'Tokyo.', signature: '' };
    const hidden = { type: 'redacted_thinking', data: 'zzz' };
    const messages = [...say('Hi'), { role: 'assistant', content: [thought, hidden, text('Hello.')] }, ...capital_question];
    const answer = await ask({ messages });
    assert.equal(answer.warning, undefined);
    assert.deepEqual(blocks(answer, 'text'), [text(capital_answer)]);
    for (const effort of ['xhigh', 'MAX', 'ultra']) {
      const body = { messages: capital_question, thinking: { type: 'adaptive' }, output_config: { effort } };
      assert.equal(blocks(await ask(body), 'thinking').length, 1, effort);
    }
  });

  test('a request as Claude Code sends it', async () => {
    const body = {
      model,
      max_tokens: 32_000,
      stream: true,
      temperature: 0,
      thinking: { type: 'disabled' },
      metadata: { user_id: 'user_1_account__session_2' },
      context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] },
      system: [
        text('x-anthropic-billing-header: cc_version=2.1.197.73f; cc_entrypoint=sdk-cli;'),
        { ...text("You are Claude Code, Anthropic's official CLI for Claude."), cache_control: { type: 'ephemeral' } },
      ],
      tools: tools.map((tool) => ({ ...tool, cache_control: { type: 'ephemeral' }, defer_loading: true, strict: true })),
      messages: say([text('<system-reminder>Nothing.</system-reminder>'), { ...text(weather_question), cache_control: { type: 'ephemeral' } }]),
    };
    const headers = { 'anthropic-version': '2023-06-01', 'anthropic-beta': 'claude-code-20250219', 'x-api-key': 'ollama' };
    const answer = await server.send('POST', '/v1/messages?beta=true', body, headers);
    assert.equal(answer.status, 200, answer.text);
    const events = parse_events(answer.text);
    assert.equal(events.at(-1).data.type, 'message_stop');
    assert.ok(['tool_use', 'end_turn'].includes(events.at(-2).data.delta.stop_reason));
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
      [{ model: 5 }, /^model must be a string$/],
      [{ max_tokens: undefined }, /^max_tokens is required and must be positive$/],
      [{ max_tokens: 0 }, /^max_tokens is required and must be positive$/],
      [{ max_tokens: 'many' }, /^max_tokens must be an integer$/],
      [{ messages: [] }, /^messages is required$/],
      [{ messages: 'Hello' }, /^messages must be a list$/],
      [{ messages: [{ role: 'wizard', content: 'Hello' }] }, /invalid message role/],
      [{ messages: [{ role: 'user' }] }, /content is required/],
      [{ messages: say([{ type: 'image', source: { type: 'url', url: 'http://x/y.png' } }]) }, /image input is not supported/],
      [{ messages: say([{ type: 'tool_use', name: 'f', input: {} }]) }, /missing required 'id'/],
      [{ temperature: 'hot' }, /^temperature must be a number$/],
      [{ stream: 'yes' }, /^stream must be true or false$/],
      [{ stop_sequences: 'x' }, /^stop_sequences must be a list$/],
      [{ messages: say([{ type: 'text', text: 5 }]) }, /^messages\[0\]\.content\[0\]\.text must be a string$/],
      [{ messages: say([{ type: 'tool_reference', tool_name: 'x' }]) }, /^messages is required$/],
      [{ system: 5 }, /^system must be a string or a list of content blocks$/],
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
