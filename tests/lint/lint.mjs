// The rules that a compiler and a formatter do not know: node tests/lint/lint.mjs [FILE…]
//
// Each rule reads the tree (a map from path to text) and names what breaks it. `./dev lint` runs all of them, the hook
// that `./dev hook` installs shows only what concerns the files of a commit. exceptions.mjs lists what is allowed to
// break a rule, and why; an exception that nothing needs is an error too. lint.test.mjs shows that each rule bites.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { blank, functions, parameter_name } from './cpp.mjs';
import { exceptions } from './exceptions.mjs';

const file_lines_max = 600;
const function_lines_max = 70;
const twin_lines_min = 3;

const is_cpp = (name) => /\.(cc|h)$/.test(name);
// Tests, what they share, and programs that tests start.
const is_test = (name) => !name.startsWith('src/') || /(_test|_fixture|_probe|_test_support|\/temporary_folder)\.(cc|h)$/.test(name);
const folder_of = (name) => (name === 'src/main.cc' ? 'main.cc' : name.split('/')[1]);

class Tree {
  // `texts`: { path: text }. What the rules need of a C++ file is computed once.
  constructor(texts) {
    this.texts = new Map(Object.entries(texts));
    this.parsed = new Map();
  }
  names(predicate) {
    return [...this.texts.keys()].filter(predicate);
  }
  text(name) {
    return this.texts.get(name) ?? '';
  }
  functions(name) {
    if (!this.parsed.has(name)) this.parsed.set(name, functions(this.text(name)));
    return this.parsed.get(name);
  }
}
export const tree_of = (texts) => new Tree(texts);

// ---- rules: each yields { where, line, text }; `where` is what an exception names

function* files_are_short(tree) {
  for (const name of tree.names((name) => /\.(cc|h|mjs|js|py|sh)$|^dev$/.test(name))) {
    const lines = tree.text(name).split('\n').length - 1;
    if (lines > file_lines_max) {
      yield { where: name, text: `has ${lines} lines (at most ${file_lines_max}): is it one thing?` };
    }
  }
}

function* functions_are_short(tree) {
  for (const name of tree.names(is_cpp)) {
    for (const one of tree.functions(name)) {
      if (one.lines <= function_lines_max) continue;
      yield {
        where: `${name} ${one.name}`,
        line: one.line,
        text: `${one.name} has ${one.lines} lines (at most ${function_lines_max})`,
      };
    }
  }
}

