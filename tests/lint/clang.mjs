// Clang reads what g++ has been configured to build: node tests/lint/clang.mjs syntax|tidy BUILD [FILE…]
//
// `syntax` compiles every C++ source of the project (or FILE…) without making an object, with warnings as errors; `tidy`
// has clang-tidy look at them with the checks of .clang-tidy. BUILD is a folder that has been built: its
// compile_commands.json says how, and generated headers are in it. Precompiled headers are clang's own, in BUILD/clang.
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const run = promisify(execFile);
// For sources that no target of BUILD has (fuzz targets are built with clang alone): compiled as this one is.
const stand_in = 'src/api/json.cc';
const warnings = ['-Wall', '-Wextra', '-Wthread-safety', '-Wno-unknown-warning-option', '-Werror'];

// The words of a command as a shell sees them; CMake writes no substitutions.
export function words_of(command) {
  const words = [];
  for (const [, word] of command.matchAll(/((?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+)/g)) {
    words.push(
      word.replace(/\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'/g, (_, escaped, double, single) => {
        return escaped ?? double?.replace(/\\(["\\$`])/g, '$1') ?? single;
      }),
    );
  }
  return words;
}

// What clang needs of g++'s command: { header, options }. `header` is the header that g++ precompiles, if any.
export function for_clang(command) {
  const options = [];
  let header;
  const words = words_of(command).slice(1);
  for (let at = 0; at < words.length; ++at) {
    const word = words[at];
    if (word === '-o' || word === '-x' || word === '-c') {
      ++at;
    } else if (word === '-include' && /cmake_pch\.hxx$/.test(words[at + 1])) {
      header = words[++at];
    } else if (!/^-(O.?|g\d?|fpch-preprocess|fopenmp-simd|Winvalid-pch|fsanitize=.*|Wno-tsan|Werror.*)$/.test(word)) {
      options.push(word);
    }
  }
  return { header, options };
}

// One version for both: clang-tidy reads the headers that clang has precompiled.
function tool(name) {
  const found = `${name}-16`;
  if (spawnSync(found, ['--version']).status !== 0) throw new Error(`there is no ${found}`);
  return found;
}

// { file: options } of all of the project's sources, with clang's precompiled headers, which are made here.
async function commands_of(build, clang, folder) {
  const entries = JSON.parse(fs.readFileSync(path.join(build, 'compile_commands.json'), 'utf8'));
  const headers = new Map(); // g++'s header: clang's precompiled one
  const pending = [];
  for (const { command, directory } of entries.filter(({ file }) => file.endsWith('cmake_pch.hxx.cxx'))) {
    const { header, options } = for_clang(command);
    // A copy, as clang would take g++'s precompiled header beside the original.
    const copy = path.join(folder, `${path.basename(path.dirname(header), '.dir')}.h`);
    headers.set(header, `${copy}.pch`);
    const age = (name) => fs.statSync(name, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (age(`${copy}.pch`) > age(path.join(build, 'compile_commands.json'))) continue;
    fs.writeFileSync(copy, fs.readFileSync(header, 'utf8').replace('#pragma GCC system_header', ''));
    pending.push(run(clang, [...options, '-w', '-x', 'c++-header', copy, '-o', `${copy}.pch`], { cwd: directory }));
  }
  await Promise.all(pending);

  const commands = new Map();
  for (const { file, command } of entries) {
    const name = path.relative(root, file);
    if (!name.endsWith('.cc') || name.startsWith('..') || commands.has(name) || !fs.existsSync(path.join(root, name))) continue;
    const { header, options } = for_clang(command);
    commands.set(name, header ? [...options, '-include-pch', headers.get(header)] : options);
  }
  const listed = execFileSync('git', ['-c', `safe.directory=${root}`, '-C', root, 'ls-files', '--cached', '--others', '--exclude-standard', '*.cc'], { encoding: 'utf8' });
  for (const name of listed.trim().split('\n')) {
    if (!commands.has(name) && fs.existsSync(path.join(root, name))) commands.set(name, [...commands.get(stand_in)]);
  }
  return commands;
}

async function main() {
  const [what, build_argument, ...files] = process.argv.slice(2);
  const build = path.resolve(build_argument);
  const folder = path.join(build, 'clang');
  fs.mkdirSync(folder, { recursive: true });
  const clang = tool('clang++');
  const commands = await commands_of(build, clang, folder);

  let program = clang;
  let arguments_of = (name) => ['-fsyntax-only', ...commands.get(name), ...warnings, name];
  if (what === 'tidy') {
    program = tool('clang-tidy');
    const list = [...commands].map(([file, options]) => ({
      file: path.join(root, file),
      directory: root,
      arguments: [clang, ...options, '-Wno-unknown-warning-option', '-fsyntax-only', path.join(root, file)],
    }));
    fs.writeFileSync(path.join(folder, 'compile_commands.json'), JSON.stringify(list));
    arguments_of = (name) => ['-p', folder, '--quiet', '--warnings-as-errors=*', path.join(root, name)];
  }

  // A header is looked at in the source of its name.
  const wanted = new Set(files.map((name) => name.replace(/\.h$/, '.cc')));
  const names = [...commands.keys()].filter((name) => files.length === 0 || wanted.has(name)).sort();
  let bad = 0;
  const work = async () => {
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      const result = await run(program, arguments_of(name), { cwd: root, maxBuffer: 1 << 26 }).catch((error) => error);
      if (!(result instanceof Error)) continue;
      ++bad;
      console.log(`${name}:\n${result.stdout}${result.stderr}`.trimEnd());
    }
  };
  const count = names.length;
  await Promise.all(Array.from({ length: os.availableParallelism?.() ?? os.cpus().length }, work));
  console.log(`${path.basename(program)}: ${count} sources, ${bad} with problems`);
  process.exit(bad > 0 ? 1 : 0);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
