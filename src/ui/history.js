// What the page has seen itself, once a second, and what the server remembers of the time before and between.
import { window_ms } from './chart.js';

// Samples are { at, span_ms, key: value… }; `at` is of Date.now(), and a sample speaks for the span before it.
function sample_of(recorded, now, interval_ms) {
  const { first_token_ms: first, inter_token_ms: next } = recorded;
  return {
    at: now - recorded.age_ms,
    span_ms: interval_ms,
    waiting: recorded.waiting,
    running: recorded.running,
    slots: recorded.slots || undefined,
    tokens: recorded.tokens_per_second ?? undefined,
    first_median: first?.median,
    first_high: first?.p95,
    next_median: next?.median,
    next_high: next?.p95,
    kv_used: recorded.kv_used ?? undefined,
    kv_kept: recorded.kv_kept ?? undefined,
  };
}

export class History {
  #recorded = []; // by the server
  #seen = []; // by this page

  // What GET /api/history says.
  fill({ interval_ms, samples }, now) {
    const recorded = samples.map((sample) => sample_of(sample, now, interval_ms));
    // A server that began anew remembers less than what it said before.
    const first = recorded[0]?.at ?? now;
    this.#recorded = [...this.#recorded.filter(({ at }) => at < first - interval_ms / 2), ...recorded];
  }

  add(sample) {
    // Another clock's time.
    if (this.#seen.length > 0 && sample.at < this.#seen.at(-1).at) this.#seen = [];
    this.#seen.push(sample);
  }

  // All of the window up to now, the oldest first. What the page has seen is finer.
  samples(now) {
    const begin = now - window_ms;
    this.#seen = this.#seen.filter(({ at }) => at >= begin);
    this.#recorded = this.#recorded.filter(({ at }) => at >= begin && at <= now);
    let next = 0;
    const others = this.#recorded.filter(({ at, span_ms }) => {
      while (next < this.#seen.length && this.#seen[next].at < at - span_ms / 2) next++;
      return next === this.#seen.length || this.#seen[next].at > at + span_ms / 2;
    });
    return [...others, ...this.#seen].sort((a, b) => a.at - b.at);
  }
}
