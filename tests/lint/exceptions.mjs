// What may break a rule of lint.mjs: [rule, where, reason]. `where` is a file, a file and a function, a file and a folder,
// or a name, as the rule of lint.mjs yields it. An exception that nothing needs any more is an error.
export const exceptions = [
  ['mutex', 'src/server/line_writer.cc', 'waits with a limit of time, which MutexLock cannot yet'],
  ['mutex', 'src/server/log.cc', 'spdlog’s sinks take a std::mutex'],
  ['spelling', 'tests/count.mjs', 'a word of node’s reports'],
];
