// Whatever is lost on the way, what the client shows in the end is what the server has: nothing lost, nothing
// doubled, in order; and at no moment it shows messages side by side between which others are missing.

import { createApp } from "/client/core/app.js";
import { equal, ok, test } from "./harness.js";
import { Server } from "./server.js";
import { store, World } from "./world.js";

const GROUP = "SESSION_TYPE_GROUP", SINGLE = "SESSION_TYPE_SINGLE";
const people = 6;

// Page is an app in a page that can be loaded again.
class Page {
  written = new Map(); // key -> texts in the order in which they were written
  renders = 0;

  constructor(world, server, user) {
    Object.assign(this, { world, server, user, storage: store() });
    this.load();
  }

  load() {
    if (this.life) this.life.over = true;
    if (this.socket) {
      this.socket.onmessage = this.socket.onclose = this.socket.onopen = () => {};
      this.socket.session.cut();
    }
    const page = this, Socket = this.server.socket();
    this.life = this.world.life();
    this.app = createApp({
      config: {}, url: "ws://server/ws", storage: this.storage, now: this.world.now, timers: this.life, random: this.world.random,
      WebSocket: class extends Socket {
        constructor(url) {
          super(url);
          page.socket = this;
        }
      },
    });
    const { app } = this;
    app.subscribe((state) => {
      this.renders++;
      if (this.app !== app) return;
      this.shown = state;
      sound(state);
    });
  }

  get state() { return this.app.state; }

  write(key, text) {
    if (!this.written.has(key)) this.written.set(key, []);
    this.written.get(key).push(text);
    this.app.send(key, text);
  }

  // rests tells whether nothing is left to be done.
  rests() {
    const { state } = this;
    return state.phase === "ready" && state.synced && state.connection === "online" &&
      [...state.conversations.values()].every((c) => !c.loading && c.messages.every((m) => m.state !== "pending"));
  }
}

// sound holds of each state that is ever shown.
function sound(state) {
  for (const c of state.conversations.values()) {
    const ids = new Set(), seen = new Set();
    let last = 0, pending = false;
    for (const m of c.messages) {
      ok(!m.clientId || !seen.has(m.clientId), `${c.key}: a message is shown twice: ${m.raw}`);
      seen.add(m.clientId);
      if (!m.id) {
        pending = true;
        continue;
      }
      ok(!pending, `${c.key}: ${m.id} stands behind one that is not sent`);
      ok(!ids.has(m.id), `${c.key}: ${m.id} is shown twice`);
      ids.add(m.id);
      ok(!last || m.id === last + 1 || m.id > last && m.state === "sent", `${c.key}: ${m.id} is shown next to ${last}`);
      last = m.id;
    }
    ok(c.unread >= 0, `${c.key}: ${c.unread} unread`);
  }
  equal(state.unread, state.order.reduce((n, key) => n + state.conversations.get(key).unread, 0), "the sum of unread");
  equal(new Set(state.order).size, state.order.length, "keys in the list");
}

