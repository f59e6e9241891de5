// Processes that read models are confined: what the kernel says of them, and that they do their work all the same.
// src/sandbox/sandbox_test.cc has what they must not do, and tries it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { bert } from './bert.mjs';
import { renamed, slow } from './gguf.mjs';
import { lora, split } from './gguf_parts.mjs';
import { Server, drover, is_alive, run_program, server_for_test, stop_process, signal, wait_until } from './harness.mjs';

const probe = path.join(path.dirname(drover), 'src/sandbox/sandbox_probe');
const required = { DROVER_SANDBOX: 'require' };

function status_of(pid) {
  const lines = fs.readFileSync(`/proc/${pid}/status`, 'latin1').split('\n');
  return Object.fromEntries(lines.map((line) => line.split(/:\s*/, 2)));
}

const environment_of = (pid) => fs.readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').filter(Boolean);

// What each descriptor is, by its number; "socket" for "socket:[1234]".
function descriptors_of(pid) {
  const folder = `/proc/${pid}/fd`;
  return Object.fromEntries(
    fs.readdirSync(folder).map((number) => [number, fs.readlinkSync(`${folder}/${number}`).replace(/:\[\d+\]$/, '')]),
  );
}

function assert_confined(pid) {
  const status = status_of(pid);
  assert.equal(status.NoNewPrivs, '1');
  assert.equal(status.Seccomp, '2');
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) assert.equal(Number(`0x${status[set]}`), 0, set);
  const limits = fs.readFileSync(`/proc/${pid}/limits`, 'latin1');
  assert.match(limits, /^Max core file size +0 +0 /m);
}

function assert_knows_nothing(pid) {
  const names = environment_of(pid).map((entry) => entry.split('=')[0]);
  for (const name of ['TEST_SECRET', 'OLLAMA_HOST', 'OLLAMA_MODELS', 'PATH']) assert.ok(!names.includes(name), name);
}

test('a runner has no rights, no secrets and no descriptors but its own', async (t) => {
  const server = await server_for_test(t, { env: { TEST_SECRET: 'x', TZ: 'UTC' } });
  assert.match(server.stderr, /info +the sandbox for models is complete: seccomp, Landlock \d+\n/);
  await server.generate('Count to 3');
  await server.ok('/api/embed', { model: 'cria', input: 'hello' });
  const runners = server.runners();
  assert.equal(runners.length, 2, 'one to generate, one to embed');
  for (const runner of runners) {
    assert_confined(runner);
    assert_knows_nothing(runner);
    assert.ok(environment_of(runner).includes('TZ=UTC'));
    const descriptors = descriptors_of(runner);
    assert.equal(descriptors[0], '/dev/null');
    assert.equal(descriptors[1], 'pipe');
    assert.equal(descriptors[2], 'pipe');
    assert.equal(descriptors[3], 'socket');
    const others = Object.entries(descriptors).filter(([number]) => Number(number) > 3);
    // To processes of its own, and to wake a thread of its own.
    for (const [, what] of others) assert.ok(['socket', 'anon_inode:[eventfd]'].includes(what), what);
  }
});

test('so has a process that quantizes', async (t) => {
  const server = await server_for_test(t, { env: { TEST_SECRET: 'x', ...required } });
  await server.create('big', slow({ layers: 6 }));
  const call = server.call('POST', '/api/create', { model: 'small', from: 'big', quantize: 'Q4_0', stream: false });
  let quantizer;
  const confined = async () => {
    quantizer ??= fs.readdirSync('/proc').find((pid) => {
      try {
        const [, command] = fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
        return command === 'quantize' && Number(status_of(pid).PPid) === server.process.pid;
      } catch {
        return false;
      }
    });
    return quantizer !== undefined && status_of(quantizer).Seccomp === '2';
  };
  await wait_until(confined, 'the quantizer is confined');
  await stop_process(Number(quantizer));
  assert_confined(quantizer);
  assert_knows_nothing(quantizer);
  const descriptors = descriptors_of(quantizer);
  assert.equal(descriptors[0], '/dev/null');
  assert.equal(descriptors[1], 'pipe');
  assert.equal(descriptors[2], 'pipe');
  // Beside those only the files that it reads and the one that it writes, and what tells it of its processor.
  const own = [server.models, path.join(path.dirname(drover), 'engine'), '/proc/cpuinfo', '/sys/devices/system/cpu'];
  for (const [number, file] of Object.entries(descriptors)) {
    assert.ok(Number(number) <= 2 || own.some((folder) => file.startsWith(folder)), file);
  }
  signal(Number(quantizer), 'SIGCONT');
  await call.bytes();
  assert.equal(call.response.statusCode, 200);
  assert.ok(!is_alive(quantizer));
});

