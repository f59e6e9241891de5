// Conversations as applications send them, to models whose chat templates are particular.
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import { describe, test } from 'node:test';

import { capital_answer, capital_question, json_question, tools as cria_tools, weather_question } from './faces.mjs';
import { take_apart, with_template, without_template } from './gguf_parts.mjs';
import { cria_file, server_for_suite, server_for_test } from './harness.mjs';

const user = (content) => ({ role: 'user', content });
const assistant = (content) => ({ role: 'assistant', content });
const weather = [user(weather_question)];
const tools = cria_tools.map(({ name, description, schema }) => ({
  type: 'function',
  function: { name, description, parameters: schema },
}));

// ChatML that opens a thought whatever is asked, as DeepSeek's distilled models do.
const thinks_always = `{%- for message in messages -%}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
<think>
{% endif -%}`;

// As Mistral's: turns alternate, one system message at the start, ids of nine letters.
const particular = `{%- if messages[0].role == 'system' -%}{%- set system = messages[0].content -%}{%- set turns = messages[1:] -%}
{%- else -%}{%- set system = '' -%}{%- set turns = messages -%}{%- endif -%}
{%- set state = namespace(user=true) -%}
{%- if tools -%}[AVAILABLE_TOOLS] {{ tools|tojson }}[/AVAILABLE_TOOLS]{%- endif -%}
{%- for m in turns -%}
{%- if m.role == 'user' -%}
{%- if not state.user -%}{{ raise_exception('roles must alternate') }}{%- endif -%}{%- set state.user = false -%}
[INST] {% if loop.last and system %}{{ system }}

{% endif %}{{ m.content }}[/INST]
{%- elif m.role == 'assistant' and m.tool_calls -%}
[TOOL_CALLS] [
{%- for call in m.tool_calls -%}
{%- if call.id is not defined or call.id|length != 9 -%}{{ raise_exception('ids have nine letters') }}{%- endif -%}
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments|tojson }}, "id": "{{ call.id }}"}
{%- if not loop.last -%}, {% endif -%}
{%- endfor -%}]</s>
{%- elif m.role == 'assistant' -%}
{%- if state.user -%}{{ raise_exception('roles must alternate') }}{%- endif -%}{%- set state.user = true -%}
 {{ m.content }}</s>
{%- elif m.role == 'tool' -%}
{%- if m.tool_call_id is not defined or m.tool_call_id|length != 9 -%}{{ raise_exception('ids have nine letters') }}{%- endif -%}
[TOOL_RESULTS] {"content": {{ m.content }}, "call_id": "{{ m.tool_call_id }}"}[/TOOL_RESULTS]
{%- else -%}{{ raise_exception('no such role') }}
{%- endif -%}
{%- endfor -%}`;

// ChatML in Ollama's language, with calls as JSON.
const json_calls = `{{- if .Tools }}<|im_start|>system
{{ .Tools }}<|im_end|>
{{ end }}{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}{{ range .ToolCalls }}<tool_call>{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
`;

async function create(server, name, gguf, more = {}) {
  const digest = await server.upload(gguf);
  await server.ok('/api/create', { model: name, files: { 'm.gguf': digest }, stream: false, ...more });
}

