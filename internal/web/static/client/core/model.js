// What the client knows, and how it changes. Nothing here has a clock, a socket or a page: the same calls make
// the same state. Inside, things are changed where they stand; state hands out snapshots that never change again, and
// makes only those parts anew that have changed since the last.
//
// Of each conversation a window of messages is held: one run of ids without a hole, up to the newest where nothing
// is missing. A message beyond a hole waits in ahead until the hole is filled. What the user wrote and no
// server has acknowledged stands behind both, in the order in which it was written.

//
// The state:
//
//	phase          "signed-out" | "signing-in" | "ready" | "ended"
//	signInError    null | {code: "wrong" | "busy" | "unreachable" | "full" | "expired", text}
//	connection     "online" | "connecting" | "offline" | "unavailable" | "leaving"; retryAt: ms | null
//	ended          null | {reason: "replaced" | "phone" | "operator" | "disabled" | "password", at: ms}
//	me             {id, name, nick, avatar, signature}
//	people         Map(id -> {id, name, nick, avatar, signature, department, email, phone, online, left})
//	departments    Map(id -> {id, name, parent, priority})
//	friends        Map(id -> {state: "friend" | "asked-me" | "asked-by-me", since, remark, text}); blocked: Set(id)
//	groups         Map(id -> {id, name, avatar, type: "normal" | "temporary", admin, version, members: [id], muted, dissolved})
//	conversations  Map(key -> conversation); order: [key] those that are listed, newest first; unread: of these
//	synced         the first sync is complete
//	typing         Map(key -> Set(id of a user)); open: key | null
//
//	conversation   {key, type: "single" | "group", id, latest, read, unread, updated, removed, left, blocked, muted, peerRead,
//	               peerDelivered, lastMessage, messages: oldest first, complete, loading, error, draft}
//	message        {id: 0 while it is not stored, clientId, from, time: s, kind: "text" | "voice" | "other", recalled, edits,
//	               parts: [{text} | {picture, width, height} | {link}], text: the words of it, raw: what an edit begins with,
//	               state: null (of others) | "pending" | "sent" | "failed", error}
//
// A key is "u7" for the conversation with user 7 and "g5" for that of group 5.

import { local, parts, words } from "./content.js";

const most = 1000, kept = 500; // messages that are held where nobody reads further up; of so many these stay

export const isGroup = (type) => type === "SESSION_TYPE_GROUP" || type === 2;
export const keyOf = (type, id) => (isGroup(type) ? "g" : "u") + id;

// address is how requests name a conversation.
export const address = (key) => ({
  sessionId: Number(key.slice(1)),
  sessionType: key[0] === "g" ? "SESSION_TYPE_GROUP" : "SESSION_TYPE_SINGLE",
});

const empty = () => ({
  phase: "signed-out", signInError: null, connection: "offline", retryAt: null, ended: null,
  me: null, people: new Map(), departments: new Map(), friends: new Map(), blocked: new Set(), groups: new Map(),
  conversations: new Map(), order: [], unread: 0, synced: false, typing: new Map(), open: null,
});

// person is a UserInfo of the protocol as the state has it.
const person = (u, before) => ({
  id: u.userId, name: u.userRealName ?? "", nick: u.userNickName || u.userRealName || "", avatar: local(u.avatarUrl ?? ""),
  signature: u.signInfo ?? "", department: u.departmentId ?? 0, email: u.email ?? "", phone: u.userTel ?? "",
  online: before?.online ?? false, left: u.status === 3,
});

// message is an IMMsgData or a MsgInfo as the state has it. bare says that its body has to be asked for.
export function message(m, me) {
  const voice = /AUDIO/.test(m.msgType);
  const recalled = !!m.recalled;
  const raw = recalled || voice ? "" : m.text ?? "";
  const list = parts(raw);
  const from = m.fromSessionId ?? m.fromUserId;
  return {
    id: m.msgId, clientId: m.clientMessageId ?? "", from, time: m.createTime, recalled, edits: m.edits ?? 0,
    kind: voice ? "voice" : recalled || m.text !== undefined || !m.msgData ? "text" : "other",
    parts: list, text: words(list), raw, state: from === me ? "sent" : null, error: null,
    bare: !voice && !recalled && m.text === undefined && !m.msgData,
  };
}