function* headers_say_what_they_are(tree) {
  for (const name of tree.names((name) => name.endsWith('.h'))) {
    const text = tree.text(name);
    const first = text.split('\n', 1)[0];
    if (!/^\/\/ \S.{14,}$/.test(first) || /copyright|license|SPDX/i.test(first)) {
      yield { where: name, line: 1, text: 'the first line does not say what it is: // …' };
    }
    if (!/^#pragma once$/m.test(text)) yield { where: name, line: 1, text: 'has no #pragma once' };
    if (!is_test(name) && /^\s*using namespace\b/m.test(blank(text))) yield { where: name, text: 'opens a namespace for whoever includes it' };
  }
}

// The table of ARCHITECTURE.md: the block whose lines are "folder[, folder]   the folders that it may include". Folders
// stand in order: each may include only those below it. All may include base.
export function include_table(page) {
  const block = [...page.matchAll(/^```[^\n]*\n(.*?)^```$/gms)].map(([, text]) => text).find((text) => /^main\.cc /.test(text));
  if (block === undefined) return null;
  const rows = [];
  for (const line of block.trimEnd().split('\n')) {
    const [names, allowed = ''] = line.split(/ {2,}/);
    for (const name of names.split(',')) rows.push({ name: name.trim(), allowed: allowed.split(/\s+/).filter(Boolean) });
  }
  return rows;
}

function include_edges(tree) {
  const folders = new Set(tree.names((name) => name.startsWith('src/') && is_cpp(name)).map(folder_of));
  const edges = [];
  for (const name of tree.names((name) => name.startsWith('src/') && is_cpp(name) && !is_test(name))) {
    for (const [, kept] of tree.text(name).matchAll(/^#include "([^"]+)"/gm)) {
      const to = kept.endsWith('.pb.h') ? 'proto' : kept.includes('/') ? kept.split('/')[0] : folder_of(name);
      const known = edges.some((edge) => edge.file === name && edge.to === to);
      if (!known && (to === 'proto' || folders.has(to))) edges.push({ file: name, from: folder_of(name), to });
    }
  }
  return { folders, edges };
}

function* includes_go_down(tree) {
  const page = 'ARCHITECTURE.md';
  const rows = include_table(tree.text(page));
  if (rows === null) {
    yield { where: page, text: 'has no table of the folders and what each may include (a block that begins with main.cc)' };
    return;
  }
  const { folders, edges } = include_edges(tree);
  const order = [...rows.map((row) => row.name), 'base', 'proto'];
  for (const folder of folders) {
    if (!order.includes(folder)) yield { where: page, text: `the table of includes lacks src/${folder}` };
  }
  for (const [at, row] of rows.entries()) {
    if (!folders.has(row.name)) yield { where: page, text: `the table of includes has ${row.name}, which is no folder` };
    for (const to of row.allowed) {
      if (to !== 'proto' && order.indexOf(to) <= at) {
        yield { where: page, text: `${row.name} may include ${to}, which does not stand below it` };
      }
      if (folders.has(row.name) && !edges.some((edge) => edge.from === row.name && edge.to === to)) {
        yield { where: page, text: `${row.name} may include ${to} and does not: out of the table` };
      }
    }
  }
  const allowed = new Map(rows.map((row) => [row.name, row.allowed]));
  for (const { file, from, to } of edges) {
    if (to === from || to === 'base' || allowed.get(from)?.includes(to)) continue;
    yield { where: `${file} ${to}`, text: `includes ${to}, which ${page} does not allow to ${from}` };
  }
}

// ---- settings

const page_of_settings = 'docs/settings.md';
const short_names = new Set(['HOME', 'EDITOR', 'VISUAL', 'PATH', 'SHELL', 'TMPDIR', 'TERM']);

// { name: file } of what the program reads from its environment.
function names_read(tree) {
  const read = new Map();
  for (const name of tree.names((name) => name.startsWith('src/') && is_cpp(name) && !is_test(name))) {
    const code = blank(tree.text(name), { strings: true });
    const looks_up = /\bgetenv\b|\bget\("/.test(code);
    for (const [, word] of code.matchAll(/(?<!\bsetenv\()"(_{0,2}[A-Z][A-Z0-9_]{3,})"/g)) {
      const is_name = /^(OLLAMA|DROVER)_/.test(word) || (looks_up && (word.includes('_') || short_names.has(word)));
      if (is_name && !read.has(word)) read.set(word, name);
    }
  }
  return read;
}

// The table in the code: { name: default }.
export function settings_in_code(text) {
  const rows = text.matchAll(/^ {4}\{"([A-Z_]+)", "((?:[^"\\]|\\.)*)",/gm);
  return new Map([...rows].map(([, name, standard]) => [name, standard]));
}

// The rows of the page: { name: default }, with `server` for those of its first table.
export function settings_on_page(text) {
  const server = new Map();
  const all = new Map();
  for (const part of text.split(/^## /m)) {
    for (const [, names, standard] of part.matchAll(/^\| (`_{0,2}[A-Z][A-Z0-9_`, ]+`) \| ([^|]*)\|/gm)) {
      for (const [, name] of names.matchAll(/`([A-Z0-9_]+)`/g)) {
        all.set(name, standard.trim());
        if (part.startsWith('Server\n')) server.set(name, standard.trim().replaceAll('`', ''));
      }
    }
  }
  return { server, all };
}

function* settings_are_documented(tree) {
  const read = names_read(tree);
  const { server, all } = settings_on_page(tree.text(page_of_settings));
  for (const [name, file] of read) {
    if (!all.has(name)) yield { where: name, text: `${file} reads ${name}, which is not in ${page_of_settings}` };
  }
  for (const name of all.keys()) {
    if (!read.has(name)) yield { where: name, text: `${page_of_settings} has ${name}, which nothing reads` };
  }
  const table = new Map(tree.names((name) => /^src\/base\/setting\w*\.cc$/.test(name)).flatMap((name) => [...settings_in_code(tree.text(name))]));
  for (const [name, standard] of table) {
    if (!server.has(name)) {
      yield { where: name, text: `${page_of_settings} lacks ${name} among the server's settings` };
    } else if (server.get(name) !== standard) {
      yield { where: name, text: `${name} is "${standard}" by default in the code, "${server.get(name)}" in ${page_of_settings}` };
    }
  }
  for (const name of server.keys()) {
    if (!table.has(name)) yield { where: name, text: `${page_of_settings} has ${name}, which the code's table of settings lacks` };
  }
}

// What tests and scripts read is in CONTRIBUTING.md.
function* tests_name_their_environment(tree) {
  const pages = tree.text('CONTRIBUTING.md') + tree.text('dev') + tree.text(page_of_settings);
  for (const name of tree.names((name) => /^(tests|bench)\/(?!lint\/).*\.mjs$/.test(name))) {
    for (const [, word] of tree.text(name).matchAll(/process\.env\.(DROVER_[A-Z_]+)/g)) {
      if (!new RegExp(`\\b${word}\\b`).test(pages)) {
        yield { where: word, text: `${name} reads ${word}, which is neither in CONTRIBUTING.md nor in ./dev help` };
      }
    }
  }
}

// ---- twins

// A body with its parameters numbered and its blanks gone, or '' if it is too short to be one.
function normalized(one) {
  const lines = one.inner.split('\n').filter((line) => /\w/.test(line));
  if (lines.length < twin_lines_min) return '';
  const numbers = new Map(one.parameters.map((parameter, at) => [parameter_name(parameter), `$${at}`]));
  let text = '';
  let end = 0;
  for (const { 0: word, index } of one.body.matchAll(/\w+/g)) {
    // Words are found where literals are blank, and copied from where they are not.
    text += one.inner.slice(end, index) + (numbers.get(word) ?? word);
    end = index + word.length;
  }
  return (text + one.inner.slice(end)).replace(/\s+/g, ' ').trim();
}

function* bodies_have_no_twin(tree) {
  const seen = new Map();
  for (const name of tree.names((name) => name.startsWith('src/') && is_cpp(name) && !is_test(name))) {
    for (const one of tree.functions(name)) {
      const body = normalized(one);
      if (body === '') continue;
      const other = seen.get(body);
      if (other === undefined) {
        seen.set(body, `${name} ${one.name}`);
      } else {
        yield { where: `${name} ${one.name}`, line: one.line, text: `${one.name} has the body of ${other}` };
      }
    }
  }
}

// ---- parameters

// A parameter without a name is not used. Allowed where the signature is decided elsewhere: overrides, operators, functions
// of one name (alternatives that a visitor chooses by type), and functions whose address is taken in their folder.
function* parameters_are_used(tree) {
  const names = tree.names((name) => is_cpp(name) && !is_test(name));
  const count = new Map(); // of definitions, by folder and name, with its class and without
  const keys = (name, one) => new Set([one.name, one.name.split('::').at(-1)].map((word) => `${path.dirname(name)} ${word}`));
  for (const name of names) {
    for (const one of tree.functions(name)) {
      for (const key of keys(name, one)) count.set(key, (count.get(key) ?? 0) + 1);
    }
  }
  const codes = new Map(); // by folder, without the names of scopes
  const code_of = (folder) => {
    if (!codes.has(folder)) {
      const texts = names.filter((name) => path.dirname(name) === folder).map((name) => blank(tree.text(name)));
      codes.set(folder, texts.join('\n').replace(/\w+::/g, ''));
    }
    return codes.get(folder);
  };
  for (const name of names) {
    for (const one of tree.functions(name)) {
      const own = one.name.split('::').at(-1);
      if (/\b(override|final)\b/.test(one.tail) || /\bvirtual\b/.test(one.head) || /^operator/.test(own)) continue;
      if (count.get([...keys(name, one)][0]) > 1) continue;
      if (one.parameters.every((parameter) => parameter_name(parameter) && !/maybe_unused/.test(parameter)) && !one.body.includes('(void)')) continue;
      if (new RegExp(`[&,({=:] *${own}\\b(?!\\s*[({<])`).test(code_of(path.dirname(name)))) continue;
      for (const parameter of one.parameters) {
        const called = parameter_name(parameter);
        if (/\bindex_sequence</.test(parameter)) continue; // it is there for its type's arguments
        const cast = called && new RegExp(`\\(void\\)\\s*${called}\\s*;`).test(one.body);
        if (called === '' || cast || (called && /\[\[maybe_unused\]\]/.test(parameter))) {
          yield { where: `${name} ${one.name}`, line: one.line, text: `${one.name} does not use its parameter "${parameter}"` };
        }
      }
    }
  }
}

// Clang checks what a mutex guards if it is ours.
function* mutexes_are_checked(tree) {
  if (!tree.texts.has('src/base/mutex.h')) return;
  for (const name of tree.names((name) => name.startsWith('src/') && is_cpp(name) && !is_test(name) && name !== 'src/base/mutex.h')) {
    for (const [at, line] of blank(tree.text(name)).split('\n').entries()) {
      const used = /\bstd::(mutex|lock_guard|scoped_lock|unique_lock)\b/.exec(line);
      if (used) yield { where: name, line: at + 1, text: `std::${used[1]} instead of base/mutex.h, which clang checks` };
    }
  }
}

// ---- words

const spellings = [[/cancell(ed|ing|er|able)/gi, 'one l: canceled, canceling']];

function* words_have_one_spelling(tree) {
  const own = /^(tests\/lint\/|CHANGELOG\.md$)/; // the rule itself, and what was said in other times
  for (const name of tree.names((name) => /\.(cc|h|mjs|js|md|proto|html|css|py|sh)$|^dev$/.test(name) && !own.test(name))) {
    for (const [at, line] of tree.text(name).split('\n').entries()) {
      for (const [pattern, better] of spellings) {
        for (const [word] of line.matchAll(pattern)) yield { where: name, line: at + 1, text: `"${word}": ${better}` };
      }
    }
  }
}

function* lock_files_name_no_registry(tree) {
  for (const name of tree.names((name) => name.endsWith('package-lock.json'))) {
    if (tree.text(name).includes('"resolved"')) {
      yield { where: name, text: 'names a registry: install with --omit-lockfile-registry-resolved' };
    }
  }
}

export const rules = {
  file: files_are_short,
  function: functions_are_short,
  header: headers_say_what_they_are,
  include: includes_go_down,
  setting: settings_are_documented,
  environment: tests_name_their_environment,
  twin: bodies_have_no_twin,
  parameter: parameters_are_used,
  mutex: mutexes_are_checked,
  spelling: words_have_one_spelling,
  lock: lock_files_name_no_registry,
};

// All findings that no exception allows, then the exceptions that allow nothing: [{ rule, where, line, text }].
export function check(tree, allowed = []) {
  const used = new Set();
  const findings = [];
  for (const [rule, find] of Object.entries(rules)) {
    for (const finding of find(tree)) {
      const exception = allowed.findIndex(([its_rule, where]) => its_rule === rule && where === finding.where);
      if (exception === -1) findings.push({ rule, ...finding });
      else used.add(exception);
    }
  }
  for (const [at, [rule, where, reason]] of allowed.entries()) {
    const text = !rules[rule] ? `there is no rule "${rule}"` : !reason ? 'has no reason' : used.has(at) ? '' : 'is not needed any more';
    if (text) findings.push({ rule: 'exception', where: 'tests/lint/exceptions.mjs', text: `[${rule}] ${where}: ${text}` });
  }
  return findings;
}

// The project's own files. A checkout may belong to another user than the one who runs CI, hence safe.directory.
function read_tree(root) {
  const listed = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const names = execFileSync('git', ['-c', `safe.directory=${root}`, '-C', root, ...listed], { encoding: 'utf8', maxBuffer: 1 << 26 });
  const texts = {};
  for (const name of names.split('\0')) {
    if (!/\.(cc|h|mjs|js|py|sh|md|proto|html|css|json)$|^dev$/.test(name)) continue;
    const file = path.join(root, name);
    if (fs.existsSync(file)) texts[name] = fs.readFileSync(file, 'utf8');
  }
  return tree_of(texts);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const arguments_ = process.argv.slice(2);
  const root_at = arguments_.indexOf('--root');
  const [root] = root_at === -1 ? [fileURLToPath(new URL('../..', import.meta.url))] : arguments_.splice(root_at, 2).slice(1);
  const tree = read_tree(path.resolve(root));
  let findings = check(tree, exceptions);
  // Of a commit's files only, if some are named: others may be in the middle of something.
  if (arguments_.length > 0) {
    findings = findings.filter(({ where, text }) => `${where} ${text}`.split(/[\s,":]+/).some((word) => arguments_.includes(word)));
  }
  for (const { rule, where, line, text } of findings) {
    console.log(`${where.split(' ')[0]}${line ? `:${line}` : ''}: ${text} [${rule}]`);
  }
  const functions_read = tree.names(is_cpp).reduce((sum, name) => sum + tree.functions(name).length, 0);
  console.log(`lint: ${Object.keys(rules).length} rules, ${tree.texts.size} files, ${functions_read} functions, ${exceptions.length} exceptions: ${findings.length} problems`);
  process.exit(findings.length > 0 ? 1 : 0);
}
