// Pull and push, against Debian's docker-registry and, where bytes are counted, against a stand-in.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Ollama } from 'ollama';

import { renamed } from './gguf.mjs';
import { Server, Stream, server_for_suite, server_for_test, sha256, short, wait_until } from './harness.mjs';
import {
  DockerRegistry,
  blobs_folder,
  docker_registry,
  leftovers,
  lines_of,
  model_of,
  stand_in,
  statuses,
} from './registry.mjs';

const mebibyte = 1 << 20;
const same_files = (server, model) => {
  for (const [digest, bytes] of model.blobs) {
    const file = path.join(blobs_folder(server), digest.replace(':', '-'));
    assert.equal(sha256(fs.readFileSync(file)), sha256(bytes), digest);
  }
};

describe('docker-registry', () => {
  const server = server_for_suite();
  const registry = new DockerRegistry();
  before(() => registry.start());
  after(() => registry.stop());

  test('a model is pushed, deleted, pulled and used', async () => {
    const name = `${registry.host}/library/cria:v1`;
    await server.ok('/api/create', { model: name, from: 'cria', system: 'You are a llama.', stream: false });
    const before_it = (await server.ok('/api/show', { model: name })).modelfile;
    const pushed = await lines_of(server, 'push', { model: name });
    assert.equal(pushed.status, 200);
    assert.deepEqual(pushed.last, { status: 'success' });
    const steps = statuses(pushed.lines);
    assert.equal(steps[0], 'retrieving manifest');
    assert.deepEqual(steps.slice(-2), ['pushing manifest', 'success']);
    for (const line of pushed.lines.filter(({ digest }) => digest)) {
      assert.equal(line.status, `pushing ${line.digest.slice(7, 19)}`);
      assert.ok(line.completed === undefined || line.completed <= line.total);
    }

    // What is there is not sent again.
    const uploads = () => registry.answers().filter(({ method }) => method === 'PATCH').length;
    const sent = uploads();
    assert.ok(sent >= 3, 'layers and config were uploaded');
    assert.deepEqual((await lines_of(server, 'push', { model: name })).last, { status: 'success' });
    assert.equal(uploads(), sent);

    await server.send('DELETE', '/api/delete', { model: name });
    await server.send('DELETE', '/api/delete', { model: 'cria' });
    const pulled = await lines_of(server, 'pull', { model: name });
    assert.deepEqual(pulled.last, { status: 'success' });
    const order = statuses(pulled.lines).filter((status) => !/^pulling [0-9a-f]{12}$/.test(status));
    assert.deepEqual(order, ['pulling manifest', 'verifying sha256 digest', 'writing manifest', 'success']);
    for (const digest of new Set(pulled.lines.map((line) => line.digest).filter(Boolean))) {
      const layer = pulled.lines.filter((line) => line.digest === digest);
      assert.deepEqual(layer.at(-1), { status: `pulling ${digest.slice(7, 19)}`, digest, total: layer[0].total, completed: layer[0].total });
      layer.reduce((a, b) => (assert.ok((b.completed ?? 0) >= (a.completed ?? 0)), b));
    }
    assert.deepEqual(leftovers(server), []);
    const unnamed = (text) => text.replaceAll(/^#.*$/gm, '');
    assert.equal(unnamed((await server.ok('/api/show', { model: name })).modelfile), unnamed(before_it));
    assert.match((await server.generate('Say "hello".', { model: name })).response, /./);

    // Once more: nothing is fetched but the manifest.
    const gets = () => registry.answers().filter(({ method, uri }) => method === 'GET' && uri.includes('/blobs/')).length;
    const fetched = gets();
    assert.deepEqual((await lines_of(server, 'pull', { model: name })).last, { status: 'success' });
    assert.equal(gets(), fetched);
  });

  test('what is wrong', async () => {
    const missing = `${registry.host}/library/nothing`;
    assert.deepEqual((await lines_of(server, 'pull', { model: missing })).lines, [
      { status: 'pulling manifest' },
      { error: 'pull model manifest: file does not exist' },
    ]);
    const whole = await server.post('/api/pull', { model: missing, insecure: true, stream: false });
    assert.deepEqual([whole.status, whole.json], [500, { error: 'pull model manifest: file does not exist' }]);

    const unsafe = await server.post('/api/pull', { model: `http://${missing}` });
    assert.deepEqual([unsafe.status, unsafe.json], [500, { error: 'insecure protocol http' }]);
    // Without a word https is spoken, which this registry does not.
    assert.match((await lines_of(server, 'pull', { model: missing, insecure: false })).error, /^pull model manifest: Get "https:/);
    assert.match((await lines_of(server, 'pull', { model: '127.0.0.1:1/library/x' })).error, /^pull model manifest: Get "http:.*connect/);

    for (const model of ['', undefined, '../x', 'a/b/c/d/e', `${registry.host}/library/x:`]) {
      const answer = await server.post('/api/pull', { model });
      assert.deepEqual([answer.status, answer.json], [400, { error: 'invalid model name' }], String(model));
    }
    assert.deepEqual((await server.post('/api/push', {})).json, { error: 'model is required' });
    assert.deepEqual((await lines_of(server, 'push', { model: missing })).lines.slice(0, 2), [
      { status: 'retrieving manifest' },
      { status: "couldn't retrieve manifest" },
    ]);
    const to_ollama = await server.post('/api/push', { model: 'somebody/cria' });
    assert.equal(to_ollama.status, 403);
    assert.match(to_ollama.json.error, /needs the key of an Ollama account/);
    assert.equal((await server.post('/api/pull', { model: 'x', insecure: 'yes' })).status, 400);
  });

  test('the official client', async () => {
    await server.create('own', renamed('Ownn'));
    const client = new Ollama({ host: server.url });
    const model = `${registry.host}/ana/own`;
    await server.send('POST', '/api/copy', { source: 'own', destination: model });
    const seen = [];
    for await (const part of await client.push({ model, insecure: true, stream: true })) seen.push(part.status);
    assert.equal(seen.at(-1), 'success');
    await client.delete({ model });
    await client.delete({ model: 'own' });
    assert.equal((await client.pull({ model, insecure: true })).status, 'success');
    assert.ok((await client.list()).models.some(({ name }) => name === `${model}:latest`));
    await assert.rejects(client.pull({ model: `${registry.host}/ana/none`, insecure: true }), /file does not exist/);
    await assert.rejects(async () => {
      for await (const part of await client.pull({ model: `${registry.host}/ana/none`, insecure: true, stream: true })) void part;
    }, /file does not exist/);
  });

  test('the command line', async () => {
    await server.create('spare', renamed('Spar'));
    const model = `${registry.host}/ben/spare`;
    const ok = async (...args) => {
      const { code, stdout, stderr } = await server.cli(args);
      assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
      return stdout + stderr;
    };
    await ok('cp', 'spare', model);
    const pushed = await ok('push', model, '--insecure');
    assert.match(pushed, /^retrieving manifest\npushing [0-9a-f]{12}:\n[^]*pushing manifest\nsuccess\n$/);
    await ok('rm', model, 'spare');
    const pulled = await ok('pull', '--insecure', model);
    assert.match(pulled, /^pulling manifest\npulling [0-9a-f]{12}:\n[^]*verifying sha256 digest\nwriting manifest\nsuccess\n$/);
    await ok('rm', model);
    // `run` of a model that is not there pulls it first.
    assert.match(await ok('run', '--insecure', model, 'Say "hello".'), /success\n/);
    assert.match(await ok('list'), /ben\/spare/);
    const failed = await server.cli(['pull', '--insecure', `${registry.host}/ben/none`]);
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /\nError: pull model manifest: file does not exist\n$/);
  });
});

test('a registry that asks for an account', async (t) => {
  const registry = await docker_registry(t, { users: { ana: 'secret:word' } });
  const server = await server_for_test(t);
  const model = `${registry.host}/ana/cria`;
  await server.send('POST', '/api/copy', { source: 'cria', destination: model });
  const account = { username: 'ana', password: 'secret:word' };
  assert.equal((await lines_of(server, 'push', { model })).error, 'unauthorized: access denied');
  assert.equal((await lines_of(server, 'push', { model, ...account, password: 'wrong' })).error, 'unauthorized: access denied');
  assert.deepEqual((await lines_of(server, 'push', { model, ...account })).last, { status: 'success' });
  await server.send('DELETE', '/api/delete', { model });
  assert.equal((await lines_of(server, 'pull', { model })).error, 'pull model manifest: unauthorized: access denied');
  assert.deepEqual((await lines_of(server, 'pull', { model, ...account })).last, { status: 'success' });
});

test('a big blob is pushed in parts and pulled in ranges', async (t) => {
  const registry = await docker_registry(t);
  const server = await server_for_test(t);
  const big = randomBytes(150 * mebibyte);
  const model = model_of(big, randomBytes(1000), Buffer.alloc(0));
  // Its manifest and blobs are put there by hand: no part of Drover's looks into a layer before it is used.
  const name = `${registry.host}/library/big`;
  for (const [digest, bytes] of model.blobs)
    fs.writeFileSync(path.join(blobs_folder(server), digest.replace(':', '-')), bytes);
  const folder = path.join(server.models, 'manifests', registry.host, 'library', 'big');
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'latest'), JSON.stringify(model.manifest));
  assert.deepEqual((await lines_of(server, 'push', { model: name })).last, { status: 'success' });
  const patches = registry.answers().filter(({ method, status }) => method === 'PATCH' && status === 202);
  assert.ok(patches.length >= 4, `${patches.length} parts`);
  await server.send('DELETE', '/api/delete', { model: name });

  // Two clients at once share one download.
  const both = await Promise.all([lines_of(server, 'pull', { model: name }), lines_of(server, 'pull', { model: name })]);
  for (const { last, lines } of both) {
    assert.deepEqual(last, { status: 'success' });
    const line = lines.find(({ total }) => total === big.length);
    assert.ok(line, 'both see the big layer');
  }
  same_files(server, model);
  const bytes = registry
    .answers()
    .filter(({ method, uri }) => method === 'GET' && uri.includes('/blobs/'))
    .reduce((sum, answer) => sum + answer.bytes, 0);
  assert.equal(bytes, big.length + 1000 + model.manifest.config.size);
});

