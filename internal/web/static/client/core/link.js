// The connection: JSON frames over a WebSocket, which is made again whenever it is lost. What is asked is answered by
// sequence number, by one frame or by several; what comes unasked goes to push.

export class Refused extends Error {
  constructor(code, text = code) {
    super(text);
    this.name = "Refused";
    this.code = code;
  }
}

// Times in milliseconds.
export const timing = {
  connect: 15000, // until a connection is open and logged in
  answer: 30000, // until an answer, or the next part of one
  heartbeat: 25000, // between two
  dead: 10000, // silence after a heartbeat that ends a connection
  poke: 4000, // the same, where there is a reason to doubt it
  retryFirst: 400, retryMost: 30000, // pauses before a connection is made again
  steady: 5000, // a connection that held so long was a good one
  typingEvery: 4000, typingFor: 6000, // between two notices that the user types, and how long one of others holds
  received: 1000, // for which receipts are gathered
  hole: 2000, // until messages are asked for that should have come by themselves
  ack: 60000, // without an acknowledgement, where nothing explains it, that end a connection
  upload: 180000, // of a picture; upAgain: until what the network lost is uploaded once more
  upAgain: 5000,
  frame: 16, // between two calls of a subscriber
};

const OPEN = 1;

export class Link {
  #o;
  #ws = null;
  #seq = 0;
  #waiting = new Map(); // by seq
  #running = false;
  #up = false;
  #attempt = 0;
  #since = 0;
  #heard = 0;
  #timers = new Map();

  // url: of the WebSocket. login(): is called on each new connection, and sends the login; up() says that it was
  // accepted() says that it was. push(frame), pong(), state(name, retryAt). lost(code): the connection is over, and is made again
  // unless stop is called now.
  constructor(options) {
    this.#o = { timing, timers: globalThis, now: Date.now, random: Math.random, ...options };
  }

  get up() { return this.#up; }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#attempt = 0;
    this.#connect();
  }

  // stop closes the connection and makes no other.
  stop() {
    this.#running = false;
    this.#drop("offline");
  }

