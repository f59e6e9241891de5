// The engine's builds for kinds of processors ("variants"): each answers rightly with each type of weights, one that is
// broken costs a line in the log and not the model, and nothing is loaded but what lies beside the program.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { patch_function, patch_text } from './elf.mjs';
import { slow } from './gguf.mjs';
import { Server, drover, run_program, server_for_test, short } from './harness.mjs';

const engine_folder = path.join(path.dirname(drover), 'engine');
const prebuilt = fs.existsSync(engine_folder);

// What `serve` says when it is told to use a variant that there is not.
async function usable_variants() {
  const env = { ...process.env, DROVER_CPU_VARIANT: 'pentium' };
  const { code, stderr } = await run_program(drover, ['serve'], { env });
  assert.equal(code, 1);
  const [, names] = /^Error: DROVER_CPU_VARIANT is "pentium": .* can run: (.*)\n$/.exec(stderr) ?? assert.fail(stderr);
  return names.split(', ');
}

const variant_in = (server) => /engine llama\.cpp v\S+ \((\w+)\), variant (\S+)/.exec(server.stderr)?.slice(1);

// Log-probabilities of the likeliest first tokens, by their text.
async function likely(server, model) {
  const { logprobs } = await server.generate('Count', {
    model,
    raw: true,
    logprobs: true,
    top_logprobs: 20,
    options: { num_predict: 1 },
  });
  return new Map(logprobs[0].top_logprobs.map(({ token, logprob, bytes }) => [String(bytes ?? token), logprob]));
}

// The mean square of what the two lists differ by, over the tokens that both have; at least half must be in both.
function difference(a, b) {
  const both = [...a.keys()].filter((token) => b.has(token));
  assert.ok(both.length >= a.size / 2, `only ${both.length} of ${a.size} likely tokens are the same`);
  return both.reduce((sum, token) => sum + (a.get(token) - b.get(token)) ** 2, 0) / both.length;
}

test('serve says which processor, variant and threads in one line', async (t) => {
  const server = await server_for_test(t);
  assert.match(server.stderr, /processor: .+, \d+ threads?; engine llama\.cpp v\d\S* \((prebuilt|source)\), variant \S+\n/);
  assert.equal(variant_in(server)[0], prebuilt ? 'prebuilt' : 'source');
});

// All types take minutes: those that most models have, and a part of the others, another one each day. All of them:
// DROVER_TEST_TYPES=all.
const usual_types = ['Q8_0', 'Q4_0', 'Q4_K_M'];
function chosen_types(all) {
  if (process.env.DROVER_TEST_TYPES === 'all') return all;
  const today = Math.floor(Date.now() / 86_400_000);
  const others = all.filter((type) => !usual_types.includes(type));
  return [...usual_types, ...others.filter((_, i) => !short && (i + today) % 4 === 0)];
}

describe('each variant with the types of weights', () => {
  const models = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-e2e-models-'));
  const types = [];
  // Rows of 256, which the K types need in each of a model's weights.
  const wide = () => slow({ width: 256, layers: 2, feed_forward: 512 });
  before(async () => {
    const server = await new Server({ models }).start();
    await server.create('wide', wide());
    const { error } = (await server.post('/api/create', { model: 'no', from: 'cria', quantize: 'Q9' })).json;
    types.push(...chosen_types(/supported types are (.*)$/.exec(error)[1].split(', ')));
    for (const quantize of types) {
      for (const from of ['cria', 'wide']) {
        await server.ok('/api/create', { model: `${from}-${quantize}`, from, quantize, stream: false });
      }
    }
    await server.stop();
  });
  after(() => fs.rmSync(models, { recursive: true, force: true }));

  test('answers as others do', async (t) => {
    const variants = await usable_variants();
    const seen = new Map(); // what the first variant makes of a model
    for (const variant of variants.reverse()) {
      const server = await server_for_test(t, { models, env: { DROVER_CPU_VARIANT: variant } });
      assert.equal(variant_in(server)[1], variant);
      const whole = await likely(server, 'wide');
      for (const type of types) {
        const about = `${type} with ${variant}`;
        const { response } = await server.generate('Count to 3', { model: `cria-${type}`, keep_alive: 0 });
        // Fewer bits cost a model as small as this one its wits, but the same ones with every variant.
        if (/^(F|BF|Q8|Q6|Q5)/.test(type)) assert.equal(response, '1, 2, 3', about);
        const found = await likely(server, `wide-${type}`);
        if (/^(F|BF|Q8|Q6)/.test(type)) assert.ok(difference(found, whole) < 0.01, `${about}, beside F16`);
        if (!seen.has(type)) seen.set(type, found);
        assert.ok(difference(found, seen.get(type)) < 0.01, `${about}, beside ${variants[0]}`);
      }
      assert.doesNotMatch(server.stderr, /is not used/, variant);
      await server.stop();
    }
    t.diagnostic(`${variants.length} variants, ${types.length} types: ${variants.join(' ')}`);
  });
});

