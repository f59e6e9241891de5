// Running as a service: what the service manager is told, over a socket of its own, and the unit file.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';

import { broken } from './gguf.mjs';
import { drover, root, run_program, Server, server_for_test, wait_until } from './harness.mjs';


// Node has no datagram sockets of this kind; perl, which every Debian has, does. A line for each message.
const listen = `
  $| = 1;
  my $name = shift; $name =~ s/^\\@/\\0/;
  socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die "$!";
  bind($socket, pack_sockaddr_un($name)) or die "$!";
  print "bound\\n";
  while (defined recv($socket, my $message, 4096, 0)) { $message =~ s/\\n/ | /g; print "$message\\n"; }`;

class Manager {
  constructor(t, name) {
    this.messages = [];
    this.name = name;
    this.process = spawn('perl', ['-MSocket', '-e', listen, name], { stdio: ['ignore', 'pipe', 'inherit'] });
    let rest = '';
    this.process.stdout.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      this.messages.push(...lines);
    });
    const exited = once(this.process, 'exit');
    t.after(async () => {
      this.process.kill();
      await exited;
    });
  }

  async says(text) {
    await wait_until(() => this.index_of(text) >= 0, `${text} among ${JSON.stringify(this.messages)}`);
  }

  index_of(text) {
    return this.messages.findIndex((message) => message.includes(text));
  }
}

async function manager_for_test(t, name) {
  const manager = new Manager(t, name);
  await manager.says('bound');
  return manager;
}

function folder_for_test(t) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drover-service-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

describe('a service manager is told', () => {
  for (const kind of ['path', 'abstract name']) {
    test(`over a socket with ${kind === 'path' ? 'a' : 'an'} ${kind}`, async (t) => {
      const name = kind === 'path' ? path.join(folder_for_test(t), 'notify') : `@drover-test-${process.pid}`;
      const manager = await manager_for_test(t, name);
      const env = { NOTIFY_SOCKET: name, DROVER_PIN: 'cria' };
      const server = await server_for_test(t, { env });
      await manager.says('READY=1');
      assert.match(manager.messages[manager.index_of('READY=1')], new RegExp(`STATUS=listening on ${server.url}$`));
      assert.equal((await server.get('/readyz')).status, 200);
      assert.deepEqual(
        (await server.loaded_models()).map((model) => model.name),
        ['cria:latest'],
      );
      const [runner] = server.runners();
      assert.doesNotMatch(fs.readFileSync(`/proc/${runner}/environ`, 'latin1'), /NOTIFY_SOCKET/);
      assert.equal(manager.index_of('STOPPING=1'), -1);
      await server.stop();
      await manager.says('STOPPING=1');
      assert.ok(manager.index_of('READY=1') < manager.index_of('STOPPING=1'));
      assert.equal(manager.index_of('WATCHDOG=1'), -1, 'there is no watchdog');
      assert.doesNotMatch(server.stderr, /service manager/);
    });
  }

  test('that it is not ready while a pinned model is not loaded, and why', async (t) => {
    const folder = folder_for_test(t);
    const models = path.join(folder, 'models');
    const before = new Server({ models });
    await before.start();
    await before.create('broken', broken());
    await before.stop();
    const manager = await manager_for_test(t, path.join(folder, 'notify'));
    const server = await server_for_test(t, { models, env: { NOTIFY_SOCKET: manager.name, DROVER_PIN: 'broken' } });
    await manager.says('STATUS=broken:latest is not loaded yet');
    await wait_until(() => /broken:latest cannot be loaded/.test(server.stderr), 'the load has failed');
    assert.equal((await server.get('/readyz')).status, 503);
    assert.equal(manager.index_of('READY=1'), -1);
    await server.stop();
    await manager.says('STOPPING=1');
    assert.equal(manager.index_of('READY=1'), -1);
  });

  test('that it lives, as often as the watchdog wants', async (t) => {
    const manager = await manager_for_test(t, path.join(folder_for_test(t), 'notify'));
    await server_for_test(t, { env: { NOTIFY_SOCKET: manager.name, WATCHDOG_USEC: '200000' } });
    const signs = () => manager.messages.filter((message) => message === 'WATCHDOG=1').length;
    await wait_until(() => signs() > 3, 'some signs of life');
    assert.ok(manager.index_of('READY=1') < manager.index_of('WATCHDOG=1'));
  });

  test('a socket where nobody listens is a warning and no more', async (t) => {
    const server = await server_for_test(t, { env: { NOTIFY_SOCKET: '/nowhere/notify' } });
    await wait_until(() => /cannot notify the service manager/.test(server.stderr), 'a warning');
    assert.equal((await server.generate('Hello')).done, true);
  });
});

test('systemd takes the unit file', async (t) => {
  if (spawnSync('systemd-analyze', ['--version']).error) return t.skip('there is no systemd-analyze');
  const folder = folder_for_test(t);
  const unit = path.join(folder, 'drover.service');
  const text = fs.readFileSync(path.join(root, 'docs/drover.service'), 'utf8');
  assert.match(text, /^ExecStart=\/usr\/local\/bin\/drover serve$/m);
  fs.writeFileSync(unit, text.replace('/usr/local/bin/drover', path.resolve(drover)));
  const checked = await run_program('systemd-analyze', ['verify', '--man=no', unit], { env: process.env });
  assert.deepEqual(checked, { code: 0, stdout: '', stderr: '' });
});
