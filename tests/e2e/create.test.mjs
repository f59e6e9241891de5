// POST /api/create in full: quantizing, adapters, models in several files, and a FROM that is not here yet.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { cria, renamed, slow } from './gguf.mjs';
import { lora, put_together, split, take_apart } from './gguf_parts.mjs';
import {
  Stream,
  is_alive,
  run_program,
  server_for_suite,
  server_for_test,
  sha256,
  signal,
  stop_process,
  wait_until,
} from './harness.mjs';
import { prompts } from './prompts.mjs';
import { DockerRegistry } from './registry.mjs';

const lines_of = async (server, body) => {
  const lines = [];
  for await (const line of server.call('POST', '/api/create', body).lines()) lines.push(line);
  return lines;
};
const details = async (server, model) => (await server.ok('/api/show', { model })).details;
const blobs = (server) => fs.readdirSync(path.join(server.models, 'blobs')).sort();

// The processes in which the server quantizes.
const quantizers = (server) =>
  fs.readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || !is_alive(pid)) return false;
    try {
      const [, parent] = fs.readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /, '').split(' ');
      const [, command] = fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
      return Number(parent) === server.process.pid && command === 'quantize';
    } catch {
      return false;
    }
  });

describe('quantize', () => {
  // Slow to compute and larger than cria, so that a test can do something meanwhile.
  const server = server_for_suite({}, (server) => server.create('big', slow({ layers: 6 })));

  test('to each of the types', async () => {
    const error = (await server.post('/api/create', { model: 'no', from: 'cria', quantize: 'Q9' })).json.error;
    const names = /supported types are (.*)$/.exec(error)[1].split(', ');
    assert.ok(names.length > 20 && names.includes('Q4_K_M') && names.includes('Q8_0'), error);
    for (const quantize of names) {
      const lines = await lines_of(server, { model: quantize, from: 'cria', quantize });
      assert.deepEqual(lines.at(-1), { status: 'success' }, quantize);
      const shown = await details(server, quantize);
      assert.equal(shown.quantization_level, quantize);
      assert.equal(shown.parent_model, 'cria:latest');
      const { response } = await server.generate('Count to 3', { model: quantize, keep_alive: 0 });
      // Fewer bits cost a model as small as this one its wits.
      if (/^(F|BF|Q8|Q6|Q5)/.test(quantize)) assert.equal(response, '1, 2, 3', quantize);
    }
  });

  test('tells how far it is, as Ollama does', async () => {
    const lines = await lines_of(server, { model: 'small', from: 'cria', quantize: 'q5_k_m' });
    const at_work = lines.filter(({ status }) => status === 'quantizing F16 model to Q5_K_M');
    const total = cria().length;
    assert.ok(at_work.length > 1);
    for (const { digest, total: of } of at_work) assert.deepEqual([digest, of], ['0000000000000000000', total]);
    const completed = at_work.map((line) => line.completed ?? 0);
    assert.deepEqual(completed, [...completed].sort((a, b) => a - b));
    assert.equal(completed.at(-1), total);
    const rest = lines.slice(lines.indexOf(at_work.at(-1)) + 1).map(({ status }) => status);
    assert.match(rest[0], /^creating new layer sha256:[0-9a-f]{64}$/);
    assert.deepEqual(rest.slice(-2), ['writing manifest', 'success']);
    const { size } = (await server.get('/api/tags')).json.models.find(({ name }) => name === 'small:latest');
    assert.ok(size < total / 2, `${size} of ${total} bytes`);
  });

  test('from an uploaded file, and without a stream', async () => {
    const files = { 'model.gguf': await server.upload(renamed('Tiny')) };
    const answer = await server.ok('/api/create', { model: 'tiny', files, quantize: 'Q8_0', stream: false });
    assert.deepEqual(answer, { status: 'success' });
    assert.equal((await details(server, 'tiny')).quantization_level, 'Q8_0');
    assert.equal((await server.generate('Count to 3', { model: 'tiny' })).response, '1, 2, 3');
  });

  test('what has the type already stays as it is', async () => {
    await lines_of(server, { model: 'same', from: 'cria', quantize: 'F16' });
    const digest = async (name) => /FROM .*(sha256-\S+)\n/.exec((await server.ok('/api/show', { model: name })).modelfile)[1];
    assert.equal(await digest('same'), await digest('cria'));
  });

  test('refuses what it cannot do', async () => {
    await lines_of(server, { model: 'done', from: 'cria', quantize: 'Q4_0' });
    for (const [body, status, error] of [
      [{ from: 'cria', quantize: 'q4_z' }, 400, /^unsupported quantization type q4_z - supported types are /],
      [{ from: 'cria', quantize: 'IQ1_S' }, 400, /^unsupported quantization type/],
      [{ from: 'done', quantize: 'Q8_0' }, 400, /^quantization is only supported for F16, BF16 and F32 models$/],
      [{ from: 'cria', quantize: 7 }, 400, /quantize/],
    ]) {
      const answer = await server.post('/api/create', { model: 'no', stream: false, ...body });
      assert.equal(answer.status, status, answer.text);
      assert.match(answer.json.error, error);
      assert.equal((await server.post('/api/show', { model: 'no' })).status, 404);
    }
  });

  test('others are served meanwhile; a client that leaves ends it, and nothing stays', async () => {
    const before = blobs(server);
    const stream = new Stream(server.call('POST', '/api/create', { model: 'never', from: 'big', quantize: 'IQ3_S' }));
    await wait_until(() => stream.items.some(({ completed }) => completed > 0), 'it has begun');
    const [quantizer, ...more] = quantizers(server);
    assert.ok(quantizer && more.length === 0);
    await stop_process(quantizer); // for as long as the test wants
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
    assert.equal(stream.closed, undefined, 'the answer came while the model was being quantized');
    const waiting = server.call('POST', '/api/create', { model: 'never2', from: 'big', quantize: 'IQ3_S' });
    stream.close();
    waiting.close();
    signal(quantizer, 'SIGCONT');
    await wait_until(() => quantizers(server).length === 0 && blobs(server).length === before.length, 'it is over');
    assert.deepEqual(blobs(server), before);
    assert.equal((await server.post('/api/show', { model: 'never' })).status, 404);
  });

  test('a quantizer that is killed is an error of its model alone', async () => {
    const stream = new Stream(server.call('POST', '/api/create', { model: 'never', from: 'big', quantize: 'IQ3_S' }));
    await wait_until(() => stream.items.some(({ completed }) => completed > 0), 'it has begun');
    for (const pid of quantizers(server)) process.kill(Number(pid), 'SIGKILL');
    await stream.ended;
    assert.deepEqual(stream.items.at(-1), { error: 'quantization failed: the process was ended by signal 9' });
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });

  test('a model that llama.cpp cannot read is an error that says so', async () => {
    const { pairs, tensors } = take_apart(renamed('Wild'));
    const known = pairs.findIndex((bytes) => bytes.includes('general.architecture'));
    pairs[known] = Buffer.from(pairs[known].toString('latin1').replace(/llama$/, 'alpac'), 'latin1');
    const files = { 'model.gguf': await server.upload(put_together({ pairs, tensors })) };
    const answer = await server.post('/api/create', { model: 'wild', files, quantize: 'Q8_0', stream: false });
    assert.equal(answer.status, 500);
    assert.match(answer.json.error, /^quantization failed: .*alpac/);
  });

  test('on the command line', async () => {
    const file = path.join(server.folder, 'Modelfile');
    fs.writeFileSync(file, 'FROM cria\nSYSTEM You are small.\n');
    for (const option of ['-q', '--quantize']) {
      const { code, stderr } = await server.cli(['create', 'cut', '-f', file, option, 'q4_K_M']);
      assert.equal(code, 0, stderr);
      assert.equal((await details(server, 'cut')).quantization_level, 'Q4_K_M');
    }
    const wrong = await server.cli(['create', 'cut', '-f', file, '-q', 'q4_z']);
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /Error: unsupported quantization type q4_z/);
  });
});

