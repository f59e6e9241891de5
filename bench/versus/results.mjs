// bench/results.json: for each kind of machine what was measured there, {kinds: {key: {about, cases}}}.
import fs from 'node:fs';

import { key_of } from './machine.mjs';

export const read_results = (file) =>
  fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : { kinds: {} };

export const write_results = (file, results) => fs.writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`);

// The part of `results` that is about this kind, made if there is none; the other kinds' parts stay as they are.
export const results_of = (results, kind) => (results.kinds[key_of(kind)] ??= { about: {}, cases: {} });

// What was measured last comes first.
export const newest_first = ({ kinds }) =>
  Object.values(kinds).sort((a, b) => (a.about.measured < b.about.measured ? 1 : -1));

// {cores: 2, processor: 'AMD EPYC', model: 'family 25, model 17'}: "2 cores of AMD EPYC (family 25, model 17)".
export const title_of = ({ cores, processor, model }) => `${cores} cores of ${processor} (${model})`;
