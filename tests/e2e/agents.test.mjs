// What agents and applications send in their default configuration is answered, in streams that follow their dialect's
// grammar (agents.mjs, stream_grammar.mjs). Agents themselves run in `./dev nightly`.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import {
  agents,
  claude_code,
  claude_code_history,
  claude_code_otherwise,
  claude_code_search,
  codex,
  codex_history,
  codex_namespace,
  codex_patch,
  dialects,
  next_question,
  opencode,
  opencode_title,
} from './agents.mjs';
import { server_for_suite } from './harness.mjs';
import { calls_of, read_chat, read_completion, read_message, read_response } from './stream_grammar.mjs';

const readers = {
  responses: read_response,
  messages: read_message,
  completions: (text) => read_completion(text, { include_usage: true }),
  ollama: read_chat,
};

const called_once = { name: 'get_weather', types: ['string'], more: [] };

describe('agents and applications', () => {
  const server = server_for_suite({ env: { OLLAMA_NUM_PARALLEL: '2' } });

  // An agent names no temperature. cria says the same every time at 0.
  async function stream({ dialect, headers }, body) {
    const { route } = dialects[dialect];
    const answer = await server.send('POST', route, { model: 'cria', temperature: 0, ...body }, headers);
    assert.equal(answer.status, 200, answer.text);
    const type = dialect === 'ollama' ? 'application/x-ndjson' : 'text/event-stream';
    assert.equal(answer.headers['content-type'], type);
    assert.equal(answer.headers['content-encoding'], undefined);
    return answer.text;
  }
  const ask = async (agent, body) => readers[agent.dialect](await stream(agent, body));

  for (const agent of agents) {
    test(`${agent.agent}: a call, its result, another day`, async () => {
      const { force, calls, words, results, question } = dialects[agent.dialect];
      const says_something = (answer) => assert.ok(words(answer) !== '' || calls(answer).length > 0);
      says_something(await ask(agent, agent.body));
      const call = await ask(agent, { ...agent.body, tool_choice: force });
      const [{ name, input }, ...more] = calls(call);
      assert.deepEqual({ name, types: Object.values(input).map((value) => typeof value), more }, called_once);
      const after_call = results(agent.body, call, agent);
      const told = await ask(agent, after_call);
      says_something(told);
      says_something(await ask(agent, question(after_call, told, next_question, agent)));
    });
  }

  // Pieces of a text can be lost or come twice unnoticed where no event repeats the whole.
  const pieces = { responses: /no such event/, messages: /"(text|thinking)_delta"/, completions: /"(content|reasoning)":"./ };
  for (const agent of [codex, claude_code, opencode]) {
    test(`what reads the streams notices an event that is lost or comes twice (${agent.dialect})`, async () => {
      const { dialect, body } = agent;
      const read = readers[dialect];
      for (const more of [{}, { tool_choice: dialects[dialect].force }]) {
        const events = (await stream(agent, { ...body, ...more })).split('\n\n').slice(0, -1);
        const text_of = (list) => list.map((event) => `${event}\n\n`).join('');
        read(text_of(events));
        events.forEach((event, i) => {
          if (pieces[dialect].test(event)) return;
          assert.throws(() => read(text_of(events.filter((_, at) => at !== i))), `without ${event}`);
          assert.throws(() => read(text_of([...events.slice(0, i), event, ...events.slice(i)])), `twice ${event}`);
        });
      }
    });
  }

  test('Codex: a call of a member of a namespace has both names, there and back', async () => {
    const body = { ...codex.body, tools: [codex_namespace], tool_choice: 'required' };
    const answer = await ask(codex, body);
    const [call] = calls_of(answer);
    assert.equal(call.type, 'function_call');
    assert.equal(call.namespace, codex_namespace.name);
    assert.equal(call.name, 'get_weather');
    const { results, words } = dialects.responses;
    const told = await ask(codex, { ...results(body, answer), tool_choice: 'auto' });
    assert.ok(words(told) !== '' || calls_of(told).length > 0);
  });

  // Codex ends its turn with "incompatible payload" when such a call comes as a function's.
  test('Codex: a call of a custom tool comes as one, or not at all', async () => {
    const answer = await ask(codex, { ...codex.body, tools: [...codex.body.tools, codex_patch], max_output_tokens: 100 });
    const named = calls_of(answer).filter(({ name }) => name === codex_patch.name);
    for (const call of named) assert.equal(call.type, 'custom_tool_call');
  });

  test('Codex: what a session of other days holds', async () => {
    const { input } = codex.body;
    const last = input.at(-1);
    const body = { ...codex.body, input: [...input, ...codex_history, { ...last, content: [{ type: 'input_text', text: next_question }] }] };
    const answer = await ask(codex, body);
    assert.ok(answer.output.length > 0);
    assert.match(answer.status, /^(completed|incomplete)$/);
  });

  test('Claude Code: what a session of other days holds; the last message is the system\'s', async () => {
    const answer = await ask(claude_code, { ...claude_code.body, messages: claude_code_history });
    assert.ok(answer.content.length > 0);
  });

  test('Claude Code: the search that a server is to run', async () => {
    const answer = await ask(claude_code, { ...claude_code_search, max_tokens: 30 });
    assert.deepEqual(answer.content.filter(({ type }) => type === 'tool_use'), []);
  });

  // A first question changes three figures at the very beginning of the prompt.
  test('Claude Code: another first question finds the tools and the instructions computed', async () => {
    await ask(claude_code, claude_code.body);
    const answer = await ask(claude_code, claude_code_otherwise('Hello'));
    const { input_tokens, cache_read_input_tokens, cache_creation_input_tokens = 0 } = answer.usage;
    const all = Math.max(input_tokens, cache_read_input_tokens + input_tokens + cache_creation_input_tokens);
    assert.ok(cache_read_input_tokens > all / 4, `${cache_read_input_tokens} of ${all} tokens were there`);
  });

  test('Claude Code and Codex look before they ask', async () => {
    assert.equal((await server.send('HEAD', '/')).status, 200);
    const { version } = (await server.get('/api/version')).json;
    assert.match(version, /^\d+\.\d+\.\d+/);
    const names = (await server.get('/api/tags')).json.models.map(({ name }) => name);
    assert.deepEqual(names, ['cria:latest']);
    assert.equal((await server.get('/v1/models')).json.data[0].id, 'cria:latest');
  });

  test('OpenCode: a title, from two messages of the user', async () => {
    const { message } = await ask(opencode, { ...opencode_title, max_tokens: 30 });
    assert.notEqual(message.content + message.reasoning, '');
  });
});
