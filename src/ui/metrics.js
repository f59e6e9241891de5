// From what /metrics counts since the server's start to what has happened lately.

const families = new Set([
  'drover_time_to_first_token_seconds',
  'drover_inter_token_seconds',
  'drover_slots',
  'drover_requests_running',
  'drover_requests_waiting',
  'drover_kv_cells',
  'drover_kv_cells_used',
  'drover_kv_cells_kept',
]);

// { family: { value, count, buckets: Map of upper bound to count } }, all models together.
export function read_metrics(text) {
  const found = {};
  for (const family of families) found[family] = { value: 0, count: 0, buckets: new Map() };
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const name = line.slice(0, line.search(/[{ ]/));
    const [, family, part] = /^(.*?)(_bucket|_count|_sum)?$/.exec(name);
    const entry = found[family];
    if (!entry) continue;
    const value = Number(line.slice(line.lastIndexOf(' ') + 1));
    if (part === '_bucket') {
      const bound = Number(/le="([^"]+)"/.exec(line)[1].replace('+Inf', 'Infinity'));
      entry.buckets.set(bound, (entry.buckets.get(bound) ?? 0) + value);
    } else if (part === '_count') {
      entry.count += value;
    } else if (!part) {
      entry.value += value;
    }
  }
  return found;
}

// A quantile, in seconds, of what was observed between two readings; undefined if nothing was. Within a bucket the
// values are taken to lie evenly.
export function quantile(later, earlier, share) {
  const total = later.count - (earlier?.count ?? 0);
  if (total <= 0) return undefined;
  const wanted = share * total;
  let below = 0;
  let lower = 0;
  for (const [bound, counted] of [...later.buckets].sort(([a], [b]) => a - b)) {
    const upto = counted - (earlier?.buckets.get(bound) ?? 0);
    if (upto >= wanted && upto > below) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (wanted - below)) / (upto - below);
    }
    below = upto;
    lower = bound;
  }
  return lower;
}

// The readings of the last seconds, and what they say together.
export class Readings {
  #readings = []; // { at, metrics }, the oldest first
  #span_ms;

  constructor(span_ms) {
    this.#span_ms = span_ms;
  }

  add(at, metrics) {
    const last = this.#readings.at(-1);
    // Counts that shrink are another server's.
    const counted = ({ metrics: { drover_time_to_first_token_seconds: first, drover_inter_token_seconds: next } }) =>
      first.count + next.count;
    if (last && counted({ metrics }) < counted(last)) this.#readings = [];
    this.#readings.push({ at, metrics });
    while (this.#readings.length > 2 && this.#readings[1].at <= at - this.#span_ms) this.#readings.shift();
  }

  clear() {
    this.#readings = [];
  }

  // Of the last span, in milliseconds.
  quantile_ms(family, share) {
    if (this.#readings.length < 2) return undefined;
    const value = quantile(this.#readings.at(-1).metrics[family], this.#readings[0].metrics[family], share);
    return value === undefined ? undefined : value * 1000;
  }

  // Events of these families per second, over the last `over_ms` or a little more; undefined with one reading only.
  per_second(names, over_ms) {
    const last = this.#readings.at(-1);
    const first = this.#readings.findLast(({ at }) => at <= last.at - over_ms) ?? this.#readings[0];
    if (!last || first === last) return undefined;
    const counted = ({ metrics }) => names.reduce((sum, name) => sum + metrics[name].count, 0);
    return ((counted(last) - counted(first)) * 1000) / (last.at - first.at);
  }
}