// A folder with the program and the engine beside it, to break something there.
function copied_program(t) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-e2e-program-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  fs.copyFileSync(drover, path.join(folder, 'drover'));
  fs.cpSync(engine_folder, path.join(folder, 'engine'), { recursive: true });
  const library = (name) => path.join(folder, 'engine', name);
  return { program: path.join(folder, 'drover'), library };
}

describe('an engine that is broken', { skip: !prebuilt && 'the engine is a part of the program' }, () => {
  const illegal = Buffer.from([0x0f, 0x0b]); // ud2
  const nothing = Buffer.from([0xc3]); // ret
  const x64 = process.arch === 'x64' ? {} : { skip: 'the code is for x86-64' };

  for (const [how, code] of Object.entries({ illegal, nothing })) {
    test(`packed weights whose kernel does ${how} are not packed`, x64, async (t) => {
      const { program, library } = copied_program(t);
      patch_function(library('libggml-cpu-haswell.so'), /^ggml_gem[mv]_q4_0_8x8_q8_0$/, code);
      const server = await server_for_test(t, { program, env: { DROVER_CPU_VARIANT: 'haswell' } });
      await server.ok('/api/create', { model: 'q4', from: 'cria', quantize: 'Q4_0', stream: false });
      const intact = await server_for_test(t, { env: { DROVER_CPU_VARIANT: 'haswell' } });
      await intact.ok('/api/create', { model: 'q4', from: 'cria', quantize: 'Q4_0', stream: false });
      const ask = (one) => one.generate('Count to 3', { model: 'q4' });
      assert.equal((await ask(server)).response, (await ask(intact)).response);
      assert.match(server.stderr, /variant haswell with packed weights is not used: it fails its check .*q4_0/);
      assert.doesNotMatch(server.stderr, /haswell as a whole/);
      assert.doesNotMatch(intact.stderr, /is not used/);
    });

    test(`a variant whose kernel does ${how} gives way to the next`, x64, async (t) => {
      const { program, library } = copied_program(t);
      patch_function(library('libggml-cpu-haswell.so'), /^ggml_vec_dot_(f16|q8_0_q8_0)$/, code);
      const server = await server_for_test(t, { program, env: { DROVER_CPU_VARIANT: 'haswell' } });
      assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
      assert.match(server.stderr, /variant haswell as a whole is not used: it fails its check .*f16/);
    });
  }

  test('a variant that cannot be loaded is named with its reason', async (t) => {
    const { program, library } = copied_program(t);
    fs.writeFileSync(library('libggml-cpu-torn.so'), 'no library');
    const server = await server_for_test(t, { program });
    assert.match(server.stderr, /a variant of the engine cannot be loaded: torn: .*(too short|invalid ELF header)/);
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });

  test('without a variant that can be used the server does not start', async (t) => {
    const { program, library } = copied_program(t);
    for (const name of fs.readdirSync(path.dirname(library('x')))) {
      if (name.startsWith('libggml-cpu-')) fs.rmSync(library(name));
    }
    const { code, stderr } = await run_program(program, ['serve']);
    assert.equal(code, 1);
    assert.match(stderr, /^Error: none of the engine's variants can be used on this processor/);
  });

  test('libraries of another release are refused', async (t) => {
    const { program, library } = copied_program(t);
    const [name] = fs.readdirSync(path.dirname(library('x'))).filter((name) => /^libllama\.v/.test(name));
    const [, version] = /^libllama\.v(.*)\.so$/.exec(name);
    const other = version.replace(/^\d/, '9');
    patch_text(library(name), `\0${version}`, `\0${other}`);
    const { code, stderr } = await run_program(program, ['serve']);
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`^Error: the engine in .* does not fit this program: it is llama.cpp ${other}`));
  });

  test('nothing is loaded from the current directory', async (t) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-e2e-cwd-'));
    t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
    const names = fs.readdirSync(engine_folder);
    for (const name of [...names, 'libstdc++.so.6', 'libm.so.6', 'libgcc_s.so.1', 'libc.so.6', 'ld-linux-x86-64.so.2']) {
      fs.writeFileSync(path.join(folder, name), 'no library');
    }
    const server = await server_for_test(t, { wrapper: ['env', '-C', folder, 'LD_DEBUG=libs'] });
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
    assert.doesNotMatch(server.stderr, new RegExp(`trying file=(${folder}|[^/])`));
    assert.match(server.stderr, /trying file=/);
  });
});