describe('whatever ends a pull, the next one goes on', () => {
  const size = (short ? 24 : 96) * mebibyte;

  // Lets so many bytes of blobs through, then no more until it is told.
  function gate() {
    const state = { allowed: 0, waiting: new Set() };
    state.allow = (bytes) => {
      state.allowed = bytes;
      for (const resolve of state.waiting) resolve();
      state.waiting.clear();
    };
    state.pace = async (registry) => {
      while (registry.bytes_sent > state.allowed) {
        await new Promise((resolve) => {
          state.waiting.add(resolve);
        });
      }
    };
    return state;
  }
  const completed = (stream, digest) => stream.items.filter((line) => line.digest === digest).at(-1)?.completed ?? 0;

  test('kill -9, three times', async (t) => {
    const model = model_of(randomBytes(size));
    const [{ digest }] = model.manifest.layers;
    const gates = gate();
    const registry = await stand_in(t, model, { pace: gates.pace });
    const server = new Server();
    t.after(() => server.stop());
    await server.start();
    const name = `${registry.host}/library/killed`;
    let had = 0;
    for (const part of [0.25, 0.5, 0.75]) {
      const stream = new Stream(server.call('POST', '/api/pull', { model: name, insecure: true }));
      await stream.more(2);
      // What the process before had written down is there: at most a megabyte of each of eight ranges is not.
      await wait_until(() => stream.items.some((line) => line.digest === digest), 'the layer is reported');
      const begun_with = stream.items.find((line) => line.digest === digest).completed ?? 0;
      assert.ok(begun_with >= had - 8 * mebibyte, `${begun_with} of ${had} bytes were kept`);
      if (had > 16 * mebibyte) assert.ok(begun_with > 0);
      gates.allow(registry.bytes_sent + size / 4);
      await wait_until(() => completed(stream, digest) >= size * part * 0.7, `${part} has arrived`);
      had = completed(stream, digest);
      server.kill('SIGKILL');
      await server.end();
      stream.close();
      await server.start();
    }
    gates.allow(Infinity);
    assert.deepEqual((await lines_of(server, 'pull', { model: name })).last, { status: 'success' });
    same_files(server, model);
    assert.deepEqual(leftovers(server), []);
    const twice = registry.bytes_sent - size - model.manifest.config.size;
    t.diagnostic(`${size} bytes, ${twice} sent more than once (those in the kernel's buffers among them)`);
  });

  test('a client that leaves ends its pull; another takes over', async (t) => {
    const model = model_of(randomBytes(size));
    const [{ digest }] = model.manifest.layers;
    const gates = gate();
    const registry = await stand_in(t, model, { pace: gates.pace });
    const server = await server_for_test(t);
    const name = `${registry.host}/library/left`;
    const first = new Stream(server.call('POST', '/api/pull', { model: name, insecure: true }));
    gates.allow(size / 2);
    await wait_until(() => completed(first, digest) >= size * 0.4, 'half has arrived');
    const asked = Math.ceil(size / (16 * mebibyte)) + 1; // a request for each range, and one for the config
    await wait_until(() => registry.asked().length === asked, 'all has been asked for');
    const second = new Stream(server.call('POST', '/api/pull', { model: name, insecure: true }));
    await wait_until(() => completed(second, digest) >= size * 0.4, 'the second sees the progress of the first');
    assert.equal(registry.asked().length, asked, 'and fetches nothing itself');
    const held = registry.sockets.size;
    first.close();
    await wait_until(() => registry.asked().length > asked, 'the second goes on');
    gates.allow(Infinity);
    await second.ended;
    assert.deepEqual(second.items.at(-1), { status: 'success' });
    same_files(server, model);
    assert.ok(held > 0);
    // Nobody is left: a third, alone, that leaves.
    gates.allow(0);
    registry.bytes_sent = 0;
    registry.model = model_of(randomBytes(size));
    const third = new Stream(server.call('POST', '/api/pull', { model: `${name}:other`, insecure: true }));
    await wait_until(() => registry.bytes_sent > 0, 'the third is under way');
    third.close();
    await wait_until(() => registry.sockets.size === 0, 'its connections are closed, though nothing more comes');
    assert.ok(leftovers(server).length > 0, 'what it fetched stays for the next one');
  });

  test('a server that stops', async (t) => {
    const model = model_of(randomBytes(size));
    const gates = gate();
    const registry = await stand_in(t, model, { pace: gates.pace });
    const server = new Server();
    t.after(() => server.stop());
    await server.start();
    const stream = new Stream(server.call('POST', '/api/pull', { model: `${registry.host}/library/s`, insecure: true }));
    gates.allow(size / 2);
    await wait_until(() => registry.bytes_sent > mebibyte, 'it is under way');
    server.process.kill('SIGTERM');
    const [code] = await server.end();
    assert.equal(code, 0);
    await stream.ended.catch(() => {});
    // Its client is told, or cut off if the word comes too late; never that it succeeded.
    const { status, error } = stream.items.at(-1);
    assert.ok(status?.startsWith('pulling') || error === 'canceled', JSON.stringify(stream.items.at(-1)));
    assert.ok(leftovers(server).length > 0, 'what was fetched stays');
  });

  test('a part that was damaged meanwhile is fetched again', async (t) => {
    const model = model_of(randomBytes(4 * mebibyte));
    const [{ digest }] = model.manifest.layers;
    const registry = await stand_in(t, model);
    const server = await server_for_test(t);
    const file = path.join(blobs_folder(server), digest.replace(':', '-'));
    fs.writeFileSync(`${file}-partial`, Buffer.alloc(4 * mebibyte));
    fs.writeFileSync(`${file}-ledger`, `drover-ledger 1 ${4 * mebibyte}\n0 ${3 * mebibyte}\n`);
    assert.deepEqual((await lines_of(server, 'pull', { model: `${registry.host}/library/d` })).last, { status: 'success' });
    same_files(server, model);
  });

  test('connections that break', async (t) => {
    const model = model_of(randomBytes(8 * mebibyte));
    let failures = 0;
    let cuts = 0;
    const registry = await stand_in(t, model, {
      answer: (request, response) => {
        if (!request.url.includes('/blobs/') || failures++ >= 3) return false;
        response.writeHead(503).end('later');
        return true;
      },
      pace: async (self) => {
        if (self.bytes_sent < (cuts + 1) * mebibyte || cuts === 3) return;
        cuts++;
        for (const socket of self.sockets) socket.destroy();
      },
    });
    const server = await server_for_test(t);
    const { last } = await lines_of(server, 'pull', { model: `${registry.host}/library/cut` });
    assert.deepEqual(last, { status: 'success' });
    same_files(server, model);
    assert.equal(cuts, 3);
    assert.ok(registry.asked().length >= 1 + 1 + 3 + 3, 'the config, the blob, and again after each failure');
  });
});

