// A long run of everything at once: chats, tools, schemas, embeddings, streams, clients that leave, loads and unloads,
// uploads and creates, attacks that are to be refused, and runners that are killed. Every answer is checked; at the end
// the front has to hold no more memory, descriptors and threads than after the first minute.
//
//   DROVER_BIN=… node tests/attack/soak.mjs MINUTES [SEED]
import assert from 'node:assert/strict';
import fs from 'node:fs';
import zlib from 'node:zlib';

import { capital_answer, capital_question, json_answer, json_question, json_schema, tools, weather_question } from '../e2e/faces.mjs';
import { cria, renamed } from '../e2e/gguf.mjs';
import { with_template } from '../e2e/gguf_parts.mjs';
import { Server, signal, sleep, Stream, text_of, wait_until } from '../e2e/harness.mjs';
import { generator, prompts } from '../e2e/prompts.mjs';
import { status_of, watch_memory } from './witness.mjs';

const minutes = Number(process.argv[2] ?? 10);
const seed = Number(process.argv[3] ?? Date.now() % 1_000_000);
const lanes = 8;
const models = ['one1', 'two2', 'thr3']; // the same weights; there is room for two of them, and one for embeddings
const kill_gap_ms = [3000, 9000];
const grown_max = { memory_mib: 96, descriptors: 8, threads: 2 };
const mib = 1 << 20;

const server = await new Server({
  env: {
    OLLAMA_NUM_PARALLEL: '4',
    OLLAMA_MAX_LOADED_MODELS: '3',
    OLLAMA_LOAD_TIMEOUT: '5m',
    OLLAMA_REQUEST_TIMEOUT: '5m',
    DROVER_HANG_TIMEOUT: '30',
  },
}).start();
const front = server.process.pid;
const next = generator(seed);
const pick = (items) => items[next(items.length)];
const options = { temperature: 0 };
const counts = {};
const count = (what) => (counts[what] = (counts[what] ?? 0) + 1);
const problems = [];
const hits = []; // {model, from, to}: a runner's death, until its model has answered again
const took = (what, from) => `${what} after ${Math.round(performance.now() - from)} ms`;

// ---- what is asked, and what the answer has to be

const asked = prompts(40);
const function_of = ({ name, description, schema }) => ({ type: 'function', function: { name, description, parameters: schema } });
let vector;

const honest = {
  async generate(model) {
    const { prompt, right } = pick(asked);
    const { response } = await ok('/api/generate', { model, prompt, stream: false, options });
    assert.equal(response, right);
  },
  async stream(model) {
    const { prompt, right } = pick(asked);
    const stream = new Stream(server.call('POST', '/api/generate', { model, prompt, options }));
    await stream.ended;
    const last = stream.items.at(-1);
    if (last.error) throw new Failed(stream.call.response.statusCode, last.error);
    assert.equal(text_of(stream.items), right);
  },
  async leave(model) {
    const { prompt, right } = pick(asked);
    const stream = new Stream(server.call('POST', '/api/generate', { model, prompt, options }));
    await sleep(next(300));
    stream.close();
    assert.ok(right.startsWith(text_of(stream.items)));
  },
  async chat(model) {
    const { message } = await ok('/api/chat', { model, messages: capital_question, stream: false, options });
    assert.equal(message.content, capital_answer);
  },
  async openai(model) {
    const { choices } = await ok('/v1/chat/completions', { model, messages: capital_question, temperature: 0 });
    assert.equal(choices[0].message.content, capital_answer);
  },
  async anthropic(model) {
    const { content } = await ok('/v1/messages', { model, max_tokens: 50, messages: capital_question, temperature: 0 });
    assert.equal(content[0].text, capital_answer);
  },
  async tool(model) {
    const body = { model, messages: [{ role: 'user', content: weather_question }], tools: tools.map(function_of), stream: false, options };
    const { message } = await ok('/api/chat', body);
    assert.deepEqual(message.tool_calls[0].function.arguments, { city: 'Tokyo' });
  },
  async schema(model) {
    const { response } = await ok('/api/generate', { model, prompt: json_question, format: json_schema, stream: false, options });
    assert.deepEqual(JSON.parse(response), json_answer);
  },
  async embed() {
    const { embeddings } = await ok('/api/embed', { model: 'cria', input: 'Why is the sky blue?' });
    assert.equal(embeddings[0].length, vector.length);
    assert.ok(embeddings[0].every((value, i) => Math.abs(value - vector[i]) < 1e-3), 'the same vector');
  },
  async unload(model) {
    await ok('/api/generate', { model, keep_alive: 0 });
  },
  async create() {
    const model = `made${next(1000)}`;
    await server.create(model, renamed(`M${100 + next(900)}`));
    await ok('/api/copy', { source: model, destination: `${model}copy` });
    for (const name of [model, `${model}copy`]) assert.equal((await server.send('DELETE', '/api/delete', { model: name })).status, 200);
  },
  async lists() {
    for (const target of ['/api/ps', '/api/tags', '/api/queue', '/metrics', '/healthz']) assert.equal((await server.get(target)).status, 200);
  },
};

const deep = (count) => '['.repeat(count) + ']'.repeat(count);
const nobody = [{ role: 'user', content: 'x' }];
const attacks = {
  deep: (model) => server.post('/api/generate', `{"model":"${model}","prompt":"x","format":${deep(100_000)}}`),
  keys: () => server.post('/api/show', `{${Array.from({ length: 50_000 }, (_, i) => `"k${i}":1`).join()}}`),
  large: () => server.post('/api/generate', `{"a":[${'[],'.repeat(mib)}`),
  reversed: (model) => server.post('/api/generate', { model, prompt: 'x', format: { type: 'string', minLength: 5, maxLength: 2 } }),
  bomb: () => server.send('POST', '/api/generate', bomb, { 'content-encoding': 'gzip' }),
  option: (model) => server.post('/api/generate', { model, prompt: 'x', options: { num_thread: 1e9 } }),
  enum: (model) => server.post('/api/chat', { model, messages: nobody, format: { enum: Array.from({ length: 20_000 }, (_, i) => i) } }),
  nowhere: () => server.get('/api/../../etc/passwd'),
};
const bomb = zlib.gzipSync(Buffer.alloc(100 * mib, ' '));

