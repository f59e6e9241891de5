// What Codex and the AI SDK send to /v1/responses: tools of all types, items of all types, references to earlier answers.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import OpenAI from 'openai';

import { all, capital_answer, capital_question, parse_events, tools as cria_tools, weather_question } from './faces.mjs';
import { server_for_suite } from './harness.mjs';

const model = 'cria';
const temperature = 0;
const as_function = ({ name, description, schema }) => ({
  type: 'function',
  name,
  description,
  strict: false,
  parameters: schema,
});
const functions = cria_tools.map(as_function);
const question = { type: 'message', role: 'user', content: [{ type: 'input_text', text: weather_question }] };
const client_of = (server, apiKey = 'ollama') => new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 });

// What Codex offers by default, less the texts.
const codex_tools = [
  ...functions,
  { type: 'namespace', name: 'mcp__clock__', description: 'Clocks.', tools: [as_function(cria_tools[1])] },
  { type: 'web_search', external_web_access: false },
  { type: 'image_generation', output_format: 'png' },
];

describe('tools', () => {
  const server = server_for_suite();
  const post = (body) => server.post('/v1/responses', { model, temperature, input: [question], ...body });
  const logged = (answer) => server.stderr.split('\n').filter((line) => line.includes(answer.headers['x-request-id']));

  test("Codex's request is answered, and says what was left out", async () => {
    const body = {
      instructions: 'You are a coding agent.',
      input: [
        { type: 'message', role: 'developer', content: [{ type: 'input_text', text: 'Sandbox: read-only.' }] },
        question,
      ],
      tools: codex_tools,
      tool_choice: 'auto',
      parallel_tool_calls: false,
      reasoning: { effort: 'ultra', summary: 'auto' },
      store: false,
      stream: true,
      include: ['reasoning.encrypted_content'],
      prompt_cache_key: '0198',
      client_metadata: { installation: 'x' },
    };
    const answer = await post(body);
    assert.equal(answer.status, 200, answer.text);
    const warning = answer.headers['x-drover-warning'];
    assert.match(warning, /tools of the type "web_search" are left out; tools of the type "image_generation" are left out/);
    assert.doesNotMatch(warning, /parallel_tool_calls|include|prompt_cache_key|client_metadata|store/);
    const lines = logged(answer).filter((line) => line.includes('web_search'));
    assert.equal(lines.length, 1, 'the log says it once');
    const events = parse_events(answer.text);
    assert.equal(events.at(-1).data.type, 'response.completed');
    assert.equal(events.at(-1).data.response.store, false);
    const quiet = await post({ tools: functions });
    assert.equal(quiet.headers['x-drover-warning'], undefined);
  });

  test('a member of a namespace: its call has a namespace of its own, and is read again', async () => {
    const forced = { tools: [codex_tools[2]], tool_choice: 'required' };
    const plain = (await post(forced)).json;
    const call = plain.output.find(({ type }) => type === 'function_call');
    assert.equal(call.name, 'get_time');
    assert.equal(call.namespace, 'mcp__clock__');
    assert.equal(typeof JSON.parse(call.arguments).city, 'string');
    const events = parse_events((await post({ ...forced, stream: true })).text).map(({ data }) => data);
    for (const type of ['response.output_item.added', 'response.output_item.done']) {
      const event = events.find((event) => event.type === type && event.item.type === 'function_call');
      assert.equal(event.item.name, 'get_time');
      assert.equal(event.item.namespace, 'mcp__clock__');
    }
    const output = { type: 'function_call_output', call_id: call.call_id, output: 'noon' };
    const body = { input: [question, call, output], tools: codex_tools, _debug_render_only: true };
    const { rendered_template } = (await post(body)).json._debug_info;
    assert.match(rendered_template, /"name": ?"mcp__clock__get_time"/);
    assert.doesNotMatch(rendered_template, /web_search/);
  });

  test('a custom tool takes a text', async () => {
    const patch = { type: 'custom', name: 'get_weather', description: 'The weather in a city.' };
    patch.format = { type: 'grammar', syntax: 'lark', definition: 'start: "*** Begin Patch"' };
    for (const tool_choice of [
      { type: 'custom', name: 'get_weather' },
      { type: 'allowed_tools', mode: 'required', tools: [{ type: 'custom', name: 'get_weather' }] },
    ]) {
      const body = { model, temperature, input: [question], tools: [functions[1], patch], tool_choice, max_output_tokens: 120 };
      const plain = await client_of(server).responses.create(body);
      const call = plain.output.find(({ type }) => type === 'custom_tool_call');
      assert.equal(call.name, 'get_weather', JSON.stringify(plain.output));
      assert.match(call.id, /^ctc_/);
      const stream = client_of(server).responses.stream(body);
      const events = await all(stream);
      const one = (type) => events.filter((event) => event.type === type);
      // cria has more to say than one call; the first is what is looked at.
      const deltas = one('response.custom_tool_call_input.delta').filter(({ output_index }) => output_index === 0);
      const [done] = one('response.custom_tool_call_input.done');
      assert.equal(deltas.map(({ delta }) => delta).join(''), call.input);
      assert.equal(done.input, call.input);
      assert.equal(one('response.output_item.done')[0].item.input, call.input);
      const output = { type: 'custom_tool_call_output', call_id: call.call_id, output: 'Done.' };
      const next = { ...body, input: [question, call, output], tool_choice: 'auto', _debug_render_only: true };
      const { rendered_template } = (await post(next)).json._debug_info;
      assert.match(rendered_template, /Begin Patch/, 'the model is told the grammar');
      assert.match(rendered_template, /"input"/);
      assert.match(rendered_template, /Done\./);
    }
  });

  test('an unknown type with a name is a function; without one it is left out', async () => {
    const tools = [{ ...functions[0], type: 'teleport_20300101' }, { type: 'hologram' }];
    const answer = await post({ tools, tool_choice: { type: 'function', name: 'get_weather' } });
    const call = answer.json.output.find(({ type }) => type === 'function_call');
    assert.equal(call.name, 'get_weather', answer.text);
    assert.equal(answer.headers['x-drover-warning'], 'tools of the type "hologram" are left out');
    const named = await post({ tools: functions, tool_choice: { type: 'web_search' } });
    assert.equal(named.status, 400);
    assert.match(named.json.error.message, /tool_choice names "web_search", which is not among the tools/);
  });

  test('cut short: incomplete, also after a call', async () => {
    const tool_choice = 'required';
    for (const stream of [false, true]) {
      const answer = await post({ tools: functions, tool_choice, max_output_tokens: 3, stream });
      const response = stream ? parse_events(answer.text).at(-1).data.response : answer.json;
      assert.equal(response.status, 'incomplete');
      assert.deepEqual(response.incomplete_details, { reason: 'max_output_tokens' });
    }
  });
});