  // poke says that the network may have changed, or that somebody looks again: a pause ends now, and a
  // connection has to show that it lives.
  poke() {
    if (!this.#running) return;
    if (!this.#ws) {
      this.#attempt = 0;
      this.#connect();
    } else {
      this.doubt();
    }
  }

  // doubt has a connection show that it lives.
  doubt() { if (this.#up) this.#beat(this.#o.timing.poke); }

  // again makes the connection anew after some milliseconds, whatever becomes of this one.
  again(ms) {
    this.#after("again", ms, () => this.#lost(1001));
  }

  // accepted says that the login was.
  accepted() {
    this.#up = true;
    this.#since = this.#o.now();
    this.#clear("connect");
    this.#o.state("online", null);
    this.#schedule();
  }

  // fail ends a connection that is of no use, and makes another.
  fail(code = 1006) { if (this.#ws) this.#lost(code); }

  // send sends what has no answer. False: there is no connection.
  send(command, body = {}) { return this.#write(command, 0, body); }

  // request sends a question. Each frame that answers it is given to each, in order with what comes unasked; the answer is complete
  // when each returns true. Without each one frame is the answer. It gives the last frame's body. patient: it may take any time.
  request(command, body = {}, each = () => true, patient = false) {
    return new Promise((resolve, reject) => {
      do this.#seq = this.#seq % 0xfeff + 1; while (this.#waiting.has(this.#seq));
      const seq = this.#seq;
      const waiter = { each, resolve, reject, patient };
      this.#waiting.set(seq, waiter);
      if (!this.#write(command, seq, body)) {
        this.#waiting.delete(seq);
        reject(new Refused("offline", "There is no connection."));
        return;
      }
      this.#patience(seq, waiter);
    });
  }

  // list is request for an answer of several frames that nothing ends. Questions of a connection are answered
  // one after the other, so the answer to a small one behind it says that it is complete.
  async list(command, body, each) {
    const answer = this.request(command, body, (frame) => { each(frame.body); return false; }, true);
    const seq = this.#seq;
    try {
      await Promise.race([answer, this.request("IMUsersInfoReq", {})]);
    } finally {
      answer.catch(() => {}); // told above
      this.#waiting.delete(seq);
    }
  }

  #patience(seq, waiter) {
    if (waiter.patient) return;
    this.#o.timers.clearTimeout(waiter.timer);
    waiter.timer = this.#o.timers.setTimeout(() => {
      if (this.#waiting.get(seq) !== waiter) return;
      this.#waiting.delete(seq);
      waiter.reject(new Refused("timeout", "The server did not answer."));
      this.#lost(1006);
    }, this.#o.timing.answer);
  }

  #write(command, seq, body) {
    if (this.#ws?.readyState !== OPEN) return false;
    this.#ws.send(JSON.stringify({ command, seq, body }));
    return true;
  }

  #connect() {
    this.#clear("retry");
    this.#o.state("connecting", null);
    let ws;
    try {
      ws = new this.#o.WebSocket(this.#o.url());
    } catch {
      this.#lost(1006);
      return;
    }
    this.#ws = ws;
    // What an older connection says is not heard any more.
    const mine = (f) => (e) => { if (this.#ws === ws) f(e); };
    ws.onopen = mine(() => this.#o.login());
    ws.onmessage = mine((e) => this.#take(e.data));
    ws.onclose = mine((e) => this.#lost(e.code));
    this.#after("connect", this.#o.timing.connect, () => this.#lost(1006));
  }

  #take(data) {
    this.#heard = this.#o.now();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    frame.body ??= {};
    const waiter = frame.seq ? this.#waiting.get(frame.seq) : null;
    if (frame.command === "IMHeartBeat") {
      this.#o.pong?.();
    } else if (!waiter) {
      if (!frame.seq) this.#o.push(frame);
    } else if (frame.error !== undefined) {
      this.#done(frame.seq, waiter);
      waiter.reject(new Refused("malformed", frame.error));
    } else {
      this.#patience(frame.seq, waiter);
      if (waiter.each(frame)) {
        this.#done(frame.seq, waiter);
        waiter.resolve(frame.body);
      }
    }
  }

  #done(seq, waiter) {
    this.#o.timers.clearTimeout(waiter.timer);
    this.#waiting.delete(seq);
  }

  #schedule() { this.#after("beat", this.#o.timing.heartbeat, () => this.#beat(this.#o.timing.dead)); }

  #beat(patience) {
    const sent = this.#o.now();
    if (!this.send("IMHeartBeat")) {
      this.#lost(1006);
      return;
    }
    this.#schedule();
    this.#after("dead", patience, () => { if (this.#heard < sent) this.#lost(1006); });
  }

  // lost is a connection that is over, for whatever reason.
  #lost(code) {
    const held = this.#up && this.#o.now() - this.#since >= this.#o.timing.steady;
    this.#drop(null);
    this.#o.lost(code);
    if (!this.#running) return;
    if (held) this.#attempt = 0;
    const t = this.#o.timing;
    const first = code === 1013 ? 5 * t.retryFirst : t.retryFirst;
    const pause = Math.round(Math.min(t.retryMost, first * 2 ** Math.min(this.#attempt++, 16)) * (0.5 + this.#o.random() / 2));
    this.#o.state("offline", this.#o.now() + pause);
    this.#after("retry", pause, () => this.#connect());
  }

  // drop lets go of the connection; whoever waits for an answer is told.
  #drop(state) {
    for (const name of [...this.#timers.keys()]) this.#clear(name);
    const ws = this.#ws;
    this.#ws = null;
    this.#up = false;
    try {
      ws?.close(1000);
    } catch { /* it was not open yet */ }
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const w of waiting) {
      this.#o.timers.clearTimeout(w.timer);
      w.reject(new Refused("offline", "The connection was lost."));
    }
    if (state) this.#o.state(state, null);
  }

  #after(name, ms, f) {
    this.#clear(name);
    this.#timers.set(name, this.#o.timers.setTimeout(() => { this.#timers.delete(name); f(); }, ms));
  }

  #clear(name) {
    this.#o.timers.clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}
