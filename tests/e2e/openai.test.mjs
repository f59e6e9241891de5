// The official openai client for JavaScript, unchanged, and what it cannot show of the wire.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import OpenAI from 'openai';

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
import { endless } from './gguf.mjs';
import { server_for_suite } from './harness.mjs';

const model = 'cria';
const temperature = 0;
const tools = cria_tools.map(({ name, description, schema }) => ({
  type: 'function',
  function: { name, description, parameters: schema },
}));
const response_tools = cria_tools.map(({ name, description, schema }) => ({
  type: 'function',
  name,
  description,
  parameters: schema,
  strict: false,
}));
const say = (content) => [{ role: 'user', content }];
const client_of = (server) => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'ollama', maxRetries: 0 });

describe('chat completions', () => {
  const server = server_for_suite({}, (server) => server.create('endless', endless()));
  const chat = (body) => client_of(server).chat.completions.create({ model, temperature, ...body });

  test('one answer', async () => {
    const before = Math.floor(Date.now() / 1000);
    const answer = await chat({ messages: capital_question });
    assert.match(answer.id, /^chatcmpl-[0-9a-f]{24}$/);
    assert.equal(answer.object, 'chat.completion');
    assert.equal(answer.model, model);
    assert.ok(answer.created >= before && answer.created <= Date.now() / 1000, `${answer.created}`);
    assert.deepEqual(answer.choices, [
      { index: 0, message: { role: 'assistant', content: capital_answer }, finish_reason: 'stop' },
    ]);
    const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
    assert.ok(prompt_tokens > 5 && completion_tokens > 3);
    assert.equal(total_tokens, prompt_tokens + completion_tokens);
    const again = await chat({ messages: capital_question });
    const { cached_tokens } = again.usage.prompt_tokens_details;
    assert.ok(cached_tokens > 0 && cached_tokens < prompt_tokens, `${cached_tokens} of ${prompt_tokens} were cached`);
  });

  test('a stream, its usage at the end', async () => {
    const stream = await chat({ messages: capital_question, stream: true, stream_options: { include_usage: true } });
    const chunks = await all(stream);
    const last = chunks.pop();
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.completion_tokens > 3);
    assert.equal(chunks.map(({ choices }) => choices[0].delta.content).join(''), capital_answer);
    assert.deepEqual(
      chunks.map(({ choices }) => choices[0].finish_reason).filter((reason) => reason !== null),
      ['stop'],
    );
    assert.equal(new Set([last, ...chunks].map(({ id }) => id)).size, 1);
    assert.ok(chunks.every(({ object, usage }) => object === 'chat.completion.chunk' && usage === undefined));
    assert.ok((await all(await chat({ messages: capital_question, stream: true }))).at(-1).choices.length === 1);
  });

  test('the wire: content type, no buffering on the way, [DONE]', async () => {
    const body = { model, temperature, stream: true, messages: capital_question };
    const answer = await server.post('/v1/chat/completions', body);
    assert.equal(answer.headers['content-type'], 'text/event-stream');
    assert.equal(answer.headers['cache-control'], 'no-cache');
    assert.equal(answer.headers['x-accel-buffering'], 'no');
    const events = parse_events(answer.text);
    assert.equal(events.at(-1).data, '[DONE]');
    assert.ok(events.every(({ event }) => event === undefined));
  });

  test('a conversation in parts, with roles of old and new', async () => {
    const answer = await chat({
      messages: [
        { role: 'developer', content: 'Here is a list.\nAna: 417\nBen: 902' },
        { role: 'user', content: [{ type: 'text', text: 'What is the number of Ben?' }] },
      ],
    });
    assert.equal(answer.choices[0].message.content, 'Ben: 902');
  });

  test('max_tokens, max_completion_tokens, stop', async () => {
    for (const limit of [{ max_tokens: 3 }, { max_completion_tokens: 3 }]) {
      const answer = await chat({ messages: say('Count to 100'), ...limit });
      assert.equal(answer.usage.completion_tokens, 3);
      assert.equal(answer.choices[0].finish_reason, 'length');
    }
    for (const stop of [' 7', ['nothing', ' 7']]) {
      const answer = await chat({ messages: say('Count to 100'), stop });
      assert.equal(answer.choices[0].message.content, '1, 2, 3, 4, 5, 6,');
      assert.equal(answer.choices[0].finish_reason, 'stop');
    }
  });

  test('a seed repeats an answer; without a temperature it is 1', async () => {
    const story = { messages: say('Tell me a story.'), temperature: undefined, max_tokens: 40 };
    const told = async (extra) => (await chat({ ...story, ...extra })).choices[0].message.content;
    assert.equal(await told({ seed: 5 }), await told({ seed: 5 }));
    assert.equal(await told({ seed: 5 }), await told({ seed: 5, temperature: 1, top_p: 1 }));
    assert.notEqual(await told({ seed: 5 }), await told({ seed: 6 }));
  });

  test('response_format', async () => {
    for (const response_format of [
      { type: 'json_object' },
      { type: 'json_schema', json_schema: { name: 'friend', strict: true, schema: json_schema } },
    ]) {
      const answer = await chat({ messages: say(json_question), response_format });
      assert.deepEqual(JSON.parse(answer.choices[0].message.content), json_answer);
    }
    const odd = { type: 'object', properties: { zip: { type: 'boolean' } }, required: ['zip'] };
    const response_format = { type: 'json_schema', json_schema: { name: 'odd', schema: odd } };
    const answer = await chat({ messages: say('Hello'), response_format });
    assert.deepEqual(Object.keys(JSON.parse(answer.choices[0].message.content)), ['zip'], 'the schema decides');
  });

  test('logprobs', async () => {
    const body = { messages: capital_question, logprobs: true, top_logprobs: 3 };
    const answer = await chat(body);
    const { content } = answer.choices[0].logprobs;
    const text = Buffer.from(content.flatMap(({ bytes }) => bytes)).toString();
    assert.ok(text.startsWith(capital_answer), text);
    for (const { logprob, top_logprobs } of content) {
      assert.equal(top_logprobs.length, 3);
      assert.ok(logprob <= 0 && Math.abs(top_logprobs[0].logprob - logprob) < 1e-3, 'the likeliest was taken');
    }
    const chunks = await all(await chat({ ...body, stream: true }));
    const streamed = chunks.flatMap(({ choices }) => choices[0].logprobs.content);
    assert.deepEqual(
      streamed.map(({ token }) => token),
      content.map(({ token }) => token),
    );
    assert.equal((await chat({ messages: capital_question })).choices[0].logprobs, undefined);
  });

  test('reasoning comes apart from the answer', async () => {
    for (const wish of [{ reasoning_effort: 'low' }, { reasoning: { effort: 'high' } }]) {
      const { message } = (await chat({ messages: capital_question, ...wish })).choices[0];
      assert.equal(message.content, capital_answer);
      assert.ok(message.reasoning.length > 5, message.reasoning);
    }
    const deltas = (await all(await chat({ messages: capital_question, reasoning_effort: 'low', stream: true }))).map(
      ({ choices }) => choices[0].delta,
    );
    assert.equal(deltas.map(({ content }) => content ?? '').join(''), capital_answer);
    assert.ok(deltas.filter(({ reasoning }) => reasoning).length > 2, 'thoughts are streamed');
    for (const wish of [{}, { reasoning_effort: 'none' }]) {
      assert.equal((await chat({ messages: capital_question, ...wish })).choices[0].message.reasoning, undefined);
    }
  });

  test('tools: a call, and its result fed back', async () => {
    const messages = say(weather_question);
    const { message, finish_reason } = (await chat({ messages, tools })).choices[0];
    assert.equal(finish_reason, 'tool_calls');
    assert.equal(message.tool_calls.length, 1);
    const [call] = message.tool_calls;
    assert.equal(call.type, 'function');
    assert.ok(call.id.length > 3);
    assert.equal(call.function.name, 'get_weather');
    assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Tokyo' });
    const result = { role: 'tool', tool_call_id: call.id, content: '21 degrees and sunny' };
    const answer = await chat({ messages: [...messages, message, result], tools });
    assert.equal(answer.choices[0].message.content, 'The answer for Tokyo is: 21 degrees and sunny');
    assert.equal(answer.choices[0].finish_reason, 'stop');
  });

  test('tools, streamed and put together by the client', async () => {
    const messages = say('What time is it in Paris?');
    const runner = client_of(server).chat.completions.stream({ model, temperature, messages, tools });
    const answer = await runner.finalChatCompletion();
    const { message, finish_reason } = answer.choices[0];
    assert.equal(finish_reason, 'tool_calls');
    assert.equal(message.tool_calls[0].function.name, 'get_time');
    assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'Paris' });
  });

  test('tool_choice', async () => {
    const call_of = async (body) => (await chat({ tools, ...body })).choices[0].message.tool_calls?.[0].function.name;
    const weather = say(weather_question);
    assert.equal(await call_of({ messages: weather, tool_choice: 'auto' }), 'get_weather');
    assert.equal(await call_of({ messages: weather, tool_choice: 'none' }), undefined);
    assert.equal(await call_of({ messages: capital_question, tool_choice: 'auto' }), undefined);
    assert.equal(await call_of({ messages: weather, tool_choice: 'required' }), 'get_weather');
    const named = { type: 'function', function: { name: 'get_weather' } };
    assert.equal(await call_of({ messages: weather, tool_choice: named }), 'get_weather');
    const body = { model, messages: weather, tools, tool_choice: named, _debug_render_only: true };
    const { rendered_template } = (await server.ok('/v1/chat/completions', body))._debug_info;
    assert.match(rendered_template, /get_weather/);
    assert.doesNotMatch(rendered_template, /get_time/);
  });

  test('tool_choice forces a call of one that would not have called', async () => {
    const messages = capital_question;
    for (const body of [{}, { stream: true }, { reasoning_effort: 'high' }, { temperature: 1, seed: 7 }]) {
      for (const [tool_choice, name] of [
        ['required', /^get_(weather|time)$/],
        [{ type: 'function', function: { name: 'get_time' } }, /^get_time$/],
      ]) {
        const asked = { messages, tools, tool_choice, ...body };
        const answer = body.stream
          ? await client_of(server).chat.completions.stream({ model, temperature, ...asked }).finalChatCompletion()
          : await chat(asked);
        const [{ message, finish_reason }] = answer.choices;
        assert.equal(finish_reason, 'tool_calls', JSON.stringify(message));
        assert.match(message.tool_calls[0].function.name, name);
        assert.equal(typeof JSON.parse(message.tool_calls[0].function.arguments).city, 'string');
      }
    }
    const forced = { model, input: 'What is the capital of Japan?', tools: response_tools, tool_choice: 'required' };
    const { output } = await client_of(server).responses.create(forced);
    assert.ok(output.some(({ type }) => type === 'function_call'), JSON.stringify(output));
  });

  test('abort in mid-stream frees the slot', async () => {
    const stream = await chat({ model: 'endless', messages: say('Hello'), stream: true });
    let parts = 0;
    for await (const { choices } of stream) {
      assert.equal(choices[0].finish_reason, null);
      if (++parts === 5) stream.controller.abort();
    }
    assert.ok(parts >= 5);
    await nobody_runs(server);
    const next = await chat({ model: 'endless', messages: say('Hello'), max_tokens: 2 });
    assert.equal(next.usage.completion_tokens, 2);
  });
});

