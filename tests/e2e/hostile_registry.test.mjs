// A registry that lies, stalls, and sends its clients where they should not go gets nowhere.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';

import { server_for_suite, server_for_test, sha256 } from './harness.mjs';
import { begin_range, blobs_folder, leftovers, lines_of, media, model_of, stand_in } from './registry.mjs';

const mebibyte = 1 << 20;
const blob = (bytes) => ({ mediaType: media.model, digest: `sha256:${sha256(bytes)}`, size: bytes.length });
// The layer of `model`, changed.
const with_layer = (model, change) => {
  Object.assign(model.manifest.layers[0], change);
  return model;
};
// What answers to requests for blobs, and nothing else.
const for_blobs = (answer) => (request, response, registry) =>
  request.url.includes('/blobs/') && !request.url.endsWith(registry.model.manifest.config.digest.slice(7))
    ? (answer(request, response, registry), true)
    : false;

describe('what a registry says', () => {
  const server = server_for_suite({ env: { no_proxy: '*' } }); // one of the registries is not on loopback
  let count = 0;
  const refuses = async (t, model, text, options) => {
    const before = fs.readdirSync(blobs_folder(server)).sort();
    const registry = await stand_in(t, model, options);
    const name = `${registry.host}/library/m${count++}`;
    const { error } = await lines_of(server, 'pull', { model: name });
    assert.match(error ?? 'it succeeded', text);
    assert.doesNotMatch(error, /[^\x20-\x7e\u2026]/, 'an error is printable');
    const tags = (await server.get('/api/tags')).json.models;
    assert.ok(!tags.some((entry) => entry.name.includes(registry.host)), 'there is no such model');
    assert.ok(!fs.existsSync(path.join(server.models, 'manifests', registry.host)), 'nor its manifest');
    return { registry, before, error };
  };

  test('digests that are paths', async (t) => {
    for (const digest of [
      '../../../../../../tmp/owned',
      'sha256:../../../../../../../../tmp/owned',
      `sha256:${'a'.repeat(63)}/`,
      `sha256:${'a'.repeat(65)}`,
      `sha512:${'a'.repeat(128)}`,
      `sha256-..${'/'.repeat(62)}`,
      'sha256:',
      '',
      42,
    ]) {
      const { registry, before } = await refuses(t, with_layer(model_of(randomBytes(100)), { digest }), /^pull model manifest: manifest is broken/);
      assert.equal(registry.asked().length, 0);
      assert.deepEqual(fs.readdirSync(blobs_folder(server)).sort(), before);
    }
  });

  test('manifests that are none', async (t) => {
    const broken = /^pull model manifest: (manifest|.*JSON|.*bytes)/;
    const layer = blob(Buffer.from('x'));
    for (const manifest of [
      '',
      'null',
      '[]',
      '{"layers":',
      '{}',
      '{"manifests":[]}',
      '['.repeat(100_000),
      { ...model_of(Buffer.from('x')).manifest, layers: Array(5000).fill(layer) },
      { ...model_of(Buffer.from('x')).manifest, layers: [layer, { ...layer, size: 2 }] },
      ...[-1, 1.5, 'x', 2 ** 60, null].map((size) => ({ ...model_of(Buffer.from('x')).manifest, layers: [{ ...layer, size }] })),
    ])
      await refuses(t, { manifest, blobs: new Map() }, broken, {});
  });

  test('a giant manifest', async (t) => {
    let sent = 0;
    await refuses(t, model_of(Buffer.from('x')), /^pull model manifest: .*more than 4194304 bytes/, {
      answer: (request, response) => {
        response.writeHead(200);
        const piece = Buffer.alloc(65536, 0x20);
        const more = () => {
          while (!response.destroyed && sent < 1 << 30) {
            sent += piece.length;
            if (!response.write(piece)) return response.once('drain', more);
          }
        };
        more();
        return true;
      },
    });
    assert.ok(sent < 64 * mebibyte, `${sent} bytes were sent`);
  });

  test('a blob that is longer or shorter than the manifest says', async (t) => {
    const bytes = randomBytes(100_000);
    await refuses(t, with_layer(model_of(bytes), { size: 50_000 }), /has 100000 bytes of sha256:.*, but the manifest says 50000/);
    await refuses(t, with_layer(model_of(bytes), { size: 200_000 }), /has 100000 bytes of sha256:.*, but the manifest says 200000/);
    await refuses(t, with_layer(model_of(bytes), { size: 50_000 }), /has 100000 bytes/, { ranges: false });
    await refuses(t, with_layer(model_of(bytes), { size: 0 }), /digest mismatch/);
  });

  test('a body without an end, and ranges that were not asked for', async (t) => {
    const endless = (status, headers) =>
      for_blobs((request, response) => {
        response.writeHead(status, headers);
        const more = () => {
          while (!response.destroyed) if (!response.write(Buffer.alloc(65536))) return response.once('drain', more);
        };
        more();
      });
    const model = () => model_of(randomBytes(100_000));
    await refuses(t, model(), /sent more of sha256:.* than requested/, { answer: endless(200, {}) });
    await refuses(t, model(), /sent more of/, { answer: endless(206, { 'content-range': 'bytes 0-99999/100000' }) });
    for (const range of ['bytes 0-99999/100001', 'bytes 0-99999/99999'])
      await refuses(t, model(), /but the manifest says 100000/, { answer: endless(206, { 'content-range': range }) });
    for (const range of ['bytes 1-100000/100000', 'bytes 0-9/100000'])
      await refuses(t, model(), /another range/, { answer: endless(206, { 'content-range': range }) });
    for (const range of ['', 'bytes 0-99999/*', 'bytes -1-5/100000', 'x', 'bytes 0-18446744073709551615/100000'])
      await refuses(t, model(), /no valid range/, { answer: endless(206, { 'content-range': range }) });
  });

  test('other bytes than the digest says', async (t) => {
    const model = model_of(randomBytes(3 * mebibyte));
    const [{ digest }] = model.manifest.layers;
    model.blobs.set(digest, randomBytes(3 * mebibyte));
    await refuses(t, model, /^digest mismatch, file must be downloaded again: want sha256:[0-9a-f]{64}, got sha256:[0-9a-f]{64}$/);
    assert.ok(!fs.existsSync(path.join(blobs_folder(server), digest.replace(':', '-'))));
    assert.ok(!leftovers(server).some((name) => name.includes(digest.slice(7))), 'nothing of it stays');
  });

  test('more than the disk holds', async (t) => {
    const { registry } = await refuses(t, with_layer(model_of(randomBytes(100)), { size: 2 ** 49 }), /^no space left on device/);
    assert.equal(registry.asked().length, 0, 'nothing was fetched');
  });

  test('connections that are always cut', async (t) => {
    const { registry } = await refuses(t, model_of(randomBytes(mebibyte)), /^max retries exceeded: /, {
      answer: for_blobs((request, response) => {
        begin_range(request, response, mebibyte);
        response.write(Buffer.alloc(1000), () => response.destroy());
      }),
    });
    assert.ok(registry.asked().length >= 6);
  });

  test('errors', async (t) => {
    const failing = (status) => ({
      answer: for_blobs((request, response) => response.writeHead(status).end('\u0007no\r\nllamas\n')),
    });
    await refuses(t, model_of(randomBytes(100)), /^418:  no  llamas$/, failing(418));
    await refuses(t, model_of(randomBytes(100)), /^file does not exist$/, failing(404));
    await refuses(t, model_of(randomBytes(100)), /^max retries exceeded: 500/, failing(500));
    // An error that never ends is not listened to.
    await refuses(t, model_of(randomBytes(100)), /^400: x{4096}$/, {
      answer: for_blobs((request, response) => {
        response.writeHead(400);
        const more = () => {
          while (!response.destroyed) if (!response.write('x'.repeat(65536))) return response.once('drain', more);
        };
        more();
      }),
    });
  });

  const redirects_to = (location) => ({
    answer: for_blobs((request, response) => response.writeHead(307, { location }).end()),
  });

  test('redirects to other schemes and other places', async (t) => {
    for (const location of ['file:///etc/passwd', 'ftp://127.0.0.1/x', 'gopher://127.0.0.1:70/x', 'dict://127.0.0.1/x', 'data:,x'])
      await refuses(t, model_of(randomBytes(100)), /redirects to an address that is refused/, redirects_to(location));
    await refuses(t, model_of(randomBytes(100)), /redirects to an address that is refused/, redirects_to('http://me:secret@127.0.0.1/'));
    await refuses(t, model_of(randomBytes(100)), /redirects to an address that is refused/, redirects_to(''));
    const place = (kind) => new RegExp(`^refused to connect from the registry .* to the ${kind} address of`);
    for (const location of ['http://169.254.169.254/latest/meta-data/', 'http://[fd00:ec2::254]/latest/', 'http://[fe80::1]/'])
      await refuses(t, model_of(randomBytes(100)), place('link-local'), redirects_to(location));
    await refuses(t, model_of(randomBytes(100)), place('private'), redirects_to('http://10.0.0.1/'));
    await refuses(t, model_of(randomBytes(100)), place('private'), redirects_to('https://[::ffff:192.168.0.1]/'));
    await refuses(t, model_of(randomBytes(100)), place('reserved'), redirects_to('http://224.0.0.1/'));
  });

  test('redirects in a circle', async (t) => {
    const { registry } = await refuses(t, model_of(randomBytes(100)), /^stopped after 10 redirects$/, {
      answer: for_blobs((request, response) => response.writeHead(302, { location: request.url }).end()),
    });
    assert.ok(registry.asked().length <= 2 * 12);
  });

  test('from a registry elsewhere to this machine', async (t) => {
    const address = Object.values(os.networkInterfaces())
      .flat()
      .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
    if (!address) return t.skip('this machine has no address but its own');
    const secret = await stand_in(t, model_of(randomBytes(100)));
    for (const host of [secret.host, `localhost:${secret.host.split(':')[1]}`, `0.0.0.0:${secret.host.split(':')[1]}`]) {
      await refuses(t, model_of(randomBytes(100)), /^refused to connect from the registry .* to the loopback address of/, {
        ...redirects_to(`http://${host}/`),
        address,
      });
    }
    assert.equal(secret.requests.length, 0);
  });

  test('an upload that is wanted elsewhere', async (t) => {
    const thief = await stand_in(t, model_of(randomBytes(100)));
    const registry = await stand_in(t, model_of(randomBytes(100)), {
      answer: (request, response) => {
        if (request.method === 'POST') response.writeHead(202, { location: `http://${thief.host}/upload` }).end();
        else response.writeHead(404).end();
        return true;
      },
    });
    const model = `${registry.host}/library/cria`;
    await server.send('POST', '/api/copy', { source: 'cria', destination: model });
    assert.match((await lines_of(server, 'push', { model })).error, /wants the upload at .*, which is refused/);
    assert.equal(thief.requests.length, 0);
    registry.answer = (request, response) => (response.writeHead(307, { location: `http://${thief.host}/` }).end(), true);
    assert.match((await lines_of(server, 'push', { model })).error, /^404$|redirect|refused/);
    assert.ok(!thief.requests.some(({ method }) => method !== 'HEAD'), 'nothing was sent there');
    await server.send('DELETE', '/api/delete', { model });
  });
});

