// Whoever looks an error up in docs/troubleshooting.md finds it under the words that the program says.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { root } from './harness.mjs';

// The sources with their string literals put together: a text is broken where a line ends.
const sources = fs
  .readdirSync(path.join(root, 'src'), { recursive: true })
  .filter((name) => /(?<!_test)\.(cc|h)$/.test(name))
  .map((name) => fs.readFileSync(path.join(root, 'src', name), 'utf8'))
  .join('\n')
  .replaceAll(/"\s*\n\s*"/g, '')
  .replaceAll('\\"', '"');

test('each error of the page is one that the sources have', () => {
  const page = fs.readFileSync(path.join(root, 'docs/troubleshooting.md'), 'utf8');
  const errors = [...page.matchAll(/^#{3,4} (`.*)$/gm)].flatMap(([, heading]) => [...heading.matchAll(/`([^`]+)`/g)]);
  assert.ok(errors.length > 40);
  for (const [, error] of errors) {
    // What the system or the engine says behind a colon is not ours.
    const own = error.replace(/: address already in use$/, '').replace(/ - no progress for …$/, '');
    for (const words of own.split('…').map((part) => part.trim())) {
      if (/\w{3}/.test(words)) assert.ok(sources.includes(words), `nothing says "${words}" of "${error}"`);
    }
  }
});