test('a registry without ranges', async (t) => {
  const model = model_of(randomBytes(40 * mebibyte));
  const registry = await stand_in(t, model, { ranges: false });
  const server = await server_for_test(t);
  assert.deepEqual((await lines_of(server, 'pull', { model: `${registry.host}/library/w` })).last, { status: 'success' });
  same_files(server, model);
});

test('a newer version replaces the one before, and its blobs', async (t) => {
  const registry = await stand_in(t, model_of(randomBytes(1000)));
  const server = await server_for_test(t);
  const name = `${registry.host}/library/new`;
  await lines_of(server, 'pull', { model: name });
  const old = registry.model;
  registry.model = model_of(randomBytes(2000));
  const { lines } = await lines_of(server, 'pull', { model: name });
  assert.deepEqual(statuses(lines).slice(-3), ['writing manifest', 'removing unused layers', 'success']);
  same_files(server, registry.model);
  for (const digest of old.blobs.keys()) assert.ok(!fs.existsSync(path.join(blobs_folder(server), digest.replace(':', '-'))));
});

test('names of hf.co, through a proxy that stands in for it', async (t) => {
  const model = model_of(randomBytes(100_000));
  const registry = await stand_in(t, model);
  const server = await server_for_test(t, { env: { http_proxy: `http://${registry.host}`, no_proxy: '' } });
  const name = 'hf.co/Some-User/Some.Model-GGUF:Q4_K_M';
  assert.deepEqual((await lines_of(server, 'pull', { model: name })).last, { status: 'success' });
  assert.equal(registry.asked('manifests')[0].url, 'http://hf.co/v2/Some-User/Some.Model-GGUF/manifests/Q4_K_M');
  assert.equal(registry.asked('manifests')[0].headers.host, 'hf.co');
  assert.match(registry.asked()[0].url, /^http:\/\/hf\.co\/v2\/Some-User\/Some\.Model-GGUF\/blobs\/sha256:[0-9a-f]{64}$/);
  assert.ok(fs.existsSync(path.join(server.models, 'manifests/hf.co/Some-User/Some.Model-GGUF/Q4_K_M')));
});
