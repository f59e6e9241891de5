// The command line, talking to a server.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { bert } from './bert.mjs';
import { renamed } from './gguf.mjs';
import { drover, free_port, run_program, server_for_suite, server_for_test, wait_until } from './harness.mjs';

const endless_list = { type: 'array', items: { type: 'integer' }, minItems: 1000 };

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

describe('run with a model that embeds', () => {
  const server = server_for_suite({}, (server) => server.create('bert', bert()));
  const vector = async (args, options) => {
    const { stdout, stderr } = await succeeds(server, ['run', 'bert', ...args], options);
    assert.equal(stderr, '');
    assert.match(stdout, /^\[[^\n]*\]\n$/);
    return JSON.parse(stdout);
  };
  const embed = async (input, more) => (await server.ok('/api/embed', { model: 'bert', input, ...more })).embeddings[0];

  test('prints the vector', async () => {
    assert.deepEqual(await vector(['hello', 'world']), await embed('hello world'));
    assert.deepEqual(await vector([], { input: 'from a pipe' }), await embed('from a pipe'));
    assert.deepEqual(await vector(['b'], { input: 'a' }), await embed('a b'));
  });

  test('--dimensions and --truncate', async () => {
    assert.deepEqual(await vector(['hello', '--dimensions', '8']), await embed('hello', { dimensions: 8 }));
    const long = 'a '.repeat(400);
    assert.deepEqual(await vector([long]), await embed(long));
    assert.deepEqual(await vector([long, '--truncate']), await embed(long));
    await fails(server, ['run', 'bert', long, '--truncate=false'], /context length/);
    await fails(server, ['run', 'bert', 'x', '--dimensions', '-1'], /dimensions/);
    await fails(server, ['run', 'bert', 'x', '--truncate=2'], /invalid value for --truncate: "2"/);
  });

  test('needs a text', async () => {
    await fails(server, ['run', 'bert'], /drover run bert "your text"/);
  });
});

describe('run with an image that nobody sees', () => {
  const server = server_for_suite();
  const stderr_of = async (prompt, options) =>
    (await succeeds(server, ['run', '--think=false', 'cria', prompt], options)).stderr;

  test('says so in one line, and answers', async () => {
    const image = path.join(server.folder, 'a photo.jpeg');
    fs.writeFileSync(image, 'x');
    for (const [prompt, shown] of [
      ['what is this? ./photo.png', './photo.png'],
      ['/tmp/x.JPG', '/tmp/x.JPG'],
      ['What is in ../pictures/x.webp, please?', '../pictures/x.webp'],
      [`Look: '${image}'`, image],
      [`Look: ${image.replaceAll(' ', '\\ ')}`, image],
    ])
      assert.equal(await stderr_of(prompt), `Note: images are not supported by cria; "${shown}" goes to it as text\n`);
    for (const prompt of ['Hello', 'photo.png', '<img src="/img/logo.png">', 'https://example.com/x.png', './notes.pngx'])
      assert.equal(await stderr_of(prompt), '', prompt);
  });
});