describe('items', () => {
  const server = server_for_suite();
  const post = (body) => server.post('/v1/responses', { model, temperature, ...body });

  test('what cannot be read is skipped, and named once', async () => {
    const input = [
      { type: 'web_search_call', id: 'ws_1', status: 'completed', action: { type: 'search', query: 'x' } },
      { type: 'web_search_call', id: 'ws_2', status: 'completed', action: { type: 'search', query: 'y' } },
      { type: 'local_shell_call', call_id: 'c', status: 'completed', action: { type: 'exec', command: ['ls'] } },
      { type: 'compaction', encrypted_content: 'x' },
      { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: `gAAAAAB${'x'.repeat(500)}==` },
      ...capital_question,
    ];
    const answer = await post({ input });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json.output[0].content[0].text, capital_answer);
    assert.equal(
      answer.headers['x-drover-warning'],
      ['web_search_call', 'local_shell_call', 'compaction']
        .map((type) => `input items of the type "${type}" are skipped`)
        .concat('encrypted reasoning is skipped')
        .join('; '),
    );
    assert.equal((await post({ input: input.slice(0, 5) })).status, 400, 'nothing is left to answer');
  });

  test('thoughts go back to the model, whoever wrote them down', async () => {
    for (const thought of [
      { summary: [{ type: 'summary_text', text: 'I know this.' }], encrypted_content: 'gAAAAA' },
      { summary: [], content: [{ type: 'reasoning_text', text: 'I know this.' }], encrypted_content: null },
      { summary: [], encrypted_content: 'I know this.' },
    ]) {
      const call = { type: 'function_call', call_id: 'c1', name: 'get_time', arguments: '{"city":"Paris"}' };
      const input = [question, { type: 'reasoning', id: 'rs_1', ...thought }, call];
      input.push({ type: 'function_call_output', call_id: 'c1', output: 'noon' });
      const answer = await post({ input, tools: functions, _debug_render_only: true });
      assert.match(answer.json._debug_info.rendered_template, /I know this\./);
      assert.equal(answer.headers['x-drover-warning'], undefined);
    }
  });

  test('arguments that were cut off do not end the conversation', async () => {
    for (const text of ['{"city": "Tok', 'not json', '[1]']) {
      const call = { type: 'function_call', call_id: 'c1', name: 'get_weather', arguments: text };
      const output = { type: 'function_call_output', call_id: 'c1', output: 'wrong arguments' };
      const answer = await post({ input: [question, call, output], tools: functions });
      assert.equal(answer.status, 200, answer.text);
      assert.match(answer.headers['x-drover-warning'], /the arguments of a tool call are no JSON object/);
    }
  });
});