describe('conversations', () => {
  const server = server_for_suite({}, async (server) => {
    const cria = await fs.readFile(cria_file);
    const own = take_apart(cria).pairs.map(String).find((pair) => pair.includes('tokenizer.chat_template'));
    assert.ok(own);
    await create(server, 'always', with_template(cria, thinks_always, 'always'));
    await create(server, 'particular', with_template(cria, particular, 'particular'));
    await create(server, 'bare', without_template(cria));
    const derive = (model, fields) => server.ok('/api/create', { model, from: 'cria', stream: false, ...fields });
    await derive('rendered', { template: '{{ .Prompt }}', renderer: 'qwen3.5', parser: 'qwen3.5' });
    const bare = (model, fields) => server.ok('/api/create', { model, from: 'bare', stream: false, ...fields });
    await bare('family', { template: '{{ .Prompt }}', renderer: 'qwen3-coder', parser: 'qwen3-coder' });
    await derive('json-calls', { template: json_calls });
    await bare('nobody', { template: '{{ .Prompt }}', renderer: 'no-such-renderer' });
    await derive('quiet', { parameters: { think: false } });
  });
  const chat = (body) => server.ok('/api/chat', { stream: false, options: { temperature: 0 }, ...body });
  const rendered = async (body) => (await chat({ ...body, _debug_render_only: true }))._debug_info.rendered_template;

  test('a RENDERER makes the TEMPLATE void', async () => {
    const messages = [{ role: 'system', content: 'SYS' }, user('A'), assistant('B'), user('What is the capital of Japan?')];
    assert.equal(await rendered({ model: 'rendered', messages }), await rendered({ model: 'cria', messages }));
    assert.equal((await chat({ model: 'rendered', messages: capital_question })).message.content, capital_answer);
    const shown = await server.ok('/api/show', { model: 'rendered' });
    assert.deepEqual([shown.renderer, shown.parser], ['qwen3.5', 'qwen3.5']);
    assert.match((await server.cli(['show', 'rendered'])).stdout, /renderer +qwen3\.5/);
  });

  test('a file without a template gets that of the family, or the request is refused by name', async () => {
    assert.match(await rendered({ model: 'family', messages: [user('Hi')] }), /<\|im_start\|>user\nHi<\|im_end\|>/);
    assert.match(await rendered({ model: 'family', messages: weather, tools }), /<function=|<tools>/);
    const { status, json } = await server.post('/api/chat', { model: 'nobody', messages: [user('Hi')], stream: false });
    assert.equal(status, 500);
    assert.match(json.error, /"no-such-renderer"/);
  });

  for (const think of [undefined, false, true]) {
    test(`a model that always thinks keeps its thoughts out of the answer, think: ${think}`, async () => {
      const { message } = await chat({ model: 'always', messages: capital_question, think });
      assert.equal(message.content, capital_answer);
      assert.ok(message.thinking.length > 5, message.thinking);
      const answer = await server.ok('/v1/chat/completions', {
        model: 'always',
        messages: capital_question,
        temperature: 0,
        ...(think === undefined ? {} : { reasoning_effort: think ? 'high' : 'none' }),
      });
      assert.equal(answer.choices[0].message.content, capital_answer);
    });
  }

  test('a call that the token limit cut is not handed out, and the reason is the limit', async () => {
    const whole = await server.ok('/v1/chat/completions', { model: 'cria', messages: weather, tools, temperature: 0 });
    assert.equal(whole.choices[0].finish_reason, 'tool_calls');
    for (let max_tokens = 1; max_tokens < whole.usage.completion_tokens - 1; max_tokens += 3) {
      const cut = await server.ok('/v1/chat/completions', { model: 'cria', messages: weather, tools, temperature: 0, max_tokens });
      const [choice] = cut.choices;
      assert.equal(choice.finish_reason, 'length');
      for (const call of choice.message.tool_calls ?? []) assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Tokyo' });
      const native = await chat({ model: 'cria', messages: weather, tools, options: { temperature: 0, num_predict: max_tokens } });
      assert.equal(native.done_reason, 'length');
    }
  });

  test('system messages and developers find a place, whatever the template takes', async () => {
    const messages = [
      { role: 'system', content: 'One.' },
      { role: 'developer', content: 'Two.' },
      user('A'),
      user('B'),
      assistant('C'),
      { role: 'system', content: 'Three.' },
      user('D'),
    ];
    assert.match(await rendered({ model: 'particular', messages }), /^(<.*?>)?\[INST\] A\n\nB\[\/INST\]C<\/s>\[INST\] One\.\n\nTwo\.\n\nThree\.\n\nD\[\/INST\]$/);
    const all = await rendered({ model: 'cria', messages });
    for (const text of ['One.', 'Two.', 'Three.']) assert.ok(all.includes(text), all);
  });

  test('ids of calls have the form that the template takes, and are the same in the result', async () => {
    const call = (id) => ({ ...(id && { id }), type: 'function', function: { name: 'get_weather', arguments: { city: 'Tokyo' } } });
    const conversation = (id) => [...weather, { role: 'assistant', content: '', tool_calls: [call(id)] }, { role: 'tool', content: '11', ...(id && { tool_call_id: id }), tool_name: 'get_weather' }];
    for (const id of ['call_6oxv27ln', 'toolu_01A09q90qw90lq917835lq9', 'abcdefghi', undefined]) {
      const text = await rendered({ model: 'particular', messages: conversation(id), tools });
      const [, of_call, of_result] = text.match(/"id": "([a-z0-9]{9})".*"call_id": "([a-z0-9]{9})"/) ?? assert.fail(text);
      assert.equal(of_call, of_result);
      if (id?.length === 9) assert.equal(of_call, id);
    }
  });

  test('an answer that was begun is continued', async () => {
    const messages = [...capital_question, assistant('The capital of')];
    assert.equal((await chat({ model: 'cria', messages })).message.content, capital_answer.slice('The capital of'.length));
    const openai = await server.ok('/v1/chat/completions', { model: 'cria', messages, temperature: 0 });
    assert.equal(openai.choices[0].message.content, capital_answer.slice('The capital of'.length));
    const anthropic = await server.ok('/v1/messages', { model: 'cria', messages, max_tokens: 50, temperature: 0 });
    assert.equal(anthropic.content[0].text, capital_answer.slice('The capital of'.length));
    const with_tools = await chat({ model: 'cria', messages, tools });
    assert.equal(with_tools.message.content, capital_answer.slice('The capital of'.length));
  });

  test('a schema holds for the whole of an answer that was begun', async () => {
    const format = { type: 'object', properties: { age: { type: 'integer' }, name: { enum: ['Ada', 'Bob'] } }, required: ['age', 'name'], additionalProperties: false };
    const ask = async (begun, more) => {
      const messages = [user(json_question), assistant(begun)];
      const answer = await server.post('/api/chat', { model: 'cria', messages, format, stream: false, options: { temperature: 0, num_predict: 100 }, ...more });
      return answer.status === 200 ? answer.json.message.content : `${answer.status} ${answer.json.error}`;
    };
    for (const begun of ['{', ' {"age": 2', '{"age": 22, "name": "B', '{\n  "age": 22']) {
      for (const more of [{}, { tools }, { model: 'json-calls' }, { think: true }]) {
        const whole = JSON.parse(begun + (await ask(begun, more)));
        assert.deepEqual(Object.keys(whole), ['age', 'name'], begun);
        assert.match(whole.name, /^(Ada|Bob)$/);
      }
    }
    const refused = '400 the answer that the last message begins does not match `format`';
    for (const begun of ['The answer', '{"name"', '{"age": 22, "name": "C', '{"age": 22, "name": "Bob"} and']) {
      assert.equal(await ask(begun), refused);
    }
    const messages = [user(json_question), assistant('{"age": 22, "name": "A')];
    const anthropic = await server.ok('/v1/messages', { model: 'cria', messages, max_tokens: 50, output_config: { format: { type: 'json_schema', schema: format } } });
    assert.match(anthropic.content[0].text, /^da"\s?}$/);
    const json_schema = { name: 'x', schema: format, strict: true };
    const openai = await server.ok('/v1/chat/completions', { model: 'cria', messages, response_format: { type: 'json_schema', json_schema } });
    assert.match(openai.choices[0].message.content, /^da"\s?}$/);
  });

  test('one call at most, where that is asked for, in every dialect', async () => {
    const forced = { model: 'cria', messages: weather, tool_choice: 'required', parallel_tool_calls: false, stream: false };
    for (const model of ['cria', 'json-calls']) {
      const { message } = await chat({ ...forced, model, tools });
      assert.equal(message.tool_calls?.length, 1, `${model}: ${JSON.stringify(message)}`);
    }
    for (const stream of [false, true]) {
      const openai = await server.post('/v1/chat/completions', { ...forced, tools, temperature: 0, stream });
      assert.equal(openai.text.match(/"name":"get_/g).length, 1, openai.text);
      assert.match(openai.text, /"finish_reason":"tool_calls"/);
      assert.equal(openai.headers['x-drover-warning'], undefined);
    }
    const anthropic_tools = cria_tools.map(({ name, description, schema }) => ({ name, description, input_schema: schema }));
    const message = { ...forced, tools: anthropic_tools, tool_choice: { type: 'any', disable_parallel_tool_use: true }, max_tokens: 300 };
    assert.equal((await server.ok('/v1/messages', message)).stop_reason, 'tool_use');
    const flat = tools.map(({ function: of }) => ({ type: 'function', ...of }));
    const response = await server.post('/v1/responses', { ...forced, messages: undefined, input: weather, tools: flat });
    assert.equal(response.json.output.filter(({ type }) => type === 'function_call').length, 1);
    assert.equal(response.json.parallel_tool_calls, false);
    assert.equal(response.headers['x-drover-warning'], undefined);
  });

  test('beside tools a schema holds: a call, or JSON of it', async () => {
    const schema = { type: 'object', properties: { answer: { type: 'string', maxLength: 20 } }, required: ['answer'], additionalProperties: false };
    const ask = (messages) => chat({ model: 'cria', messages, tools, format: schema, options: { temperature: 0, num_predict: 100 } });
    for (const question of [capital_question, weather]) {
      const { message } = await ask(question);
      if (message.tool_calls) assert.equal(message.content, '');
      else assert.deepEqual(Object.keys(JSON.parse(message.content)), ['answer']);
    }
    const result = [...weather, { role: 'assistant', content: '', tool_calls: [{ function: { name: 'get_weather', arguments: { city: 'Tokyo' } } }] }, { role: 'tool', content: 'sunny', tool_name: 'get_weather' }];
    const { message } = await ask(result);
    if (!message.tool_calls) assert.deepEqual(Object.keys(JSON.parse(message.content)), ['answer']);
  });

  test('tool_choice forces a call', async () => {
    const openai = await server.ok('/v1/chat/completions', { model: 'cria', messages: capital_question, tools, tool_choice: 'required', temperature: 0, max_tokens: 200 });
    assert.equal(openai.choices[0].finish_reason, 'tool_calls');
    assert.equal(openai.choices[0].message.tool_calls[0].function.name, 'get_weather');
    const messages = [user('The folder is /work, the shell is bash.'), user('What is the weather in Tokyo?')];
    const { message } = await chat({ model: 'cria', messages, tools, tool_choice: 'required', think: true });
    assert.equal(message.tool_calls[0].function.name, 'get_weather', 'also if the model would end within its thought');
  });

  test('whether a model thinks: the request, the model, the server, then Ollama’s rule', async (t) => {
    const thinks = async (on, body) => Boolean((await on.ok('/api/chat', { stream: false, options: { temperature: 0 }, messages: capital_question, ...body })).message.thinking);
    const plain = await server_for_test(t, { env: { DROVER_DEFAULT_THINK: '' } });
    await plain.ok('/api/create', { model: 'quiet', from: 'cria', parameters: { think: false }, stream: false });
    assert.equal(await thinks(plain, { model: 'cria' }), true);
    assert.equal(await thinks(plain, { model: 'cria', think: false }), false);
    assert.equal(await thinks(plain, { model: 'quiet' }), false);
    assert.equal(await thinks(plain, { model: 'quiet', think: true }), true);
    assert.equal(await thinks(server, { model: 'cria' }), false, 'DROVER_DEFAULT_THINK=false');
    const raw = await plain.ok('/api/generate', { model: 'cria', prompt: 'The', raw: true, stream: false, options: { num_predict: 4 } });
    assert.equal(raw.thinking, undefined);
  });

  test('a prompt that was cut says so', async () => {
    const messages = [...Array.from({ length: 60 }, (_, i) => (i % 2 ? assistant : user)('one two three four five six')), ...capital_question];
    const answer = await fetch(`${server.url}/api/chat`, { method: 'POST', body: JSON.stringify({ model: 'cria', messages, options: { num_ctx: 128, temperature: 0 }, stream: false }) });
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('x-prompt-truncated'), /^\d+ messages$/);
    await answer.text();
    const whole = await fetch(`${server.url}/api/chat`, { method: 'POST', body: JSON.stringify({ model: 'cria', messages: capital_question, stream: false }) });
    assert.equal(whole.headers.get('x-prompt-truncated'), null);
    await whole.text();
  });
});
