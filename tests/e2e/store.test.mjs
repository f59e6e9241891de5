// The models folder: Ollama's layout, and nothing outside of it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { cria, renamed } from './gguf.mjs';
import { server_for_suite, server_for_test, sha256 } from './harness.mjs';

const manifest_path = (server, name, tag = 'latest') =>
  path.join(server.models, 'manifests/registry.ollama.ai/library', name, tag);
const blob_path = (server, digest) => path.join(server.models, 'blobs', digest.replace(':', '-'));
const read_json = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));
const blobs = (server) => fs.readdirSync(path.join(server.models, 'blobs')).sort();

function files_below(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    return entry.isDirectory() ? files_below(file) : [file];
  });
}

describe('layout', () => {
  const server = server_for_suite();

  test('a model is a manifest that names blobs', async () => {
    const system = 'You are Cria.';
    await server.ok('/api/create', {
      model: 'mine:v1',
      from: 'cria',
      system,
      license: 'MIT',
      parameters: { temperature: 0 },
      stream: false,
    });
    const manifest = read_json(manifest_path(server, 'mine', 'v1'));
    assert.equal(manifest.schemaVersion, 2);
    assert.equal(manifest.mediaType, 'application/vnd.docker.distribution.manifest.v2+json');
    assert.equal(manifest.config.mediaType, 'application/vnd.docker.container.image.v1+json');
    const of = (kind) => manifest.layers.filter((layer) => layer.mediaType === `application/vnd.ollama.image.${kind}`);
    assert.deepEqual(
      ['model', 'system', 'license', 'params'].map((kind) => of(kind).length),
      [1, 1, 1, 1],
    );
    for (const { digest, size } of [manifest.config, ...manifest.layers]) {
      assert.match(digest, /^sha256:[0-9a-f]{64}$/);
      const bytes = fs.readFileSync(blob_path(server, digest));
      assert.equal(bytes.length, size);
      assert.equal(`sha256:${sha256(bytes)}`, digest);
    }
    assert.equal(of('model')[0].digest, `sha256:${sha256(cria())}`);
    assert.equal(fs.readFileSync(blob_path(server, of('system')[0].digest), 'utf8'), system);
    assert.deepEqual(read_json(blob_path(server, of('params')[0].digest)), { temperature: 0 });
    const config = read_json(blob_path(server, manifest.config.digest));
    assert.deepEqual(
      [config.model_format, config.model_family, config.model_families, config.file_type],
      ['gguf', 'llama', ['llama'], 'F16'],
    );
    assert.deepEqual(
      [config.rootfs.type, config.rootfs.diff_ids],
      ['layers', manifest.layers.map(({ digest }) => digest)],
    );
    const listed = (await server.get('/api/tags')).json.models.find(({ name }) => name === 'mine:v1');
    assert.equal(listed.digest, sha256(fs.readFileSync(manifest_path(server, 'mine', 'v1'))));
    assert.equal(
      listed.size,
      [manifest.config, ...manifest.layers].reduce((sum, { size }) => sum + size, 0),
    );
  });

  test('a name with a host and a namespace has its own folder', async () => {
    await server.ok('/api/copy', { source: 'cria', destination: 'example.com/herd/alpaca:small' }).catch(() => {});
    assert.ok(fs.existsSync(path.join(server.models, 'manifests/example.com/herd/alpaca/small')));
    assert.equal((await server.generate('Count to 3', { model: 'example.com/herd/alpaca:small' })).response, '1, 2, 3');
  });

  test('nothing but models and blobs lies around', async () => {
    for (const file of files_below(server.models)) {
      const name = path.relative(server.models, file);
      assert.match(name, /^(manifests\/[^/]+\/[^/]+\/[^/]+\/[^/]+|blobs\/sha256-[0-9a-f]{64})$/);
    }
  });
});