describe('answers that are referred to', () => {
  const server = server_for_suite();
  const respond = (body, key) => client_of(server, key).responses.create({ model, temperature, ...body });
  const call_of = (answer) => answer.output.find(({ type }) => type === 'function_call');

  test('previous_response_id goes on from an answer, and from that one', async () => {
    for (const stream of [false, true]) {
      const body = { model, temperature, input: weather_question, tools: functions };
      const first = stream ? await client_of(server).responses.stream(body).finalResponse() : await respond(body);
      assert.equal(first.store, true);
      const output = { type: 'function_call_output', call_id: call_of(first).call_id, output: '21 degrees and sunny' };
      const second = await respond({ input: [output], tools: functions, previous_response_id: first.id });
      assert.equal(second.output_text, 'The answer for Tokyo is: 21 degrees and sunny');
      assert.equal(second.previous_response_id, first.id);
      const third = { model, input: 'Thanks.', previous_response_id: second.id, _debug_render_only: true };
      const answer = await server.send('POST', '/v1/responses', third, { authorization: 'Bearer ollama' });
      const { rendered_template } = answer.json._debug_info;
      const places = [weather_question, '"city"', '21 degrees', 'The answer for Tokyo', 'Thanks.'].map((text) =>
        rendered_template.indexOf(text),
      );
      assert.deepEqual(places, places.toSorted((a, b) => a - b), rendered_template);
      assert.ok(places[0] >= 0, rendered_template);
    }
  });

  test('item_reference stands for an item', async () => {
    const first = await respond({ input: weather_question, tools: functions });
    const references = first.output.map(({ id }) => ({ type: 'item_reference', id }));
    const output = { type: 'function_call_output', call_id: call_of(first).call_id, output: '21 degrees and sunny' };
    const answer = await respond({ input: [question, ...references, output], tools: functions });
    assert.equal(answer.output_text, 'The answer for Tokyo is: 21 degrees and sunny');
    const next = { input: capital_question, previous_response_id: answer.id };
    assert.equal((await respond(next)).output_text, capital_answer, 'what was referred to is kept with it');
  });

  test('what is not kept, of somebody else or unknown, is named', async () => {
    const unstored = await respond({ input: capital_question, store: false });
    assert.equal(unstored.store, false);
    const stored = await respond({ input: capital_question });
    for (const [id, key] of [
      ['resp_1', 'ollama'],
      [unstored.id, 'ollama'],
      [stored.id, 'another'],
    ]) {
      await assert.rejects(respond({ input: 'Hello', previous_response_id: id }, key), {
        status: 400,
        type: 'invalid_request_error',
        code: 'previous_response_not_found',
        param: 'previous_response_id',
        message: `400 Previous response with id '${id}' not found.`,
      });
    }
    for (const [id, key] of [
      [stored.output[0].id, 'another'],
      [unstored.output[0].id, 'ollama'],
    ]) {
      const input = [{ type: 'item_reference', id }, ...capital_question];
      const refused = { status: 400, param: 'input', message: new RegExp(`Item with id '${id}' not found`) };
      await assert.rejects(respond({ input }, key), refused);
    }
    assert.equal((await respond({ input: 'Hello', previous_response_id: stored.id })).status, 'completed');
  });
});

