// Counts a run of tests: node tests/count.mjs ctest CTEST.xml GTEST_FOLDER, or: node tests/count.mjs tap FILE
//
// Prints "PASSED FAILED SKIPPED", then a line for each test that was skipped. The sandbox's tests may not be skipped: a
// machine that cannot run them would call a sandbox safe that nobody has tried, so there they count as failed.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const attribute = (tag, name) => new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1] ?? '';
const plain = (text) => text.replace(/&#x0A;/g, ' ').replace(/&quot;/g, '"').replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&amp;/g, '&');

// One program's GoogleTest report.
export function count_gtest(program, xml) {
  const counts = { passed: 0, failed: 0, skipped: [] };
  for (const [, tag, body = ''] of xml.matchAll(/<testcase ([^>]*?)(?:\/>|>(.*?)<\/testcase>)/gs)) {
    const name = `${program} ${attribute(` ${tag}`, 'classname')}.${attribute(` ${tag}`, 'name')}`;
    const why = plain(/<skipped message="([^"]*)"/.exec(body)?.[1] ?? '');
    if (attribute(` ${tag}`, 'status') === 'notrun') counts.skipped.push(`${name} (disabled)`);
    else if (body.includes('<failure')) ++counts.failed;
    else if (attribute(` ${tag}`, 'result') === 'skipped') counts.skipped.push(`${name} (${why})`);
    else ++counts.passed;
  }
  return counts;
}

// All programs that ctest ran: GoogleTest's own count where one left a report, else the program as one test.
export function count_ctest(xml, report_of) {
  const counts = { passed: 0, failed: 0, skipped: [] };
  for (const [, tag] of xml.matchAll(/<testcase( [^>]*)>/g)) {
    const name = attribute(tag, 'name');
    const status = attribute(tag, 'status');
    const report = report_of(name);
    const one = report === null ? { passed: 0, failed: 0, skipped: [] } : count_gtest(name, report);
    if (status === 'disabled') one.skipped.push(`${name} (disabled)`);
    else if (status !== 'run') one.failed = Math.max(one.failed, 1); // it crashed, or ran out of time
    else if (report === null) one.passed = 1;
    counts.passed += one.passed;
    counts.failed += one.failed;
    counts.skipped.push(...one.skipped);
  }
  return counts;
}

// What `node --test` wrote with its reporter "tap".
export function count_tap(text) {
  const figure = (what) => Number([...text.matchAll(new RegExp(`^# ${what} (\\d+)$`, 'gm'))].at(-1)?.[1] ?? 0);
  const skipped = [];
  const parents = [];
  for (const line of text.split('\n')) {
    const begun = /^( *)# Subtest: (.*)$/.exec(line);
    if (begun) parents.splice(begun[1].length / 4, parents.length, begun[2]);
    const skip = /^( *)(?:not )?ok \d+ - .*? # SKIP ?(.*)$/.exec(line);
    if (skip) skipped.push(`${parents.slice(0, skip[1].length / 4 + 1).join(' > ')}${skip[2] ? ` (${skip[2]})` : ''}`);
  }
  return { passed: figure('pass'), failed: figure('fail') + figure('cancelled'), skipped };
}

// The lines that this program prints.
export function report({ passed, failed, skipped }) {
  const must = skipped.filter((name) => /sandbox|landlock|seccomp/i.test(name));
  const lines = skipped.map((name) => (must.includes(name) ? `${name}: FAILED, the sandbox's tests may not be skipped` : name));
  return [`${passed} ${failed + must.length} ${skipped.length - must.length}`, ...lines];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [kind, file, folder] = process.argv.slice(2);
  const text = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
  const report_of = (name) => {
    const its = path.join(folder, `${name}.xml`);
    return fs.existsSync(its) ? fs.readFileSync(its, 'utf8') : null;
  };
  const counts = kind === 'tap' ? count_tap(text) : count_ctest(text, report_of);
  console.log(report(counts).join('\n'));
}