describe('deleting', () => {
  test('removes the blobs that no other model uses', async (t) => {
    const server = await server_for_test(t);
    const before = blobs(server);
    await server.create('one', renamed('Onee'), { system: 'shared', template: '{{ .Prompt }}' });
    await server.ok('/api/create', { model: 'two', from: 'one', template: 'x{{ .Prompt }}', stream: false });
    const weights = `sha256-${sha256(renamed('Onee'))}`,
      shared = `sha256-${sha256('shared')}`;
    const first = `sha256-${sha256('{{ .Prompt }}')}`,
      second = `sha256-${sha256('x{{ .Prompt }}')}`;
    for (const blob of [weights, shared, first, second]) assert.ok(blobs(server).includes(blob), blob);
    await server.send('DELETE', '/api/delete', { model: 'one' });
    assert.ok(!blobs(server).includes(first));
    for (const blob of [weights, shared, second]) assert.ok(blobs(server).includes(blob), blob);
    assert.equal(fs.existsSync(path.dirname(manifest_path(server, 'one'))), false, 'no empty folder stays');
    await server.send('DELETE', '/api/delete', { model: 'two' });
    assert.deepEqual(blobs(server), before);
  });

  test('a model that is loaded goes on to its end', async (t) => {
    const server = await server_for_test(t);
    await server.create('one', renamed('Onee'));
    const stream = server.stream('Count to 120', { model: 'one' });
    await stream.more(2);
    assert.equal((await server.send('DELETE', '/api/delete', { model: 'one' })).status, 200);
    await stream.ended;
    assert.equal(stream.items.at(-1).done_reason, 'stop');
    assert.equal((await server.post('/api/generate', { model: 'one', prompt: 'Hello' })).status, 404);
  });
});

describe('a folder from elsewhere', () => {
  test('works as it is, and survives a restart', async (t) => {
    const first = await server_for_test(t);
    await first.ok('/api/create', {
      model: 'kept',
      from: 'cria',
      system: 'Here is a list.\nAna: 417\nBen: 802',
      stream: false,
    });
    const models = path.join(first.folder, 'copy');
    fs.cpSync(first.models, models, { recursive: true });
    const second = await server_for_test(t, { models });
    assert.equal((await second.generate('What is the number of Ana?', { model: 'kept' })).response, 'Ana: 417');
  });

  test('a manifest that lies reaches nothing', async (t) => {
    const server = await server_for_test(t);
    const secret = path.join(server.folder, 'secret');
    fs.writeFileSync(secret, cria());
    const good = read_json(manifest_path(server, 'cria'));
    const lies = [
      'sha256:../../../secret',
      `sha256-${'a'.repeat(64)}/../../../secret`,
      '../../secret',
      secret,
      '',
      5,
      null,
      `sha256:${'a'.repeat(64)}`,
    ];
    for (const [i, digest] of lies.entries()) {
      const manifest = structuredClone(good);
      for (const layer of manifest.layers) if (layer.mediaType.endsWith('.model')) layer.digest = digest;
      const file = manifest_path(server, `lie${i}`);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, JSON.stringify(manifest));
    }
    for (const [name, text] of [
      ['cut', '{"schemaVersion": 2, "layers": ['],
      ['empty', ''],
      ['list', '[]'],
      ['binary', '\0\x01\xff'],
    ]) {
      const file = manifest_path(server, name);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, text);
    }
    for (const model of [...lies.map((_, i) => `lie${i}`), 'cut', 'empty', 'list', 'binary']) {
      const answer = await server.post('/api/generate', { model, prompt: 'Count to 3', stream: false });
      assert.ok(answer.status >= 400, `${model}: ${answer.text}`);
      assert.equal(typeof answer.json.error, 'string');
      const deleted = await server.send('DELETE', '/api/delete', { model });
      assert.ok(deleted.status === 200 || deleted.json?.error, `${model}: ${deleted.text}`);
    }
    assert.ok(fs.existsSync(secret), 'nothing outside was deleted');
    const tags = await server.get('/api/tags');
    assert.ok(
      tags.json.models.some(({ name }) => name === 'cria:latest'),
      tags.text,
    );
    assert.equal((await server.generate('Count to 3')).response, '1, 2, 3');
  });
});

