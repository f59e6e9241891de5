// Where the benchmarks find programs and keep files.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const drover_binary = process.env.DROVER_BIN ?? path.join(root, 'build/release/drover');
export const llama_binary = process.env.LLAMA_SERVER_BIN ?? path.join(root, 'build/release/llama-server');

const cache =
  process.env.DROVER_CACHE_DIR ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'drover');

// Models, Drover's store, and the servers' logs.
export const bench_folder = path.join(cache, 'bench');

// What CMake was told when llama-server was built; undefined without one.
function llama_configuration() {
  if (!fs.existsSync(llama_binary)) return undefined;
  const build = path.dirname(path.dirname(fs.realpathSync(llama_binary)));
  return fs.readFileSync(path.join(build, 'CMakeCache.txt'), 'utf8');
}

const source_of = (configuration) => /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(configuration)[1];

// The engine's source, for the vocabularies in it: the one that llama-server was built from, else the newest that a
// build has fetched.
export function engine_source() {
  const configuration = llama_configuration();
  if (configuration !== undefined) return source_of(configuration);
  const fetched = (fs.existsSync(cache) ? fs.readdirSync(cache) : []).filter(
    // A prebuilt engine has no vocabularies.
    (name) => name.startsWith('llama.cpp-') && fs.existsSync(path.join(cache, name, 'models')),
  );
  if (fetched.length === 0) throw new Error(`there is no source of llama.cpp in ${cache}: build llama_server once`);
  return path.join(cache, fetched.sort(new Intl.Collator('en', { numeric: true }).compare).at(-1));
}

// "llama.cpp-v0.5.0, built from source, native"; undefined if it is not built.
export function llama_build() {
  const configuration = llama_configuration();
  if (configuration === undefined) return undefined;
  const native = /^GGML_NATIVE:BOOL=ON$/m.test(configuration) ? ', native' : '';
  return `${path.basename(source_of(configuration))}, built from source${native}`;
}

export function drover_version(binary) {
  const told = execFileSync(binary, ['--version'], { encoding: 'utf8' });
  return /version is (\S+)/.exec(told)[1];
}
