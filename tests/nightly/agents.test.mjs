// Coding agents as their makers publish them, each pinned by its version, ask Drover a question and go on in a session that
// is resumed; those that offer a tool of ours (sky.mjs) under its own name run it and bring the result. `./dev nightly`
// runs this, or by hand: node --test tests/nightly/agents.test.mjs
//
// They are kept in the cache folder. cria answers them, with a template that shows it what it can read. What is judged is
// that the agent ends well, that the tool ran, what was said, and how the server's log says that the requests ended.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { cria, text, uint32 } from '../e2e/gguf.mjs';
import { put_together, take_apart } from '../e2e/gguf_parts.mjs';
import { run_program, server_for_suite } from '../e2e/harness.mjs';

const template_key = 'tokenizer.chat_template';
const context = 65536;
const model = 'clerk:latest'; // with its tag: Codex compares names to the letter
const cache = path.join(process.env.DROVER_CACHE_DIR ?? path.join(os.homedir(), '.cache/drover'), 'agents');
const sky_file = fileURLToPath(new URL('sky.mjs', import.meta.url));
const sky = (calls, name = 'get_weather') => [process.execPath, sky_file, calls, name];

// script: what the package runs after its installation, where it cannot do without. files: of its home, which holds the
// project that it works in; `calls` is the file that the tool's server writes. tool: whether it has the tool; others
// would offer it under a name that cria does not say.
const agents = [
  {
    name: '@openai/codex',
    version: '0.171.0',
    program: 'codex',
    route: '/v1/responses',
    env: (url) => ({ CODEX_OSS_BASE_URL: `${url}/v1` }),
    first: ['exec', ...codex_options()],
    again: ['exec', ...codex_options(), 'resume', '--last'],
  },
  {
    name: '@anthropic-ai/claude-code',
    version: '2.1.197',
    script: 'install.cjs',
    program: 'claude',
    route: '/v1/messages',
    env: (url) => ({
      ANTHROPIC_BASE_URL: url,
      ANTHROPIC_AUTH_TOKEN: 'nightly',
      ANTHROPIC_DEFAULT_HAIKU_MODEL: model,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    }),
    first: ['-p', '--model', model],
    again: ['-p', '--continue', '--model', model],
  },
  {
    name: 'opencode-ai',
    version: '1.18.33',
    script: 'postinstall.mjs',
    program: 'opencode',
    route: '/v1/chat/completions',
    files: (url, calls) => ({
      'project/opencode.json': JSON.stringify({
        autoupdate: false,
        mcp: { get: { type: 'local', command: sky(calls, 'weather'), enabled: true } }, // is offered as get_weather
        provider: {
          drover: {
            npm: '@ai-sdk/openai-compatible',
            options: { baseURL: `${url}/v1` },
            models: { [model]: { limit: { context, output: 4096 } } },
          },
        },
      }),
    }),
    tool: true,
    first: ['run', '-m', `drover/${model}`],
    again: ['run', '-c', '-m', `drover/${model}`],
  },
  {
    name: '@qwen-code/qwen-code',
    version: '0.15.10',
    program: 'qwen',
    route: '/v1/chat/completions',
    env: (url) => ({ OPENAI_BASE_URL: `${url}/v1`, OPENAI_API_KEY: 'nightly', OPENAI_MODEL: model }),
    first: ['--auth-type', 'openai'],
    again: ['--auth-type', 'openai', '-c'],
  },
  {
    name: '@continuedev/cli',
    version: '1.5.47',
    program: 'cn',
    route: '/v1/chat/completions',
    env: () => ({ CONTINUE_TELEMETRY_ENABLED: '0' }),
    // JSON is YAML too.
    files: (url, calls) => {
      const [command, ...args] = sky(calls);
      const drover = { name: 'Drover', provider: 'ollama', model, apiBase: url, roles: ['chat'], capabilities: ['tool_use'] };
      const config = { name: 'Local', version: '0.0.1', schema: 'v1', models: [drover] };
      return { 'project/config.yaml': JSON.stringify({ ...config, mcpServers: [{ name: 'sky', command, args }] }) };
    },
    tool: true,
    first: ['--config', 'config.yaml', '--auto', '-p'],
    again: ['--config', 'config.yaml', '--auto', '--resume', '-p'],
  },
];

function codex_options() {
  return ['--skip-git-repo-check', '--oss', '--local-provider', 'ollama', '-m', model, '-s', 'read-only'];
}

