// The kind of machine that figures belong to: the processor, those of its instruction sets that an engine has code for,
// and the number of cores.
import fs from 'node:fs';
import os from 'node:os';

// As /proc/cpuinfo spells them.
const instruction_sets = {
  x86: [
    ...['avx2', 'f16c', 'fma', 'avx_vnni'],
    ...['avx512f', 'avx512bw', 'avx512vl', 'avx512_vnni', 'avx512_bf16', 'avx512vbmi'],
    ...['amx_tile', 'amx_int8', 'amx_bf16'],
  ],
  arm: ['asimd', 'asimdhp', 'asimddp', 'i8mm', 'bf16', 'sve', 'sve2'],
};

// From what /proc/cpuinfo says: {processor, model, cores, flags}. `processor` may be a name that several generations
// share ("AMD EPYC"); `model` tells them apart.
export function kind_of(cpuinfo, cores) {
  const field = (name) => new RegExp(`^${name}\\s*: *(.*)$`, 'm').exec(cpuinfo)?.[1].trim();
  const x86 = field('flags');
  const present = new Set((x86 ?? field('Features') ?? '').split(/\s+/));
  return {
    processor: field('model name') ?? (x86 === undefined ? 'ARM' : 'x86'),
    model:
      x86 === undefined
        ? `implementer ${field('CPU implementer') ?? '?'}, part ${field('CPU part') ?? '?'}`
        : `family ${field('cpu family') ?? '?'}, model ${field('model') ?? '?'}`,
    cores,
    flags: (x86 === undefined ? instruction_sets.arm : instruction_sets.x86).filter((flag) => present.has(flag)),
  };
}

export const this_kind = () => kind_of(fs.readFileSync('/proc/cpuinfo', 'utf8'), os.cpus().length);

// What results.json files a kind's figures under.
export const key_of = ({ processor, cores, flags }) => `${processor}, ${cores} cores: ${flags.join(' ')}`;