describe('completions and models', () => {
  const server = server_for_suite();
  const complete = (body) => client_of(server).completions.create({ model, temperature, ...body });

  test('one answer and a stream', async () => {
    const answer = await complete({ prompt: 'Count to 8' });
    assert.equal(answer.object, 'text_completion');
    assert.equal(answer.choices[0].text, '1, 2, 3, 4, 5, 6, 7, 8');
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.ok(answer.usage.total_tokens > 8);
    const chunks = await all(
      await complete({ prompt: ['Count to 8'], stream: true, stream_options: { include_usage: true } }),
    );
    assert.equal(chunks.pop().usage.completion_tokens, answer.usage.completion_tokens);
    assert.equal(chunks.map(({ choices }) => choices[0].text).join(''), '1, 2, 3, 4, 5, 6, 7, 8');
  });

  test('suffix fills in the middle', async () => {
    const answer = await complete({ prompt: 'def add(a, b):\n', suffix: '\n    return result\n', max_tokens: 20 });
    assert.equal(answer.choices[0].text, '    result = a + b');
  });

  test('logprobs', async () => {
    const { logprobs, text } = (await complete({ prompt: 'Count to 3', logprobs: 2 })).choices[0];
    assert.ok(logprobs.tokens.join('').startsWith(text));
    assert.equal(logprobs.tokens.length, logprobs.token_logprobs.length);
    assert.equal(logprobs.text_offset[1], logprobs.tokens[0].length);
    assert.ok(logprobs.top_logprobs.every((top) => Object.keys(top).length === 2));
  });

  test('models', async () => {
    const { data } = await client_of(server).models.list();
    assert.deepEqual(
      data.map(({ id, object, owned_by }) => ({ id, object, owned_by })),
      [{ id: 'cria:latest', object: 'model', owned_by: 'library' }],
    );
    assert.ok(Number.isInteger(data[0].created) && data[0].created > 0);
    assert.equal((await client_of(server).models.retrieve('cria')).id, 'cria');
    await assert.rejects(client_of(server).models.retrieve('ana/nobody:1'), {
      status: 404,
      code: 'model_not_found',
      type: 'not_found_error',
    });
  });
});