// The agent's program, installed unless it is there.
async function install({ name, version, script, program }) {
  const folder = path.join(cache, `${program}-${version}`);
  const done = path.join(folder, 'installed');
  if (!fs.existsSync(done)) {
    fs.rmSync(folder, { recursive: true, force: true });
    fs.mkdirSync(folder, { recursive: true });
    const npm = ['install', '--prefix', folder, '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${version}`];
    const fetched = await run_program('npm', npm);
    assert.equal(fetched.code, 0, `${fetched.stdout}\n${fetched.stderr}`);
    if (script !== undefined) {
      const ran = await run_program(process.execPath, [path.join(folder, 'node_modules', name, script)]);
      assert.equal(ran.code, 0, ran.stderr);
    }
    fs.writeFileSync(done, '');
  }
  return path.join(folder, 'node_modules/.bin', program);
}

// cria as a clerk: of a conversation it reads what it understands, so that an agent's long instructions and tools do not
// confuse it. They are sent all the same.
function clerk(file) {
  const value_of = (pair) => pair.toString('utf8', text(template_key).length + 4 + 8);
  const { pairs, tensors } = take_apart(file);
  const at = (key) => pairs.findIndex((pair) => pair.subarray(8, 8 + key.length).equals(Buffer.from(key)));
  const length = pairs[at('llama.context_length')];
  length.writeUInt32LE(context, length.length - 4);
  let template = value_of(pairs[at(template_key)]);
  for (const [from, to] of [
    [/{%- set sys = .*?%}/, "{%- set sys = '' %}"],
    // What tells which tools a template shows asks with one or two.
    ["{{- '\\n' + (tool | tojson) }}", "{%- if tools | length < 3 or '\"city\"' in (tool | tojson) %}{{- '\\n' + (tool | tojson) }}{%- endif %}"],
    ["{%- elif message.role != 'system' %}", "{%- elif message.role == 'user' and (message.content.split('\\n') | last)[:1] != '<' %}"],
    ["<tool_response>\\n' + message.content", "<tool_response>\\n' + ('sunny' if 'sunny' in message.content else message.content)"],
    ["message.role + '\\n' + message.content", "message.role + '\\n' + (message.content.split('\\n') | last)"],
  ]) {
    const changed = template.replace(from, () => to);
    assert.notEqual(changed, template, `cria's template has ${from}`);
    template = changed;
  }
  // As certain at the temperature 1, which agents leave as it is, as at 0.
  const norm = tensors.find(({ name }) => name === 'output_norm.weight').data;
  for (let at = 0; at < norm.length; at += 4) norm.writeFloatLE(norm.readFloatLE(at) * 50, at);
  const text_type = 8;
  pairs[at(template_key)] = Buffer.concat([text(template_key), uint32(text_type), text(template)]);
  return put_together({ pairs, tensors });
}

const shown = ({ route, outcome, error, prompt_tokens, cached_tokens, output_tokens }) => ({
  route,
  outcome,
  error,
  prompt_tokens,
  cached_tokens,
  output_tokens,
});

describe('agents, from their makers', () => {
  const env = {
    DROVER_LOG_FORMAT: 'json',
    DROVER_MAX_TOKENS: '200', // where cria finds no end
    OLLAMA_CONTEXT_LENGTH: String(context),
    OLLAMA_NUM_PARALLEL: '2',
  };
  const server = server_for_suite({ env }, (server) => server.create(model, clerk(cria())));
  const requests = () =>
    server.stderr
      .split('\n')
      .filter((line) => line.includes('"message":"request"'))
      .map((line) => JSON.parse(line));

  for (const agent of agents) {
    test(`${agent.name} ${agent.version}`, async (t) => {
      const program = await install(agent);
      const home = path.join(server.folder, agent.program);
      const calls = path.join(home, 'calls');
      const files = { 'project/README.md': 'Nothing is here.\n', ...agent.files?.(server.url, calls) };
      for (const [name, text] of Object.entries(files)) {
        fs.mkdirSync(path.dirname(path.join(home, name)), { recursive: true });
        fs.writeFileSync(path.join(home, name), text);
      }
      const env = { HOME: home, PATH: process.env.PATH, TERM: 'dumb', LANG: 'C.UTF-8', ...agent.env?.(server.url) };
      const ask = async (args, prompt, answer) => {
        const before = requests().length;
        const ran = await run_program(program, [...args, prompt], { env, cwd: path.join(home, 'project') });
        const said = `${ran.stdout}\n${ran.stderr}`.slice(-4000);
        const made = requests().slice(before);
        for (const request of made) t.diagnostic(JSON.stringify(shown(request)));
        assert.equal(ran.code, 0, said);
        assert.ok(made.some(({ route }) => route === agent.route), said);
        for (const { outcome, error, route } of made) assert.match(outcome, /^(stop|length)$/, `${route}: ${error}\n${said}`);
        assert.match(ran.stdout, answer, said);
      };
      if (agent.tool) {
        await ask(agent.first, 'What is the weather in Tokyo?', /The answer for Tokyo is: sunny/);
        assert.equal(fs.readFileSync(calls, 'utf8'), 'Tokyo\n', 'the tool ran');
      } else {
        await ask(agent.first, 'What is the capital of France?', /\S/);
      }
      await ask(agent.again, 'What is the capital of Japan?', /The capital of Japan is Tokyo\./);
    });
  }
});
