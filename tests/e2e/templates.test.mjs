// Models that have a Go template, as those of Ollama's library do: what they are shown, and what becomes of their calls.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Ollama } from 'ollama';

import { all, capital_answer, capital_question, tools as cria_tools, weather_question } from './faces.mjs';
import { server_for_suite } from './harness.mjs';

const user = (content) => ({ role: 'user', content });
const weather = [user(weather_question)];
const tools = cria_tools.map(({ name, description, schema }) => ({
  type: 'function',
  function: { name, description, parameters: schema },
}));

// cria's own format in that language.
const with_tools = `{{- if or .System .Tools }}<|im_start|>system
{{ .System }}{{ if .Tools }}{{ if .System }}

{{ end }}# Tools
<tools>{{ range .Tools }}
{{ json . }}{{ end }}
</tools>
To use one, answer:
<tool_call>
{"name": <name>, "arguments": <arguments>}
</tool_call>{{ end }}<|im_end|>
{{ end }}{{ range .Messages }}{{ if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ .Content }}{{ if .ToolCalls }}{{ range .ToolCalls }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}{{ end }}<|im_end|>
{{ else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}{{ end }}<|im_start|>assistant
`;

// What well-known formats look like: the template, and what it makes of a system message and two turns.
const system = 'Be brief.';
const turns = [user('Hi'), { role: 'assistant', content: 'Hello!' }, user('Bye')];
const formats = {
  chatml: [
    '{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n',
    '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n' +
      '<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n',
  ],
  'chatml, a turn at a time': [
    '{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ if .Prompt }}<|im_start|>user\n{{ .Prompt }}' +
      '<|im_end|>\n{{ end }}<|im_start|>assistant\n{{ .Response }}<|im_end|>\n',
    '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n' +
      '<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n',
  ],
  'llama 2': [
    '[INST] <<SYS>>{{ .System }}<</SYS>>\n\n{{ .Prompt }} [/INST] {{ .Response }}',
    '[INST] <<SYS>>Be brief.<</SYS>>\n\nHi [/INST] Hello![INST] <<SYS>><</SYS>>\n\nBye [/INST] ',
  ],
  'llama 3': [
    '{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>{{ end }}' +
      '<|start_header_id|>assistant<|end_header_id|>\n\n',
    '<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>' +
      '<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye' +
      '<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
  ],
  gemma: [
    '{{- $system := "" }}{{ range .Messages }}{{ if eq .Role "system" }}{{ $system = .Content }}{{ else }}<start_of_turn>' +
      '{{ if eq .Role "assistant" }}model{{ else }}{{ .Role }}{{ end }}\n{{ if $system }}{{ $system }}\n\n{{ $system = "" }}' +
      '{{ end }}{{ .Content }}<end_of_turn>\n{{ end }}{{ end }}<start_of_turn>model\n',
    '<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n<start_of_turn>user\n' +
      'Bye<end_of_turn>\n<start_of_turn>model\n',
  ],
  mistral: [
    '{{- range $i, $_ := .Messages }}{{ if eq .Role "user" }}[INST] {{ if and (eq (len (slice $.Messages $i)) 1) $.System }}' +
      '{{ $.System }}\n\n{{ end }}{{ .Content }}[/INST]{{ else if eq .Role "assistant" }} {{ .Content }}</s>{{ end }}{{ end }}',
    '[INST] Hi[/INST] Hello!</s>[INST] Be brief.\n\nBye[/INST]',
  ],
  alpaca: [
    '{{ if .System }}{{ .System }}\n\n{{ end }}{{ if .Prompt }}### Instruction:\n{{ .Prompt }}\n\n{{ end }}### Response:\n{{ .Response }}\n\n',
    'Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello!\n\n### Instruction:\nBye\n\n### Response:\n',
  ],
  'phi 3': [
    '{{ if .System }}<|system|>\n{{ .System }}<|end|>\n{{ end }}{{ if .Prompt }}<|user|>\n{{ .Prompt }}<|end|>\n{{ end }}' +
      '<|assistant|>\n{{ .Response }}<|end|>\n',
    '<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n<|user|>\nBye<|end|>\n<|assistant|>\n',
  ],
  vicuna: [
    '{{ .System }}\nUSER: {{ .Prompt }}\nASSISTANT: {{ .Response }}</s>',
    'Be brief.\nUSER: Hi\nASSISTANT: Hello!</s>\nUSER: Bye\nASSISTANT: ',
  ],
};