// find is where a message with the id stands in a list in order of ids, or would.
function find(list, id) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = low + high >> 1;
    if (list[middle].id < id) low = middle + 1; else high = middle;
  }
  return low;
}

export class Model {
  #state = empty();
  #parts = new Set(); // of the state that have to be made anew
  #changes = new Set(); // to be told, by the names that subscribers know
  #people = new Map();
  #groups = new Map();
  #friends = new Map();
  #departments = new Map();
  #blocked = new Set();
  #typing = new Map();
  #conversations = new Map();
  #dirty = new Set(); // keys of conversations to be made anew
  unsent = 0; // counts changes of what is not sent yet
  #turn = 0; // counts what moves conversations up in the list

  // state is a snapshot.
  get state() {
    if (!this.#parts.size && !this.#dirty.size) return this.#state;
    const s = { ...this.#state };
    for (const name of this.#parts) {
      s[name] = {
        people: () => new Map(this.#people), groups: () => new Map(this.#groups), friends: () => new Map(this.#friends),
        departments: () => new Map(this.#departments), blocked: () => new Set(this.#blocked),
        typing: () => new Map(Array.from(this.#typing, ([key, who]) => [key, new Set(who)])),
      }[name]();
    }
    if (this.#dirty.size) {
      s.conversations = new Map(s.conversations);
      for (const key of this.#dirty) {
        const c = this.#conversations.get(key);
        if (c) s.conversations.set(key, shown(c)); else s.conversations.delete(key);
      }
      const listed = [...this.#conversations.values()].filter(isListed);
      listed.sort((a, b) => b.updated - a.updated || b.turn - a.turn);
      const order = listed.map((c) => c.key);
      if (order.length !== s.order.length || order.some((key, i) => key !== s.order[i])) s.order = order;
      s.unread = listed.reduce((n, c) => n + c.latest - c.read, 0);
    }
    this.#parts.clear();
    this.#dirty.clear();
    return this.#state = s;
  }

  // take is the names of what has changed since it was asked last.
  take() {
    const changes = this.#changes;
    this.#changes = new Set();
    return changes;
  }

  // set changes plain fields of the state.
  set(change, name = "phase") {
    this.#state = { ...this.state, ...change };
    this.#changes.add(name);
  }

  // forget is a state in which nobody has signed in.
  forget() {
    for (const all of [this.#people, this.#groups, this.#friends, this.#departments, this.#blocked, this.#typing, this.#conversations]) all.clear();
    this.#parts.clear();
    this.#dirty.clear();
    this.#state = empty();
    for (const name of ["phase", "connection", "me", "people", "conversations", "typing", "friends", "groups", "receipts"]) this.#changes.add(name);
  }

  #changed(name, change = name) {
    this.#parts.add(name);
    this.#changes.add(change);
  }

  // ---- conversations

  // conversation is what is held of one, or undefined. It is the model's own: others only look.
  conversation(key) { return this.#conversations.get(key); }
  conversations() { return this.#conversations.values(); }

  // of is one that may be new.
  #of(key) {
    let c = this.#conversations.get(key);
    if (!c) {
      const { sessionId: id } = address(key);
      c = {
        key, type: key[0] === "g" ? "group" : "single", id, latest: 0, read: 0, updated: 0, removed: false, left: false,
        blocked: key[0] === "u" && this.#blocked.has(id), muted: false, peerRead: 0, peerDelivered: 0, version: 0,
        window: [], ahead: [], pending: [], newest: null, complete: false, loading: false, error: null, draft: "",
        known: false, turn: 0,
      };
      this.#conversations.set(key, c);
    }
    return c;
  }

  #touch(c, messages = true) {
    this.#dirty.add(c.key);
    this.#changes.add("conversations");
    if (messages) this.#changes.add("messages:" + c.key);
  }

  #rise(c, time) {
    c.updated = Math.max(c.updated, time);
    c.turn = ++this.#turn;
  }

  // update changes fields of a conversation that say nothing of its messages.
  update(key, change) {
    const c = this.#of(key);
    Object.assign(c, change);
    this.#touch(c, "loading" in change || "error" in change || "complete" in change);
    return c;
  }

  // sync takes one answer to a sync. It returns the ids of messages that have changed, by key.
  sync(answer) {
    if (answer.whole) {
      for (const c of this.#conversations.values()) {
        Object.assign(c, { latest: 0, read: 0, version: 0, peerRead: 0, peerDelivered: 0, window: [], ahead: [], newest: null, complete: false, known: false });
        this.#touch(c);
      }
    }
    const changed = new Map();
    for (const e of answer.entries ?? []) {
      const c = this.#of(keyOf(e.sessionType, e.sessionId));
      this.#touch(c);
      c.known = true;
      if (e.left) {
        this.#leave(c);
        continue;
      }
      if (c.left) Object.assign(c, { left: false, window: [], ahead: [], complete: false });
      c.latest = Math.max(c.latest, e.latestMsgId);
      c.read = Math.min(c.latest, Math.max(c.read, e.readMsgId));
      c.removed = !!e.removed;
      c.muted = !!e.shielded;
      c.blocked = !!e.blocked;
      c.version = Math.max(c.version, e.version ?? 0);
      c.peerRead = Math.max(c.peerRead, e.peerRead ?? 0);
      c.peerDelivered = Math.max(c.peerDelivered, e.peerDelivered ?? 0, c.peerRead);
      if ((e.updatedTime ?? 0) > c.updated) this.#rise(c, e.updatedTime);
      if (e.latest) this.#tail(c, message(e.latest, this.#state.me.id));
      if (e.changed?.length) changed.set(c.key, [...changed.get(c.key) ?? [], ...e.changed]);
    }
    return changed;
  }

  #leave(c) {
    Object.assign(c, { left: true, read: c.latest });
    const group = this.#groups.get(c.id);
    if (group) {
      this.#groups.set(c.id, { ...group, members: group.members.filter((id) => id !== this.#state.me.id) });
      this.#changed("groups");
    }
  }

  // tail takes the newest message of a conversation, between which and the window others may be missing. Where
  // the conversation is open they are asked for; else the window begins anew.
  #tail(c, m) {
    if (m.bare) {
      if (!c.newest || m.id >= c.newest.id) c.newest = m;
    } else {
      this.#put(c, m);
    }
    if (c.window.length && this.missing(c.key) && c.key !== this.#state.open) {
      Object.assign(c, { window: m.bare ? [] : [m], ahead: [], complete: m.id === 1 });
    }
  }

  // missing tells whether there is something newer than what the window ends with.
  missing(key) {
    const c = this.#conversations.get(key);
    return !!c && (c.window.at(-1)?.id ?? 0) < c.latest;
  }

  // put takes one message that has an id, and tells whether it is newer than all before.
  #put(c, m) {
    if (m.clientId && m.state) this.#settle(c, m.clientId);
    const fresh = m.id > c.latest, newest = m.id >= c.latest;
    c.latest = Math.max(c.latest, m.id);
    if (!c.newest || m.id >= c.newest.id) c.newest = m;
    if (m.state) c.read = Math.max(c.read, m.id);
    else if (c.type === "single") c.peerDelivered = Math.max(c.peerDelivered, c.peerRead = Math.max(c.peerRead, m.id));
    const first = c.window[0]?.id, last = c.window.at(-1)?.id;
    if (!c.window.length) {
      if (!newest) return false; // it stands in the history, which is not here
      c.window.push(m);
    } else if (m.id === last + 1) c.window.push(m);
    else if (m.id === first - 1) c.window.unshift(m);
    else if (m.id > last + 1) {
      const i = find(c.ahead, m.id);
      if (c.ahead[i]?.id !== m.id) c.ahead.splice(i, 0, m);
    }
    if (c.window[0].id === 1) c.complete = true;
    this.#join(c);
    if (c.key !== this.#state.open) this.trim(c.key);
    return fresh;
  }

  // trim lets go of the oldest messages of a conversation that holds many.
  trim(key) {
    const c = this.#conversations.get(key);
    if (!c || c.window.length <= most) return;
    c.window.splice(0, c.window.length - kept);
    c.complete = false;
    this.#touch(c);
  }

  // join moves into the window what is no longer ahead of it.
  #join(c) {
    let n = 0;
    for (; n < c.ahead.length && c.ahead[n].id <= c.window.at(-1).id + 1; n++) {
      if (c.ahead[n].id > c.window.at(-1).id) c.window.push(c.ahead[n]);
    }
    c.ahead.splice(0, n);
  }

  // settle takes what has been acknowledged, or found in the history, out of what waits.
  #settle(c, clientId) {
    const i = c.pending.findIndex((p) => p.clientId === clientId);
    if (i < 0) return null;
    this.unsent++;
    return c.pending.splice(i, 1)[0];
  }

  // arrive takes a message that was pushed. It returns its conversation's key and the message, or null where it
  // was here already.
  arrive(data) {
    const me = this.#state.me.id;
    const m = message(data, me);
    const key = /GROUP/.test(data.msgType) ? "g" + data.toSessionId : "u" + (m.state ? data.toSessionId : m.from);
    const c = this.#of(key);
    if ([c.window, c.ahead].some((list) => list[find(list, m.id)]?.id === m.id)) return null;
    this.#touch(c);
    this.#still(key, m.from);
    if (!this.#put(c, m)) return null;
    this.#rise(c, m.time);
    if (c.type === "single" || m.state) c.removed = false;
    return { key, message: m };
  }

  // page takes messages of the history, in order of ids. before is the id that they end before, 0: at the newest.
  page(key, list, before) {
    const c = this.#of(key);
    this.#touch(c);
    const page = list.map((m) => message(m, this.#state.me.id));
    if (!page.length) {
      if (before && c.window[0]?.id === before) c.complete = true;
      return;
    }
    for (const m of page) if (m.clientId && m.state) this.#settle(c, m.clientId);
    const first = page[0].id, last = page.at(-1).id;
    if (!c.window.length || first > c.window.at(-1).id + 1) {
      Object.assign(c, { window: page, complete: false });
    } else if (last >= c.window[0].id - 1) {
      const older = page.slice(0, find(page, c.window[0].id));
      const newer = page.slice(find(page, c.window.at(-1).id + 1));
      c.window = [...older, ...c.window, ...newer];
    }
    if (c.window[0].id === 1) c.complete = true;
    c.latest = Math.max(c.latest, last);
    if (!c.newest || last >= c.newest.id) c.newest = page.at(-1);
    this.#join(c);
  }

  // changed takes messages as they are now: edited or recalled.
  changed(key, list) {
    const c = this.#conversations.get(key);
    if (!c) return;
    this.#touch(c);
    for (const info of list) {
      const m = message(info, this.#state.me.id);
      for (const part of [c.window, c.ahead]) {
        const i = find(part, m.id);
        if (part[i]?.id === m.id) part[i] = m;
      }
      if (c.newest?.id === m.id) c.newest = m;
    }
  }

  // message is one that is held, by its id.
  message(key, id) {
    const c = this.#conversations.get(key);
    return c && [...c.window, ...c.ahead, c.newest].find((m) => m?.id === id);
  }

  // ---- what the user writes

  // write shows a message that is not sent yet.
  write(key, clientId, time, raw, change) {
    const c = this.#of(key);
    const list = parts(raw);
    const m = {
      id: 0, clientId, from: this.#state.me.id, time, kind: "text", parts: list, text: words(list), raw,
      recalled: false, edits: 0, state: "pending", error: null, bare: false, ...change,
    };
    c.pending.push(m);
    this.unsent++;
    this.#rise(c, time);
    this.#touch(c);
    return m;
  }

  // rewrite changes a message that is not sent yet; last puts it behind the others.
  rewrite(key, clientId, change, last = false) {
    const c = this.#conversations.get(key);
    const i = c?.pending.findIndex((p) => p.clientId === clientId) ?? -1;
    if (i < 0) return null;
    const m = { ...c.pending[i], ...change };
    this.unsent++;
    c.pending.splice(i, 1);
    c.pending.splice(last ? c.pending.length : i, 0, m);
    this.#touch(c);
    return m;
  }

  // draft takes what is written in the field of a conversation, and not sent.
  draft(key, draft) {
    this.update(key, { draft });
    this.unsent++;
  }

  // drop forgets a message that is not sent yet.
  drop(key, clientId) {
    const c = this.#conversations.get(key);
    const m = c && this.#settle(c, clientId);
    if (m) this.#touch(c);
    return m;
  }

  // acked takes the id that the server gave a message. It returns false where the message itself is not known.
  acked(key, clientId, id, time) {
    const c = this.#of(key);
    this.#touch(c);
    const m = this.#settle(c, clientId);
    c.removed = false;
    if (m) {
      this.#put(c, { ...m, id, time: time ?? m.time, state: "sent", error: null });
      this.#rise(c, time ?? m.time);
    } else {
      c.latest = Math.max(c.latest, id);
      c.read = Math.max(c.read, id);
    }
    return !!m;
  }

  // ---- marks

  read(key, id) {
    const c = this.#of(key);
    if (id <= c.read) return;
    c.read = Math.min(id, Math.max(c.latest, id));
    this.#touch(c, false);
  }

  receipt(n) {
    const c = this.#of(keyOf(n.sessionType, n.sessionId));
    if (c.type === "single") {
      c.peerRead = Math.max(c.peerRead, n.readMsgId ?? 0);
      c.peerDelivered = Math.max(c.peerDelivered, n.deliveredMsgId ?? 0, c.peerRead);
    }
    this.#dirty.add(c.key);
    this.#changes.add("receipts");
  }

  typing(key, user, on) {
    const who = this.#typing.get(key) ?? new Set();
    if (who.has(user) === on) return;
    if (on) who.add(user); else who.delete(user);
    if (who.size) this.#typing.set(key, who); else this.#typing.delete(key);
    this.#changed("typing");
  }

  #still(key, user) { if (this.#typing.has(key)) this.typing(key, user, false); }

  quiet() {
    if (!this.#typing.size) return;
    this.#typing.clear();
    this.#changed("typing");
  }

  removed(key) {
    const c = this.#of(key);
    Object.assign(c, { removed: true, read: c.latest });
    this.#touch(c, false);
  }

  // ---- people

  login(user) {
    const p = person(user);
    this.set({ me: { id: p.id, name: p.name, nick: p.nick, avatar: p.avatar, signature: p.signature } }, "me");
  }

  people(list) {
    for (const u of list) {
      this.#people.set(u.userId, person(u, this.#people.get(u.userId)));
      if (u.userId === this.#state.me.id) this.login(u);
    }
    if (list.length) this.#changed("people");
  }

  // knows tells of whom there is a name.
  knows(id) { return this.#people.has(id) || id === this.#state.me?.id; }
  numbers() { return [...this.#people.keys()]; }

  profile(id, change) {
    const p = this.#people.get(id);
    if ("avatar" in change) change = { avatar: local(change.avatar) };
    if (p) {
      this.#people.set(id, { ...p, ...change });
      this.#changed("people");
    }
    if (id === this.#state.me?.id && !("online" in change)) this.set({ me: { ...this.#state.me, ...change } }, "me");
  }

  presence(list) {
    for (const { userId, status } of list) {
      const online = status === "USER_STATUS_ONLINE" || status === 1;
      const p = this.#people.get(userId);
      if (p && p.online !== online) this.profile(userId, { online });
    }
  }

  departments(list) {
    for (const d of list) {
      if (d.deptStatus === "DEPT_STATUS_DELETE") this.#departments.delete(d.deptId);
      else this.#departments.set(d.deptId, { id: d.deptId, name: d.deptName, parent: d.parentDeptId, priority: d.priority });
    }
    if (list.length) this.#changed("departments", "people");
  }

  // ---- friends

  friends(answers) {
    this.#friends.clear();
    this.#blocked.clear();
    for (const answer of answers) {
      for (const f of answer.friends ?? []) {
        const state = { FRIEND_STATE_FRIEND: "friend", FRIEND_STATE_INCOMING: "asked-me", FRIEND_STATE_OUTGOING: "asked-by-me" }[f.state];
        this.#friends.set(f.userId, { state, since: f.since, remark: f.remark ?? "", text: f.text ?? "" });
      }
      for (const id of answer.blocked ?? []) this.#blocked.add(id);
    }
    this.#changed("friends");
    this.#changed("blocked", "friends");
    for (const c of this.#conversations.values()) {
      const blocked = c.type === "single" && this.#blocked.has(c.id);
      if (c.blocked !== blocked) this.update(c.key, { blocked });
    }
  }

  // friend takes what one of two did to the other at a time: own where it was the user.
  friend(id, action, own, text = "", now = 0) {
    const was = this.#friends.get(id);
    switch (action.replace("FRIEND_ACTION_", "")) {
      case "REQUEST":
        this.#friends.set(id, { state: own ? "asked-by-me" : "asked-me", since: now, remark: "", text });
        break;
      case "ACCEPT":
        this.#friends.set(id, { state: "friend", since: now, remark: "", text: "" });
        break;
      case "REFUSE": case "WITHDRAW": case "REMOVE":
        this.#friends.delete(id);
        break;
      case "REMARK":
        if (was) this.#friends.set(id, { ...was, remark: text });
        break;
      case "BLOCK": case "UNBLOCK": {
        const blocked = action.endsWith("_BLOCK");
        if (blocked) this.#blocked.add(id); else this.#blocked.delete(id);
        this.#changed("blocked", "friends");
        if (this.#conversations.has("u" + id)) this.update("u" + id, { blocked });
      }
    }
    this.#changed("friends");
  }

  // ---- groups

  groups(list) {
    for (const g of list) {
      this.#groups.set(g.groupId, {
        id: g.groupId, name: g.groupName, avatar: local(g.groupAvatar ?? ""), admin: g.groupCreatorId, version: g.version,
        type: g.groupType === "GROUP_TYPE_NORMAL" ? "normal" : "temporary", members: g.groupMemberList ?? [], muted: !!g.shieldStatus,
      });
      const c = this.#of("g" + g.groupId);
      c.left = false;
      c.known = true;
      c.version = Math.max(c.version, g.version);
      this.#touch(c, false);
    }
    if (list.length) this.#changed("groups");
  }

  group(id) { return this.#groups.get(id); }

  // regroup changes what is known of a group.
  regroup(id, change) {
    const g = this.#groups.get(id);
    if (g) this.#groups.set(id, { ...g, ...change });
    if (g) this.#changed("groups");
    if ("muted" in change) this.update("g" + id, { muted: change.muted });
  }

  // members takes who is in a group after a change; now is when it was.
  members(id, list, now) {
    const c = this.#of("g" + id);
    if (!list.includes(this.#state.me.id)) {
      this.#touch(c);
      this.#leave(c);
      return false;
    }
    if (!c.known || c.left) {
      Object.assign(c, { known: true, left: false, removed: false, window: [], ahead: [], complete: false });
      this.#rise(c, now);
    }
    this.#touch(c);
    this.regroup(id, { members: list });
    return true;
  }

  // gone is a group that there is no more.
  gone(id) {
    const c = this.#of("g" + id);
    this.#touch(c);
    this.#leave(c);
    this.regroup(id, { dissolved: true });
  }
}

// isListed tells whether a conversation stands in the list.
const isListed = (c) => !c.removed && !c.left && (c.latest > 0 || c.pending.length > 0 || c.type === "group" && c.known);

// shown is a conversation as the state has it.
function shown(c) {
  const messages = [...c.window];
  for (const m of c.ahead) if (m.state) messages.push(m); // the user has seen it already, where it waited
  messages.push(...c.pending);
  return {
    key: c.key, type: c.type, id: c.id, latest: c.latest, read: c.read, unread: c.latest - c.read, updated: c.updated,
    removed: c.removed, left: c.left, blocked: c.blocked, muted: c.muted, peerRead: c.peerRead, peerDelivered: c.peerDelivered,
    lastMessage: c.pending.at(-1) ?? c.newest, messages, complete: c.complete, loading: c.loading, error: c.error, draft: c.draft,
  };
}
