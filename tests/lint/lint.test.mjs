// Each rule of lint.mjs bites: a piece of a tree that breaks it is named, and its neighbour that does not is left alone.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { blank, functions, parameter_name } from './cpp.mjs';
import { check, include_table, rules, tree_of } from './lint.mjs';

const found = (rule, texts) => [...rules[rule](tree_of(texts))].map(({ text }) => text);
const bites = (rule, texts, ...patterns) => {
  const texts_found = found(rule, texts);
  assert.equal(texts_found.length, patterns.length, texts_found.join('\n'));
  for (const [at, pattern] of patterns.entries()) assert.match(texts_found[at], pattern);
};
const passes = (rule, texts) => assert.deepEqual(found(rule, texts), []);

describe('what is read of C++', () => {
  test('comments, literals and preprocessor lines are no code', () => {
    const text = 'int a; // {\n/* { */ char c = \'{\'; auto s = "{\\"{"; int n = 1\'000;\n#define X {\nauto r = R"x({)")x";\n';
    assert.doesNotMatch(blank(text), /\{/);
    assert.equal(blank(text).length, text.length);
    assert.equal(blank(text).split('\n').length, text.split('\n').length);
    assert.match(blank(text, { strings: true }), /"\{\\"\{"/);
  });

  test('functions are found wherever they may stand, and what is none is not', () => {
    const text = `
namespace a {
enum class Kind { kOne, kTwo };
constexpr int kTable[] = {1, 2};
const auto kLambda = [](int x) { return x; };
struct S final : Base {
  explicit S(int v) : value_(v), list_{1, 2} { go(); }
  S() = default;
  int get() const noexcept { return value_; }
  bool operator()(int left, int) const { return left > 0; }
  int value_{3};
  std::function<void(int)> call_ = [](int) {};
};
template <typename T>
std::vector<std::pair<int, T>> free_one(const std::map<int, T>& all, int = 3) {
  struct Inner { int x() { return 1; } };
  return {};
}
class CAPABILITY("mutex") Mutex {
  void lock() ACQUIRE() { go(); }
  int count_ GUARDED_BY(mutex_){1};
};
auto S::far(std::function<void(std::string_view)> on_line) -> Result<void> { return {}; }
}  // namespace a
TEST(Suite, Case) { EXPECT_TRUE(true); }
`;
    const names = functions(text).map((one) => one.name);
    assert.deepEqual(names, ['S', 'get', 'operator()', 'free_one', 'lock', 'S::far', 'TEST']);
    assert.deepEqual(functions(text)[3].parameters, ['const std::map<int, T>& all', 'int = 3']);
    assert.equal(functions(text)[3].lines, 5); // with its template's line
  });

  test('the name of a parameter', () => {
    for (const [text, name] of [
      ['int x', 'x'],
      ['int', ''],
      ['const Foo&', ''],
      ['const Foo& foo = {}', 'foo'],
      ['unsigned long', ''],
      ['std::vector<int>', ''],
      ['std::vector<int> list', 'list'],
      ['a::B', ''],
      ['char** argv', 'argv'],
      ['char text[8]', 'text'],
      ['int (*call)(int)', 'call'],
      ['double (Stats::*of)() const', 'of'],
      ['Foo&&... rest', 'rest'],
      ['TimePoint', ''],
      ['TimePoint /*now*/', ''],
      ['void', null],
    ]) {
      assert.equal(parameter_name(text), name, text);
    }
  });
});

describe('rules', () => {
  test('file', () => {
    bites('file', { 'src/a/a.cc': '\n'.repeat(601) }, /601 lines/);
    passes('file', { 'src/a/a.cc': '\n'.repeat(600), 'docs/a.md': '\n'.repeat(1000) });
  });

  test('function', () => {
    const of = (lines) => `namespace a {\nint long_one(int x) {\n${'  ++x;\n'.repeat(lines - 2)}}\n}\n`;
    bites('function', { 'src/a/a.cc': of(71) }, /long_one has 71 lines/);
    passes('function', { 'src/a/a.cc': of(70) + of(70) });
  });

  test('header', () => {
    const good = '// The queue of a model: who comes next.\n#pragma once\n';
    bites('header', { 'src/a/a.h': '#pragma once\n\nint x;\n' }, /first line/);
    bites('header', { 'src/a/a.h': '// Copyright of nobody at all\n#pragma once\n' }, /first line/);
    bites('header', { 'src/a/a.h': '// The queue of a model: who comes next.\nint x;\n' }, /pragma/);
    bites('header', { 'src/a/a.h': `${good}using namespace std;\n` }, /opens a namespace/);
    passes('header', { 'src/a/a.h': good, 'src/a/a.cc': 'int x;\n' });
  });

  const page = 'Text.\n\n```sh\nother block\n```\n\n```\nmain.cc   api\napi       store proto\nhttp, store\n```\n';
  const lower = { 'src/http/h.cc': '', 'src/store/s.cc': '', 'src/base/b.cc': '' };
  const tree = (more) => ({
    'ARCHITECTURE.md': page,
    'src/main.cc': '#include "api/a.h"\n',
    'src/api/a.cc': '#include "api/a.h"\n#include "base/b.h"\n#include "store/s.h"\n#include "runner.pb.h"\n',
    ...lower,
    ...more,
  });

  test('include: the table of the page', () => {
    assert.deepEqual(include_table(page), [
      { name: 'main.cc', allowed: ['api'] },
      { name: 'api', allowed: ['store', 'proto'] },
      { name: 'http', allowed: [] },
      { name: 'store', allowed: [] },
    ]);
    passes('include', tree());
    bites('include', tree({ 'src/store/s.cc': '#include "api/a.h"\n' }), /includes api/);
    bites('include', tree({ 'src/base/b.cc': '#include "http/h.h"\n' }), /includes http/);
    passes('include', tree({ 'src/store/s_test.cc': '#include "api/a.h"\n' }));
    bites('include', tree({ 'src/fresh/f.cc': '' }), /lacks src\/fresh/);
  });

  test('include: a table that says too much, or goes up', () => {
    bites('include', { ...tree(), 'ARCHITECTURE.md': page.replace('proto', 'http proto') }, /api may include http and does not/);
    bites('include', { ...tree(), 'ARCHITECTURE.md': page.replace('http, store', 'http, gone, store') }, /gone, which is no folder/);
    const up = page.replace('main.cc   api\napi       store proto\nhttp, store', 'main.cc   api\nstore\napi       store proto\nhttp');
    bites('include', { ...tree(), 'ARCHITECTURE.md': up }, /does not stand below/);
    bites('include', { ...tree(), 'ARCHITECTURE.md': 'nothing' }, /has no table/);
  });

  const settings = 'docs/settings.md';
  const setting_page = '# S\n\n## Server\n\n| a | b | c |\n| `OLLAMA_A` | 5m | x |\n\n## Others\n\n| `EDITOR`, `VISUAL` | | y |\n';
  const table = 'constexpr T k[] = {\n    {"OLLAMA_A", "5m", "x"},\n};\n';
  const reader = 'f(get("OLLAMA_A"));\nfor (const char* name : {"VISUAL", "EDITOR"}) std::getenv(name);\n';
  test('setting', () => {
    const texts = { [settings]: setting_page, 'src/base/setting_help.cc': table, 'src/a/a.cc': reader };
    passes('setting', texts);
    bites('setting', { ...texts, 'src/a/b.cc': 'std::getenv("NEW_ONE"); ::setenv("OTHER_ONE", "1", 0);' }, /b\.cc reads NEW_ONE/);
    bites('setting', { ...texts, 'src/a/b.cc': 'reader.flag("DROVER_NEW");' }, /b\.cc reads DROVER_NEW/);
    bites('setting', { ...texts, [settings]: `${setting_page}| \`OLLAMA_GONE\` | | z |\n` }, /OLLAMA_GONE, which nothing reads/);
    bites('setting', { ...texts, 'src/base/setting_help.cc': table.replace('5m', '6m') }, /"6m" by default in the code/);
    bites('setting', { ...texts, 'src/base/setting_help.cc': '' }, /the code's table of settings lacks/);
    passes('setting', { ...texts, 'src/a/a_test.cc': 'std::getenv("DROVER_TEST_ONE");' });
  });

  test('environment', () => {
    const texts = { 'CONTRIBUTING.md': '`DROVER_KNOWN`', dev: '', 'tests/e2e/a.mjs': 'process.env.DROVER_KNOWN' };
    passes('environment', texts);
    bites('environment', { ...texts, 'bench/b.mjs': 'process.env.DROVER_NEW' }, /DROVER_NEW/);
  });

  test('twin', () => {
    const of = (name, parameter, last = '') => `int ${name}(int ${parameter}) {\n  ++${parameter};\n  // why\n  run(${parameter}, "x");\n  return ${parameter}${last};\n}\n`;
    bites('twin', { 'src/a/a.cc': of('one', 'x'), 'src/b/b.cc': of('two', 'y') }, /two has the body of src\/a\/a\.cc one/);
    passes('twin', { 'src/a/a.cc': of('one', 'x'), 'src/b/b.cc': of('two', 'y', ' + 1') });
    passes('twin', { 'src/a/a.cc': 'int a() {\n  b();\n  return 1;\n}\nint c() {\n  b();\n  return 1;\n}\n' });
    passes('twin', { 'src/a/a.cc': of('one', 'x'), 'src/b/b_test.cc': of('two', 'y') });
  });

  test('parameter', () => {
    bites('parameter', { 'src/a/a.cc': 'int f(int, int y) { return y; }\n' }, /f does not use its parameter "int"/);
    bites('parameter', { 'src/a/a.cc': 'int f(int x) {\n  (void)x;\n  return 1;\n}\n' }, /"int x"/);
    bites('parameter', { 'src/a/a.cc': 'int f([[maybe_unused]] int x) { return 1; }\n' }, /maybe_unused/);
    passes('parameter', {
      'src/a/a.cc':
        'struct V : B {\n  void on(int) override {}\n  void operator()(int) const {}\n};\n' +
        'void C::on(Tick) {}\nvoid C::on(Gone) {}\nint read(Tick) { return 1; }\nint read(int x) { return x; }\nint callback(void*) { return 0; }\nauto x = use(&S::callback);\n',
      'src/a/a_test.cc': 'int f(int) { return 1; }\n',
    });
  });

  test('mutex', () => {
    const own = { 'src/base/mutex.h': 'std::mutex mutex_;\n' };
    bites('mutex', { ...own, 'src/a/a.cc': 'std::mutex mutex_;\n' }, /std::mutex instead/);
    bites('mutex', { ...own, 'src/a/a.cc': 'const std::lock_guard lock(m);\n' }, /std::lock_guard instead/);
    passes('mutex', { ...own, 'src/a/a.cc': '#include <mutex>\nMutexLock lock(m);  // like std::mutex\n', 'src/a/a_test.cc': 'std::mutex m;\n' });
  });

  test('spelling', () => {
    bites('spelling', { 'docs/a.md': 'It is cancelled.\n' }, /one l/);
    bites('spelling', { 'src/a/a_test.cc': 'TEST(A, ACancelledOneLeaves)\n' }, /one l/);
    passes('spelling', { 'docs/a.md': 'The cancellation of what is canceled.\n' });
  });

  test('lock', () => {
    bites('lock', { 'tests/e2e/package-lock.json': '{"resolved": "x"}' }, /registry/);
    passes('lock', { 'tests/e2e/package-lock.json': '{}' });
  });
});

test('an exception silences its finding, needs a reason, and is an error once nothing needs it', () => {
  const tree = tree_of({ 'ARCHITECTURE.md': '```\nmain.cc  \n```', 'src/main.cc': '', 'docs/a.md': 'cancelled' });
  const of = (...allowed) => check(tree, allowed).map(({ rule, text }) => `${rule}: ${text}`);
  assert.match(of().join(), /^spelling: "cancelled"[^,]*, canceling$/);
  assert.deepEqual(of(['spelling', 'docs/a.md', 'quoted']), []);
  assert.match(of(['spelling', 'docs/a.md', '']).join(), /has no reason/);
  assert.match(of(['spelling', 'docs/a.md', 'quoted'], ['file', 'src/x.cc', 'long']).join(), /src\/x\.cc: is not needed/);
  assert.match(of(['spelling', 'docs/a.md', 'quoted'], ['nonsense', 'x', 'y']).join(), /no rule/);
});