describe('a Go template', () => {
  const make = (server, model, template) => server.ok('/api/create', { model, from: 'cria', template, stream: false });
  const server = server_for_suite({}, async (server) => {
    await make(server, 'caller', with_tools);
    await make(server, 'plain', '{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n');
    await make(server, 'filler', '{{ if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>{{ else }}{{ .Prompt }}{{ end }}');
  });
  const chat = (body) => new Ollama({ host: server.url }).chat({ options: { temperature: 0 }, ...body });
  const rendered = async (body) => (await chat({ ...body, _debug_render_only: true }))._debug_info.rendered_template;

  test('that is wrong is an error that names the line and the cause', async () => {
    for (const [template, error] of [
      ['{{ if }}', /template: :1: missing value for if/],
      ['a\nb\n{{ .Prompt', /template: :3: unclosed action/],
      ['a\n{{ nothing .Prompt }}', /template: :2: function "nothing" not defined/],
      ['{{ range .Messages }}', /template: :1: unexpected EOF/],
    ]) {
      const created = await server.post('/api/create', { model: 'no', from: 'cria', template, stream: false });
      assert.equal(created.status, 400);
      assert.match(created.json.error, error);
      const asked = await server.post('/api/generate', { model: 'cria', prompt: 'x', template });
      assert.equal(asked.status, 400);
      assert.match(asked.json.error, error);
    }
    const late = await server.post('/api/generate', { model: 'cria', prompt: 'x', template: 'a\n{{ index .Messages 7 }}' });
    assert.equal(late.status, 400);
    assert.match(late.json.error, /template: :2:\d+: executing .* index out of range: 7/);
  });

  for (const [name, [template, wanted]] of Object.entries(formats)) {
    test(`of the format ${name}`, async () => {
      await make(server, 'format', template);
      assert.equal(await rendered({ model: 'format', messages: [{ role: 'system', content: system }, ...turns] }), wanted);
    });
  }

  test('with tools: calls are taken out of the answer, and their results answered from', async () => {
    const { message } = await chat({ model: 'caller', messages: weather, tools });
    assert.equal(message.content, '');
    assert.deepEqual(message.tool_calls.map((call) => call.function), [{ index: 0, name: 'get_weather', arguments: { city: 'Tokyo' } }]);
    const parts = await all(await chat({ model: 'caller', messages: weather, tools, stream: true }));
    assert.deepEqual(
      parts.flatMap((part) => part.message.tool_calls ?? []).map((call) => call.function.arguments),
      [{ city: 'Tokyo' }],
    );
    assert.equal(parts.map((part) => part.message.content).join(''), '');
    const result = { role: 'tool', tool_name: 'get_weather', content: '11 degrees celsius' };
    const answer = await chat({ model: 'caller', messages: [...weather, message, result], tools });
    assert.match(answer.message.content, /11 degrees/);
    const other = await chat({ model: 'caller', messages: capital_question, tools });
    assert.deepEqual(other.message, { role: 'assistant', content: capital_answer });
    const openai = await server.ok('/v1/chat/completions', { model: 'caller', messages: weather, tools, temperature: 0 });
    assert.equal(openai.choices[0].finish_reason, 'tool_calls');
  });

  test('without a place for tools or thinking gives way to the template of the file, which has', async () => {
    assert.doesNotMatch(await rendered({ model: 'plain', messages: weather }), /# Tools/);
    assert.match(await rendered({ model: 'plain', messages: weather, tools }), /# Tools[^]*get_weather/);
    const { message } = await chat({ model: 'plain', messages: weather, tools });
    assert.equal(message.tool_calls[0].function.name, 'get_weather');
    const thought = await chat({ model: 'plain', messages: capital_question, think: true });
    assert.equal(thought.message.content, capital_answer);
    assert.ok(thought.message.thinking.length > 5);
  });

  test('with .Suffix fills in the middle by itself', async () => {
    const ask = (body) => server.ok('/api/generate', { stream: false, _debug_render_only: true, ...body });
    const text = async (body) => (await ask(body))._debug_info.rendered_template;
    assert.equal(await text({ model: 'filler', prompt: 'a = ', suffix: '\nprint(a)' }), '<PRE> a =  <SUF>\nprint(a) <MID>');
    assert.equal(await text({ model: 'filler', prompt: 'a = ' }), 'a = ');
    assert.equal(await text({ model: 'cria', prompt: 'a', suffix: 'b', template: '{{ .Suffix }}|{{ .Prompt }}' }), 'b|a');
    assert.match(await text({ model: 'cria', prompt: 'a', suffix: 'b' }), /^<\|fim_prefix\|>a<\|fim_suffix\|>b<\|fim_middle\|>$/);
  });
});