describe('quantize on a full disk', () => {
  test('is said, and leaves nothing half', async (t) => {
    const probe = await run_program('unshare', ['-rm', 'true']);
    if (probe.code !== 0) return t.skip('this machine lets no test mount a small disk');
    const room = Math.ceil(cria().length / 2 ** 20) + 2;
    const mount = `mkdir "$OLLAMA_MODELS" && mount -t tmpfs -o size=${room}m none "$OLLAMA_MODELS" && exec "$0" "$@"`;
    const server = await server_for_test(t, { wrapper: ['unshare', '-rm', 'bash', '-c', mount] });
    const answer = await server.post('/api/create', { model: 'q', from: 'cria', quantize: 'Q8_0', stream: false });
    assert.equal(answer.status, 507, answer.text);
    assert.match(answer.json.error, /no space left/);
    await server.ok('/api/create', { model: 'text', from: 'cria', system: 'x'.repeat(1_000_000), stream: false });
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });
});

describe('a server that stops', () => {
  test('does not wait for a model that is being quantized', async (t) => {
    const server = await server_for_test(t);
    await server.create('big', slow({ layers: 6 }));
    const stream = new Stream(server.call('POST', '/api/create', { model: 'never', from: 'big', quantize: 'IQ3_S' }));
    await wait_until(() => stream.items.some(({ completed }) => completed > 0), 'it has begun');
    const running = quantizers(server);
    for (const pid of running) await stop_process(pid); // it will not come to an end of its own
    server.process.kill('SIGTERM');
    await wait_until(() => stream.closed, 'its client is told');
    assert.ok(!stream.items.some(({ status }) => status === 'success'));
    assert.deepEqual(await server.end(), [0, null]);
    for (const pid of running) signal(pid, 'SIGCONT'); // one that stood still before it said with whom it ends
    await wait_until(() => !running.some(is_alive), 'the quantizer has ended too');
  });
});

