// The client without a face: createApp() holds the connection and all that is known, says what has changed, and does what
// the user wants. What state has in it stands in model.js.

import { Link, Refused, timing as usual } from "./link.js";
import { Model, address, keyOf } from "./model.js";
import { Outbox } from "./outbox.js";
import { local } from "./content.js";
import { md5 } from "./md5.js";

export { Refused };
export const createApp = (options) => new App(options);

const NONE = "REFUSE_REASON_NONE";
const features = 1 | 2 | 4 | 8; // notices, receipts, typing, a resume token
const maxPicture = 5 << 20; // bytes
const pageSize = 50, mostPage = 1000; // messages of a page of the history: as a rule, and of what is unread
const bridge = 4; // pages that are asked for at most to close a gap
const reach = 5; // and to get to what is unread
const sessionKey = "godwit.session", outboxKey = "godwit.outbox.";

// ends are the close codes after which a session is over for good.
const ends = { 4001: "replaced", 4002: "phone", 4003: "operator", 4004: "disabled", 4005: "password" };

const signInTexts = {
  wrong: "The name or the password is wrong.", busy: "The server is busy. Try again in a moment.", full: "The server is full.",
  unreachable: "The server can't be reached.", expired: "Your session is over. Sign in again.",
};

function* chunks(list, size) {
  for (let i = 0; i < list.length; i += size) yield list.slice(i, i + size);
}

class App {
  #model = new Model();
  #link;
  #outbox;
  #now;
  #timing;
  #timers;
  #fetch;
  #local;
  #session;

  #listeners = new Set();
  #events = new Map();
  #due = false; // a flush is
  #flushed = 0;

  #credentials = null; // {name, password | token, remember}
  #signing = null; // the promise of signIn
  #user = 0; // whom the model belongs to
  #skew = 0; // ms that the server's clock is ahead
  #syncToken = "";
  #directoryTime = 0;
  #departmentsTime = 0;
  #wanted = { directory: true, departments: true, friends: true, groups: new Set() };
  #stale = new Map(); // key -> ids of messages to be asked for again
  #met = new Set(); // ids asked about over this connection
  #here = new Set(); // ids whose presence was asked over this connection
  #chores = new Map();

  #visible = true;
  #atEnd = true; // the newest of what is open is in view
  #reads = new Map(); // key -> id, told since the last heartbeat
  #readsBefore = new Map(); // and before it
  #received = new Map(); // key -> id to be told
  #receiving = null;
  #typed = new Map(); // key -> when it was told
  #typists = new Map(); // timers
  #filling = new Map(); // key -> {done: a promise, again: it is wanted once more}
  #kept = 0; // Model.unsent of what is stored

