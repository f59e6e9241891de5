// Requests whose preparing does not end, takes all memory or ends its process: each costs its own request, and whoever
// else asks the same model notices nothing. See docs/adr/0024-prepare-processes.md.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { afterEach, describe, test } from 'node:test';

import { cria, endless } from './gguf.mjs';
import { with_template } from './gguf_parts.mjs';
import { is_alive, sanitized, server_for_suite, server_for_test, signal, wait_until } from './harness.mjs';

// Does what the last message says, once there is more than one.
const template = `{%- macro deep(n) -%}{{ deep(n + 1) }}{%- endmacro -%}
{%- set text = messages[-1].content if messages|length > 1 else '' -%}
{%- if text == 'endless' -%}{%- for i in range(100000) -%}{%- for j in range(100000) -%}{%- endfor -%}{%- endfor -%}
{%- elif text == 'memory' -%}{%- for i in range(2000000000) -%}{{ i }}{%- endfor -%}
{%- elif text == 'stack' -%}{{ deep(0) }}{%- endif -%}
{%- for m in messages -%}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}`;

const children_of = (pid) => {
  try {
    return fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
};
const name_of = (pid) => fs.readFileSync(`/proc/${pid}/comm`, 'latin1').trim();

describe('preparing', () => {
  const server = server_for_suite({ env: { OLLAMA_NUM_PARALLEL: '4' } }, async (one) => {
    await one.create('bombs', with_template(cria(), template, 'bombs'));
    await one.ok('/api/chat', { model: 'bombs', messages: [{ role: 'user', content: 'Hi' }], stream: false });
  });
  const body = (text) => ({
    model: 'bombs',
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: text },
    ],
    stream: false,
    options: { temperature: 0, num_predict: 3 },
  });
  const keeper = () => server.runners().flatMap(children_of).find((pid) => name_of(pid) === 'drover-keeper');
  const workers = () => children_of(keeper()).filter(is_alive);
  let runner;
  let first_keeper;

  afterEach(async () => {
    await server.ok('/api/chat', body('Count to 3'));
    runner ??= server.runners();
    first_keeper ??= keeper();
    assert.deepEqual(server.runners(), runner, 'the same runner');
    assert.equal(keeper(), first_keeper, 'the same keeper');
  });

  // Goes on asking until `work` has ended. Returns how long it had to wait at most, and how often it was answered.
  async function victim_beside(work) {
    let done = false;
    const ended = work.finally(() => (done = true));
    ended.catch(() => {});
    let longest = 0;
    let answers = 0;
    while (!done) {
      const start = performance.now();
      await server.ok('/api/chat', body(`Count to ${1 + (answers % 9)}`));
      longest = Math.max(longest, performance.now() - start);
      answers++;
    }
    return { value: await ended, longest, answers };
  }

  for (const [what, text] of [
    ['endless', /takes too long to prepare, more than (10 s of the processor|30 s):/],
    ['memory', /takes too much memory to prepare, more than \d+ MiB/],
    ['stack', /^the request is nested too deeply$/],
  ]) {
    if (what === 'memory' && sanitized) continue;
    test(`that is a bomb (${what}) costs its own request`, async (t) => {
      const { value, longest, answers } = await victim_beside(server.post('/api/chat', body(what)));
      assert.equal(value.status, 400, value.text);
      assert.match(value.json.error, text);
      assert.ok(answers > 0);
      t.diagnostic(`${answers} answers beside it, the longest after ${Math.round(longest)} ms`);
    });
  }

  test('by several bombs leaves a victim alone, and ends with their clients', async () => {
    const bombs = Array.from({ length: 3 }, () => server.call('POST', '/api/chat', body('endless')));
    await wait_until(() => workers().length >= 4, 'each bomb has a process, and there is one for others');
    for (let i = 0; i < 5; i++) await server.ok('/api/chat', body(`Count to ${i}`));
    for (const bomb of bombs) bomb.close();
    await wait_until(() => workers().length <= 2, 'their processes have gone');
    const requests = async () => (await server.get('/api/queue')).json.requests;
    await wait_until(async () => (await requests()).length === 0, 'their slots are free');
  });

  test('in a process that dies is an error of one request', async () => {
    const bomb = server.post('/api/chat', body('endless'));
    await wait_until(() => workers().length >= 2, 'another process is there for others');
    await server.ok('/api/chat', body('Count to 3'));
    signal(workers()[0], 'SIGKILL'); // the oldest that had nothing to do has got it
    const { status, json } = await bomb;
    assert.equal(status, 500);
    assert.equal(json.error, 'the process that prepared the request has ended: signal 9 (Killed)');
  });

  test('has no descriptors but its own, and can gain no rights', async () => {
    const has_none = (pid) => {
      try {
        const folder = `/proc/${pid}/fd`;
        // The keeper changes its own before it starts a worker.
        const is_score = (fd) => pid === keeper() && fs.readlinkSync(`${folder}/${fd}`) === `/proc/${pid}/oom_score_adj`;
        const others = fs.readdirSync(folder).filter((fd) => Number(fd) > 3 && !is_score(fd));
        return others.length === 0 && /NoNewPrivs:\t1/.test(fs.readFileSync(`/proc/${pid}/status`, 'latin1'));
      } catch {
        return !is_alive(pid);
      }
    };
    // One that has just begun still has the keeper's.
    await wait_until(() => workers().length > 0 && [keeper(), ...workers()].every(has_none), 'none has more');
  });
});

test('a model whose chat template is a bomb is refused with the reason', async (t) => {
  const server = await server_for_test(t);
  const bombs = {
    endless: ['{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}', /takes too long$/],
    memory: ['{% for i in range(2000000000) %}{{ i }}{% endfor %}', /takes too much memory$/],
    stack: ['{% macro deep(n) %}{{ deep(n + 1) }}{% endmacro %}{{ deep(0) }}', /is nested too deeply$/],
  };
  if (sanitized) delete bombs.memory;
  for (const [name, [text, why]] of Object.entries(bombs)) {
    await server.create(name, with_template(cria(), text, name));
    const messages = [{ role: 'user', content: 'Hi' }];
    const { status, json } = await server.post('/api/chat', { model: name, messages, stream: false });
    assert.equal(status, 400);
    assert.match(json.error, why);
  }
  assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
});

test('the runner ends with its keeper, and what had sent nothing is answered all the same', async (t) => {
  const server = await server_for_test(t);
  await server.create('endless', endless());
  await server.ok('/api/generate', { model: 'endless' });
  const [runner] = server.runners();
  const [keeper] = children_of(runner);
  const options = { num_predict: 2000, temperature: 0 };
  const answer = server.post('/api/generate', { model: 'endless', prompt: 'Hello', stream: false, options });
  const requests = async () => (await server.get('/api/queue')).json.requests;
  await wait_until(async () => (await requests())[0]?.output_tokens > 3, 'it runs, alone');
  signal(keeper, 'SIGKILL');
  await wait_until(() => !is_alive(runner), 'the runner has ended');
  const { status, json, text } = await answer;
  assert.equal(status, 200, text);
  assert.equal(json.eval_count, 2000);
});