describe('adapters', () => {
  const server = server_for_suite({ env: { OLLAMA_NUM_PARALLEL: '4' } }, async (server) => {
    for (const [model, adapter] of [
      ['same', lora({ strength: 0 })],
      ['other', lora({ strength: 0.5, seed: 7 })],
      ['third', lora({ strength: 0.5, seed: 8 })],
    ]) {
      const adapters = { 'lora.gguf': await server.upload(adapter) };
      await server.ok('/api/create', { model, from: 'cria', adapters, stream: false });
    }
  });
  const asked = prompts(12);
  const answers_of = (model, options) =>
    Promise.all(asked.map(async ({ prompt }) => (await server.generate(prompt, { model, options })).response));

  test('one that adds nothing gives the right answers', async () => {
    assert.deepEqual(await answers_of('same'), asked.map(({ answer }) => answer));
  });

  test('others change them, each in its own way, side by side as alone', async () => {
    // How an answer begins, as far as no other token came close: from there on the last digit of a sum may decide.
    const certain_start = async (prompt, model) => {
      const options = { num_predict: 12 };
      const { logprobs } = await server.generate(prompt, { model, options, logprobs: true, top_logprobs: 2 });
      const close = logprobs.findIndex(({ top_logprobs: [first, second] }) => first.logprob - second.logprob < 0.02);
      return logprobs
        .slice(0, close < 0 ? undefined : close)
        .map(({ token }) => token)
        .join('');
    };
    const models = ['other', 'third'];
    const alone = {};
    for (const model of models) {
      alone[model] = [];
      for (const { prompt } of asked) alone[model].push(await certain_start(prompt, model));
    }
    asked.forEach(({ prompt, answer }, i) => {
      for (const model of models) assert.ok(!answer.startsWith(alone[model][i] || 'x'), `${model}: ${prompt}`);
    });
    assert.ok(alone.other.filter((text, i) => text !== alone.third[i]).length > asked.length / 2);
    const all = await Promise.all(['cria', 'other', 'same', 'third'].map((model) => answers_of(model, { num_predict: 40 })));
    for (const i of asked.keys()) {
      assert.ok(all[1][i].startsWith(alone.other[i]), `${all[1][i]} begins with ${alone.other[i]}`);
      assert.ok(all[3][i].startsWith(alone.third[i]), `${all[3][i]} begins with ${alone.third[i]}`);
    }
    assert.deepEqual(all[2], all[0]);
  });

  test('show tells of it; a model made from one has it too', async () => {
    const { modelfile } = await server.ok('/api/show', { model: 'other' });
    assert.match(modelfile, new RegExp(`^ADAPTER .*sha256-${sha256(lora({ strength: 0.5, seed: 7 }))}$`, 'm'));
    await server.ok('/api/create', { model: 'heir', from: 'other', system: 'x', stream: false });
    assert.match((await server.ok('/api/show', { model: 'heir' })).modelfile, /^ADAPTER /m);
  });

  test('from a Modelfile', async () => {
    fs.writeFileSync(path.join(server.folder, 'lora.gguf'), lora({ strength: 0.5, seed: 7 }));
    const file = path.join(server.folder, 'Modelfile');
    fs.writeFileSync(file, 'FROM cria\nADAPTER ./lora.gguf\n');
    const { code, stderr } = await server.cli(['create', 'tuned', '-f', file]);
    assert.equal(code, 0, stderr);
    const options = { num_predict: 40 };
    const [{ prompt }] = asked;
    const answers = await Promise.all(['tuned', 'other'].map((model) => server.generate(prompt, { model, options })));
    assert.equal(answers[0].response, answers[1].response);
  });

  test('wrong ones are refused', async () => {
    const create = async (adapters) => server.post('/api/create', { model: 'no', from: 'cria', adapters, stream: false });
    const foreign = await server.upload(lora({ strength: 1, architecture: 'qwen2' }));
    const base = await server.upload(renamed('Base'));
    for (const [adapters, error] of [
      [{ 'a.gguf': foreign }, /^a.gguf is an adapter for qwen2 models, and this is a llama model$/],
      [{ 'a.gguf': base }, /^a.gguf is not an adapter$/],
      [{ 'a.gguf': foreign, 'b.gguf': base }, /^only one adapter/],
      [{ 'a.gguf': `sha256:${'0'.repeat(64)}` }, /^blob not found for a.gguf/],
    ]) {
      const answer = await create(adapters);
      assert.equal(answer.status, 400, answer.text);
      assert.match(answer.json.error, error);
    }
  });

  test('one of another size fails when it is loaded, with a reason, and costs nobody else', async () => {
    const adapters = { 'lora.gguf': await server.upload(lora({ strength: 1, width: 512 })) };
    await server.ok('/api/create', { model: 'wide', from: 'cria', adapters, stream: false });
    const answer = await server.post('/api/generate', { model: 'wide', prompt: 'Hello', stream: false });
    assert.equal(answer.status, 500, answer.text);
    assert.match(answer.json.error, /adapter/);
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });
});