test('models, parts of models, adapters and embeddings need no more than they are given', async (t) => {
  const server = await server_for_test(t, { env: required });
  assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  const { embeddings } = await server.ok('/api/embed', { model: 'cria', input: ['one', 'two'] });
  assert.equal(embeddings.length, 2);

  await server.create('bert', bert());
  await server.ok('/api/embed', { model: 'bert', input: 'hello' });

  const files = {};
  for (const [i, part] of split(renamed('Part'), 3).entries()) {
    files[`cria-0000${i + 1}-of-00003.gguf`] = await server.upload(part);
  }
  await server.ok('/api/create', { model: 'parts', files, stream: false });
  assert.equal((await server.generate('Count to 3', { model: 'parts' })).response, '1, 2, 3');
  await server.ok('/api/create', { model: 'parts-q8', from: 'parts', quantize: 'Q8_0', stream: false });
  assert.equal((await server.generate('Count to 3', { model: 'parts-q8' })).response, '1, 2, 3');

  const adapter = await server.upload(lora({ strength: 0.5, seed: 7 }));
  await server.ok('/api/create', { model: 'adapted', from: 'cria', adapters: { 'lora.gguf': adapter }, stream: false });
  await server.generate('Count to 3', { model: 'adapted' });
  assert.doesNotMatch(server.stderr, /not wholly confined/);
});

test('each of the engine\'s variants finds what it needs', async (t) => {
  const env = { ...process.env, DROVER_CPU_VARIANT: 'pentium' };
  const { stderr } = await run_program(drover, ['serve'], { env });
  const [, names] = / can run: (.*)\n$/.exec(stderr) ?? assert.fail(stderr);
  for (const variant of names.split(', ')) {
    const server = await server_for_test(t, { env: { ...required, DROVER_CPU_VARIANT: variant } });
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3', variant);
    assert.doesNotMatch(server.stderr, /is not used/, variant);
    assert_confined(server.runners()[0]);
    await server.stop();
  }
});

describe('DROVER_SANDBOX', () => {
  test('off: as the server itself', async (t) => {
    const server = await server_for_test(t, { env: { DROVER_SANDBOX: 'off' } });
    assert.match(server.stderr, /info +the sandbox for models is off \(DROVER_SANDBOX\)\n/);
    await server.generate('Count to 3');
    assert.equal(status_of(server.runners()[0]).Seccomp, status_of(process.pid).Seccomp);
    assert_knows_nothing(server.runners()[0]);
  });

  test('a word that it does not know ends the start', async () => {
    const { code, stderr } = await run_program(drover, ['serve'], { env: { ...process.env, DROVER_SANDBOX: 'on' } });
    assert.equal(code, 1);
    assert.equal(stderr, 'Error: DROVER_SANDBOX="on" is not valid: it takes auto, off or require\n');
  });

  const without = [probe, 'without', 'landlock_create_ruleset'];

  test('auto: what the kernel lacks is said once, and models are served', async (t) => {
    const server = await server_for_test(t, { wrapper: without });
    await server.generate('Count to 3');
    await server.ok('/api/embed', { model: 'cria', input: 'hello' });
    const lines = server.stderr.split('\n').filter((line) => /Landlock/.test(line));
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0], /warn\w* +the sandbox for models is incomplete on this kernel: there is no Landlock: /);
    assert_confined(server.runners()[0]);
  });

  test('require: without all of it no model is loaded', async (t) => {
    const server = new Server({ env: required, wrapper: without });
    t.after(() => server.stop());
    await server.start();
    const answer = await server.post('/api/generate', { model: 'cria', prompt: 'x' });
    assert.equal(answer.status, 500);
    assert.match(answer.json.error, /DROVER_SANDBOX is "require", and there is no Landlock/);
  });
});
