// A clock of its own, by which everything in a test happens in an order that a number decides.

const channel = new MessageChannel();
let drained = () => {};
channel.port1.onmessage = () => drained();

// settle lets all promises that can go on do so.
export const settle = () => new Promise((done) => {
  drained = done;
  channel.port2.postMessage(0);
});

export class World {
  time = 1_800_000_000_000;
  #tasks = [];
  #id = 0;
  #seed;

  constructor(seed = 1) {
    this.#seed = seed;
    this.now = () => this.time;
    this.random = () => { // mulberry32
      this.#seed = this.#seed + 0x6d2b79f5 | 0;
      let t = Math.imul(this.#seed ^ this.#seed >>> 15, 1 | this.#seed);
      t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
      return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
    };
    this.timers = this.life();
  }

  chance(p) { return this.random() < p; }
  pick(list) { return list[Math.floor(this.random() * list.length)]; }
  between(a, b) { return a + Math.floor(this.random() * (b - a + 1)); }

  // life is a set of timers that can all be ended at once, as those of a page that is closed.
  life() {
    const life = {
      over: false,
      setTimeout: (f, ms = 0) => this.#add(ms, () => { if (!life.over) f(); }),
      clearTimeout: (id) => { this.#tasks = this.#tasks.filter((t) => t.id !== id); },
    };
    return life;
  }

  at(ms, f) { return this.#add(ms, f); }

  #add(ms, f) {
    const task = { at: this.time + Math.max(0, ms), id: ++this.#id, f };
    let i = this.#tasks.length;
    while (i > 0 && this.#tasks[i - 1].at > task.at) i--;
    this.#tasks.splice(i, 0, task);
    return task.id;
  }

  // until lets time pass until something holds.
  async until(holds, what = String(holds), ms = 30 * 60e3) {
    const end = this.time + ms;
    for (;;) {
      await settle();
      if (holds()) return;
      const task = this.#tasks[0];
      if (!task || task.at > end) throw new Error(`never: ${what}`);
      this.#tasks.shift();
      this.time = task.at;
      task.f();
    }
  }

  // pass lets some time pass.
  async pass(ms) {
    let over = false;
    this.at(ms, () => { over = true; });
    await this.until(() => over);
  }
}

// store is what a browser keeps for a page.
export function store() {
  const m = new Map();
  return { getItem: (k) => m.get(k) ?? null, setItem: (k, v) => m.set(k, String(v)), removeItem: (k) => m.delete(k), m };
}
