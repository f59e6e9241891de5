// One request of the chat: what came of it so far, and when. Times are milliseconds of performance.now().
export class Run {
  text = '';
  thinking = '';
  pieces = 0;
  phase = 'not sent yet';
  position = 0;

  constructor(index, id, started) {
    Object.assign(this, { index, id, started });
  }

  note_sent(now) {
    this.sent = now;
    this.phase = 'queued';
  }

  // As GET /api/queue has it: too coarse for what is quick, good enough for what waits.
  note_phase({ phase, position }, now) {
    if (this.ended) return;
    this.phase = phase;
    this.position = position;
    if (position === 0 && this.slot_at === undefined) this.slot_at = now;
  }

  note_item(item, now) {
    const { content = '', thinking = '' } = item.message ?? {};
    this.text += content;
    this.thinking += thinking;
    if (content || thinking) {
      this.first ??= now;
      this.pieces++;
    }
    if (content) this.answered ??= now;
    this.phase = 'generating';
    this.position = 0;
    if (!item.done) return;
    this.last = item;
    // What the server measured is exact.
    this.slot_at = this.sent + (item.load_duration ?? 0) / 1e6;
  }

  note_end(now, problem) {
    this.ended = now;
    this.problem = problem;
  }

  // unsent: until the browser sent it; wait: from there until it had a slot (waiting: it has none so far); prefill: from
  // there to the first token; generation: from there on.
  times(now) {
    const end = this.ended ?? now;
    const sent = this.sent ?? end;
    // The queue is looked at once a second, and may say later than the first token that the wait was over.
    const slot_at = this.first < (this.slot_at ?? Infinity) ? this.first : this.slot_at;
    const times = { unsent: sent - this.started, total: end - this.started };
    if (slot_at !== undefined) times.wait = slot_at - sent;
    else if (this.sent !== undefined && !this.ended) times.waiting = end - sent;
    if (slot_at !== undefined) times.prefill = (this.first ?? end) - slot_at;
    if (this.first !== undefined) {
      times.first = this.first - sent;
      times.generation = end - this.first;
    }
    return times;
  }

  get tokens() {
    return this.last?.eval_count ?? this.pieces;
  }

  tokens_per_second(now) {
    const { eval_count, eval_duration } = this.last ?? {};
    if (eval_duration > 0) return (eval_count * 1e9) / eval_duration;
    const { generation } = this.times(now);
    return generation > 0 && this.pieces > 1 ? ((this.pieces - 1) * 1000) / generation : undefined;
  }

  get outcome() {
    if (!this.ended) return 'going';
    return this.problem ? 'failed' : 'done';
  }

  // For a row: nothing to say once it has ended well.
  get word() {
    if (this.problem) return this.problem;
    if (this.ended || this.first !== undefined) return '';
    return this.position > 0 ? `${this.phase}, ${this.position} in line` : this.phase;
  }

  get waiting_words() {
    if (this.ended) return 'The answer is empty.';
    if (this.sent === undefined) return 'Waits for a connection of the browser…';
    if (this.phase === 'loading') return 'The model is loading…';
    if (this.position > 0) return `Waits for its turn: ${this.position} in line…`;
    return this.slot_at === undefined ? 'Sent…' : 'Reads the prompt…';
  }
}