describe('a model in several files', () => {
  const server = server_for_suite();
  const parts = split(renamed('Part'), 3);
  const name = (i) => `cria-0000${i + 1}-of-00003.gguf`;
  const upload = async (wanted) => {
    const files = {};
    for (const i of wanted) files[name(i)] = await server.upload(parts[i]).catch(() => `sha256:${sha256(parts[i])}`);
    return files;
  };

  test('is made of them as they are, loads and answers', async () => {
    await server.ok('/api/create', { model: 'split', files: await upload([2, 0, 1]), stream: false });
    assert.equal((await server.generate('Count to 3', { model: 'split' })).response, '1, 2, 3');
    const shown = await server.ok('/api/show', { model: 'split', verbose: true });
    assert.equal(shown.tensors.length, take_apart(cria()).tensors.length);
    const whole = await server.ok('/api/show', { model: 'cria' });
    assert.equal(shown.details.parameter_size, whole.details.parameter_size);
    assert.deepEqual([...shown.modelfile.matchAll(/^FROM .*sha256-(\w+)$/gm)].map(([, digest]) => digest), parts.map(sha256));
    const { size } = (await server.get('/api/tags')).json.models.find((model) => model.name === 'split:latest');
    assert.ok(size >= parts.reduce((sum, part) => sum + part.length, 0));
  });

  test('can be quantized: the copy is one file', async () => {
    await server.ok('/api/create', { model: 'joined', from: 'split', quantize: 'Q8_0', stream: false });
    const shown = await server.ok('/api/show', { model: 'joined' });
    assert.equal([...shown.modelfile.matchAll(/^FROM /gm)].length, 1);
    assert.equal(shown.model_info['split.count'], undefined);
    assert.equal((await server.generate('Count to 3', { model: 'joined' })).response, '1, 2, 3');
  });

  test('parts that do not make a model are refused', async () => {
    const other = split(renamed('Othr'), 2);
    const foreign = await server.upload(other[1]);
    for (const [files, error] of [
      [await upload([0, 2]), 'invalid split GGUF: part 2 of 3 is missing'],
      [await upload([1, 2]), 'invalid split GGUF: part 1 of 3 is missing'],
      [
        { ...(await upload([0, 2])), 'x.gguf': foreign },
        'invalid split GGUF: one file is of a model of 3 parts, another of one of 2',
      ],
    ]) {
      const answer = await server.post('/api/create', { model: 'no', files, stream: false });
      assert.equal(answer.status, 400, answer.text);
      assert.equal(answer.json.error, error);
    }
  });

  test('a part that is lost later is an error that names it', async () => {
    await server.ok('/api/create', { model: 'lossy', files: await upload([0, 1, 2]), stream: false });
    const file = path.join(server.models, 'blobs', `sha256-${sha256(parts[1])}`);
    const kept = fs.readFileSync(file);
    fs.unlinkSync(file);
    const answer = await server.post('/api/show', { model: 'lossy' });
    assert.equal(answer.status, 400, answer.text);
    assert.match(answer.json.error, new RegExp(`blob "sha256:${sha256(parts[1])}" not found`));
    fs.writeFileSync(file, kept);
  });

  test('from a Modelfile that names the first part, or their folder', async () => {
    const folder = path.join(server.folder, 'parts');
    fs.mkdirSync(folder);
    parts.forEach((part, i) => fs.writeFileSync(path.join(folder, name(i)), part));
    for (const from of [`./parts/${name(0)}`, './parts', `./parts/${name(0)}\nFROM ./parts/${name(1)}`]) {
      const file = path.join(server.folder, 'Modelfile');
      fs.writeFileSync(file, `FROM ${from}\n`);
      const { code, stderr } = await server.cli(['create', 'made', '-f', file]);
      assert.equal(code, 0, stderr);
      assert.equal((await server.generate('Count to 3', { model: 'made' })).response, '1, 2, 3');
    }
    fs.unlinkSync(path.join(folder, name(1)));
    const { code, stderr } = await server.cli(['create', 'lost', '-f', path.join(server.folder, 'Modelfile')]);
    assert.equal(code, 1);
    assert.match(stderr, /Error: .*/);
  });
});