// A terminal in which the program runs with these arguments.
let terminals = 0;
async function terminal(t, server, args, env = {}) {
  const socket = `${path.basename(server.folder)}-${terminals++}`;
  const tmux = async (...words) => {
    const { code, stdout, stderr } = await run_program('tmux', ['-L', socket, ...words], {
      env: { ...server.environment, TERM: 'xterm', LC_ALL: 'C.UTF-8', ...env },
    });
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const command = `'${drover}' ${args}; echo "ended with $?"; sleep 7200`;
  await tmux('new-session', '-d', '-x', '100', '-y', '50', command);
  t.after(() => tmux('kill-server'));
  return {
    tmux,
    shows: (text) => wait_until(async () => text.test(await tmux('capture-pane', '-p')), `the screen shows ${text}`),
    type: (text) => tmux('send-keys', '-l', text),
    enter: () => tmux('send-keys', 'Enter'),
  };
}

describe('a conversation in a terminal', () => {
  const server = server_for_suite({}, (server) =>
    server.ok('/api/create', { model: 'sure', from: 'cria', parameters: { temperature: 0 }, stream: false }),
  );

  test('turns, several lines, settings, the end', async (t) => {
    const { tmux, shows, type, enter } = await terminal(t, server, 'run --think=false sure');

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

  test('Ctrl-G has the line changed in an editor', async (t) => {
    const seen = path.join(server.folder, 'seen');
    const editor = path.join(server.folder, 'editor');
    // It notes what it is given, and puts two lines in its place.
    fs.writeFileSync(
      editor,
      `#!/bin/sh\n[ "$1" = ok ] || exit 3\nstat -c %a "$2" >${seen}\necho "$2" >>${seen}\ncat "$2" >>${seen}\n` +
        `printf 'Here is a list.\\nAna: 417\\nWhat is the number of Ana?\\n' >"$2"\n`,
    );
    fs.chmodSync(editor, 0o755);
    const env = { OLLAMA_EDITOR: `${editor} ok`, EDITOR: 'false' };
    const { tmux, shows, type, enter } = await terminal(t, server, 'run --think=false sure', env);
    await shows(/^>>> /m);
    await type('What is the');
    await tmux('send-keys', 'C-g');
    await shows(/What is the number of Ana\?$/m);
    await enter();
    await shows(/^Ana: 417$/m);
    await shows(/^>>> Send a message/m);
    const [mode, file, text] = fs.readFileSync(seen, 'utf8').split('\n');
    assert.deepEqual([mode, text], ['600', 'What is the']);
    assert.ok(!fs.existsSync(file), 'nothing of it stays');
  });

  test('an editor that fails costs nothing', async (t) => {
    const { tmux, shows, type, enter } = await terminal(t, server, 'run --think=false sure', { VISUAL: 'false' });
    await shows(/^>>> /m);
    await type('Count to 4');
    await tmux('send-keys', 'C-g');
    await shows(/Error: the editor "false" failed/);
    await enter();
    await shows(/^1, 2, 3, 4$/m);
  });

  test('/load takes the conversation, /save keeps it', async (t) => {
    const { shows, type, enter } = await terminal(t, server, 'run --think=false sure');
    const say = async (text) => {
      await type(text);
      await enter();
    };
    await shows(/^>>> /m);
    await say('My name is Eva.');
    await shows(/^Hello, Eva!/m);
    await say('What is the capital of France?');
    await shows(/^The capital of France is Paris\./m);
    await say('/save talk');
    await shows(/^Created new model 'talk'/m);
    await say('/load sure');
    await shows(/^Loading model 'sure'/m);
    await say('/set parameter temperature 0');
    await say('/show parameters');
    await shows(/^  temperature +0$[^]*User defined parameters:\n  temperature +0$/m);
    await say('/load talk');
    await shows(/^Loading model 'talk'\n>>> My name is Eva\.\nHello, Eva![^]*>>> What is the capital of France\?\nThe capital/m);
    await say('What is my name?');
    await shows(/^Your name is Eva\./m);
    await say('/save longer');
    await shows(/^Created new model 'longer'/m);
    const { messages } = await server.ok('/api/show', { model: 'longer' });
    assert.deepEqual(
      messages.map(({ role }) => role),
      ['user', 'assistant', 'user', 'assistant', 'user', 'assistant'],
    );
    assert.equal(messages[0].content, 'My name is Eva.');
  });

  test('an answer that is stopped before it begins says so; an image is named', async (t) => {
    const { tmux, shows, type, enter } = await terminal(t, server, 'run --think=false sure');
    await shows(/^>>> /m);
    const running = server.stream('Write numbers.', { format: endless_list });
    await running.more(1);
    await type('Count to 4');
    await enter();
    await wait_until(async () => (await server.get('/api/queue')).json.waiting === 1, 'the question waits');
    await tmux('send-keys', 'C-c');
    await shows(/^\(stopped\)$/m);
    running.close();
    await type('What is in ./photo.png?');
    await enter();
    await shows(/^Note: images are not supported by sure; "\.\/photo\.png" goes to it as text$/m);
    await shows(/^>>> Send a message/m);
  });
});

describe('drover alone', () => {
  test('on a terminal: a menu', async (t) => {
    const server = await server_for_test(t);
    const { tmux, shows, type, enter } = await terminal(t, server, '');
    await shows(/^Drover at http[^]*^  1 +run cria:latest +\(6\.1 MB\)$[^]*^  p +pull[^]*^  h +help[^]*^  q +quit$/m);
    assert.doesNotMatch(await tmux('capture-pane', '-p'), /start a server/);
    await type('7');
    await enter();
    await shows(/^There is no "7" in the menu\.$/m);
    await type('p');
    await enter();
    await shows(/^Name of the model/m);
    await type('127.0.0.1:1/library/nobody');
    await enter();
    await shows(/^Error: pull model manifest/m);
    await enter();
    await shows(/^>>> Send a message/m);
    await type('/bye');
    await enter();
    await shows(/^ended with 0$/m);
  });

  test('on a terminal, without a server: it can be started', async (t) => {
    const server = await server_for_test(t);
    const port = await free_port();
    const { tmux, shows, type, enter } = await terminal(t, server, '', { OLLAMA_HOST: `127.0.0.1:${port}` });
    await shows(/^No server answers at http[^]*^  s +start a server/m);
    await type('s');
    await enter();
    await shows(new RegExp(`listening on http://127\\.0\\.0\\.1:${port}`));
    await tmux('send-keys', 'C-c');
    await shows(/^ended with 0$/m);
  });

  test('elsewhere: help, whose first lines are an example', async (t) => {
    const server = await server_for_test(t);
    const { stdout } = await succeeds(server, []);
    assert.match(stdout.split('\n').slice(0, 6).join('\n'), /^ +drover run cria /m);
    for (const command of ['serve', 'run', 'pull', 'launch']) assert.match(stdout, new RegExp(`^ +${command}\\b`, 'm'));
    await fails(server, ['friend', 'me'], /there is no command "friend"/);
  });

  test('launch says what to do', async (t) => {
    const server = await server_for_test(t);
    const url = server.url.replaceAll('.', '\\.');
    for (const [program, text] of [
      ['claude', new RegExp(`ANTHROPIC_BASE_URL=${url} [^]*claude --model cria:latest$`, 'm')],
      ['codex', new RegExp(`CODEX_OSS_BASE_URL=${url}/v1 codex --oss --model cria:latest$`, 'm')],
      ['opencode', new RegExp(`"baseURL":"${url}/v1"[^]*opencode --model drover/cria:latest$`, 'm')],
      ['qwen', new RegExp(`OPENAI_BASE_URL=${url}/v1 .*OPENAI_MODEL=cria:latest qwen$`, 'm')],
      ['cn', new RegExp(`apiBase: ${url}$`, 'm')],
    ]) {
      const { stdout } = await succeeds(server, ['launch', program]);
      assert.match(stdout, text);
      assert.match(stdout, /docs\/integrations\.md/);
    }
    const { stdout } = await succeeds(server, ['launch', 'codex', '--model', 'other:1b', '--', '--search']);
    assert.match(stdout, /codex --oss --model other:1b$/m);
    await fails(server, ['launch', 'nothing'], /"nothing" is not known here; known are claude, codex, opencode/);
    assert.match((await succeeds(server, ['launch'])).stdout, /claude, codex, opencode, qwen, continue/);
    const nowhere = { OLLAMA_HOST: '127.0.0.1:1' };
    assert.match((await succeeds(server, ['launch', 'codex'], { env: nowhere })).stdout, /--model MODEL$/m);
  });
});
