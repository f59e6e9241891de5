// What may break a rule of lint.mjs: [rule, where, reason]. `where` is a file, a file and a function, a file and a folder,
// or a name, as the rule of lint.mjs yields it. An exception that nothing needs any more is an error.
export const exceptions = [
  ['function', 'src/registry/session.cc Session::begin', 'curl’s options, one after the other; to be grouped by subject'],
  ['twin', 'src/cli/http_loop.cc append', 'goes when the three wrappers of curl become one'],
  ['twin', 'src/cli/top_state.cc optional_count', 'goes when top and bench read JSON in one place'],
  ['twin', 'src/fleet/ticket.cc append', 'goes when answers are put together in one place'],
  ['twin', 'src/schema/schema_merge.cc find', 'a look-up of three lines, in two folders that share no JSON'],
  ['twin', 'src/store/digest.cc hex_value', 'goes when base has it'],
  ...['add', 'remove', 'replace', 'plan', 'commit', 'abandon'].map((name) => [
    'parameter',
    `src/runner/batch_scheduler.cc BatchScheduler::${name}`,
    'goes when the scheduler’s functions take no time',
  ]),
  ['spelling', 'tests/count.mjs', 'a word of node’s reports'],
];
