// What count.mjs makes of reports, and clang.mjs of commands; and the list of files that run alone.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

import { count_ctest, count_tap, report } from '../count.mjs';
import { for_clang, words_of } from './clang.mjs';

const gtest = `<testsuites tests="4">
  <testcase name="Passes" status="run" result="completed" classname="A" />
  <testcase name="Fails" status="run" result="completed" classname="A">
    <failure message="x"></failure>
  </testcase>
  <testcase name="Skips" status="run" result="skipped" classname="Sandbox">
    <skipped message="a.cc:1&#x0A;no Landlock"></skipped>
  </testcase>
  <testcase name="Off" status="notrun" result="suppressed" classname="A" />
</testsuites>`;
const ctest = (status) => `<testcase name="one" classname="one" status="${status}">\n<testcase name="two" status="run">\n`;
const reports = (name) => (name === 'one' ? gtest : null);

test('GoogleTest: what is skipped has not passed', () => {
  const counts = count_ctest(ctest('fail'), reports);
  assert.deepEqual(counts, { passed: 2, failed: 1, skipped: ['one Sandbox.Skips (a.cc:1 no Landlock)', 'one A.Off (disabled)'] });
  assert.equal(report(counts)[0], '2 2 1'); // the sandbox's has failed
});

test('a program that crashed has failed, with or without a report', () => {
  assert.equal(count_ctest('<testcase name="gone" status="fail">', () => null).failed, 1);
  assert.equal(count_ctest('<testcase name="off" status="disabled">', () => null).skipped.length, 1);
});

test('TAP', () => {
  const tap = `TAP version 13
# Subtest: metrics
    # Subtest: promtool
    ok 1 - promtool # SKIP there is none
    # Subtest: other
    ok 2 - other
ok 1 - metrics
# Subtest: last
ok 2 - last # SKIP
# pass 7
# fail 1
# cancelled 2
# skipped 2
`;
  assert.deepEqual(count_tap(tap), { passed: 7, failed: 3, skipped: ['metrics > promtool (there is none)', 'last'] });
});

test('a command of g++ for clang', () => {
  const command = '/usr/bin/c++ -DV=\\"0.1\\" -I/a/src -O2 -g1 -fopenmp-simd -fpch-preprocess "-DW=a b" -Winvalid-pch -include /b/cmake_pch.hxx -o x.o -c /a/src/x.cc';
  assert.deepEqual(words_of(command).slice(1, 3), ['-DV="0.1"', '-I/a/src']);
  assert.deepEqual(for_clang(command), { header: '/b/cmake_pch.hxx', options: ['-DV="0.1"', '-I/a/src', '-DW=a b'] });
});

test('a file that runs alone exists, and has a reason', () => {
  const folder = new URL('../e2e/', import.meta.url);
  const lines = fs.readFileSync(new URL('alone.txt', folder), 'utf8').trim().split('\n').slice(1);
  assert.ok(lines.length > 0);
  for (const line of lines) {
    const [, name] = /^(\w+) +\S.{10,}$/.exec(line) ?? assert.fail(`no name and reason: ${line}`);
    assert.ok(fs.existsSync(new URL(`${name}.test.mjs`, folder)), `there is no ${name}.test.mjs`);
  }
});
