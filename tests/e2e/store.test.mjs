// The models folder: Ollama's layout, and nothing outside of it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { cria, renamed } from './gguf.mjs';
import { run_program, server_for_suite, server_for_test, sha256, short, wait_until } from './harness.mjs';
import { model_of, stand_in } from './registry.mjs';

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
      assert.match(name, /^(manifests\/[^/]+\/[^/]+\/[^/]+\/[^/]+|blobs\/sha256-[0-9a-f]{64}|\.drover\/lock)$/);
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

describe('several programs in one folder', () => {
  const hour = 3600;
  const place = (server, bytes) => blob_path(server, `sha256:${sha256(bytes)}`);
  const age = (file, hours) => {
    const when = Date.now() / 1000 - hours * hour;
    fs.utimesSync(file, when, when);
  };
  // A blob, or part of one, as another program left it long ago.
  const leave = (file, bytes) => {
    fs.writeFileSync(file, bytes);
    age(file, 1000);
    return file;
  };
  const restart = async (t, server) => {
    server.process.kill('SIGTERM');
    await server.end();
    return server_for_test(t, { models: server.models });
  };

  test('a start prunes what Drover wrote and no model names, and nothing else', async (t) => {
    const server = await server_for_test(t);
    await server.upload(Buffer.from('young'));
    await server.upload(Buffer.from('old'));
    age(place(server, 'old'), 25);
    age(path.join(server.models, '.drover/promised', path.basename(place(server, 'old'))), 25);
    const theirs = [
      leave(place(server, 'theirs'), 'theirs'),
      leave(`${place(server, 'pulled')}-partial`, 'pull'),
      leave(`${place(server, 'pulled')}-partial-0`, '{}'),
      leave(`${place(server, 'there')}-partial`, 'there'),
      leave(place(server, 'there'), 'there'),
    ];
    leave(`${place(server, 'own')}-partial`, 'o');
    leave(`${place(server, 'own')}-ledger`, 'drover-ledger 1 3\n');
    const second = await restart(t, server);
    for (const file of theirs) assert.ok(fs.existsSync(file), `${file} is not Drover's`);
    assert.ok(fs.existsSync(place(second, 'young')), 'it is too young');
    assert.ok(!fs.existsSync(place(second, 'old')));
    assert.deepEqual(blobs(second).filter((name) => name.startsWith(path.basename(place(second, 'own')))), []);
    assert.match(second.stderr, /removed 1 unused blobs/);
    // What another program names and then forgets is that program's.
    const manifest = manifest_path(second, 'named');
    fs.mkdirSync(path.dirname(manifest), { recursive: true });
    fs.writeFileSync(manifest, JSON.stringify({ layers: [{ digest: `sha256:${sha256('young')}` }] }));
    age(place(second, 'young'), 1000);
    const third = await restart(t, second);
    fs.rmSync(manifest);
    const fourth = await restart(t, third);
    assert.ok(fs.existsSync(place(fourth, 'young')));
  });

  test('OLLAMA_NOPRUNE keeps everything', async (t) => {
    const server = await server_for_test(t);
    await server.upload(Buffer.from('old'));
    age(place(server, 'old'), 1000);
    age(path.join(server.models, '.drover/promised', path.basename(place(server, 'old'))), 1000);
    server.process.kill('SIGTERM');
    await server.end();
    const second = await server_for_test(t, { models: server.models, env: { OLLAMA_NOPRUNE: '1' } });
    assert.ok(fs.existsSync(place(second, 'old')));
  });

  test('a server whose port is taken touches nothing', async (t) => {
    const server = await server_for_test(t);
    const models = path.join(server.folder, 'others');
    fs.mkdirSync(path.join(models, 'blobs'), { recursive: true });
    leave(path.join(models, 'blobs', '.drover-write-abcdef'), 'half');
    const before = files_below(server.folder).sort();
    for (const folder of [models, path.join(server.folder, 'new'), server.models]) {
      const { code, stderr } = await server.cli(['serve'], { env: { OLLAMA_MODELS: folder } });
      assert.equal(code, 1);
      assert.match(stderr, /address already in use/);
    }
    assert.deepEqual(files_below(server.folder).sort(), before);
    assert.ok(!fs.existsSync(path.join(server.folder, 'new')));
  });

  test('a second server serves and writes, and leaves the pruning to the first', async (t) => {
    const first = await server_for_test(t);
    await first.upload(Buffer.from('old'));
    age(place(first, 'old'), 1000);
    age(path.join(first.models, '.drover/promised', path.basename(place(first, 'old'))), 1000);
    const second = await server_for_test(t, { models: first.models });
    assert.match(second.stderr, /another server uses the model folder/);
    assert.ok(fs.existsSync(place(first, 'old')));
    await second.create('mine', renamed('Mine'));
    assert.equal((await first.generate('Count to 3', { model: 'mine' })).response, '1, 2, 3');
    assert.equal((await second.send('DELETE', '/api/delete', { model: 'mine' })).status, 200);
    assert.ok(!fs.existsSync(place(first, renamed('Mine'))), 'nobody is making a model');
    assert.equal((await first.post('/api/show', { model: 'mine' })).status, 404);
  });

  // The pull has found a blob of its model here, and waits for the rest of it.
  test('what one server deletes is not taken from a pull of another', async (t) => {
    const weights = renamed('Both');
    const model = model_of(weights, randomBytes(1 << 20));
    const held = [];
    let hold = true;
    const registry = await stand_in(t, model, {
      answer: (request, response) => {
        if (!hold || !request.url.includes(model.manifest.layers[1].digest)) return false;
        held.push(response);
        return true;
      },
    });
    const first = await server_for_test(t);
    const second = await server_for_test(t, { models: first.models });
    await first.create('one', weights);
    const pull = second.post('/api/pull', { model: `${registry.host}/library/both`, insecure: true, stream: false });
    await wait_until(() => held.length > 0, 'the pull waits for its registry');
    assert.equal((await first.send('DELETE', '/api/delete', { model: 'one' })).status, 200);
    assert.ok(fs.existsSync(place(first, weights)), 'the pull needs it');
    hold = false;
    for (const response of held) response.writeHead(503).end();
    assert.equal((await pull).status, 200);
    assert.ok(fs.existsSync(place(first, weights)));
    // It belongs to the new model alone.
    assert.equal((await second.send('DELETE', '/api/delete', { model: `${registry.host}/library/both` })).status, 200);
    assert.ok(!fs.existsSync(place(first, weights)));
  });

  test('a folder that cannot be written to is served as it is', async (t) => {
    const probe = await run_program('unshare', ['-rm', 'true']);
    if (probe.code !== 0) return t.skip('this machine lets no test mount a folder');
    const first = await server_for_test(t);
    await first.ok('/api/copy', { source: 'cria', destination: 'kept' });
    const models = path.join(first.folder, 'copy');
    fs.cpSync(path.join(first.models, 'manifests'), path.join(models, 'manifests'), { recursive: true });
    fs.cpSync(path.join(first.models, 'blobs'), path.join(models, 'blobs'), { recursive: true });
    const mount = `mount --bind '${models}' '${models}' && mount -o remount,ro,bind '${models}' && exec "$0" "$@"`;
    const server = await server_for_test(t, { models, wrapper: ['unshare', '-rm', 'bash', '-c', mount] });
    assert.match(server.stderr, /the model folder is read-only/);
    assert.equal((await server.generate('Count to 3', { model: 'kept' })).response, '1, 2, 3');
    const refused = await server.post('/api/copy', { source: 'cria', destination: 'x' });
    assert.equal(refused.status, 500);
    assert.match(refused.json.error, /Read-only file system/);
    assert.equal((await server.send('DELETE', '/api/delete', { model: 'kept' })).status, 500);
    assert.equal((await server.generate('Count to 3', { model: 'kept' })).response, '1, 2, 3');
  });
});