describe('FROM a model that is not here', () => {
  let registry;
  before(async () => (registry = await new DockerRegistry().start()));
  after(() => registry.stop());

  test('pulls it first, by a name in the letters that it has', async (t) => {
    const source = await server_for_test(t);
    const base = `${registry.host}/herd/Cria-GGUF:Q8_0`.replace('Cria-GGUF', 'cria-gguf');
    await source.ok('/api/copy', { source: 'cria', destination: base }).catch(() => {});
    await source.ok('/api/push', { model: base, insecure: true, stream: false });

    const server = await server_for_test(t);
    const lines = await lines_of(server, { model: 'mine', from: base, system: 'x', insecure: true });
    const statuses = lines.map(({ status }) => status);
    assert.equal(statuses[0], 'pulling manifest');
    assert.ok(lines.some(({ digest, completed, total }) => digest && completed === total));
    assert.equal(statuses.filter((status) => status === 'success').length, 1, 'the pull is not the end');
    assert.equal(statuses.at(-1), 'success');
    assert.equal((await server.generate('Count to 3', { model: 'mine' })).response, '1, 2, 3');
    assert.ok((await server.get('/api/tags')).json.models.some(({ name }) => name === base));
  });

  test('what cannot be had is an error', async (t) => {
    const server = await server_for_test(t);
    const body = { model: 'mine', from: `${registry.host}/herd/nobody`, insecure: true };
    const answer = await server.post('/api/create', { ...body, stream: false });
    assert.equal(answer.status, 404, answer.text);
    assert.match(answer.json.error, /pull model manifest/);
    const lines = await lines_of(server, body);
    assert.match(lines.at(-1).error, /pull model manifest/);
    assert.equal((await server.post('/api/show', { model: 'mine' })).status, 404);
  });
});