describe('hostile names', () => {
  const server = server_for_suite();
  const names = [
    '../../../escape',
    '..',
    '.',
    '/escape',
    'a/../../escape',
    '..%2f..%2fescape',
    '%2e%2e/escape',
    'cria/..',
    'cria:../../escape',
    'a/b/c/d/e',
    'cria\0x',
    'cria\\..\\escape',
    `x${'y'.repeat(100)}`,
    'cria:',
    ':latest',
    'cria latest',
    'cria\n',
    '-rf',
    '~/escape',
    '$HOME/x',
    'ä',
    'http://../x',
    '.hidden',
    'a//b',
    'cria:latest:latest',
    '\u202ecria',
  ];

  const unchanged = async (attack) => {
    const before = files_below(server.folder).sort();
    await attack();
    assert.deepEqual(files_below(server.folder).sort(), before);
  };

  test('are no models', async () => {
    for (const model of names) {
      await unchanged(async () => {
        for (const target of ['/api/generate', '/api/chat', '/api/show']) {
          const answer = await server.post(target, {
            model,
            prompt: 'Hello',
            messages: [{ role: 'user', content: 'Hello' }],
          });
          assert.ok(
            answer.status === 400 || answer.status === 404,
            `${JSON.stringify(model)}: ${answer.status} ${answer.text}`,
          );
          assert.equal(typeof answer.json.error, 'string');
        }
        const deleted = await server.send('DELETE', '/api/delete', { model });
        assert.ok(deleted.status === 400 || deleted.status === 404, `${JSON.stringify(model)}: ${deleted.status}`);
      });
    }
  });

  test('are not created', async () => {
    for (const model of names) {
      await unchanged(async () => {
        const copied = await server.post('/api/copy', { source: 'cria', destination: model });
        assert.equal(copied.status, 400, JSON.stringify(model));
        const created = await server.post('/api/create', { model, from: 'cria', stream: false });
        assert.equal(created.status, 400, `${JSON.stringify(model)}: ${created.text}`);
        assert.deepEqual(created.json, { error: 'invalid model name' });
      });
    }
  });

  test('are not taken from', async () => {
    for (const from of names.concat(server.folder, cria_path())) {
      await unchanged(async () => {
        const answer = await server.post('/api/create', { model: 'thief', from, stream: false });
        assert.ok(answer.status >= 400, `${JSON.stringify(from)}: ${answer.text}`);
      });
    }
  });

  test('digests lead nowhere', async () => {
    const digest = `sha256:${sha256(cria())}`;
    for (const attack of [
      'sha256:..%2f..%2fescape',
      '..%2f..%2fescape',
      'sha256-..%2f..%2fescape',
      '%2e%2e/%2e%2e/escape',
      '../../escape',
      `${digest}%2f..%2fescape`,
      `${digest}%00`,
      digest.toUpperCase(),
    ]) {
      await unchanged(async () => {
        for (const method of ['HEAD', 'POST']) {
          const answer = await server.send(method, `/api/blobs/${attack}`, method === 'POST' ? 'x' : undefined);
          assert.ok(answer.status >= 400 && answer.status < 500, `${method} ${attack}: ${answer.status}`);
        }
      });
    }
    for (const attack of ['sha256:../../../escape', '../../escape', cria_path(), 'sha256:', '']) {
      await unchanged(async () => {
        const answer = await server.post('/api/create', {
          model: 'thief',
          files: { 'model.gguf': attack },
          stream: false,
        });
        assert.ok(answer.status >= 400, `${attack}: ${answer.text}`);
      });
    }
  });

  test('names of files stay relative', async () => {
    const digest = await server.upload(renamed('File'));
    for (const name of ['/etc/model.gguf', '../model.gguf', 'a/../../model.gguf', '']) {
      await unchanged(async () => {
        const answer = await server.post('/api/create', { model: 'thief', files: { [name]: digest }, stream: false });
        assert.equal(answer.status, 400, `${name}: ${answer.text}`);
        assert.deepEqual(answer.json, { error: 'file path must be relative' });
      });
    }
  });

  function cria_path() {
    return path.join(server.models ?? '/', 'blobs', `sha256-${sha256(cria())}`);
  }
});
