// What ./dev bench makes of its figures: whose they are, and the page that shows them.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { chart } from '../../bench/versus/chart.mjs';
import { key_of, kind_of } from '../../bench/versus/machine.mjs';
import { report } from '../../bench/versus/report.mjs';
import { read_results, results_of } from '../../bench/versus/results.mjs';
import { engine_in } from '../../bench/versus/servers.mjs';
import { root } from './harness.mjs';

const intel = `processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse2 fma f16c avx2 avx512f avx512bw avx512vl avx_vnni avx512_bf16 avx512vbmi avx512_vnni amx_bf16 amx_tile amx_int8
`;
const arm = `processor\t: 0
Features\t: fp asimd evtstrm aes asimdhp asimddp sve i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
`;

test('a kind of machine is its processor, the instruction sets that matter, and its cores', () => {
  const large = kind_of(intel, 8);
  assert.equal(
    key_of(large),
    'Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, 8 cores: avx2 f16c fma avx_vnni ' +
      'avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512vbmi amx_tile amx_int8 amx_bf16',
  );
  assert.equal(large.model, 'family 6, model 143');
  assert.equal(key_of(kind_of(arm, 4)), 'ARM, 4 cores: asimd asimdhp asimddp i8mm bf16 sve');
  assert.equal(kind_of(arm, 4).model, 'implementer 0x41, part 0xd40');
  assert.equal(key_of(kind_of('', 1)), 'ARM, 1 cores: ');
});

test('the engine is read from what Drover logs at its start', () => {
  const listening = '2026-11-28T17:03:41.600 info  listening on http://127.0.0.1:11434 (drover 0.1.0)\n';
  const processor = '2026-11-28T17:03:41.599 info  processor: AMD EPYC, 2 threads; ';
  const log = `${processor}engine llama.cpp v0.5.0 (prebuilt), variant zen4\n${listening}`;
  assert.equal(engine_in(log), 'llama.cpp v0.5.0 (prebuilt), variant zen4');
  assert.equal(engine_in(listening), undefined);
});

// A kind with case c measured in as many rounds as `gaps` has figures; llama-server's gaps are 1 second.
function add_kind(results, kind, measured, gaps) {
  const found = results_of(results, kind);
  found.about = { ...kind, memory: '8 GiB', system: 'Linux', drover: '0.1.0', measured };
  const values = { 'longest gap': { drover: gaps, llama: gaps.map(() => 1) } };
  found.cases.c = { rounds: gaps.length, values, date: measured.slice(0, 10), drover: '0.1.0' };
}

const section_of = (page, title) => page.slice(page.indexOf(`\n## ${title}`)).split('\n## ')[1];
const gap_line = (section) => section.split('\n').find((line) => line.startsWith('| longest gap'));

test('each kind of machine has a section of its own, and the one measured last comes first', () => {
  const results = { kinds: {} };
  add_kind(results, kind_of(intel, 8), '2026-11-20T10:00:00Z', [0.05]);
  add_kind(results, kind_of(arm, 4), '2026-11-21T10:00:00Z', [0.5]);
  const others = JSON.stringify(results.kinds[key_of(kind_of(arm, 4))]);
  assert.match(report(results), /\n## 4 cores of ARM[^]*\n## 8 cores of Intel/);
  assert.match(chart(results), /4 cores of ARM \(implementer 0x41, part 0xd40\), 2026-11-21/);

  add_kind(results, kind_of(intel, 8), '2026-11-22T10:00:00Z', [0.04]);
  assert.equal(Object.keys(results.kinds).length, 2);
  assert.equal(JSON.stringify(results.kinds[key_of(kind_of(arm, 4))]), others);
  const page = report(results);
  assert.match(page, /\n## 8 cores of Intel[^]*\n## 4 cores of ARM/);
  assert.match(section_of(page, '8 cores of Intel'), /`avx2`.*`amx_bf16`[^]*last measured: 2026-11-22/);
  assert.match(gap_line(section_of(page, '8 cores of Intel')), /\| 0\.04 \| 0\.04 \| ≤ 0\.1 × \| met, 1 of 1 \|/);
  assert.match(gap_line(section_of(page, '4 cores of ARM')), /\| 0\.50 \| ≤ 0\.1 × \| \*\*missed\*\*, 0 of 1 \|/);
});

test('the worst round is shown, and in how many rounds a line was met', () => {
  const results = { kinds: {} };
  // The fourth round has failed: it has not met the line.
  add_kind(results, kind_of(intel, 8), '2026-11-20T10:00:00Z', [0.05, 0.3, 0.04, null]);
  assert.match(gap_line(report(results)), /\| 0\.05 <sub>0\.04–0\.30<\/sub> \| 0\.30 \| ≤ 0\.1 × \| met, 2 of 4 \|/);
});

test('the page and the chart are those of the figures', () => {
  const file = (name) => path.join(root, 'bench', name);
  const results = read_results(file('results.json'));
  assert.equal(fs.readFileSync(file('RESULTS.md'), 'utf8'), report(results), 'node bench/versus.mjs --report');
  assert.equal(fs.readFileSync(file('results.svg'), 'utf8'), chart(results), 'node bench/versus.mjs --report');
});