  constructor({ config, url, storage, now = Date.now, WebSocket = globalThis.WebSocket, fetch, timing, timers = globalThis, random = Math.random } = {}) {
    this.#now = now;
    this.#timers = timers;
    this.#timing = { ...usual, ...timing };
    this.#fetch = fetch ?? ((...a) => globalThis.fetch(...a));
    this.#local = storage?.local ?? storage ?? safely(() => globalThis.localStorage);
    this.#session = storage?.session ?? storage ?? safely(() => globalThis.sessionStorage);
    this.config = { ws: "/ws", ...config };
    const where = () => url ?? new URL(this.config.ws, globalThis.location.href).href.replace(/^http/, "ws");
    this.#link = new Link({
      url: where, WebSocket, now, random, timers, timing: this.#timing,
      login: () => this.#login(),
      push: (frame) => this.#push(frame),
      pong: () => this.#pong(),
      lost: (code) => this.#lost(code),
      state: (connection, retryAt) => this.#set({ connection, retryAt }, "connection"),
    });
    this.#outbox = new Outbox({
      model: this.#model, link: this.#link, time: () => this.time(), timers, timing: this.#timing,
      upload: (file) => this.#upload(file), unsure: (key, id) => this.#again(key, [id]), tell: () => this.#tell(),
    });
    globalThis.addEventListener?.("online", () => this.#link.poke());
    globalThis.addEventListener?.("offline", () => this.#link.doubt());
    const kept = this.#stored(sessionKey);
    if (!kept) return;
    this.#credentials = kept;
    this.#set({ phase: "signing-in" });
    this.#link.start();
  }

  // ---- what others see

  get state() { return this.#model.state; }

  // subscribe calls f(state, changes) after changes, at most once a task; it returns what ends that.
  subscribe(f) {
    this.#listeners.add(f);
    return () => this.#listeners.delete(f);
  }

  // on calls f for each event of a name: "message" ({key, message}), for each that somebody else has just written.
  on(name, f) {
    if (!this.#events.has(name)) this.#events.set(name, new Set());
    this.#events.get(name).add(f);
    return () => this.#events.get(name).delete(f);
  }

  #emit(name, event) { for (const f of this.#events.get(name) ?? []) guarded(() => f(event)); }

  // tell has the subscribers called: soon after a quiet time, and no more than once in a frame.
  #tell() {
    if (this.#kept !== this.#model.unsent) queueMicrotask(() => this.#keep());
    if (this.#due) return;
    this.#due = true;
    const wait = this.#flushed + this.#timing.frame - this.#now();
    if (wait > 0 && wait <= this.#timing.frame) this.#timers.setTimeout(() => this.#flush(), wait); else queueMicrotask(() => this.#flush());
  }

  #flush() {
    this.#due = false;
    this.#flushed = this.#now();
    const changes = this.#model.take();
    if (!changes.size) return;
    const state = this.#model.state;
    for (const f of this.#listeners) guarded(() => f(state, changes));
  }

  #set(change, name) {
    this.#model.set(change, name);
    this.#tell();
  }

  // time is the server's, in ms.
  time() { return this.#now() + this.#skew; }

  // ---- signing in and out

  // signIn logs in with a name and a password.
  signIn(name, password, { remember = false } = {}) {
    if (this.state.phase !== "signed-out") return Promise.reject(new Refused("busy"));
    this.#credentials = { name, password: md5(password), remember };
    this.#set({ phase: "signing-in", signInError: null });
    return new Promise((resolve, reject) => {
      this.#signing = { resolve, reject };
      this.#link.start();
    });
  }

  // back takes up a session again that was ended: at once where another took its place, else by signing in.
  async back() {
    if (this.state.phase !== "ended") return;
    if (this.state.ended.reason !== "replaced" || !this.#credentials) {
      this.#leave(null);
      return;
    }
    this.#set({ phase: "signing-in", ended: null });
    this.#link.start();
  }

  // signOut says goodbye and forgets all.
  async signOut() {
    if (this.#link.up) {
      const goodbye = this.#link.request("IMLogoutReq").catch(() => {});
      await Promise.race([goodbye, new Promise((done) => { this.#timers.setTimeout(done, 2000); })]);
    }
    this.#store(outboxKey + this.#user, null);
    this.#forget("name");
    this.#leave(null);
  }

  #login() {
    const { name, password, token } = this.#credentials;
    this.#link.request("IMLoginReq", {
      userName: token ? "" : name, password: token ? "" : password, onlineStatus: "USER_STATUS_ONLINE", clientType: "CLIENT_TYPE_WEB",
      clientVersion: "godwit-web", features, syncToken: this.#syncToken, ...token && { resumeToken: token },
    }, ({ command, body }) => {
      if (command === "SyncRsp") return this.#sync(body);
      if (body.resultCode !== NONE) {
        this.#refused(body.resultCode);
        return true;
      }
      this.#accepted(body);
      return false;
    }).catch(() => {}); // the connection ends with it, and lost is called
  }

  #accepted(body) {
    this.#skew = body.serverTime * 1000 - this.#now();
    const user = body.userInfo;
    if (this.#user !== user.userId) this.#begin(user.userId);
    this.#model.login(user);
    const { name, remember, password } = this.#credentials;
    if (body.resumeToken) {
      this.#credentials = { name: user.userRealName || name, token: body.resumeToken, remember };
      // Another tab may have signed in somebody else since: the browser keeps that session, and this page its own.
      const other = !this.#signing && safely(() => JSON.parse(this.#local.getItem(sessionKey)).name !== this.#credentials.name);
      this.#store(sessionKey, this.#credentials, other);
    } else {
      this.#credentials = { name, password, remember }; // a server without tokens is given the password again
    }
    if (this.state.phase === "signing-in") this.#outbox.restore(this.#stored(outboxKey + user.userId) ?? []);
    this.#link.accepted();
    if (this.state.phase !== "ready") this.#set({ phase: "ready", signInError: null, ended: null });
    this.#signing?.resolve();
    this.#signing = null;
  }

  // begin is a new user's empty state.
  #begin(user) {
    const { phase, connection } = this.state;
    this.#model.forget();
    this.#outbox.forget();
    this.#model.set({ phase, connection });
    this.#user = user;
    this.#syncToken = "";
    this.#directoryTime = this.#departmentsTime = 0;
    this.#wanted = { directory: true, departments: true, friends: true, groups: new Set() };
    for (const all of [this.#stale, this.#reads, this.#readsBefore, this.#received]) all.clear();
  }

  #refused(result) {
    const code = { REFUSE_REASON_DB_VALIDATE_FAILED: "wrong", REFUSE_REASON_MSG_SERVER_FULL: "full" }[result] ?? "busy";
    if (this.#signing) this.#failed(code);
    else if (code === "wrong") this.#leave("expired");
    else this.#link.fail(1013);
  }

  // failed ends an attempt to sign in.
  #failed(code) {
    this.#link.stop();
    this.#credentials = null;
    this.#set({ phase: "signed-out", signInError: { code, text: signInTexts[code] } });
    this.#signing.reject(new Refused(code, signInTexts[code]));
    this.#signing = null;
  }

  // leave goes back to the page on which people sign in.
  #leave(code) {
    this.#link.stop();
    this.#down();
    this.#forget("token");
    this.#credentials = null;
    this.#signing?.reject(new Refused("signed-out"));
    this.#signing = null;
    this.#begin(0);
    this.#set({ phase: "signed-out", signInError: code && { code, text: signInTexts[code] } });
  }

  #end(reason) {
    this.#link.stop();
    this.#down();
    if (reason !== "replaced") {
      this.#forget("token");
      this.#credentials = null;
    }
    this.#set({ phase: "ended", ended: { reason, at: this.#now() } });
  }

  #lost(code) {
    this.#down();
    if (ends[code]) this.#end(ends[code]);
    else if (this.#signing) this.#failed(code === 4006 ? "wrong" : code === 1013 ? "busy" : "unreachable");
    else if (code === 4006) this.#leave("expired");
  }

  // down is what is over with a connection.
  #down() {
    this.#outbox.stop();
    this.#met.clear();
    this.#here.clear();
    this.#typed.clear();
    this.#model.quiet();
    this.#timers.clearTimeout(this.#receiving);
    this.#receiving = null;
    this.#tell();
  }

  // ---- keeping in step

  #sync(body) {
    for (const [key, ids] of this.#model.sync(body)) this.#again(key, ids);
    this.#syncToken = body.syncToken;
    for (const e of body.entries ?? []) {
      const c = this.#model.conversation(keyOf(e.sessionType, e.sessionId));
      if (c.newest && !c.newest.state && c.latest > c.read) this.#receive(c);
    }
    if (body.directoryChanged) this.#wanted.directory = true;
    if (body.departmentsChanged) this.#wanted.departments = true;
    if (body.friendsChanged) this.#wanted.friends = true;
    this.#tell();
    if (body.more) return false;
    if (!this.state.synced) this.#set({ synced: true }, "conversations");
    for (const [key, id] of [...this.#readsBefore, ...this.#reads]) this.#sayRead(key, id);
    this.#outbox.go();
    this.#groups();
    this.#people();
    this.#departments();
    this.#friends();
    for (const key of this.#stale.keys()) this.#refetch(key);
    if (this.state.open) this.#fill(this.state.open);
    return true;
  }

  // chore does something in the background, one at a time of a name; asked for meanwhile, it is done once more. What a lost
  // connection leaves undone is done after the next sync.
  async #chore(name, f) {
    const running = this.#chores.get(name);
    if (running) {
      running.again = true;
      return;
    }
    const chore = { again: true };
    this.#chores.set(name, chore);
    try {
      while (chore.again && this.#link.up) {
        chore.again = false;
        await f();
        this.#tell();
      }
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
    } finally {
      this.#chores.delete(name);
    }
  }

  #groups() {
    return this.#chore("groups", async () => {
      const { groups: wanted } = this.#wanted;
      this.#wanted.groups = new Set();
      const list = [];
      for (const c of this.#model.conversations()) {
        if (c.type !== "group" || !c.known || c.left) continue;
        const version = this.#model.group(c.id)?.version ?? 0;
        if (wanted.has(c.id) || version === 0 || version < c.version) list.push({ groupId: c.id, version });
      }
      for (const some of chunks(list, 500)) {
        await this.#link.list("IMGroupInfoListReq", { groupVersionList: some }, (body) => {
          this.#model.groups(body.groupInfoList ?? []);
          this.#tell();
        });
      }
      if (list.length) this.#people();
    });
  }

  // people asks for the directory, for those who are not in it but somewhere else, and who is online.
  #people() {
    return this.#chore("people", async () => {
      if (this.#wanted.directory) {
        await this.#link.list("IMAllUserReq", { latestUpdateTime: this.#directoryTime }, (body) => {
          this.#model.people(body.userList ?? []);
          this.#directoryTime = Math.max(this.#directoryTime, body.latestUpdateTime);
          this.#tell();
        });
        this.#wanted.directory = false;
      }
      const unknown = new Set();
      const meet = (id) => { if (id && !this.#met.has(id) && !this.#model.knows(id)) unknown.add(id); };
      for (const c of this.#model.conversations()) {
        if (c.type === "single") meet(c.id);
        else this.#model.group(c.id)?.members.forEach(meet);
        meet(c.newest?.from);
        if (c.key === this.state.open) c.window.forEach((m) => meet(m.from));
      }
      this.state.friends.forEach((_, id) => meet(id));
      this.state.blocked.forEach(meet);
      for (const some of chunks([...unknown], 500)) {
        some.forEach((id) => this.#met.add(id));
        const { userInfoList } = await this.#link.request("IMUsersInfoReq", { userIdList: some });
        this.#model.people(userInfoList ?? []);
        this.#tell();
      }
      for (const some of chunks(this.#model.numbers().filter((id) => !this.#here.has(id)), 5000)) {
        some.forEach((id) => this.#here.add(id));
        const { userStatList } = await this.#link.request("IMUsersStatReq", { userIdList: some });
        this.#model.presence(userStatList ?? []);
        this.#tell();
      }
    });
  }

  #departments() {
    return this.#chore("departments", async () => {
      if (!this.#wanted.departments) return;
      await this.#link.list("IMDepartmentReq", { latestUpdateTime: this.#departmentsTime }, (body) => {
        this.#model.departments(body.deptList ?? []);
        this.#departmentsTime = Math.max(this.#departmentsTime, body.latestUpdateTime);
      });
      this.#wanted.departments = false;
    });
  }

  #friends() {
    return this.#chore("friends", async () => {
      if (!this.#wanted.friends) return;
      const answers = [];
      await this.#link.request("FriendListReq", {}, ({ body }) => {
        answers.push(body);
        return !body.more;
      });
      this.#model.friends(answers);
      this.#wanted.friends = false;
      this.#people();
    });
  }

  // again notes messages that have to be asked for anew.
  #again(key, ids) {
    const all = this.#stale.get(key) ?? new Set();
    ids.forEach((id) => all.add(id));
    this.#stale.set(key, all);
    if (this.#link.up && this.state.synced) this.#refetch(key);
  }

  #refetch(key) {
    return this.#chore("messages " + key, async () => {
      const all = this.#stale.get(key);
      if (!all) return;
      const c = this.#model.conversation(key);
      const ids = [...all].filter((id) => c && (id === c.newest?.id || id >= (c.window[0]?.id ?? Infinity)));
      all.forEach((id) => { if (!ids.includes(id)) all.delete(id); });
      while (ids.length) {
        const some = ids.slice(0, 100);
        const { msgList = [] } = await this.#link.request("IMGetMsgByIdReq", { ...address(key), msgIdList: some });
        this.#model.changed(key, msgList);
        this.#tell();
        // An answer ends where it is full; what is not in an empty one there is not.
        const done = new Set(msgList.length ? msgList.map((m) => m.msgId) : some);
        done.forEach((id) => all.delete(id));
        ids.splice(0, ids.length, ...ids.filter((id) => !done.has(id)));
      }
      if (!all.size) this.#stale.delete(key);
    });
  }

  async #history(key, begin, msgCnt = pageSize) {
    const { msgList = [] } = await this.#link.request("IMGetMsgListReq", { ...address(key), msgIdBegin: begin, msgCnt });
    return msgList.reverse();
  }

  // fill brings the window of the open conversation up to the newest message, and back to the first unread one, a page at least.
  async #fill(key) {
    const c = this.#model.conversation(key);
    if (!c || !this.#link.up || !this.state.synced) return;
    if (c.latest === 0 || c.left) {
      if (!c.complete) this.#model.update(key, { complete: true });
    } else if (this.#model.missing(key)) {
      await this.#load(key, async () => {
        let page = [];
        for (let begin = 0, i = 0; i < bridge; i++) {
          const list = await this.#history(key, begin);
          page = [...list, ...page];
          const first = list[0]?.msgId ?? 0, last = c.window.at(-1)?.id;
          if (first <= 1 || last === undefined || first <= last + 1) break;
          begin = first - 1;
        }
        this.#model.page(key, page, 0);
        if (!page.length) this.#model.update(key, { complete: true });
        await this.#back(key, c.read + 1);
      });
    } else if (!c.complete && (c.window.length < pageSize || c.window[0].id > c.read + 1)) {
      // The first unread message is where one goes on reading, so it is to be there too, unless it is far.
      await this.#load(key, () => this.#back(key, c.read + 1));
    }
    this.#see();
  }

  // loadOlder asks for the page of messages before those that are held, or goes back towards the one with an id.
  async loadOlder(key, id) {
    if (id) await this.#filling.get(key)?.done;
    const c = this.#model.conversation(key);
    if (!c || c.complete) return;
    await this.#load(key, () => id ? this.#back(key, id) : this.#older(key));
  }

  // back loads the history down to an id, and a page at least, in so many steps as nobody minds to wait for.
  async #back(key, id) {
    const c = this.#model.conversation(key);
    for (let i = 0; i < reach && !c.complete; i++) {
      const lacking = (c.window[0]?.id ?? 0) - id;
      if (lacking <= 0 && c.window.length >= pageSize) return;
      await this.#older(key, Math.min(Math.max(lacking, pageSize), mostPage));
    }
  }

  async #older(key, count) {
    const c = this.#model.conversation(key);
    const before = c.window[0]?.id ?? 0;
    this.#model.page(key, await this.#history(key, before && before - 1, count), before);
    if (!before && !c.window.length) this.#model.update(key, { complete: true });
  }

  // load runs what loads messages of a conversation, one at a time.
  #load(key, f) {
    const running = this.#filling.get(key);
    if (running) {
      running.again = true;
      return;
    }
    const job = { again: false };
    this.#filling.set(key, job);
    return job.done = this.#loading(key, f, job);
  }

  async #loading(key, f, job) {
    this.#model.update(key, { loading: true, error: null });
    this.#tell();
    let error = null;
    try {
      await f();
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      error = e.code;
    } finally {
      const again = job.again && !error && key === this.state.open;
      this.#filling.delete(key);
      if (this.#model.conversation(key)) this.#model.update(key, { loading: false, error });
      this.#tell();
      if (again) this.#fill(key);
    }
  }

  // ---- what comes unasked

  #push({ command, body }) {
    const model = this.#model;
    switch (command) {
      case "IMMsgData": this.#arrived(body); break;
      case "IMMsgDataReadNotify": model.read(keyOf(body.sessionType, body.sessionId), body.msgId); break;
      case "IMUserStatNotify": model.presence([body.userStat]); break;
      case "IMAvatarChangedNotify": model.profile(body.changedUserId, { avatar: body.avatarUrl }); break;
      case "IMSignInfoChangedNotify": model.profile(body.changedUserId, { signature: body.signInfo }); break;
      case "IMRemoveSessionNotify": model.removed(keyOf(body.sessionType, body.sessionId)); break;
      case "IMGroupChangeMemberNotify":
        if (model.members(body.groupId, body.curUserIdList ?? [], this.#seconds())) this.#regroup(body.groupId);
        if (this.state.open === "g" + body.groupId) this.#fill(this.state.open); // who comes back begins anew
        break;
      case "GroupNotify":
        if (body.dissolved) {
          model.gone(body.groupId);
        } else {
          model.regroup(body.groupId, { name: body.groupName, avatar: local(body.groupAvatar), admin: body.administratorId });
          this.#regroup(body.groupId);
        }
        break;
      case "MessageChangedNotify": {
        const key = keyOf(body.sessionType, body.sessionId);
        if (body.message.text === undefined && !body.message.recalled) this.#again(key, [body.message.msgId]);
        else model.changed(key, [body.message]);
        break;
      }
      case "ReceiptNotify": model.receipt(body); break;
      case "TypingNotify": this.#types(keyOf(body.sessionType, body.sessionId), body.userId, body.typing); break;
      case "FriendNotify":
        model.friend(body.userId, body.action, !!body.own, body.text, this.#seconds());
        this.#befriended(body.action);
        break;
      case "ServerNotify": this.#served(body); break;
      case "IMKickUser": this.#end(body.kickReason === "KICK_REASON_MOBILE_KICK" ? "phone" : "replaced"); break;
      default: return;
    }
    this.#tell();
  }

  #seconds() { return Math.floor(this.time() / 1000); }

  #arrived(body) {
    const got = this.#model.arrive(body);
    if (!got) return;
    const { key, message } = got;
    const c = this.#model.conversation(key);
    if (!this.#model.knows(message.from) && !this.#met.has(message.from)) this.#people();
    if (c.type === "group" && !this.#model.group(c.id)) this.#regroup(c.id);
    if (key === this.state.open) {
      this.#see();
      if (this.#atEnd) this.#model.trim(key);
    }
    if (message.state) return;
    if (c.latest > c.read) this.#receive(c);
    this.#emit("message", { key, message });
    // An own acknowledgement may come before a message that stands before it: its hole is filled by then.
    if (c.ahead.length) this.#timers.setTimeout(() => { if (c.ahead.length && key === this.state.open) this.#fill(key); }, this.#timing.hole);
  }

  #regroup(id) {
    this.#model.update("g" + id, { known: true });
    this.#wanted.groups.add(id);
    this.#groups();
  }

  #befriended(action) {
    if (/ACCEPT|REMOVE/.test(action) && this.config.contacts === "friends") this.#wanted.directory = true;
    this.#people();
  }

  #served({ state, retryAfterSeconds }) {
    const connection = { SERVER_STATE_UNAVAILABLE: "unavailable", SERVER_STATE_LEAVING: "leaving" }[state] ?? "online";
    const pause = (retryAfterSeconds ?? 0) * 1000;
    this.#set({ connection, retryAt: connection === "leaving" && pause ? this.#now() + pause : null }, "connection");
    if (connection === "leaving" && pause) this.#link.again(pause);
    this.#outbox.again();
  }

  #pong() {
    this.#readsBefore = this.#reads; // what was told before the last heartbeat has come in
    this.#reads = new Map();
    if (this.state.connection === "online" && this.#outbox.late(this.#timing.ack)) this.#link.fail();
  }

  // ---- marks

  // setVisible says whether somebody looks: only then is what is open read.
  setVisible(visible) {
    this.#visible = visible;
    if (!visible) return;
    this.#link.poke();
    this.#see();
  }

  // setAtEnd says whether the newest message of what is open is in view: only then is it read.
  setAtEnd(atEnd) {
    this.#atEnd = atEnd;
    if (atEnd) this.#see();
  }

  // see reads what is open and seen.
  #see() {
    const c = this.#model.conversation(this.state.open);
    if (!c || !this.#visible || !this.#atEnd || !this.state.synced || c.loading) return;
    // Of a group that one came to later there may be nothing to be seen at all.
    if (c.latest > c.read && (!this.#model.missing(c.key) || c.complete && !c.window.length)) this.markRead(c.key);
  }

  // markRead reads all of a conversation.
  markRead(key) {
    const c = this.#model.conversation(key);
    if (!c || c.latest <= c.read) return;
    this.#model.read(key, c.latest);
    this.#sayRead(key, c.latest);
    this.#tell();
  }

  // sayRead tells it, and once more after a reconnect, since nothing answers it.
  #sayRead(key, msgId) {
    this.#received.delete(key);
    this.#reads.set(key, msgId);
    this.#link.send("IMMsgDataReadAck", { ...address(key), msgId });
  }

  // receive tells, with others, that the messages of a conversation have come in.
  #receive(c) {
    this.#received.set(c.key, c.latest);
    this.#receiving ??= this.#timers.setTimeout(() => {
      this.#receiving = null;
      for (const [key, msgId] of this.#received) this.#link.send("ReceivedReq", { ...address(key), msgId });
      this.#received.clear();
    }, this.#timing.received);
  }

  // typing says that the user types in a conversation, or has ended to.
  typing(key, on) {
    const told = this.#typed.get(key);
    if (on ? told !== undefined && this.#now() - told < this.#timing.typingEvery : told === undefined) return;
    if (on) this.#typed.set(key, this.#now()); else this.#typed.delete(key);
    this.#link.send("TypingReq", { ...address(key), typing: !!on });
  }

  #types(key, user, on) {
    const id = key + "/" + user;
    this.#timers.clearTimeout(this.#typists.get(id));
    this.#typists.delete(id);
    this.#model.typing(key, user, on);
    if (!on) return;
    this.#typists.set(id, this.#timers.setTimeout(() => {
      this.#typists.delete(id);
      this.#model.typing(key, user, false);
      this.#tell();
    }, this.#timing.typingFor));
  }

  // receipts are who has read a message, and who has received it and not read.
  async receipts(key, id) {
    const { read = [], delivered = [] } = await this.#link.request("ReceiptsReq", { ...address(key), msgId: id });
    return { read, delivered };
  }

  // ---- conversations

  // open shows a conversation, and has its messages loaded; null, or what is no key, shows none.
  open(key) {
    if (!/^[ug]\d+$/.test(key)) key = null;
    const before = this.state.open;
    if (key) this.#model.update(key, {});
    this.#set({ open: key }, "conversations");
    if (before && before !== key) this.#model.trim(before);
    return key ? this.#fill(key) : Promise.resolve();
  }

  setDraft(key, text) {
    this.#model.draft(key, text);
    this.#tell();
  }

  async removeConversation(key) {
    await this.#link.request("IMRemoveSessionReq", { ...address(key) });
    this.#model.removed(key);
    this.#tell();
  }

  // send takes a text; it gives its client id as soon as it is shown. What becomes of it is the message's state.
  async send(key, text) {
    const id = this.#outbox.add(key, text);
    this.#typed.delete(key);
    this.#tell();
    return id;
  }

  // sendPicture takes an image file; as send.
  async sendPicture(key, file) {
    const id = this.#outbox.addFile(key, file);
    this.#tell();
    return id;
  }

  async retry(key, clientId) {
    this.#outbox.retry(key, clientId);
    this.#tell();
  }

  async discard(key, clientId) {
    this.#outbox.discard(key, clientId);
    this.#tell();
  }

  async edit(key, id, text) {
    await this.#ask("EditReq", { ...address(key), msgId: id, text });
    this.#amended(key, id, (m) => ({ text, edits: m.edits + 1 }));
  }

  async recall(key, id) {
    await this.#ask("RecallReq", { ...address(key), msgId: id });
    this.#amended(key, id, () => ({ recalled: true }));
  }

  #amended(key, id, change) {
    const m = this.#model.message(key, id);
    if (!m) return;
    this.#model.changed(key, [{
      msgId: id, fromSessionId: m.from, createTime: m.time, msgType: "MSG_TYPE_SINGLE_TEXT", clientMessageId: m.clientId, edits: m.edits, ...change(m),
    }]);
    this.#tell();
  }

  // search finds people, groups and messages by a part of what is loaded, at most 50 of each.
  search(query) {
    const found = { people: [], groups: [], messages: [] };
    const wanted = query.trim().toLowerCase();
    if (!wanted) return found;
    const has = (...texts) => texts.some((t) => t && t.toLowerCase().includes(wanted));
    const { people, friends, groups, conversations, order } = this.state;
    for (const p of people.values()) {
      if (found.people.length < 50 && !p.left && has(p.nick, p.name, p.email, p.phone, friends.get(p.id)?.remark)) found.people.push(p.id);
    }
    for (const g of groups.values()) {
      if (found.groups.length < 50 && !conversations.get("g" + g.id)?.left && has(g.name)) found.groups.push(g.id);
    }
    for (const key of order) {
      const { messages } = conversations.get(key);
      for (let i = messages.length - 1; i >= 0 && found.messages.length < 50; i--) {
        if (messages[i].id && has(messages[i].text)) found.messages.push({ key, id: messages[i].id });
      }
    }
    return found;
  }

  // ---- groups

  async createGroup(name, ids) {
    const userIdList = [...new Set([this.#user, ...ids])];
    const body = await this.#ask("IMGroupCreateReq", {
      groupType: "GROUP_TYPE_TMP", groupName: name, groupAvatar: "", memberIdList: userIdList,
    });
    this.#model.members(body.groupId, body.userIdList ?? [this.#user], this.#seconds());
    this.#model.groups([{
      groupId: body.groupId, version: 1, groupName: name, groupCreatorId: this.#user, groupType: "GROUP_TYPE_TMP", groupMemberList: body.userIdList ?? [this.#user],
    }]);
    this.#tell();
    return "g" + body.groupId;
  }

  addMembers(id, ids) { return this.#change(id, "GROUP_MODIFY_TYPE_ADD", ids); }
  removeMembers(id, ids) { return this.#change(id, "GROUP_MODIFY_TYPE_DEL", ids); }
  leaveGroup(id) { return this.removeMembers(id, [this.#user]); }

  async #change(groupId, changeType, memberIdList) {
    const body = await this.#ask("IMGroupChangeMemberReq", { changeType, groupId, memberIdList });
    if (this.#model.members(groupId, body.curUserIdList ?? [], this.#seconds())) this.#regroup(groupId);
    this.#tell();
  }

  renameGroup(id, name) { return this.#update(id, { groupName: name }, { name }); }
  setAdministrator(id, user) { return this.#update(id, { administratorId: user }, { admin: user }); }

  async dissolveGroup(id) {
    await this.#ask("GroupUpdateReq", { groupId: id, dissolve: true });
    this.#model.gone(id);
    this.#tell();
  }

  async #update(groupId, wish, change) {
    await this.#ask("GroupUpdateReq", { groupId, ...wish });
    this.#model.regroup(groupId, change);
    this.#regroup(groupId);
    this.#tell();
  }

  async muteGroup(groupId, muted) {
    await this.#ask("IMGroupShieldReq", { groupId, shieldStatus: muted ? 1 : 0 });
    this.#model.regroup(groupId, { muted });
    this.#tell();
  }

  // ---- people

  // friend does something between the user and another: request, accept, refuse, withdraw, remove, remark, block, unblock.
  async friend(what, id, text = "") {
    const action = "FRIEND_ACTION_" + what.toUpperCase();
    const crossed = what === "request" && this.state.friends.get(id)?.state === "asked-me"; // both have asked
    const { refusal } = await this.#ask("FriendReq", { userId: id, action, ...text && { text } });
    if (refusal === "REFUSAL_NO_EFFECT") { // what is known here is old
      this.#wanted.friends = true;
      await this.#friends();
      return;
    }
    this.#model.friend(id, crossed ? "FRIEND_ACTION_ACCEPT" : action, true, text, this.#seconds());
    this.#befriended(crossed ? "ACCEPT" : action);
    this.#tell();
  }

  async setSignature(text) {
    const { signInfo = text } = await this.#ask("IMChangeSignInfoReq", { signInfo: text });
    this.#model.profile(this.#user, { signature: signInfo });
    this.#tell();
  }

  async setAvatar(file) {
    const avatar = await this.#upload(file);
    await this.#ask("IMChangeAvatarReq", { avatarUrl: avatar });
    this.#model.profile(this.#user, { avatar });
    this.#tell();
  }

  // ---- help

  // ask is a request whose answer may be a refusal.
  async #ask(command, body) {
    const answer = await this.#link.request(command, body);
    if (answer.refusal && answer.refusal !== "REFUSAL_NONE" && answer.refusal !== "REFUSAL_NO_EFFECT") {
      throw new Refused(answer.refusal.replace("REFUSAL_", "").toLowerCase());
    }
    if (answer.resultCode) throw new Refused("refused");
    return answer;
  }

  // upload stores an image and gives its address. A code "offline" says that it may be tried again.
  async #upload(file) {
    if (file.size > maxPicture) throw new Refused("too_large");
    const { width, height } = await globalThis.createImageBitmap(file).catch(() => ({}));
    const extension = { "image/png": "png", "image/jpeg": "jpg", "image/gif": "gif" }[file.type] ?? /\.(\w{1,15})$/.exec(file.name)?.[1] ?? "png";
    const form = new FormData();
    form.append("file", file, `picture${width ? `_${width}x${height}` : ""}.${extension}`);
    const { token } = this.#credentials ?? {};
    let answer;
    try {
      const response = await this.#fetch("/", { method: "POST", body: form, signal: AbortSignal.timeout(this.#timing.upload), headers: token ? { Authorization: "Bearer " + token } : {} });
      answer = await response.json();
    } catch {
      throw new Refused("offline", "The picture could not be sent.");
    }
    if (answer.url) return answer.url;
    throw new Refused({ 1: "too_large", 12: "malformed", 13: "not_allowed", 14: "full", 15: "busy" }[answer.error_code] ?? "refused", answer.error_msg);
  }

  // keep stores what is not sent yet, so that a page that is loaded again sends it, and drafts.
  #keep() {
    if (this.#kept === this.#model.unsent || !this.#user || this.state.phase === "ended") return;
    this.#kept = this.#model.unsent;
    const list = this.#outbox.saved();
    this.#store(outboxKey + this.#user, list.length ? list : null);
  }

  #stored(key) {
    const text = safely(() => this.#session.getItem(key)) ?? safely(() => this.#local.getItem(key));
    return text ? safely(() => JSON.parse(text)) : null;
  }

  // store keeps something for as long as the user wants to stay signed in, or as the page lives; null forgets it.
  #store(key, value, page = false) {
    const keep = page || !this.#credentials?.remember ? this.#session : this.#local;
    for (const store of [this.#local, this.#session]) {
      safely(() => {
        if (value !== null && store === keep) store.setItem(key, JSON.stringify(value));
        else if (key !== sessionKey || store === this.#session) store.removeItem(key);
      });
    }
  }

  // forget takes away the stored session, where it is the one with this token, or of this name: another tab may have begun another.
  #forget(field) {
    for (const store of [this.#local, this.#session]) {
      safely(() => JSON.parse(store.getItem(sessionKey))[field] === this.#credentials[field] && store.removeItem(sessionKey));
    }
  }
}

// safely is what f gives, or undefined where the browser does not allow it.
function safely(f) {
  try {
    return f();
  } catch {
    return undefined;
  }
}

function guarded(f) {
  try {
    f();
  } catch (e) {
    if (globalThis.reportError) globalThis.reportError(e); else throw e;
  }
}
