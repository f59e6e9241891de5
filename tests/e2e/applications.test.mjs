// What applications ask of the server beside conversations: the lists that they show, loading and unloading, embeddings,
// making and deleting models. Recorded, or read in their sources, and made anew; each request stands as it is sent, with
// the fields that say nothing.
//
// How they speak with a model: agents.mjs. Ollama's JavaScript client and the libraries above it have tests of their own.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { capital_answer, capital_question, json_answer, json_question, json_schema, tools, weather_question } from './faces.mjs';
import { server_for_suite, wait_until } from './harness.mjs';

const model = 'cria';
const offered = tools.map(({ name, description, schema }) => ({
  type: 'function',
  function: { name, description, parameters: schema },
}));
const content = ({ json }) => json.message.content;

describe('applications', () => {
  const server = server_for_suite();

  // A client of its own: what it sends with each request, and what it has to get unless a request says otherwise.
  const client =
    (headers) =>
    async (method, path, body, status = 200) => {
      const answer = await server.send(method, path, body, { 'content-type': 'application/json', ...headers });
      assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
      assert.equal(answer.headers['x-drover-warning'], undefined);
      return answer;
    };
  const last_line = ({ text }) => JSON.parse(text.trim().split('\n').at(-1));
  const is_loaded = async (name) => (await server.loaded_models()).some((loaded) => loaded.name === name);

  // Go writes every field that has no "omitempty", and the program ends where a number is none or a digest too short.
  describe("Ollama's command line", () => {
    const ask = client({ accept: 'application/json', 'user-agent': 'ollama/0.33.0 (amd64 windows) Go/go1.26.0' });
    const show = (name) => ({ model: '', system: '', template: '', verbose: false, options: null, name });
    const generate = (more) => ({ model, prompt: '', suffix: '', system: '', template: '', options: null, ...more });

    test('run: looks, loads, answers; stop', async () => {
      await ask('HEAD', '/');
      const { capabilities, details, model_info } = (await ask('POST', '/api/show', show(model))).json;
      assert.ok(Array.isArray(capabilities) && capabilities.includes('completion'));
      const architecture = model_info['general.architecture'];
      for (const name of ['general.parameter_count', `${architecture}.context_length`, `${architecture}.embedding_length`]) {
        assert.equal(typeof model_info[name], 'number', name);
      }
      assert.match(details.parameter_size, /^\d/);
      const loaded = await ask('POST', '/api/generate', generate({ keep_alive: '5m0s' }));
      assert.equal(loaded.json.done_reason, 'load');
      const chat = { model, messages: capital_question, options: { temperature: 0 }, keep_alive: '5m0s', think: false };
      const answer = await ask('POST', '/api/chat', chat);
      assert.equal(answer.headers['content-type'], 'application/x-ndjson');
      const said = answer.text.trim().split('\n').map((line) => JSON.parse(line).message.content);
      assert.equal(said.join(''), capital_answer);
      const [running] = (await ask('GET', '/api/ps')).json.models;
      assert.ok(running.digest.length >= 12 && running.size > 0 && Date.parse(running.expires_at) > Date.now());
      const stopped = await ask('POST', '/api/generate', generate({ keep_alive: '0s' }));
      assert.equal(stopped.json.done_reason, 'unload');
      await wait_until(async () => !(await is_loaded('cria:latest')), 'the model is unloaded');
    });

    test('one prompt; a vector', async () => {
      const asked = generate({ prompt: capital_question[0].content, options: {}, think: false, format: '' });
      assert.match((await ask('POST', '/api/generate', asked)).text, /"done":true/);
      const { embeddings } = (await ask('POST', '/api/embed', { model, input: 'Hello', dimensions: 64, options: null })).json;
      assert.equal(embeddings[0].length, 64);
    });

    test('create, list, cp, show, rm', async () => {
      const [{ digest }] = (await ask('GET', '/api/tags')).json.models;
      assert.ok(digest.length >= 12);
      const made = await ask('POST', '/api/create', {
        model: '',
        name: 'mine', // before 0.6
        from: model,
        system: 'You are brief.',
        license: ['One', 'Two'],
        parameters: { stop: ['Goodbye.'], temperature: 0 },
        messages: [{ role: 'user', content: 'Hello' }],
      });
      assert.equal(last_line(made).status, 'success');
      await ask('POST', '/api/copy', { source: 'mine', destination: 'other' });
      const { license, system } = (await ask('POST', '/api/show', show('other'))).json;
      assert.deepEqual([license, system], ['One\nTwo', 'You are brief.']);
      await ask('POST', '/api/generate', { ...generate({ keep_alive: '0s' }), model: 'other' });
      for (const name of ['other', 'mine']) await ask('DELETE', '/api/delete', { model: '', name });
      await ask('DELETE', '/api/delete', { model: '', name: 'mine' }, 404);
    });

    test('pull and push say what is in the way', async () => {
      const body = { model: '', insecure: true, username: '', password: '', name: '127.0.0.1:1/a/b' };
      assert.match(last_line(await ask('POST', '/api/pull', body)).error, /127\.0\.0\.1:1.*connect/);
      assert.match(last_line(await ask('POST', '/api/push', body)).error, /./);
    });

    // It takes a 404 for an older server without these. Their form is the one that Ollama has for any path.
    test('what only the cloud has is not found', async () => {
      for (const [method, path] of [
        ['POST', '/api/me'],
        ['POST', '/api/signout'],
        ['DELETE', '/api/user/keys/abc'],
        ['GET', '/api/status'],
        ['GET', '/api/experimental/model-recommendations'],
        ['POST', '/api/experimental/web_search'],
        ['POST', '/api/experimental/web_fetch'],
      ]) {
        assert.equal((await ask(method, path, undefined, 404)).text, '404 page not found');
      }
    });
  });

  describe('Open WebUI', () => {
    const ask = client({
      accept: '*/*',
      'user-agent': 'Python/3.11 aiohttp/3.13.2',
      'x-openwebui-user-name': 'Ana%20Bo',
      'x-openwebui-user-id': '7f1c',
      'x-openwebui-user-email': 'ana@home.test',
      'x-openwebui-user-role': 'admin',
    });

    test('its lists', async () => {
      assert.match((await ask('GET', '/api/version')).json.version, /^\d+\.\d+\.\d+$/, 'it makes numbers of the parts');
      const [{ name, model: id }] = (await ask('GET', '/api/tags')).json.models;
      assert.deepEqual([name, id], ['cria:latest', 'cria:latest']);
      await ask('POST', '/api/generate', { model: id, prompt: '', keep_alive: -1 });
      const [loaded] = (await ask('GET', '/api/ps')).json.models;
      assert.equal(loaded.model, id);
      assert.match(loaded.expires_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)$/, 'as datetime.fromisoformat() wants it');
      assert.equal((await ask('GET', '/v1/models')).json.data[0].id, id);
      await ask('POST', '/api/show', { name: id, model: id });
    });

    test('beside an answer: a title, tags, questions', async () => {
      const messages = [{ role: 'user', content: json_question }];
      const title = { model, messages, stream: false, options: { num_predict: 1000, temperature: 0 } };
      assert.notEqual(content(await ask('POST', '/api/chat', title)), '');
      const kept = await ask('POST', '/api/chat', { ...title, format: json_schema, system: 'You are brief.', keep_alive: 300 });
      assert.deepEqual(JSON.parse(content(kept)), json_answer);
    });

    test('documents: many texts as vectors', async () => {
      const input = ['Tokyo is in Japan.', 'Paris is in France.'];
      const { embeddings } = (await ask('POST', '/api/embed', { input, model })).json;
      assert.equal(embeddings.length, input.length);
      assert.ok((await ask('POST', '/api/embeddings', { model, prompt: 'Tokyo' })).json.embedding.length > 0);
    });

    test('an administrator pulls, copies, makes, unloads and deletes', async () => {
      const pulled = await ask('POST', '/api/pull', { name: '127.0.0.1:1/a/b', model: '127.0.0.1:1/a/b', insecure: true });
      assert.match(last_line(pulled).error, /connect/);
      await ask('POST', '/api/copy', { source: 'cria:latest', destination: 'copy' });
      assert.equal(last_line(await ask('POST', '/api/create', { model: 'made', from: 'cria', stream: true })).status, 'success');
      const unloaded = await ask('POST', '/api/generate', { model: 'made:latest', keep_alive: 0, prompt: '' });
      assert.equal(unloaded.json.done_reason, 'unload');
      for (const name of ['copy', 'made']) await ask('DELETE', '/api/delete', { name, model: name });
    });
  });

  describe('Home Assistant', () => {
    const headers = { accept: 'application/json', 'user-agent': 'ollama-python/0.6.1 (x86_64 linux) Python/3.14.0' };
    const ask = client(headers);

    test('setting up, and its sensors', async () => {
      assert.equal((await ask('GET', '/api/tags')).json.models[0].model, 'cria:latest');
      assert.ok(Array.isArray((await ask('GET', '/api/ps')).json.models));
      const pull = { model: '127.0.0.1:1/a/b:latest', insecure: false, stream: false };
      assert.match((await ask('POST', '/api/pull', pull, 500)).json.error, /connect/);
    });

    // Its form fields give numbers with a fraction; "for ever" was written "-1s" until 2026.
    test('numbers as its forms give them, and a task with a structure', async () => {
      const messages = JSON.stringify(capital_question);
      for (const [keep_alive, years] of [['"-1s"', true], ['-1', true], ['"300s"', false]]) {
        const body = `{"model":"cria","messages":${messages},"tools":[],"stream":false,"options":{"num_ctx":8192.0,"temperature":0},"keep_alive":${keep_alive}}`;
        assert.equal(content(await ask('POST', '/api/chat', body)), capital_answer);
        const [{ expires_at }] = await server.loaded_models();
        assert.equal(Date.parse(expires_at) > Date.now() + 3e10, years, keep_alive);
      }
      const format = {
        ...json_schema,
        properties: { age: { type: 'integer', description: 'Years', nullable: true }, available: { type: 'boolean' } },
      };
      const task = { model, messages: [{ role: 'user', content: json_question }], stream: false, format, think: false };
      const answer = await ask('POST', '/api/chat', { ...task, options: { num_ctx: 8192, temperature: 0 }, keep_alive: -1 });
      assert.deepEqual(JSON.parse(content(answer)), json_answer);
    });
  });

  describe('LiteLLM', () => {
    const ask = client({ authorization: 'Bearer litellm', 'user-agent': 'litellm/1.106.4' });

    // Where the template does not speak of tools, it describes them in the prompt instead.
    test('it finds that a model takes tools, and how long its context is', async () => {
      const { template, model_info } = (await ask('POST', '/api/show', { name: model })).json;
      assert.match(template, /tools/i);
      assert.ok(Object.keys(model_info).some((name) => name.includes('context_length')));
    });

    test('ollama/: a prompt with its own marks, tools in it', async () => {
      const options = { temperature: 0, num_predict: 40, stop: 'Goodbye.', functions_unsupported_model: offered };
      const prompt = `### User:\n${capital_question[0].content}\n\n`;
      const body = { model, prompt, options, stream: false, images: [], format: 'json', think: false };
      const { response, prompt_eval_count, eval_count } = (await ask('POST', '/api/generate', body)).json;
      assert.ok(response.startsWith('{') && prompt_eval_count > 0 && eval_count > 0);
      assert.match(server.stderr, /invalid option provided: "functions_unsupported_model"/);
      const { embeddings } = (await ask('POST', '/api/embed', { model, input: ['a', 'b'], options: { num_ctx: 512 } })).json;
      assert.equal(embeddings.length, 2);
    });
  });

  // Recorded: n8n 2.41.1, its nodes "Ollama" and "OpenAI Chat Model"; ollama-ai-provider-v2 4.0.1.
  describe('workflows', () => {
    const ask = client({ authorization: 'Bearer n8n' });
    const messages = [{ role: 'user', content: weather_question }];

    test('n8n: every option of its form', async () => {
      const options = { temperature: 0, num_ctx: 2048, keep_alive: '5m', stop: '', num_gpu: -1, num_thread: 0, main_gpu: 0 };
      Object.assign(options, { low_vram: false, penalize_newline: true, use_mlock: false, use_mmap: true, vocab_only: false });
      const body = { model: 'cria:latest', messages, stream: false, tools: offered, options };
      const { message } = (await ask('POST', '/api/chat', body)).json;
      assert.equal(message.tool_calls[0].function.name, 'get_weather');
      const told = { role: 'tool', content: 'sunny', tool_name: 'get_weather' };
      assert.match(content(await ask('POST', '/api/chat', { ...body, messages: [...messages, message, told] })), /sunny/);
      const vectors = { model, input: ['Tokyo is in Japan.'], truncate: false };
      assert.equal((await ask('POST', '/api/embed', vectors)).json.embeddings.length, 1);
    });

    test('n8n: an answer of the other API whose content is an empty list', async () => {
      const call = { id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Tokyo","id":"call_1"}' } };
      const history = [
        ...messages,
        { role: 'assistant', content: [], tool_calls: [call] },
        { role: 'tool', content: '[{"response":"sunny"}]', tool_call_id: 'call_1' },
      ];
      const body = { model, temperature: 0, stream: false, tools: offered, messages: history };
      assert.equal((await ask('POST', '/v1/chat/completions', body)).json.choices[0].finish_reason, 'stop');
    });

    test('the AI SDK: options beside the options', async () => {
      const tell = async (more) =>
        content(await ask('POST', '/api/chat', { model, messages: [{ role: 'user', content: 'Tell me a story.' }], stream: false, ...more }));
      const most = { num_predict: 30 };
      const same = await tell({ temperature: 0, options: most, tool_choice: 'auto' });
      assert.equal(await tell({ temperature: 0, options: { ...most, seed: 7 } }), same);
      assert.equal(await tell({ temperature: 2, options: { ...most, temperature: 0 } }), same, 'those of `options` count');
    });
  });
});
