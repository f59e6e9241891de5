// docs/security.md: its bounds are those of the code.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { root } from './harness.mjs';

const read = (file) => fs.readFileSync(path.join(root, file), 'utf8');
const seconds_of = { seconds: 1, minutes: 60, hours: 3600 };

// The value that a name is given in a file of the sources: a number, or a duration in seconds.
function value_of(file, name) {
  const given = new RegExp(`(?<![\\w.])${name.replace('.', '\\.')}\\s*[={]\\s*([^;,}]+)`).exec(read(file))?.[1];
  assert.ok(given, `${file} gives ${name} a value`);
  const [, unit, count] = /^(?:std::)?chrono::(\w+)\((\d+)\)$/.exec(given.trim()) ?? [];
  if (unit) return Number(count) * seconds_of[unit];
  const expression = given.replaceAll("'", '').replaceAll(/(\d)(?:u|l)+/gi, '$1');
  assert.match(expression, /^[\d\s<*]+$/, `${name} = ${given}`);
  return Function(`return ${expression}`)();
}

test('the bounds of docs/security.md are those of the code', () => {
  const rows = [...read('docs/security.md').matchAll(/^\| (.+) \| ([\d,]+) \| `([^`]+): ([^`]+)` \|$/gm)];
  assert.ok(rows.length > 20, `${rows.length} rows`);
  for (const [, what, bound, file, name] of rows) assert.equal(value_of(file, name), Number(bound.replaceAll(',', '')), what);
});