describe('responses', () => {
  const server = server_for_suite();
  const respond = (body) => client_of(server).responses.create({ model, temperature, ...body });

  test('one answer', async () => {
    const answer = await respond({ input: 'What is the capital of Japan?' });
    assert.equal(answer.object, 'response');
    assert.equal(answer.status, 'completed');
    assert.equal(answer.output_text, capital_answer);
    assert.equal(answer.output.length, 1);
    assert.equal(answer.output[0].role, 'assistant');
    assert.equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens);
    assert.deepEqual(answer.text, { format: { type: 'text' } });
    const cut = await respond({ input: 'Count to 100', max_output_tokens: 3 });
    assert.equal(cut.status, 'incomplete');
    assert.deepEqual(cut.incomplete_details, { reason: 'max_output_tokens' });
  });

  test('instructions, items and a schema', async () => {
    const listed = await respond({
      instructions: 'Here is a list.\nAna: 417\nBen: 902',
      input: [{ role: 'user', content: [{ type: 'input_text', text: 'What is the number of Ana?' }] }],
    });
    assert.equal(listed.output_text, 'Ana: 417');
    const format = { type: 'json_schema', name: 'friend', schema: json_schema, strict: true };
    const answer = await respond({ input: json_question, text: { format } });
    assert.deepEqual(JSON.parse(answer.output_text), json_answer);
    assert.deepEqual(answer.text.format, format);
  });

  test('a stream, put together by the client', async () => {
    const stream = client_of(server).responses.stream({
      model,
      temperature,
      input: 'What is the capital of Japan?',
      reasoning: { effort: 'low' },
    });
    const types = [];
    let text = '';
    let thought = '';
    let sequence = 0;
    for await (const event of stream) {
      types.push(event.type);
      assert.equal(event.sequence_number, sequence++);
      if (event.type === 'response.output_text.delta') text += event.delta;
      if (event.type === 'response.reasoning_summary_text.delta') thought += event.delta;
    }
    const answer = await stream.finalResponse();
    assert.equal(text, capital_answer);
    assert.equal(answer.output_text, capital_answer);
    assert.deepEqual(
      answer.output.map(({ type }) => type),
      ['reasoning', 'message'],
    );
    assert.equal(answer.output[0].summary[0].text, thought);
    const once = (type) => types.filter((other) => other === type).length;
    assert.deepEqual(types.slice(0, 3), ['response.created', 'response.in_progress', 'response.output_item.added']);
    assert.equal(types.at(-1), 'response.completed');
    assert.equal(once('response.output_item.added'), 2);
    assert.equal(once('response.output_item.done'), 2);
    assert.equal(once('response.output_text.done'), 1);
  });

  test('tools: a call, and its result fed back', async () => {
    for (const streamed of [false, true]) {
      const question = { role: 'user', content: weather_question };
      const body = { model, temperature, input: [question], tools: response_tools };
      const first = streamed
        ? await client_of(server).responses.stream(body).finalResponse()
        : await client_of(server).responses.create(body);
      const call = first.output.find(({ type }) => type === 'function_call');
      assert.equal(call.name, 'get_weather');
      assert.deepEqual(JSON.parse(call.arguments), { city: 'Tokyo' });
      const result = { type: 'function_call_output', call_id: call.call_id, output: '21 degrees and sunny' };
      const answer = await respond({ input: [question, ...first.output, result], tools: response_tools });
      assert.equal(answer.output_text, 'The answer for Tokyo is: 21 degrees and sunny');
    }
  });

  test('what would need a memory is refused', async () => {
    for (const body of [{ previous_response_id: 'resp_1' }, { conversation: 'conv_1' }, { background: true }]) {
      await assert.rejects(respond({ input: 'Hello', ...body }), { status: 400, type: 'invalid_request_error' });
    }
  });
});

