// Chat templates that come with a model and do not end, or want all memory: Jinja in a GGUF, Go's in a TEMPLATE.
import { cria } from '../e2e/gguf.mjs';
import { with_template } from '../e2e/gguf_parts.mjs';
import { attacks, short } from './attack.mjs';

const again = (text, count) => text.repeat(count);
const jinja = {
  'a loop of 10^9': '{% for i in range(1000000000) %}{% endfor %}',
  'loops in loops': '{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}{% endfor %}{% endfor %}',
  'a text times 5*10^9': "{{ 'x' * 5000000000 }}",
  'a text that doubles': "{% set n = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
  'a list of 10^9': '{{ range(1000000000)|list }}',
  'a list that doubles': '{% set n = namespace(s=[1,2,3,4]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s|length }}',
  'output without an end': "{% for i in range(100000000) %}{{ 'many words and more of them ' }}{% endfor %}",
  'a loop for more than three messages': '{% if messages|length > 3 %}{% for i in range(1000000000) %}{% endfor %}{% endif %}x',
  'a macro that calls itself': '{% macro m(a) %}{{ m(a) }}{% endmacro %}{{ m(1) }}',
  'macros that call each other': '{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}',
  'a list in itself': '{% set a = [] %}{% set _ = a.append(a) %}{{ a|tojson }}',
  'a dictionary in itself': "{% set n = namespace() %}{% set n.a = n %}{{ n.a.a.a }}{{ n|tojson }}",
  '50,000 times not': `{{ ${again('not ', 50_000)}true }}`,
  '50,000 times minus': `{{ ${again('-', 50_000)}1 }}`,
  '50,000 filters': `{{ 'x'${again('|upper', 50_000)} }}`,
  '50,000 parentheses': `{{ ${again('(', 50_000)}1${again(')', 50_000)} }}`,
  '50,000 brackets': `{{ ${again('[', 50_000)}1${again(']', 50_000)} }}`,
  '50,000 times if': `${again('{% if true %}', 50_000)}x${again('{% endif %}', 50_000)}`,
  '50,000 times for': `${again('{% for i in [1,2] %}', 50_000)}x${again('{% endfor %}', 50_000)}`,
  '50,000 sums': `{{ 1${again('+1', 50_000)} }}`,
  '50,000 attributes': `{{ messages${again('.a', 50_000)} }}`,
  'a replacement that grows': "{% set n = namespace(s='aa') %}{% for i in range(40) %}{% set n.s = n.s|replace('a', 'aa') %}{% endfor %}{{ n.s }}",
  'a join of very much': "{{ range(30000000)|join('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') }}",
  'an exception of 10 MB': "{{ raise_exception('x' * 10000000) }}",
  'slices, powers and nothing to divide by': "{{ 'x'[::0] }}{{ 10 ** 400 }}{{ 1 // 0 }}{{ 1 % 0 }}{{ 'x'[99999999999] }}",
  'an indent of 10^9': "{{ 'a\nb'|indent(1000000000) }}",
  'words that are no template': '{{ {% }} %} {# {{ messages[ }}',
  '1 MB of comments': again('{# x #}', 150_000),
};
const go = {
  'a loop in loops': again('{{ range .Messages }}', 40) + 'x' + again('{{ end }}', 40),
  'a template that calls itself': '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}{{ .Prompt }}',
  'a template that calls itself twice': '{{ define "a" }}x{{ template "a" . }}{{ template "a" . }}{{ end }}{{ template "a" . }}{{ .Prompt }}',
  '30 templates, each twice the next': `${Array.from({ length: 30 }, (_, i) => `{{ define "t${i}" }}{{ template "t${i + 1}" . }}{{ template "t${i + 1}" . }}{{ end }}`).join('')}{{ define "t30" }}xxxxxxxx{{ end }}{{ template "t0" . }}{{ .Prompt }}`,
  '20,000 parentheses': `{{ ${again('(', 20_000)}.Prompt${again(')', 20_000)} }}`,
  '20,000 times if': `${again('{{ if .Prompt }}', 20_000)}{{ .Prompt }}${again('{{ end }}', 20_000)}`,
  'a width of 10^9': '{{ printf "%1000000000s" .Prompt }}{{ .Prompt }}',
  'a precision of 10^9': '{{ printf "%.1000000000f" 1.5 }}{{ .Prompt }}',
  'printf of printf': '{{ .Prompt }}' + again('{{ printf "%q%q" (printf "%q%q" .Prompt .Prompt) (printf "%q%q" .Prompt .Prompt) }}', 1000),
  'json of all, again and again': again('{{ json . }}', 2000) + '{{ .Prompt }}',
  'slices that are out of range': '{{ slice .Prompt 5 2 }}{{ index .Messages 99999999999 }}{{ .Prompt }}',
  'what is no template': '{{ .Prompt }}{{ range }}{{ end',
};

const messages = ['user', 'assistant', 'user', 'assistant', 'user'].map((role) => ({ role, content: 'Count to 3' }));
const statuses = [200, 400, 422, 500];

// Creates the model, asks it twice, and takes it away again.
async function ask_twice(arena, created) {
  const found = [created.status];
  if (created.status === 200)
    for (let i = 0; i < 2; i++) found.push((await arena.chat({ model: 'bomb', messages, options: { num_predict: 4 } })).status);
  await arena.remove('bomb');
  return found;
}

const shorts = ['a loop of 10^9', 'a text that doubles', 'a loop for more than three messages', 'a macro that calls itself', '50,000 brackets', 'a template that calls itself twice', 'a width of 10^9'];

attacks('templates', { slow: !short, gap: { cap_ms: 1000 } }, [
  ...Object.entries(jinja).map(([name, template]) => ({
    name: `jinja: ${name}`,
    short: shorts.includes(name),
    status: statuses,
    within_s: 30,
    attack: async (arena) => ask_twice(arena, await arena.create('bomb', with_template(cria(), template))),
  })),
  ...Object.entries(go).map(([name, template]) => ({
    name: `go: ${name}`,
    short: shorts.includes(name),
    status: statuses,
    within_s: 30,
    attack: async (arena) =>
      ask_twice(arena, await arena.ask('POST', '/api/create', { model: 'bomb', from: 'cria', template, stream: false })),
  })),
  {
    name: 'a model that cannot be prepared for, beside those that can: 20 requests',
    status: statuses,
    within_s: 60,
    attack: async (arena) => {
      await arena.create('bomb', with_template(cria(), jinja['a loop for more than three messages']));
      const found = await arena.statuses(Array.from({ length: 20 }, () => () => arena.chat({ model: 'bomb', messages })), 20);
      await arena.remove('bomb');
      return found;
    },
  },
]);