describe('credentials', () => {
  const server = server_for_suite();
  const account = { username: 'ana', password: 'secret' };
  const basic = `Basic ${Buffer.from('ana:secret').toString('base64')}`;
  // A registry that hands out a token at `realm` and wants it.
  const with_token = (realm, token = 'llama-token', then = () => false) => ({
    answer: (request, response, registry) => {
      if (request.url.startsWith('/token')) {
        response.writeHead(200).end(JSON.stringify({ token }));
        return true;
      }
      if (request.headers.authorization === `Bearer ${token}`) return then(request, response, registry);
      const where = realm ?? `http://${registry.host}/token`;
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${where}",service="llamas",scope="repository:library/x:pull"` }).end();
      return true;
    },
  });

  test('go to the registry and to its own realm, and not behind a redirect', async (t) => {
    const model = model_of(randomBytes(40 * mebibyte));
    const elsewhere = await stand_in(t, model);
    const registry = await stand_in(
      t,
      model,
      with_token(undefined, 'llama-token', for_blobs((request, response) =>
        response.writeHead(307, { location: `http://${elsewhere.host}${request.url}?signature=1` }).end(),
      )),
    );
    const { last } = await lines_of(server, 'pull', { model: `${registry.host}/library/x`, ...account });
    assert.deepEqual(last, { status: 'success' });
    const tokens = registry.requests.filter(({ url }) => url.startsWith('/token'));
    assert.equal(tokens.length, 1, 'one token is enough');
    assert.match(tokens[0].url, /^\/token\?service=llamas&scope=repository/);
    assert.equal(tokens[0].headers.authorization, basic);
    assert.ok(elsewhere.requests.length >= 3);
    for (const { headers } of elsewhere.requests) assert.equal(headers.authorization, undefined);
    for (const { url, headers } of registry.requests.filter((request) => !request.url.startsWith('/token')))
      assert.ok([undefined, 'Bearer llama-token'].includes(headers.authorization), url);
  });

  test('a realm on another host', async (t) => {
    const thief = await stand_in(t, model_of(randomBytes(100)));
    for (const realm of [`http://${thief.host}/token`, 'https://example.com/token', 'file:///etc/passwd', 'http://']) {
      const registry = await stand_in(t, model_of(randomBytes(100)), with_token(realm));
      const { error } = await lines_of(server, 'pull', { model: `${registry.host}/library/x`, ...account });
      assert.match(error, /^pull model manifest: realm (host ".*" does not match original host ".*"$|invalid|".*" is neither)/);
      for (const { headers } of registry.requests) assert.equal(headers.authorization, undefined);
    }
    assert.equal(thief.requests.length, 0);
  });

  test('tokens that are none', async (t) => {
    for (const token of ['', 'a b', 'a\r\nX-Injected: 1', 'x'.repeat(100_000), 7, null]) {
      const registry = await stand_in(t, model_of(randomBytes(100)), with_token(undefined, token));
      const { error } = await lines_of(server, 'pull', { model: `${registry.host}/library/x` });
      assert.match(error, /^pull model manifest: .*(without a token|more than)/, JSON.stringify(token));
      assert.ok(!registry.requests.some(({ headers }) => 'x-injected' in headers));
    }
  });

  test('a registry that is never content', async (t) => {
    for (const challenge of ['Bearer', 'Digest realm="x"', 'Basic realm="x"', '']) {
      const registry = await stand_in(t, model_of(randomBytes(100)), {
        answer: (request, response) => (response.writeHead(401, challenge ? { 'www-authenticate': challenge } : {}).end(), true),
      });
      const { error } = await lines_of(server, 'pull', { model: `${registry.host}/library/x`, ...account });
      assert.equal(error, 'pull model manifest: unauthorized: access denied', challenge);
      assert.ok(registry.requests.length <= 3);
    }
  });

  test('a certificate that nobody vouches for', async (t) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-certificate-'));
    t.after(() => fs.rmSync(folder, { recursive: true }));
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => path.join(folder, name));
    const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=127.0.0.1', '-keyout', key, '-out', cert]);
    assert.equal(made.status, 0, String(made.stderr));
    const registry = await stand_in(t, model_of(randomBytes(100)), { tls: { key: fs.readFileSync(key), cert: fs.readFileSync(cert) } });
    const { error } = await lines_of(server, 'pull', { model: `${registry.host}/library/x`, insecure: false, ...account });
    assert.match(error, /^pull model manifest: Get "https:.*certificate/i);
    assert.equal(registry.requests.length, 0);
  });
});

test('a trickle, and a silence', async (t) => {
  const server = await server_for_test(t, { env: { DROVER_REGISTRY_TIMEOUT: '1s' } });
  const trickle = for_blobs((request, response) => {
    begin_range(request, response, 100_000);
    const timer = setInterval(() => response.write('x'), 100);
    response.on('close', () => clearInterval(timer));
  });
  for (const answer of [trickle, for_blobs(() => {})]) {
    const registry = await stand_in(t, model_of(randomBytes(100_000)), { answer });
    const { error } = await lines_of(server, 'pull', { model: `${registry.host}/library/slow` });
    assert.match(error, /^max retries exceeded: .*(too slow|timed out)/i);
  }
});
