// How often frames are on their bus, by when they were there: the minute of history that a page is sent at once, or what
// a lost connection has held up, was not on the bus at once.
const AVERAGED_MS = 5000;
const TOGETHER_MS = 100;
const SILENT_MS = 2000;

export class Rate {
  // Each says how many frames came behind the one before it and up to its own time.
  #marks = [];

  // `ms`: the bus's own time of the last of `count` frames.
  take(ms, count) {
    const marks = this.#marks;
    const last = marks.at(-1);
    // The bus's clock was set back, or a log begins anew: what was before can be compared with nothing.
    if (last !== undefined && last.ms - ms > AVERAGED_MS) marks.length = 0;
    if (marks.length > 1 && ms - marks.at(-2).ms < TOGETHER_MS) {
      last.ms = Math.max(last.ms, ms);
      last.count += count;
      return;
    }
    marks.push({ ms: Math.max(ms, marks.at(-1)?.ms ?? ms), count });
    // Two are left whatever their age: of an id that comes once a minute they tell as much.
    while (marks.length > 2 && ms - marks[0].ms > AVERAGED_MS) marks.shift();
  }

  // Frames per second, where it is `nowMs` on the bus.
  at(nowMs) {
    const spanMs = this.#marks.length < 2 ? 0 : this.#marks.at(-1).ms - this.#marks[0].ms;
    if (spanMs <= 0) return 0;
    const pauseMs = spanMs / (this.#marks.length - 1);
    if (nowMs - this.#marks.at(-1).ms > Math.max(SILENT_MS, 2 * pauseMs)) return 0;
    let count = 0;
    for (let index = 1; index < this.#marks.length; index += 1) count += this.#marks[index].count;
    return (count * 1000) / spanMs;
  }
}

// What time it is on the bus: that of the newest frame, and what has passed here since it came.
export class BusClock {
  #ms = -Infinity;
  #heardAt = 0;

  take(ms) {
    if (ms <= this.#ms && this.#ms - ms <= AVERAGED_MS) return;
    this.#ms = ms;
    this.#heardAt = performance.now();
  }

  now() {
    return this.#ms + performance.now() - this.#heardAt;
  }
}
