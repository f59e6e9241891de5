// What clients do out of habit and Ollama's Go takes: bytes that are no Unicode, keys in any case, compressed bodies, a
// slash too many, a bare number for a time, a call that was cut off.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, test } from 'node:test';
import zlib from 'node:zlib';

import OpenAI from 'openai';

import { capital_answer, capital_question, hold, tools as cria_tools, waiting } from './faces.mjs';
import { cria, endless } from './gguf.mjs';
import { with_template } from './gguf_parts.mjs';
import { instant, server_for_suite, short } from './harness.mjs';

const mib = 1 << 20;
const model = 'cria';
const none = '\ufffd';

// A frame of zstd whose blocks are stored as they are, or hold one byte many times (RFC 8878).
const zstd_head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58]); // a window of 2 MiB
function zstd_block(kind, size, content, last) {
  const header = Buffer.alloc(4);
  header.writeUInt32LE((size << 3) | (kind << 1) | (last ? 1 : 0));
  return Buffer.concat([header.subarray(0, 3), content]);
}
const zstd = (text) => Buffer.concat([zstd_head, zstd_block(0, Buffer.byteLength(text), Buffer.from(text), true)]);
const zstd_zeros = (blocks) =>
  Buffer.concat([
    zstd_head,
    ...Array.from({ length: blocks }, (_, i) => zstd_block(1, 128 << 10, Buffer.from(' '), i === blocks - 1)),
  ]);