describe('answers that are asked for again', () => {
  const server = server_for_suite();
  const responses = (key) => client_of(server, key).responses;
  const ask = (body, key) => responses(key).create({ model, temperature, ...body });
  const missing = (id) => ({
    status: 404,
    type: 'not_found_error',
    code: null,
    message: `404 Response with id '${id}' not found.`,
  });

  test('an answer is shown as it was given, whole or streamed', async () => {
    const body = { instructions: 'Be brief.', input: weather_question, tools: functions, metadata: { a: 'b' } };
    const first = await ask(body);
    const streamed = await responses().stream({ model, temperature, ...body }).finalResponse();
    for (const given of [first, streamed]) {
      const { output_text, ...shown } = await responses().retrieve(given.id);
      const { output_text: _, parsed, ...whole } = given;
      delete whole.output_parsed;
      for (const item of whole.output) delete item.parsed_arguments;
      assert.deepEqual(shown, JSON.parse(JSON.stringify(whole)));
    }
    const cut = await ask({ input: 'Count to 30', max_output_tokens: 3 });
    assert.equal((await responses().retrieve(cut.id)).status, 'incomplete');
    await assert.rejects(responses().retrieve(first.id, { stream: true }), { status: 400, message: /cannot be streamed/ });
  });

  test('what was asked, in pages', async () => {
    const first = await ask({ input: capital_question });
    const input = [question, { type: 'item_reference', id: first.output[0].id }, { role: 'user', content: 'Thanks.' }];
    const answer = await ask({ input, previous_response_id: first.id });
    const items = await all(responses().inputItems.list(answer.id, { limit: 1 }));
    assert.deepEqual(
      items.map(({ type, role, content }) => [type, role, content[0].type, content[0].text]),
      [
        ['message', 'user', 'input_text', 'Thanks.'],
        ['message', 'assistant', 'output_text', capital_answer],
        ['message', 'user', 'input_text', weather_question],
      ],
    );
    assert.equal(items[1].id, first.output[0].id);
    const { data } = await responses().inputItems.list(answer.id, { order: 'asc' });
    assert.deepEqual(data, items.toReversed());
    await assert.rejects(responses().inputItems.list(answer.id, { limit: 0 }), { status: 400, message: /limit must be/ });
  });

  test('what is deleted, of somebody else, not kept or unknown is not there', async () => {
    const body = { input: capital_question };
    const { id } = await ask(body);
    const unstored = await ask({ ...body, store: false });
    for (const [which, key] of [
      [id, 'another'],
      [unstored.id, 'ollama'],
      ['resp_1', 'ollama'],
    ]) {
      await assert.rejects(responses(key).retrieve(which), missing(which));
      await assert.rejects(responses(key).delete(which), missing(which));
      await assert.rejects(responses(key).inputItems.list(which), missing(which));
    }
    const deleted = await server.send('DELETE', `/v1/responses/${id}`, undefined, { authorization: 'Bearer ollama' });
    assert.deepEqual(deleted.json, { id, object: 'response', deleted: true });
    await assert.rejects(responses().retrieve(id), missing(id));
    await assert.rejects(ask({ ...body, previous_response_id: id }), { code: 'previous_response_not_found' });
  });

  test('the users of one key have their own', async () => {
    const { id } = await ask({ input: capital_question, user: 'anna' });
    await assert.rejects(responses().retrieve(id), missing(id));
    await assert.rejects(responses().retrieve(id, { user: 'ben' }), missing(id));
    assert.equal((await responses().retrieve(id, { user: 'anna' })).output_text, capital_answer);
  });
});