describe('errors', () => {
  const server = server_for_suite({ env: { OLLAMA_MAX_QUEUE: '1' } }, async (server) => {
    await server.create('endless', endless());
    await server.generate('Hello', { model: 'endless', options: { num_predict: 1 } });
  });
  const chat = (body) => client_of(server).chat.completions.create({ model, messages: say('Hello'), ...body });
  const wrong = (text) => ({ status: 400, type: 'invalid_request_error', code: null, param: null, message: text });

  test('unknown model, in every route', async () => {
    const missing = { status: 404, type: 'not_found_error', code: 'model_not_found', message: /'nobody' not found/ };
    const client = client_of(server);
    const model = 'nobody';
    for (const stream of [false, true]) {
      await assert.rejects(chat({ model, stream }), missing);
      await assert.rejects(client.completions.create({ model, prompt: 'Hello', stream }), missing);
      await assert.rejects(client.responses.create({ model, input: 'Hello', stream }), missing);
    }
  });

  test('wrong types and values', async () => {
    for (const [body, text] of [
      [{ messages: [] }, /\[\] is too short - 'messages'/],
      [{ messages: 'Hello' }, /ChatCompletionRequest\.messages/],
      [{ messages: [5] }, /invalid message format/],
      [{ messages: [{ role: 'user' }] }, /invalid message content type/],
      [{ messages: say([{ type: 'image_url', image_url: { url: 'http://x/y.png' } }]) }, /image input is not supported/],
      [{ model: '' }, /model is required/],
      [{ model: 5 }, /ChatCompletionRequest\.model of type string/],
      [{ max_tokens: 'many' }, /ChatCompletionRequest\.max_tokens of type int/],
      [{ temperature: 'hot' }, /ChatCompletionRequest\.temperature of type float64/],
      [{ stream: 'yes' }, /ChatCompletionRequest\.stream of type bool/],
      [{ stop: 5 }, /ChatCompletionRequest\.stop/],
      [{ n: 2 }, /n must be 1/],
      [{ logprobs: true, top_logprobs: 21 }, /top_logprobs must be between 0 and 20/],
      [{ reasoning_effort: 'enormous' }, /invalid reasoning value: 'enormous'/],
      [{ response_format: { type: 'xml' } }, /invalid response_format type: 'xml'/],
      [{ response_format: { type: 'json_schema' } }, /needs a schema/],
      [{ tools: 'all' }, /ChatCompletionRequest\.tools of type array/],
      [{ tools, tool_choice: { type: 'function', function: { name: 'dance' } } }, /not among the tools/],
      [{ tools, tool_choice: 'perhaps' }, /invalid tool_choice/],
    ]) {
      await assert.rejects(chat(body), wrong(text), JSON.stringify(body));
      await assert.rejects(chat({ ...body, stream: body.stream ?? true }), wrong(text), JSON.stringify(body));
    }
    for (const body of [{ prompt: ['a', 'b'] }, { prompt: [1, 2] }, { prompt: 'a', echo: true }, { prompt: 'a', n: 2 }]) {
      await assert.rejects(client_of(server).completions.create({ model, ...body }), { status: 400 });
    }
    for (const input of [undefined, 5, [], [{ type: 'item_reference', id: 'x' }], [{}]]) {
      await assert.rejects(client_of(server).responses.create({ model, input }), { status: 400 }, `${input}`);
    }
    assert.equal((await chat({ messages: capital_question, temperature: 0 })).choices[0].message.content, capital_answer);
  });

  test('what is no JSON', async () => {
    for (const path of ['/v1/chat/completions', '/v1/completions', '/v1/responses']) {
      for (const body of ['', '{', '[]', 'Hello']) {
        const answer = await server.post(path, body);
        assert.equal(answer.status, 400, answer.text);
        assert.deepEqual(Object.keys(answer.json.error), ['message', 'type', 'param', 'code']);
      }
    }
  });

  test('a prompt that is too long', async () => {
    const messages = say('llama '.repeat(5000));
    const refused = { status: 400, code: 'context_length_exceeded', type: 'invalid_request_error' };
    await assert.rejects(chat({ messages, truncate: false }), refused);
    await assert.rejects(chat({ messages, truncate: false, stream: true }), (error) => {
      // On a machine that takes more than a second to get here the stream has begun.
      assert.equal(error.code, 'context_length_exceeded');
      return true;
    });
  });

  test('a full queue', async () => {
    const holder = await hold(server);
    const next = chat({ model: 'endless', max_tokens: 1 });
    await waiting(server, 1);
    for (const stream of [false, true]) {
      await assert.rejects(chat({ model: 'endless', stream }), (error) => {
        assert.equal(error.status, 503);
        assert.equal(error.type, 'api_error');
        assert.match(error.message, /maximum pending requests exceeded/);
        assert.ok(Number(error.headers.get('retry-after')) >= 1);
        return true;
      });
    }
    holder.close();
    assert.equal((await next).usage.completion_tokens, 1);
  });

  test('a wait that is too long: a status before the stream has begun, an error in it afterwards', async () => {
    const holder = await hold(server);
    const client = client_of(server);
    const wait = (headers) =>
      client.chat.completions.create(
        { model: 'endless', messages: say('Hello'), stream: true },
        { headers: { 'X-Request-Timeout': '5', ...headers } },
      );
    await assert.rejects(wait({ 'X-Heartbeat': '0' }), { status: 503, type: 'api_error', message: /model request timeout/ });
    const stream = await wait({});
    await assert.rejects(all(stream), (error) => {
      assert.equal(error.status, undefined, 'the status was sent while it waited');
      assert.match(error.message, /model request timeout/);
      assert.equal(error.type, 'api_error');
      return true;
    });
    holder.close();
  });
});