describe('bodies', () => {
  const server = server_for_suite({ env: { DROVER_BODY_MAX: String(8 * mib) } });
  // The prompt that cria would get, of a body that is sent as it stands.
  const rendered = async (body, headers = {}) => {
    const answer = await server.send('POST', '/api/chat', body, { 'content-type': 'application/json', ...headers });
    assert.equal(answer.status, 200, answer.text);
    return answer.json._debug_info?.rendered_template ?? answer.json.rendered_template;
  };
  const body_of = (content) =>
    `{"model":"cria","stream":false,"_debug_render_only":true,"messages":[{"role":"user","content":"${content}"}]}`;

  test('half an emoji, as an escape or as bytes', async () => {
    for (const [content, read] of [
      ['Hello \\ud83d', `Hello ${none}`],
      ['Hello \\uDE00!', `Hello ${none}!`],
      ['\\ude00\\ud83d', none + none],
      ['\\ud83d\\ud83d\\ude00', `${none}\u{1f600}`],
      ['\\ud83d\\ude00', '\u{1f600}'],
      ['\\\\ud83d', '\\ud83d'],
    ]) {
      assert.ok((await rendered(body_of(content))).includes(`user\n${read}<`), content);
    }
    for (const bytes of [[0xff], [0xf0, 0x9f, 0x98], [0xed, 0xa0, 0xbd], [0xe4]]) {
      const [before, after] = body_of('<>').split('<>');
      const body = Buffer.concat([Buffer.from(before), Buffer.from(bytes), Buffer.from(after)]);
      assert.ok((await rendered(body)).includes(`user\n${none.repeat(bytes.length)}<`), `${bytes}`);
    }
    // In each dialect, in keys, and in a conversation's history; a client's own JSON.stringify() makes such texts too.
    const cut = 'Hello \u{1f600}'.slice(0, -1);
    const messages = [{ role: 'user', content: cut }, { role: 'assistant', content: cut }, ...capital_question];
    for (const [target, body] of [
      ['/api/generate', { prompt: cut }],
      ['/api/chat', { messages }],
      ['/v1/chat/completions', { messages }],
      ['/v1/responses', { input: messages }],
      ['/v1/messages', { messages }],
      ['/api/embed', { input: cut }],
    ]) {
      await server.ok(target, { model, stream: false, max_tokens: 5, [cut]: 1, ...body });
    }
    const wrong = await server.post('/api/chat', '{"model":"cria","messages":[{"content":"\\ud83"}]}');
    assert.equal(wrong.status, 400, 'what is no escape is still wrong');
  });

  test('keys in any case', async () => {
    const body = { Model: model, STREAM: false, Messages: [{ Role: 'user', Content: capital_question[0].content }] };
    body.Options = { temperature: 0 };
    assert.equal((await server.ok('/api/chat', body)).message.content, capital_answer);
    assert.equal((await server.ok('/v1/chat/completions', { ...body, Temperature: 0 })).choices[0].message.content, capital_answer);
    assert.equal((await server.ok('/api/show', { Model: model })).details.family, 'llama');
    const [tool] = cria_tools;
    const Tools = [{ Type: 'function', Function: { Name: tool.name, Description: tool.description, Parameters: tool.schema } }];
    const called = { ...body, Messages: [{ role: 'user', content: 'What is the weather in Tokyo?' }], Tools };
    assert.deepEqual((await server.ok('/api/chat', called)).message.tool_calls[0].function.arguments, { city: 'Tokyo' });
    // Options are a map, whose keys mean what they are; a key that is written right goes before one that is not.
    const options = { NUM_PREDICT: 1, num_predict: 3 };
    const counted = await server.generate('Count to 100', { Model: 'nobody', options });
    assert.equal(counted.eval_count, 3);
  });

  const compressed = {
    gzip: zlib.gzipSync,
    'x-gzip': zlib.gzipSync,
    deflate: zlib.deflateSync,
    zstd,
  };
  const send = (target, body, coding) =>
    server.send('POST', target, body, { 'content-type': 'application/json', 'content-encoding': coding });

  test('compressed ones, on every route', async () => {
    for (const [coding, encode] of Object.entries(compressed)) {
      assert.ok((await rendered(encode(body_of('Hello')), { 'content-encoding': coding })).includes('Hello'), coding);
    }
    assert.ok((await rendered(zlib.deflateRawSync(body_of('Hello')), { 'content-encoding': 'deflate' })).includes('Hello'));
    assert.ok((await rendered(body_of('Hello'), { 'content-encoding': 'identity' })).includes('Hello'));
    const messages = capital_question;
    for (const [target, body] of [
      ['/api/generate', { prompt: 'Hello', stream: false }],
      ['/api/show', {}],
      ['/api/embed', { input: 'Hello' }],
      ['/api/copy', { source: model, destination: 'copied' }],
      ['/v1/chat/completions', { messages }],
      ['/v1/completions', { prompt: 'Hello', max_tokens: 2 }],
      ['/v1/responses', { input: 'Hello' }],
      ['/v1/embeddings', { input: 'Hello' }],
      ['/v1/messages', { messages, max_tokens: 2 }],
      ['/v1/messages/count_tokens', { messages }],
    ]) {
      for (const coding of ['gzip', 'zstd']) {
        const answer = await send(target, compressed[coding](JSON.stringify({ model, ...body })), coding);
        assert.equal(answer.status, 200, `${target} ${coding}: ${answer.text}`);
      }
    }
  });

  test('a large one that is compressed is read beside others', async () => {
    const messages = [{ role: 'user', content: 'one two three '.repeat(mib / 4) }];
    const body = zlib.gzipSync(JSON.stringify({ model: 'nobody', messages }));
    const [large, small] = await Promise.all([send('/api/chat', body, 'gzip'), server.get('/healthz')]);
    assert.deepEqual([large.status, small.status], [404, 200]);
  });

  test('what comes out has a bound', async () => {
    const peak = () =>
      Number(/VmHWM:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${server.process.pid}/status`, 'latin1'))[1]) * 1024;
    await send('/api/chat', zlib.gzipSync('{}'), 'gzip');
    const before = peak();
    for (const [coding, bomb] of [
      ['gzip', zlib.gzipSync(Buffer.alloc(512 * mib, ' '))],
      ['deflate', zlib.deflateSync(Buffer.alloc(512 * mib, ' '))],
      ['zstd', zstd_zeros(8 * 1024 * 8)], // 8 GiB
    ]) {
      assert.ok(bomb.length < 4 * mib);
      for (const target of ['/api/chat', '/v1/chat/completions', '/v1/messages']) {
        const answer = await send(target, bomb, coding);
        assert.equal(answer.status, 413, answer.text);
        assert.equal(answer.json.error.message ?? answer.json.error, 'request body too large');
      }
    }
    const grown = peak() - before;
    if (!short) assert.ok(grown < 96 * mib, `${Math.round(grown / mib)} MiB`);
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });

  test('what is broken, cut off or unknown', async () => {
    const whole = { gzip: zlib.gzipSync(body_of('Hello')), deflate: zlib.deflateSync(body_of('Hello')), zstd: zstd(body_of('Hello')) };
    for (const [coding, body] of Object.entries(whole)) {
      for (const wrong of [body.subarray(0, -3), Buffer.concat([body, Buffer.from('{}')]), Buffer.from(body_of('x'))]) {
        const answer = await send('/api/chat', wrong, coding);
        assert.equal(answer.status, 400, answer.text);
        assert.equal(answer.json.error, `the request body is not valid ${coding}`);
      }
      assert.equal((await send('/api/chat', '', coding)).json.error, 'missing request body');
    }
    for (const coding of ['br', 'gzip, gzip', 'snappy']) {
      for (const target of ['/api/chat', '/api/show', '/v1/chat/completions', '/v1/messages', '/v1/embeddings']) {
        const answer = await send(target, zlib.brotliCompressSync(body_of('Hello')), coding);
        assert.equal(answer.status, 415, answer.text);
        assert.equal(answer.headers['accept-encoding'], 'gzip, deflate, zstd');
        assert.match(answer.json.error.message ?? answer.json.error, new RegExp(`"${coding}" is not supported: .* gzip, deflate, zstd`));
      }
    }
  });

  test('keep_alive as a text without a unit is seconds', async () => {
    await server.ok('/api/generate', { model, keep_alive: 0 }); // what makes vectors stays for as long as it was told
    const lasts = async (keep_alive) => {
      const before = Date.now();
      await server.generate('Hello', { keep_alive });
      const after = Date.now();
      const expires = instant((await server.loaded_models())[0].expires_at);
      return [(expires - after - 1) / 1000, (expires - before + 1) / 1000];
    };
    for (const [keep_alive, wanted] of [
      ['300', 300],
      [' 5m ', 300],
      ['90.5', 90.5],
      ['1h', 3600],
    ]) {
      const [least, most] = await lasts(keep_alive);
      assert.ok(least <= wanted && wanted <= most, `${keep_alive}: ${least} to ${most}`);
    }
    for (const for_ever of ['-1', ' -1 ', '-1m']) assert.ok((await lasts(for_ever))[0] > 86400 * 365, for_ever);
    await server.ok('/api/embed', { model, input: 'x', keep_alive: '60' });
    for (const wrong of ['soon', '', '5 parsecs', 'inf', 'nan', '1e3']) {
      const { status, json } = await server.post('/api/generate', { model, prompt: 'x', keep_alive: wrong });
      assert.equal(status, 400, wrong);
      assert.match(json.error, /^time: /);
    }
  });

  test('a slash too many', async () => {
    for (const [target, place] of [
      ['/api/tags/', '/api/tags'],
      ['/v1/models/', '/v1/models'],
      ['/api/version/?x=1', '/api/version?x=1'],
    ]) {
      const answer = await server.get(target);
      assert.deepEqual([answer.status, answer.headers.location], [301, place]);
      assert.equal((await fetch(server.url + target)).status, 200);
    }
    const body = JSON.stringify({ model, messages: capital_question, temperature: 0 });
    const answer = await server.post('/v1/chat/completions/', body);
    assert.deepEqual([answer.status, answer.headers.location], [307, '/v1/chat/completions']);
    const followed = await fetch(`${server.url}/v1/chat/completions/`, { method: 'POST', body });
    assert.equal((await followed.json()).choices[0].message.content, capital_answer);
    for (const target of ['/nothing/', '/api//', '//']) assert.notEqual((await server.post(target, body)).status, 307, target);
  });
});

describe('arguments of a call that are no object', () => {
  const server = server_for_suite();
  const tools = cria_tools.map(({ name, description, schema }) => ({
    type: 'function',
    function: { name, description, parameters: schema },
  }));

  // A conversation whose call has these arguments, in the dialects that take them as JSON.
  const asks = {
    '/api/chat': (args) => ({
      messages: [
        { role: 'user', content: 'Hello' },
        { role: 'assistant', content: '', tool_calls: [{ function: { name: 'get_weather', arguments: args } }] },
        { role: 'tool', tool_name: 'get_weather', content: 'sunny' },
      ],
    }),
    '/v1/messages': (args) => ({
      messages: [
        { role: 'user', content: 'Hello' },
        { role: 'assistant', content: [{ type: 'tool_use', id: 'call_1', name: 'get_weather', input: args }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'call_1', content: 'sunny' }] },
      ],
      tools: tools.map(({ function: { name, parameters } }) => ({ name, input_schema: parameters })),
      max_tokens: 100,
    }),
    '/v1/chat/completions': (args) => ({
      messages: [
        { role: 'user', content: 'Hello' },
        { role: 'assistant', tool_calls: [{ id: 'c', type: 'function', function: { name: 'get_weather', arguments: args } }] },
        { role: 'tool', tool_call_id: 'c', content: 'sunny' },
      ],
    }),
    '/v1/responses': (args) => ({
      input: [
        { role: 'user', content: 'Hello' },
        { type: 'function_call', call_id: 'c', name: 'get_weather', arguments: args },
        { type: 'function_call_output', call_id: 'c', output: 'sunny' },
      ],
    }),
  };

  test('do not end a conversation', async () => {
    for (const [target, body] of Object.entries(asks)) {
      for (const [args, warned] of [
        ['{"city":"Tokyo"}', false],
        ['', false],
        ['not json', true],
        ['{"city":"Tok', true],
        ['["Tokyo"]', true],
        ['7', true],
        ['"{\\"city\\":\\"Tokyo\\"}"', false],
      ]) {
        const what = `${target} ${args}`;
        const answer = await server.post(target, { model, stream: false, tools, ...body(args) });
        assert.equal(answer.status, 200, `${what}: ${answer.text}`);
        if (warned) assert.match(answer.headers['x-drover-warning'], /no JSON object/, what);
        else assert.equal(answer.headers['x-drover-warning'], undefined, what);
      }
    }
    for (const args of [['Tokyo'], 7, true, { city: 'Tokyo' }, null]) {
      for (const [target, body] of Object.entries(asks)) await server.ok(target, { model, stream: false, tools, ...body(args) });
    }
  });

  test('are shown to the model', async () => {
    const prompt = async (args) =>
      (await server.ok('/api/chat', { model, tools, _debug_render_only: true, ...asks['/api/chat'](args) }))._debug_info
        .rendered_template;
    for (const [args, shown] of [
      ['{"city":"Tok', { input: '{"city":"Tok' }],
      ['["Tokyo"]', { input: ['Tokyo'] }],
      ['{"city":"Tokyo"}', { city: 'Tokyo' }],
    ]) {
      const [, call] = /<tool_call>\s*(\{"name".*?\})\s*<\/tool_call>/s.exec((await prompt(args)).split('assistant').slice(1).join());
      assert.deepEqual(JSON.parse(call).arguments, shown);
    }
  });
});

describe('who asks', () => {
  const server = server_for_suite({}, async (server) => {
    await server.create('endless', endless());
    await server.generate('Hello', { model: 'endless', options: { num_predict: 1 } });
  });

  test('an application names its users', async () => {
    const holder = await hold(server);
    const asked = [];
    const add = async (target, body, headers, count) => {
      const id = `number-${count}`;
      asked.push(server.call('POST', target, { model: 'endless', ...body }, { ...headers, 'x-request-id': id }));
      await waiting(server, count);
      return (await server.get('/api/queue')).json.requests.find((request) => request.id === id).client;
    };
    const messages = [{ role: 'user', content: 'Hello' }];
    const webui = (user, more) => ({ 'x-openwebui-user-id': user, ...more });
    const key = { authorization: 'Bearer one' };
    let count = 0;
    const chat = (body, headers) => add('/v1/chat/completions', { messages, ...body }, headers, ++count);
    assert.equal(await chat({}, webui('ann')), 'id:ann');
    assert.equal(await chat({ user: 'ben' }), 'id:ben');
    assert.equal(await chat({ user: 'ben' }, webui('ann')), 'id:ann');
    assert.equal(await chat({ user: 'ben' }, webui('ann', { 'x-client-id': 'cat' })), 'id:cat');
    assert.equal(await chat({ user: 'x'.repeat(10_000) }), `id:${'x'.repeat(256)}`);
    assert.match(await chat({}, key), /^key:[0-9a-f]{8}$/);
    assert.match(await chat({ user: 'ben' }, key), /^key:[0-9a-f]{8}\/ben$/);
    assert.match(await chat({ user: 'ben' }, { ...key, 'x-client-id': 'cat' }), /^key:[0-9a-f]{8}$/);
    assert.equal(await add('/api/chat', { messages }, webui('ann'), ++count), 'id:ann');
    const metadata = { user_id: 'user_1_session_2' };
    assert.equal(await add('/v1/messages', { messages, max_tokens: 1, metadata }, {}, ++count), 'id:user_1');
    for (const call of asked) call.close();
    holder.close();
  });

  test('the official client', async () => {
    const holder = await hold(server);
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'ollama', maxRetries: 0 });
    const abort = new AbortController();
    const ask = client.chat.completions.create(
      { model: 'endless', messages: [{ role: 'user', content: 'Hello' }], user: 'ann' },
      { signal: abort.signal },
    );
    ask.catch(() => {});
    await waiting(server, 1);
    const clients = (await server.get('/api/queue')).json.requests.map(({ client }) => client);
    assert.ok(clients.some((client) => /^key:[0-9a-f]{8}\/ann$/.test(client)), `${clients}`);
    abort.abort();
    await waiting(server, 0);
    holder.close();
  });
});

describe('a template that refuses', () => {
  const server = server_for_suite({}, async (server) => {
    const refusal = "{{ raise_exception('System message must be at the beginning.') }}";
    await server.create('picky', with_template(cria(), `{% if messages[0].content == 'bad' %}${refusal}{% endif %}{{ messages[0].content }}`));
    await server.create('faulty', with_template(cria(), `{% if messages[0].content == 'bad' %}{{ messages.nothing() }}{% endif %}{{ messages[0].content }}`));
  });

  test('is quoted without its source', async () => {
    const messages = [{ role: 'user', content: 'bad' }];
    for (const [name, text] of [
      ['picky', /^the model's chat template refuses this: System message must be at the beginning\.$/],
      ['faulty', /^the model's chat template has a fault: [^\n]+$/],
    ]) {
      for (const target of ['/api/chat', '/v1/chat/completions', '/v1/messages']) {
        const { status, json } = await server.post(target, { model: name, messages, max_tokens: 5 });
        assert.equal(status, 400);
        assert.match(json.error.message ?? json.error, text);
        assert.doesNotMatch(json.error.message ?? json.error, /Jinja|-----|While executing/);
      }
    }
  });
});