class Failed extends Error {
  constructor(status, text) {
    super(`${status} ${text}`.slice(0, 300));
  }
}

async function ok(target, body) {
  const { status, json, text } = await server.post(target, body);
  if (status !== 200) throw new Failed(status, text);
  return json;
}

const was_hit = (model, from) => hits.some((hit) => hit.model === model && (hit.to ?? Infinity) >= from);

// ---- lanes

let over = false;

async function ask_on() {
  while (!over) {
    const is_attack = next(5) === 0;
    const name = pick(Object.keys(is_attack ? attacks : honest));
    const model = pick(models);
    const from = performance.now();
    try {
      if (is_attack) {
        const { status, text } = await attacks[name](model);
        assert.ok([400, 404, 413, 429].includes(status), `${status} ${text.slice(0, 200)}`);
      } else {
        await honest[name](model);
      }
      count(name);
    } catch (error) {
      // Who was in a runner that was killed may be told so.
      if (error instanceof Failed && was_hit(name === 'embed' ? 'cria' : model, from)) count('told of a dead runner');
      else problems.push(`${took(name, from)} (${model}): ${error.message}`);
    }
    await sleep(next(30));
  }
}

async function kill_runners() {
  while (!over) {
    await sleep(kill_gap_ms[0] + next(kill_gap_ms[1] - kill_gap_ms[0]));
    const alive = server.runners();
    const started = [...server.stderr.matchAll(/loading (\w+):latest(?: for embeddings)? in process (\d+)/g)];
    const victim = pick(started.filter(([, , pid]) => alive.includes(Number(pid))));
    if (!victim) continue;
    const hit = { model: victim[1], from: performance.now() };
    hits.push(hit);
    count('kills');
    signal(Number(victim[2]), 'SIGKILL');
    await sleep(1500); // the answers that are about it
    hit.to = performance.now();
  }
}

async function bombs_in_templates() {
  const bytes = with_template(cria(), '{% for i in range(1000000000) %}{% endfor %}', 'bomb');
  while (!over) {
    await sleep(20_000);
    if (over) return;
    const digest = await server.upload(bytes);
    const { status } = await server.post('/api/create', { model: 'bomb', files: { 'a.gguf': digest }, stream: false });
    if (status === 200) await server.post('/api/chat', { model: 'bomb', messages: nobody, stream: false });
    await server.post('/api/generate', { model: 'bomb', keep_alive: 0 });
    await server.send('DELETE', '/api/delete', { model: 'bomb' });
    count('bombs in templates');
  }
}

// ---- what the front holds, with nothing loaded

function held() {
  const { resident, threads } = status_of(front);
  const descriptors = fs.readdirSync(`/proc/${front}/fd`).length;
  return { memory_mib: Math.round(resident / mib), descriptors, threads };
}
const show = ({ memory_mib, descriptors, threads }) => `${memory_mib} MiB, ${descriptors} descriptors, ${threads} threads`;

async function at_rest() {
  for (const model of [...models, 'cria']) await server.post('/api/generate', { model, keep_alive: 0 });
  await wait_until(() => server.runners().length === 0, 'all models are unloaded');
  await sleep(1000);
  return held();
}

for (const model of models) await server.create(model, renamed(model));
for (const item of asked) item.right = (await server.generate(item.prompt, { model: models[0] })).response;
vector = (await ok('/api/embed', { model: 'cria', input: 'Why is the sky blue?' })).embeddings[0];
for (const what of Object.values(honest)) for (const model of models) await what(model);
for (const what of Object.values(attacks)) await what(models[0]);

async function load(seconds) {
  over = false;
  const running = [...Array.from({ length: lanes }, ask_on), kill_runners(), bombs_in_templates()];
  await sleep(seconds * 1000);
  over = true;
  await Promise.all(running);
}

console.log(`soak of ${minutes} min, seed ${seed}; at the start the front has ${show(await at_rest())}`);
const start = performance.now();
const report = setInterval(() => {
  const done = Object.entries(counts).map(([name, times]) => `${name} ${times}`).join(', ');
  console.log(`${Math.round((performance.now() - start) / 1000)} s: ${show(held())}; ${done}; ${problems.length} problems`);
}, 30_000);
const guard = setInterval(() => watch_memory(front), 200);
// What the allocator keeps for the next time is there after a while, and is no growth.
const warm_up_s = Math.min(60, minutes * 15);
await load(warm_up_s);
const before = await at_rest();
console.log(`after ${warm_up_s} s the front has ${show(before)}`);
await load(minutes * 60 - warm_up_s);
clearInterval(report);
clearInterval(guard);
const after = await at_rest();
console.log(`at the end the front has ${show(after)}; ${JSON.stringify(counts)}`);
for (const [what, most] of Object.entries(grown_max))
  if (after[what] - before[what] > most) problems.push(`${what}: ${before[what]} after the first minute, ${after[what]} at the end`);
if (server.process.pid !== front || server.process.exitCode !== null) problems.push('the front has ended');
await server.stop().catch((error) => problems.push(error.message));
for (const problem of problems.slice(0, 20)) console.log(`PROBLEM ${problem}`);
console.log(problems.length === 0 ? 'nothing was wrong' : `${problems.length} problems`);
process.exit(problems.length === 0 ? 0 : 1);