async function live(seed) {
  const world = new World(seed);
  const users = new Map();
  for (let id = 1; id <= people; id++) users.set(id, { userId: id, userRealName: "user" + id, userNickName: "User " + id, avatarUrl: "", status: 0 });
  const server = new Server(world, users, { loss: 0.03 });
  server.group(5, [1, 2, 3]);
  server.group(6, [1, 4, 5, 6]);
  for (let i = 0; i < 120; i++) server.say(world.between(1, 3), GROUP, 5, "old " + i);
  for (let i = 0; i < 70; i++) server.say(world.pick([1, 2]), SINGLE, 3, "old " + i);

  const errors = [];
  const failed = (e) => { errors.push(e.error ?? e.reason); e.preventDefault(); };
  addEventListener("error", failed);
  addEventListener("unhandledrejection", failed);
  try {
    const pages = [new Page(world, server, 1), new Page(world, server, 2)];
    for (const page of pages) {
      const sign = async () => {
        for (let done = false; !done;) await page.app.signIn(String(page.user), "x", { remember: true }).then(() => { done = true; }, () => {});
      };
      let signed = false;
      sign().then(() => { signed = true; });
      await world.until(() => signed, "the login");
    }
    const keys = (user) => [...Array.from({ length: people }, (_, i) => "u" + (i + 1)).filter((k) => k !== "u" + user), "g5", ...user === 1 ? ["g6"] : []];
    const own = (page) => {
      const c = page.state.conversations.get(world.pick(keys(page.user)));
      const list = (c?.messages ?? []).filter((m) => m.state === "sent" && m.id && !m.recalled && m.raw[0] !== "w");
      return list.length ? [c.key, world.pick(list).id] : null;
    };
    let n = 0;
    const long = () => (world.chance(0.15) ? " and so on and so on" : "");
    const step = () => {
      const page = world.pick(pages), { app } = page, key = world.pick(keys(page.user));
      if (app.state.phase !== "ready") return;
      switch (world.between(0, 13)) {
        case 0: case 1: case 2: case 3: page.write(key, `w${++n} of ${page.user}${long()}`); break;
        case 4: for (let i = world.between(1, 6); i > 0; i--) page.write(key, `w${++n} of ${page.user}`); break;
        case 5: app.open(world.chance(0.2) ? null : key); break;
        case 6: app.loadOlder(app.state.open ?? key); break;
        case 7: app.setVisible(world.chance(0.7)); break;
        case 8: { // somebody else writes, or the user on a phone
          const from = world.between(1, people);
          if (key[0] === "g") {
            const { members } = server.conversations.get(key);
            server.say(world.pick(members), GROUP, Number(key.slice(1)), `phone ${++n}${long()}`);
          } else if (world.chance(0.7)) {
            server.say(Number(key.slice(1)), SINGLE, page.user, `phone ${++n}${long()}`);
          } else if (from !== page.user) {
            server.say(page.user, SINGLE, from, `phone ${++n}`);
          }
          break;
        }
        case 9: for (let i = world.between(1, 80); i > 0; i--) server.say(3, GROUP, 5, `many ${++n}`); break;
        case 10: { // something is edited or recalled
          const c = world.pick([...server.conversations.values()].filter((c) => c.messages.length));
          const m = world.pick(c.messages);
          if (m.text[0] !== "w") server.amend(m.from, c, m.id, world.chance(0.5) ? null : "edited " + ++n);
          break;
        }
        case 11: {
          const mine = own(page);
          if (mine && world.chance(0.5)) app.recall(...mine).catch(() => {});
          else if (mine) app.edit(...mine, "edited " + ++n).catch(() => {});
          break;
        }
        case 12: {
          const c = world.pick([...server.conversations.values()]);
          if (c.messages.length) server.read(world.pick(c.members), c, world.between(1, c.messages.length));
          break;
        }
        case 13:
          if (world.chance(0.3)) page.load();
          else if (world.chance(0.3)) app.removeConversation(key).catch(() => {});
          else page.socket.session.cut();
      }
    };
    for (let i = 0; i < 250; i++) {
      step();
      await world.pass(world.between(0, world.chance(0.05) ? 60000 : 400));
      if (errors.length) throw errors[0];
    }

    server.calm = true;
    await world.until(() => pages.every((p) => p.rests()), "everything comes to rest: " + pages.map((p) => JSON.stringify([p.state.phase, p.state.connection])));
    await world.pass(60000); // a connection that is dead without a sign is found
    await world.until(() => pages.every((p) => p.rests()), "everything comes to rest");
    for (const page of pages) {
      ok(page.shown === page.state, "not all that has changed was told");
      const { open, conversations } = page.state;
      if (open && conversations.get(open).latest) {
        equal(conversations.get(open).messages.at(-1).id, conversations.get(open).latest, `${open} is open: its newest message`);
      }
      page.app.setVisible(true);
      for (const c of server.conversations.values()) {
        if (!c.members.includes(page.user)) continue;
        const { sessionId, sessionType } = server.seen(c, page.user);
        const key = (sessionType === GROUP ? "g" : "u") + sessionId;
        let opened = false;
        page.app.open(key).then(() => { opened = true; });
        await world.until(() => opened, "the conversation opens");
        while (!page.state.conversations.get(key).complete) {
          let loaded = false;
          page.app.loadOlder(key).then(() => { loaded = true; });
          await world.until(() => loaded, "the history loads");
          equal(page.state.conversations.get(key).error, null, "the history loads");
        }
        const shown = page.state.conversations.get(key);
        equal(shown.messages.map((m) => [m.id, m.from, m.recalled || m.raw, m.edits]), c.messages.map((m) => [m.id, m.from, m.recalled || m.text, m.edits]),
          `${key} as ${page.user} sees it`);
        equal([shown.unread, shown.latest], [0, c.messages.length], `${key}: what is unread`);
        await world.until(() => (c.read.get(page.user) ?? 0) === c.messages.length, `${key}: the server hears what was read`);
        if (c.messages.length) equal(shown.lastMessage.id, c.messages.length, `${key}: the last message`);
      }
      for (const [key, texts] of page.written) {
        const c = server.of(page.user, key[0] === "g" ? GROUP : SINGLE, Number(key.slice(1)));
        equal(c.messages.filter((m) => m.from === page.user && m.text[0] === "w").map((m) => m.text), texts, `what ${page.user} wrote to ${key}`);
      }
    }
    if (errors.length) throw errors[0];
    return { cuts: server.cuts, repeats: server.repeats, refusals: server.refusals, renders: pages[0].renders, written: n };
  } finally {
    removeEventListener("error", failed);
    removeEventListener("unhandledrejection", failed);
  }
}

const sum = { cuts: 0, repeats: 0, refusals: 0 };

for (let seed = 1; seed <= 8; seed++) {
  test(`chaos ${seed}: the client shows what the server has`, async () => {
    const got = await live(seed);
    for (const name of Object.keys(sum)) sum[name] += got[name];
  });
}

test("chaos: messages were lost, sent again and refused", () => {
  for (const [name, n] of Object.entries(sum)) ok(n > 10, `${name}: ${n}`);
});
