// What may break a rule of lint.mjs: [rule, where, reason]. `where` is a file, a file and a function, a file and a folder,
// or a name, as the rule of lint.mjs yields it. An exception that nothing needs any more is an error.
export const exceptions = [
  ['twin', 'src/fleet/ticket.cc append', 'fleet/ticket.h has it: goes when api uses that one'],
  ...['add', 'remove', 'replace', 'plan', 'commit', 'abandon'].map((name) => [
    'parameter',
    `src/runner/batch_scheduler.cc BatchScheduler::${name}`,
    'goes when the scheduler’s functions take no time',
  ]),
  ['spelling', 'tests/count.mjs', 'a word of node’s reports'],
];
