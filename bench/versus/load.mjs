// Who used the processors: this process and those that it started, or others on the same machine.
import fs from 'node:fs';
import os from 'node:os';

const ticks_per_second = 100; // USER_HZ, the same on all Linux machines

const fields = (file) => fs.readFileSync(file, 'latin1').trim().split(/\s+/);

function busy_ticks() {
  const [, user, nice, system, , , irq, softirq, steal] = fields('/proc/stat');
  return [user, nice, system, irq, softirq, steal].reduce((sum, value) => sum + Number(value), 0);
}

// Of a process and its children, also of those that have ended and that it has waited for.
function ticks_of(pid) {
  let sum = 0;
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    // utime, stime, cutime, cstime: see proc(5)
    sum += stat.slice(stat.lastIndexOf(')') + 2).split(' ').slice(11, 15).reduce((all, ticks) => all + Number(ticks), 0);
    for (const child of fields(`/proc/${pid}/task/${pid}/children`)) if (child !== '') sum += ticks_of(child);
  } catch {
    // it has ended
  }
  return sum;
}

export class LoadWatch {
  constructor() {
    this.start = this.#now();
  }

  // The part of all processors that others have used since the start.
  others() {
    const now = this.#now();
    const others = now.busy - this.start.busy - (now.own - this.start.own);
    return Math.max(others, 0) / ((now.seconds - this.start.seconds) * ticks_per_second * os.cpus().length);
  }

  #now() {
    return { busy: busy_ticks(), own: ticks_of(process.pid), seconds: performance.now() / 1000 };
  }
}