describe('an upload that was acknowledged', () => {
  // Two clients have the same file; one is done with its model before the other begins.
  for (const method of ['POST', 'HEAD']) {
    test(`stays until its model is made: ${method}`, async (t) => {
      const server = await server_for_test(t);
      const bytes = renamed('Twoo');
      const digest = await server.upload(bytes);
      await server.ok('/api/create', { model: 'one', files: { 'm.gguf': digest }, stream: false });
      const again = await server.send(method, `/api/blobs/${digest}`, method === 'POST' ? bytes : undefined);
      assert.equal(again.status, 200);
      assert.equal((await server.send('DELETE', '/api/delete', { model: 'one' })).status, 200);
      await server.ok('/api/create', { model: 'two', files: { 'm.gguf': digest }, stream: false });
      assert.equal((await server.generate('Count to 3', { model: 'two' })).response, '1, 2, 3');
      assert.equal((await server.send('DELETE', '/api/delete', { model: 'two' })).status, 200);
      assert.ok(!fs.existsSync(blob_path(server, digest)), 'nobody is left who was told of it');
    });
  }

  test('of eight clients that use one file at once', async (t) => {
    const server = await server_for_test(t);
    const bytes = renamed('Many');
    const client = async (number) => {
      for (let round = 0; round < (short ? 3 : 12); round++) {
        const digest = `sha256:${sha256(bytes)}`;
        const sent = await server.send('POST', `/api/blobs/${digest}`, bytes);
        assert.ok([200, 201].includes(sent.status), sent.text);
        const model = `client${number}`;
        await server.ok('/api/create', { model, files: { 'm.gguf': digest }, stream: false });
        assert.equal((await server.send('DELETE', '/api/delete', { model })).status, 200);
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, number) => client(number)));
    assert.ok(!fs.existsSync(blob_path(server, `sha256:${sha256(bytes)}`)));
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
