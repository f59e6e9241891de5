// What people bring to the OpenAI-compatible routes from vLLM, LiteLLM and llama-server: heeded, or named in a warning.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import OpenAI from 'openai';

import { all, capital_answer, capital_question, json_answer, json_question, json_schema, tools, weather_question } from './faces.mjs';
import { server_for_suite } from './harness.mjs';

const model = 'cria';
const say = (content) => [{ role: 'user', content }];
const functions = tools.map(({ name, description, schema }) => ({
  type: 'function',
  function: { name, description, parameters: schema },
}));

describe('fields of other servers', () => {
  const server = server_for_suite();
  const client = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'ollama', maxRetries: 0 });
  const post = (body) => server.post('/v1/chat/completions', { model, temperature: 0, messages: capital_question, ...body });
  const complete = (body) => server.post('/v1/completions', { model, temperature: 0, prompt: 'Count to 8', ...body });
  const content = (answer) => answer.json.choices[0].message.content;
  const warning = (answer) => {
    assert.equal(answer.status, 200, answer.text);
    return answer.headers['x-drover-warning'];
  };

  test('sampling at the top level', async () => {
    const told = async (extra) => {
      const answer = await post({ messages: say('Tell me a story.'), temperature: 1, max_tokens: 30, ...extra });
      assert.equal(warning(answer), undefined);
      return content(answer);
    };
    assert.equal(await told({ top_k: 1, seed: 1 }), await told({ top_k: 1, seed: 2 }), 'one token is left to choose');
    assert.equal(await told({ min_p: 1, seed: 1 }), await told({ min_p: 1, seed: 2 }));
    assert.notEqual(await told({ top_k: -1, seed: 1 }), await told({ top_k: -1, seed: 2 }));
    const count = { messages: say('Count to 30'), temperature: 0 };
    const plain = await told(count);
    for (const name of ['repetition_penalty', 'repeat_penalty']) assert.notEqual(await told({ ...count, [name]: 10 }), plain);
    assert.equal((await post({ num_predict: 2 })).json.usage.completion_tokens, 2);
    assert.equal((await complete({ n_predict: 2 })).json.usage.completion_tokens, 2);
    for (const [field, text] of [
      [{ top_k: 'x' }, /option "top_k" must be of type integer/],
      [{ options: { num_ctx: 'x' } }, /option "num_ctx" must be of type integer/],
      [{ num_ctx: 'x' }, /option "num_ctx" must be of type integer/],
      [{ repetition_penalty: [] }, /option "repeat_penalty" must be of type float32/],
    ]) {
      const refused = await post(field);
      assert.equal(refused.status, 400, refused.text);
      assert.equal(refused.json.error.type, 'invalid_request_error');
      assert.match(refused.json.error.message, text);
      assert.equal((await complete(field)).status, 400);
    }
    const native = await server.post('/api/chat', { model, messages: capital_question, options: { num_ctx: 'x' } });
    assert.equal(native.status, 400);
  });

  test('a choice, and schemas under other names', async () => {
    for (const wish of [{ guided_choice: ['maybe', 'never'] }, { structured_outputs: { choice: ['maybe', 'never'] } }]) {
      const answer = await post(wish);
      assert.equal(warning(answer), undefined);
      assert.match(content(answer), /^(maybe|never)$/);
      const body = { model, temperature: 0, messages: capital_question, stream: true, ...wish };
      const chunks = await all(await client().chat.completions.create(body));
      assert.equal(chunks.map(({ choices }) => choices[0].delta.content ?? '').join(''), content(answer));
      assert.match((await complete(wish)).json.choices[0].text, /^(maybe|never)$/);
    }
    for (const wish of [
      { guided_json: json_schema },
      { guided_json: JSON.stringify(json_schema) },
      { json_schema },
      { structured_outputs: { json: json_schema } },
      { structured_outputs: { json_object: true } },
    ]) {
      const answer = await post({ messages: say(json_question), ...wish });
      assert.equal(warning(answer), undefined);
      assert.deepEqual(JSON.parse(content(answer)), json_answer);
    }
    for (const [wish, text] of [
      [{ guided_choice: 'maybe' }, /guided_choice must be a list of texts/],
      [{ structured_outputs: { choice: [1] } }, /structured_outputs\.choice must be a list of texts/],
      [{ guided_json: 'no schema' }, /guided_json must be a JSON schema/],
      [{ guided_json: json_schema, response_format: { type: 'json_object' } }, /only one of response_format/],
      [{ structured_outputs: 5 }, /structured_outputs of type object/],
    ]) {
      const refused = await post(wish);
      assert.equal(refused.status, 400, refused.text);
      assert.match(refused.json.error.message, text);
    }
  });

  test('thinking, in every way to ask for it', async () => {
    const thinks = async (wish) => {
      const answer = await post(wish);
      assert.equal(warning(answer), undefined, JSON.stringify(wish));
      assert.equal(content(answer), capital_answer);
      return 'reasoning' in answer.json.choices[0].message;
    };
    for (const on of [
      { chat_template_kwargs: { enable_thinking: true } },
      { chat_template_kwargs: { thinking: true } },
      { chat_template_kwargs: { reasoning_effort: 'high' } },
      { think: true },
      { think: 'high' },
      { reasoning: { enabled: true } },
      { reasoning_effort: 'ultra' },
      { reasoning_effort: 'low', think: false },
    ]) {
      assert.equal(await thinks(on), true, JSON.stringify(on));
    }
    for (const off of [
      { chat_template_kwargs: { enable_thinking: false } },
      { think: false },
      { reasoning: { enabled: false } },
      { reasoning_effort: 'none', think: true },
      { think: true, include_reasoning: false },
      { reasoning: { effort: 'high', exclude: true } },
    ]) {
      assert.equal(await thinks(off), false, JSON.stringify(off));
    }
    assert.equal((await post({ think: 'enormous' })).status, 400);
    const stream = { model, temperature: 0, messages: capital_question, stream: true };
    const chunks = await all(await client().chat.completions.create({ ...stream, think: true, include_reasoning: false }));
    assert.ok(chunks.every(({ choices }) => choices[0].delta.reasoning === undefined));
    assert.equal(chunks.map(({ choices }) => choices[0].delta.content ?? '').join(''), capital_answer);
  });

  test('what is not heeded is named, in the header and the log', async () => {
    const asked = {
      min_tokens: 5,
      ignore_eos: true,
      stop_token_ids: [2],
      logit_bias: { 5: -100 },
      guided_regex: 'a+',
      structured_outputs: { grammar: 'root ::= "a"' },
      chat_template_kwargs: { custom: 1 },
      metadata: { a: 'b' },
      stream_options: { continuous_usage_stats: true },
    };
    const line = [
      'continuous_usage_stats is ignored',
      'chat_template_kwargs.custom is ignored',
      'structured_outputs.grammar is ignored',
      'min_tokens is ignored',
      'ignore_eos is ignored',
      'stop_token_ids is ignored',
      'logit_bias is ignored',
      'guided_regex is ignored',
      'metadata is ignored',
    ].join('; ');
    for (const stream of [false, true]) {
      const answer = await post({ ...asked, stream });
      assert.equal(warning(answer), line);
      const id = answer.headers['x-request-id'];
      const lines = server.stderr.split('\n').filter((entry) => entry.includes(id) && entry.includes('is ignored'));
      assert.equal(lines.length, 1);
      assert.ok(lines[0].includes(line), lines[0]);
    }
    assert.equal(warning(await complete({ use_beam_search: true })), 'use_beam_search is ignored');
    const odd = await post({ 'a\r\nSet-Cookie: b': 1 });
    assert.equal(warning(odd), 'a??set-cookie: b is ignored');
    assert.equal(odd.headers['set-cookie'], undefined);
    const many = await post(Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`field${i}`.padEnd(500, 'x'), 1])));
    assert.ok(warning(many).length < 3000);
    assert.match(warning(many), /; and 4988 more$/);
  });

  test('what asks for nothing is not named', async () => {
    const idle = { n: 1, best_of: 1, echo: false, min_tokens: 0, ignore_eos: false, logit_bias: {}, stop_token_ids: [] };
    Object.assign(idle, { metadata: null, parallel_tool_calls: false, skip_special_tokens: true, use_beam_search: false });
    Object.assign(idle, { service_tier: 'auto', verbosity: 'medium', modalities: ['text'], prompt_cache_key: 'k', safety_identifier: 'u' });
    Object.assign(idle, { prediction: { type: 'content', content: 'x' }, stop: null, logprobs: null, seed: null });
    assert.equal(warning(await post(idle)), undefined);
    assert.equal((await post({ best_of: 2 })).status, 400);
    assert.equal((await post({ n: 2 })).status, 400);
    const spoken = await post({ modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'wav' } });
    assert.equal(spoken.json.error.message, 'audio output is not supported');
    assert.equal(spoken.status, 400);
  });

  test('tools: custom ones, and every form of a choice', async () => {
    const patch = { type: 'custom', custom: { name: 'get_weather', description: 'The weather in a city.' } };
    const body = { model, temperature: 0, messages: say(weather_question), tools: [functions[1], patch, { type: 'web_search' }] };
    const chosen = { ...body, tool_choice: { type: 'custom', custom: { name: 'get_weather' } }, max_tokens: 120 };
    const { message } = (await client().chat.completions.create(chosen)).choices[0];
    const [call] = message.tool_calls;
    assert.equal(call.type, 'custom');
    assert.equal(call.custom.name, 'get_weather');
    assert.equal(typeof call.custom.input, 'string');
    const chunks = await all(await client().chat.completions.create({ ...chosen, stream: true }));
    const streamed = chunks.flatMap(({ choices }) => choices[0].delta.tool_calls ?? []);
    assert.deepEqual(streamed[0].custom, call.custom, 'cria has more to say; the first is what is looked at');
    const result = { role: 'tool', tool_call_id: call.id, content: 'Done.' };
    const next = await post({ ...body, messages: [...body.messages, { ...message, tool_calls: [call] }, result], _debug_render_only: true });
    assert.match(next.json._debug_info.rendered_template, /get_weather[^]*"input"[^]*Done\./);
    assert.match(warning(next), /tools of the type "web_search" are left out/);

    const flat = { type: 'function', name: 'get_time' };
    const nested = { type: 'function', function: { name: 'get_time' } };
    for (const tool_choice of [
      flat,
      nested,
      { type: 'allowed_tools', mode: 'required', tools: [flat] },
      { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [nested] } },
    ]) {
      const answer = await post({ ...body, tool_choice });
      assert.equal(answer.json.choices[0].message.tool_calls?.[0].function.name, 'get_time', answer.text);
    }
    const allowed = { type: 'allowed_tools', allowed_tools: { mode: 'auto', tools: [nested] } };
    const rendered = await post({ ...body, tool_choice: allowed, _debug_render_only: true });
    assert.doesNotMatch(rendered.json._debug_info.rendered_template, /get_weather/);
    const wrong = await post({ ...body, tool_choice: { type: 'allowed_tools', tools: [{ type: 'function', name: 'dance' }] } });
    assert.equal(wrong.status, 400);
    assert.match(wrong.json.error.message, /"dance", which is not among the tools/);
  });

  test('functions, the form before tools', async () => {
    const body = { model, temperature: 0, messages: say(weather_question), functions: functions.map((tool) => tool.function) };
    for (const function_call of [undefined, 'auto', { name: 'get_time' }]) {
      const { message, finish_reason } = (await client().chat.completions.create({ ...body, function_call })).choices[0];
      const { name, arguments: text } = message.function_call;
      assert.equal(name, function_call?.name ?? 'get_weather');
      assert.deepEqual(Object.keys(JSON.parse(text)), ['city']);
      assert.equal(message.tool_calls, undefined);
      assert.equal(finish_reason, 'function_call');
      const chunks = await all(await client().chat.completions.create({ ...body, function_call, stream: true }));
      const calls = chunks.flatMap(({ choices }) => choices[0].delta.function_call ?? []);
      assert.deepEqual(calls, [message.function_call]);
      assert.equal(chunks.at(-1).choices[0].finish_reason, 'function_call');
      const told = { ...body, messages: [...body.messages, message, { role: 'function', name, content: 'sunny' }] };
      const rendered = await post({ ...told, _debug_render_only: true });
      assert.equal(warning(rendered), undefined);
      assert.match(rendered.json._debug_info.rendered_template, new RegExp(`"name": ?"${name}"[^]*sunny`));
      assert.match((await client().chat.completions.create(told)).choices[0].message.content, /sunny/);
    }
    const none = await post({ ...body, function_call: 'none' });
    assert.equal(none.json.choices[0].finish_reason, 'stop');
    assert.match(warning(await post({ ...body, tools: functions })), /functions is ignored/);
    for (const wrong of [{ function_call: 'sometimes' }, { function_call: { name: 'dance' } }, { functions: ['get_weather'] }]) {
      const refused = await post({ ...body, ...wrong });
      assert.equal(refused.status, 400, refused.text);
    }
  });

  test('cut by the token limit: length, whatever calls there were', async () => {
    for (const stream of [false, true]) {
      const answer = await post({ messages: say(weather_question), tools: functions, max_tokens: 6, stream });
      const choices = stream
        ? answer.text.split('\n').filter((line) => line.startsWith('data: {')).flatMap((line) => JSON.parse(line.slice(6)).choices)
        : answer.json.choices;
      assert.equal(choices.at(-1).finish_reason, 'length');
    }
  });

  test('/health, and how much a model takes', async () => {
    const health = await server.get('/health');
    assert.equal(health.status, 200);
    assert.deepEqual(health.json, { status: 'ok' });
    const { data } = (await server.get('/v1/models')).json;
    const { context_length } = (await server.get('/api/tags')).json.models[0].details;
    assert.equal(data[0].max_model_len, Math.min(4096, context_length));
    assert.equal((await client().models.retrieve('cria')).max_model_len, data[0].max_model_len);
    await server.ok('/api/create', { model: 'small', from: 'cria', parameters: { num_ctx: 512 }, stream: false });
    assert.equal((await client().models.retrieve('small')).max_model_len, 512);
  });

  test('/tokenize and /detokenize, as vLLM and llama-server have them', async () => {
    const tokenize = (body) => server.post('/tokenize', { model, ...body });
    const detokenize = (tokens) => server.ok('/detokenize', { model, tokens });
    const text = 'How far is it? Größe: 5 😀';
    const plain = (await tokenize({ content: text })).json;
    assert.ok(plain.tokens.every(Number.isInteger) && plain.count === plain.tokens.length && plain.count > 5);
    assert.deepEqual(await detokenize(plain.tokens), { content: text, prompt: text });
    assert.equal(plain.max_model_len, (await server.get('/v1/models/cria')).json.max_model_len);
    const special = (await tokenize({ content: text, add_special: true })).json.tokens;
    assert.deepEqual((await tokenize({ prompt: text })).json.tokens, special);
    assert.deepEqual((await tokenize({ prompt: text, add_special_tokens: false })).json.tokens, plain.tokens);
    const { json } = await tokenize({ messages: capital_question });
    const { usage } = (await post({ max_tokens: 1 })).json;
    assert.equal(json.count, usage.prompt_tokens);
    assert.match((await detokenize(json.tokens)).content, /<\|im_start\|>user\nWhat is the capital of Japan\?<\|im_end\|>/);
    for (const content of ['', '\n', ' a']) {
      const { tokens } = (await tokenize({ content })).json;
      assert.equal((await detokenize(tokens)).content, content);
    }
    const long = (await tokenize({ content: 'one two '.repeat(20_000) })).json;
    assert.ok(long.count > long.max_model_len, 'longer than what it could be asked');
    const half = (await tokenize({ content: '😀' })).json.tokens;
    if (half.length > 1) assert.match((await detokenize(half.slice(1))).content, /\ufffd/);
    assert.equal((await tokenize({ content: 'a', with_pieces: true })).headers['x-drover-warning'], 'with_pieces is ignored');
    for (const [path, body, status, message] of [
      ['/tokenize', {}, 400, /content, prompt or messages is required/],
      ['/tokenize', { content: 5 }, 400, /content of type string/],
      ['/tokenize', { model: '', content: 'a' }, 400, /model is required/],
      ['/tokenize', { model: 'nobody', content: 'a' }, 404, /model 'nobody' not found/],
      ['/detokenize', {}, 400, /tokens is required/],
      ['/detokenize', { tokens: ['a'] }, 400, /tokens must be a list of numbers/],
      ['/detokenize', { tokens: [-1] }, 400, /tokens must be a list of numbers/],
      ['/detokenize', { tokens: [2 ** 40] }, 400, /tokens must be a list of numbers/],
      ['/detokenize', { tokens: [1_000_000] }, 400, /a token that is not in the model's vocabulary/],
    ]) {
      const refused = await server.post(path, { model, ...body });
      assert.equal(refused.status, status, refused.text);
      assert.match(refused.json.error.message, message);
    }
  });

  test('what stands in a history does not end it', async () => {
    const call = { role: 'assistant', content: null, tool_calls: [{ id: 'a', type: 'function', function: { name: 'get_weather', arguments: '{}' } }] };
    const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,eA==' } };
    for (const [history, shown, named] of [
      [[{ role: 'assistant', content: null, refusal: 'I will not.' }], /I will not\./],
      [[{ role: 'assistant' }], /assistant/],
      [[{ role: 'assistant', content: [{ type: 'thinking', thinking: 'x' }, { type: 'text', text: 'Yes?' }] }], /Yes\?/, /"thinking" are left out/],
      [[call, { role: 'tool', tool_call_id: 'a', content: null }], /get_weather/],
      [[call, { role: 'tool', tool_call_id: 'a', content: { sunny: true } }], /\{"sunny": ?true\}/],
      [[call, { role: 'tool', tool_call_id: 'a', content: [image] }], /\[an image, which is not shown to the model\]/, /"image_url" are left out/],
    ]) {
      const messages = [...say('Hello'), ...history, ...capital_question];
      const answer = await post({ messages, tools: functions, _debug_render_only: true });
      if (named) assert.match(warning(answer), named);
      else assert.equal(warning(answer), undefined);
      assert.match(answer.json._debug_info.rendered_template, shown);
    }
    const film = await post({ messages: say([{ type: 'video_url', video_url: { url: 'x' } }]) });
    assert.equal(film.json.error.message, 'content parts of the type "video_url" are not supported');
  });

  test('other words for the same wish', async () => {
    for (const tool_choice of ['any', { type: 'any' }, { type: 'required' }]) {
      const answer = await post({ messages: say(weather_question), tools: functions, tool_choice, max_tokens: 120 });
      assert.equal(answer.json.choices[0].finish_reason, 'tool_calls', answer.text);
    }
    const left = { tools: [functions[0], { type: 'web_search' }], tool_choice: { type: 'web_search' } };
    assert.match(warning(await post(left)), /"web_search" are left out/);
    const bare = { type: 'function', function: { name: 'f', description: null, parameters: null } };
    assert.equal(warning(await post({ tools: [bare] })), undefined);
    const schema = await post({ messages: say(json_question), response_format: { type: 'json_object', schema: json_schema } });
    assert.deepEqual(JSON.parse(content(schema)), json_answer);
    for (const wish of [{ enable_thinking: false }, { thinking: { type: 'disabled' } }]) {
      assert.ok(!('reasoning' in (await post(wish)).json.choices[0].message));
    }
  });
});
