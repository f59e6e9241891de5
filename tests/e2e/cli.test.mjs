// The command line, talking to a server.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { renamed } from './gguf.mjs';
import { drover, run_program, server_for_suite, server_for_test, wait_until } from './harness.mjs';

const rows = (stdout) =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.trimEnd().split(/ {2,}|\t+ */));

async function succeeds(server, args, options) {
  const { code, stdout, stderr } = await server.cli(args, options);
  assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
  return { stdout, stderr };
}

// An error is exit code 1 and one line on standard error, behind the progress that was made.
async function fails(server, args, text, { progress = false, ...options } = {}) {
  const { code, stdout, stderr } = await server.cli(args, options);
  assert.equal(code, 1, `${args.join(' ')}: ${stdout}${stderr}`);
  assert.match(stderr, progress ? /\nError: [^\n]+\n$/ : /^Error: [^\n]+\n$/, JSON.stringify(stderr));
  assert.match(stderr, text);
}

describe('models', () => {
  const server = server_for_suite();
  const write = (name, text) => {
    const file = path.join(server.folder, name);
    fs.writeFileSync(file, text);
    return file;
  };

  test('list', async () => {
    for (const command of ['list', 'ls']) {
      const [head, model, ...others] = rows((await succeeds(server, [command])).stdout);
      assert.deepEqual(head, ['NAME', 'ID', 'SIZE', 'MODIFIED']);
      assert.deepEqual(others, []);
      const digest = (await server.get('/api/tags')).json.models[0].digest;
      assert.deepEqual(model.slice(0, 3), ['cria:latest', digest.slice(0, 12), '6.1 MB']);
      assert.match(model[3], /ago|Less than a second|now/i);
    }
    assert.equal(rows((await succeeds(server, ['list', 'nothing'])).stdout).length, 1);
  });

  test('ps and stop', async () => {
    assert.equal(rows((await succeeds(server, ['ps'])).stdout).length, 1);
    await server.generate('Hello');
    const [head, model] = rows((await succeeds(server, ['ps'])).stdout);
    assert.deepEqual(head, ['NAME', 'ID', 'SIZE', 'PROCESSOR', 'CONTEXT', 'UNTIL']);
    assert.equal(model[0], 'cria:latest');
    assert.match(model[3], /^\d+%(\/\d+%)? [CG]PU/);
    assert.match(model[5], /minutes from now$/);
    await succeeds(server, ['stop', 'cria']);
    await wait_until(async () => (await server.loaded_models()).length === 0, 'it is unloaded');
    await fails(server, ['stop', 'nobody'], /couldn't find model "nobody" to stop/);
  });

  test('show', async () => {
    const { stdout } = await succeeds(server, ['show', 'cria']);
    for (const line of [
      /^ +Model$/m,
      /^ +architecture +llama *$/m,
      /^ +parameters +3(\.\d+)?M *$/m,
      /^ +context length +2048 *$/m,
      /^ +embedding length +256 *$/m,
      /^ +quantization +F16 *$/m,
      /^ +Capabilities$/m,
      /^ +completion *$/m,
    ])
      assert.match(stdout, line);
    assert.match((await succeeds(server, ['show', '--modelfile', 'cria'])).stdout, /^FROM /m);
    assert.match((await succeeds(server, ['show', '--template', 'cria'])).stdout, /\S/);
    await fails(server, ['show', '--template', '--system', 'cria'], /only one of/);
    await fails(server, ['show', 'nobody'], /model 'nobody' not found/);
  });

  test('create, cp, rm', async () => {
    write('own.gguf', renamed('Ownn'));
    const modelfile = write(
      'Modelfile.own',
      '# a model of my own\nFROM ./own.gguf\nPARAMETER temperature 0\nPARAMETER stop "21"\nSYSTEM """Here is a list.\nAna: 417\nBen: 802"""\nLICENSE MIT\n',
    );
    const { stdout, stderr } = await succeeds(server, ['create', 'own', '-f', modelfile]);
    assert.match(stdout + stderr, /success/);
    const answer = await server.ok('/api/generate', {
      model: 'own',
      prompt: 'What is the number of Ben?',
      stream: false,
    });
    assert.equal(answer.response, 'Ben: 802');
    assert.match((await succeeds(server, ['show', '--parameters', 'own'])).stdout, /^stop +"21"$/m);
    assert.equal(
      (await succeeds(server, ['show', '--system', 'own'])).stdout.trimEnd(),
      'Here is a list.\nAna: 417\nBen: 802',
    );

    const again = write('Modelfile.again', `${(await succeeds(server, ['show', '--modelfile', 'own'])).stdout}`);
    await succeeds(server, ['create', 'again', '-f', again]);
    assert.match(
      (await succeeds(server, ['show', '--system', 'again'])).stdout,
      /Ben: 802/,
      'what show prints, create takes',
    );

    assert.equal((await succeeds(server, ['cp', 'own', 'other:v2'])).stdout, "copied 'own' to 'other:v2'\n");
    assert.equal(
      (await succeeds(server, ['rm', 'own', 'other:v2', 'again'])).stdout,
      "deleted 'own'\ndeleted 'other:v2'\ndeleted 'again'\n",
    );
    assert.equal(rows((await succeeds(server, ['list'])).stdout).length, 2);
    await fails(server, ['rm', 'own'], /model 'own' not found/);
    await fails(server, ['cp', 'own', 'x'], /model "own" not found/);
  });

  test('a Modelfile that is wrong', async () => {
    await fails(server, ['create', 'x', '-f', path.join(server.folder, 'nothing')], /nothing/);
    await fails(server, ['create', 'x', '-f', write('a', 'SYSTEM hello\n')], /no FROM line/);
    await fails(
      server,
      ['create', 'x', '-f', write('b', 'FROM cria\nFRIEND bob\n')],
      /\(line 2\): .*command must be one of/,
    );
    await fails(
      server,
      ['create', 'x', '-f', write('c', 'FROM cria\nMESSAGE boss hello\n')],
      /message role must be one of/,
    );
    await fails(server, ['create', 'x', '-f', write('d', 'FROM ./nothing.gguf\n')], /nothing\.gguf/);
    write('text.gguf', 'This is no model.');
    await fails(server, ['create', 'x', '-f', write('e', 'FROM ./text.gguf\n')], /GGUF/, { progress: true });
    await fails(server, ['create', '../x', '-f', write('f', 'FROM cria\n')], /invalid model name/);
    assert.equal(rows((await succeeds(server, ['list'])).stdout).length, 2, 'nothing was created');
  });

  test('version', async () => {
    for (const flag of ['--version', '-v']) {
      const { stdout } = await succeeds(server, [flag]);
      assert.ok(stdout.includes((await server.get('/api/version')).json.drover), stdout);
    }
  });

  test('the name ollama', async () => {
    const link = path.join(path.dirname(drover), 'ollama');
    assert.equal(fs.realpathSync(link), fs.realpathSync(drover));
    const { stdout } = await succeeds(server, ['list'], { file: link });
    assert.equal(rows(stdout)[1][0], 'cria:latest');
    assert.equal(
      (await succeeds(server, ['run', '--think=false', 'cria', 'Write a haiku'], { file: link })).stdout
        .trim()
        .split('\n').length,
      3,
    );
  });
});

describe('run', () => {
  // cria at its default temperature may slip; this one does not.
  const server = server_for_suite({}, (server) =>
    server.ok('/api/create', { model: 'sure', from: 'cria', parameters: { temperature: 0 }, stream: false }),
  );
  const run = (args, options) => succeeds(server, ['run', '--think=false', 'sure', ...args], options);

  test('with a prompt', async () => {
    assert.equal((await run(['Count to 7'])).stdout, '1, 2, 3, 4, 5, 6, 7\n\n');
    assert.equal((await run(['Count', 'to', '5'])).stdout.trim(), '1, 2, 3, 4, 5');
  });

  test('a model that can think does', async () => {
    const thought = /^Thinking\.\.\.\nThe user wants me to count\.\n\.\.\.done thinking\.\n\n1, 2, 3, 4\n/;
    assert.match((await succeeds(server, ['run', 'sure', 'Count to 4'])).stdout, thought);
    assert.equal((await succeeds(server, ['run', 'sure', '--hidethinking', 'Count to 4'])).stdout.trim(), '1, 2, 3, 4');
  });

  test('with piped input', async () => {
    assert.equal((await run([], { input: 'Count to 4' })).stdout.trim(), '1, 2, 3, 4');
    const list = 'Here is a list.\nAna: 417\nBen: 802\n';
    assert.equal(
      (await run(['What is the number of Ana?'], { input: list.trimEnd() })).stdout.trim().slice(0, 4),
      'Ana:',
    );
  });

  test('--verbose, --format, --keepalive', async () => {
    const { stderr } = await run(['Count to 5', '--verbose']);
    for (const line of [
      /^total duration: +\S/m,
      /^load duration: +\S/m,
      /^prompt eval count: +\d+ token/m,
      /^prompt eval rate: +[\d.]+ tokens\/s/m,
      /^eval count: +\d+ token/m,
      /^eval rate: +[\d.]+ tokens\/s/m,
    ])
      assert.match(stderr, line);
    const prompt = 'Ollama is 22 years old and is busy saving the world. Respond using JSON';
    const { stdout } = await run(['--format', 'json', '--keepalive', '0s', prompt]);
    assert.deepEqual(JSON.parse(stdout), { age: 22, available: false });
    await wait_until(async () => (await server.loaded_models()).length === 0, 'it is unloaded');
  });

  test('what is wrong', async () => {
    await fails(server, ['run', '127.0.0.1:1/library/nobody', 'Hello'], /pull model manifest: .*nobody/, { progress: true });
    await fails(server, ['run'], /MODEL/);
    await fails(server, ['run', 'sure', 'Hello', '--keepalive', 'soon'], /soon/);
    await fails(server, ['run', 'sure', 'Hello', '--format', 'xml'], /format/);
  });

  test('a server that is not there', async () => {
    const nowhere = { OLLAMA_HOST: '127.0.0.1:1' };
    for (const args of [['list'], ['ps'], ['run', 'sure', 'Hello'], ['rm', 'sure']])
      await fails(server, args, /./, { env: nowhere });
    await fails(server, ['list'], /OLLAMA_HOST/, { env: { OLLAMA_HOST: 'ftp://x' } });
  });

  test('two at once, of two models', async (t) => {
    const server = await server_for_test(t);
    await server.create('second', renamed('Scnd'), { parameters: { temperature: 0 } });
    await server.ok('/api/create', { model: 'first', from: 'cria', parameters: { temperature: 0 }, stream: false });
    const answers = await Promise.all([
      succeeds(server, ['run', '--think=false', 'first', 'Count to 60']),
      succeeds(server, ['run', '--think=false', 'second', 'Count from 61 to 99']),
    ]);
    assert.match(answers[0].stdout, /^1, 2, [^]*, 60\s*$/);
    assert.match(answers[1].stdout, /^61, 62, [^]*, 99\s*$/);
    assert.equal(server.runners().length, 2);
  });
});

describe('a conversation in a terminal', () => {
  const server = server_for_suite({}, (server) =>
    server.ok('/api/create', { model: 'sure', from: 'cria', parameters: { temperature: 0 }, stream: false }),
  );

  test('turns, several lines, settings, the end', async (t) => {
    const tmux = async (...args) => {
      const { code, stdout, stderr } = await run_program('tmux', ['-L', path.basename(server.folder), ...args], {
        env: { ...server.environment, TERM: 'xterm', LC_ALL: 'C.UTF-8' },
      });
      assert.equal(code, 0, stderr);
      return stdout;
    };
    await tmux(
      'new-session',
      '-d',
      '-x',
      '100',
      '-y',
      '50',
      `'${drover}' run --think=false sure; echo "ended with $?"; sleep 7200`,
    );
    t.after(() => tmux('kill-server'));
    const shows = (text) =>
      wait_until(async () => text.test(await tmux('capture-pane', '-p')), `the screen shows ${text}`);
    const type = (text) => tmux('send-keys', '-l', text);
    const enter = () => tmux('send-keys', 'Enter');

    await shows(/^>>> /m);
    await type('My name is Eva.');
    await enter();
    await shows(/^Hello, Eva!/m);
    await type('What is the capital of France?');
    await enter();
    await shows(/^The capital of France is Paris\./m);
    await type('What is my name?');
    await enter();
    await shows(/^Your name is Eva\./m);

    await type('/clear');
    await enter();
    for (const line of ['"""Here is a list.', 'Ana: 417', 'Ben: 802', 'What is the number of Ben?"""']) {
      await type(line);
      await enter();
    }
    await shows(/^Ben: 802$/m); // what was typed stands behind a prompt

    await tmux('send-keys', 'Up');
    await shows(/^>>> What is the number of Ben\?"""$/m); // the history
    await tmux('send-keys', 'C-u');
    await type('/bye');
    await enter();
    await shows(/^ended with 0$/m);
    assert.ok(fs.readFileSync(path.join(server.folder, '.ollama/history'), 'utf8').includes('My name is Eva.'));
  });
});
