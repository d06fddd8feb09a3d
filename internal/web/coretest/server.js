// A server of the protocol in little, which keeps what is written and may lose any connection at any step.

const NONE = "REFUSE_REASON_NONE";

export class Server {
  calm = false; // loses nothing any more
  change = 0;
  conversations = new Map(); // "1-2" or "g5" -> conversation
  sessions = new Set();
  repeats = 0;
  refusals = 0;
  cuts = 0;

  constructor(world, users, { loss = 0.02 } = {}) {
    this.world = world;
    this.users = users;
    this.loss = loss;
  }

  lucky() { return this.calm || !this.world.chance(this.loss); }

  // ---- conversations

  of(user, type, id) {
    if (type === "SESSION_TYPE_GROUP") return this.conversations.get("g" + id);
    const name = Math.min(user, id) + "-" + Math.max(user, id);
    if (!this.conversations.has(name)) this.#make(name, [user, id]);
    return this.conversations.get(name);
  }

  #make(name, members) {
    this.conversations.set(name, {
      name, members, group: name[0] === "g" ? Number(name.slice(1)) : 0, messages: [], changed: new Map(), read: new Map(), change: 0,
      removed: new Set(), byId: new Map(),
    });
    return this.conversations.get(name);
  }

  group(id, members) {
    const c = this.#make("g" + id, members);
    c.change = ++this.change;
  }

  // seen is how a user names a conversation.
  seen(c, user) {
    return c.group ? { sessionId: c.group, sessionType: "SESSION_TYPE_GROUP" } :
      { sessionId: c.members.find((m) => m !== user) ?? user, sessionType: "SESSION_TYPE_SINGLE" };
  }

  info(m) {
    const info = {
      msgId: m.id, fromSessionId: m.from, createTime: m.time, msgType: m.type, msgData: "eA==", text: m.text,
      ...m.edits && { edits: m.edits }, ...m.recalled && { recalled: true }, ...m.clientId && { clientMessageId: m.clientId },
    };
    return info;
  }

  // write stores a message and tells all but one session.
  write(user, c, text, clientId = "", except = null) {
    const m = {
      id: c.messages.length + 1, from: user, text, clientId, edits: 0, recalled: false, time: Math.floor(this.world.time / 1000),
      type: c.group ? "MSG_TYPE_GROUP_TEXT" : "MSG_TYPE_SINGLE_TEXT",
    };
    c.messages.push(m);
    if (clientId) c.byId.set(user + clientId, m);
    c.read.set(user, m.id);
    c.change = ++this.change;
    if (!c.group) c.removed.clear();
    c.removed.delete(user);
    const ack = () => {
      for (const s of this.sessions) {
        if (s === except || !c.members.includes(s.user)) continue;
        const to = c.group || c.members.find((u) => u !== user);
        const { fromSessionId, ...rest } = this.info(m);
        s.push("IMMsgData", { ...rest, fromUserId: user, toSessionId: to });
      }
    };
    return { m, tell: ack };
  }

  say(user, type, id, text) { this.write(user, this.of(user, type, id), text).tell(); }

  read(user, c, id, except = null) {
    if (id <= (c.read.get(user) ?? 0)) return;
    c.read.set(user, Math.min(id, c.messages.length));
    c.change = ++this.change;
    for (const s of this.sessions) {
      if (s === except || !c.members.includes(s.user)) continue;
      if (s.user === user) s.push("IMMsgDataReadNotify", { userId: user, msgId: id, ...this.seen(c, user) });
      else s.push("ReceiptNotify", { userId: user, readMsgId: id, ...this.seen(c, s.user) });
    }
  }

  amend(user, c, id, text, except = null) {
    const m = c.messages[id - 1];
    if (!m || m.recalled) return "REFUSAL_NO_SUCH_MESSAGE";
    if (m.from !== user) return "REFUSAL_NOT_ALLOWED";
    if (text === null) Object.assign(m, { recalled: true, text: "recalled" });
    else Object.assign(m, { text, edits: m.edits + 1 });
    c.changed.set(id, c.change = ++this.change);
    for (const s of this.sessions) {
      if (s === except || !c.members.includes(s.user)) continue;
      const message = this.info(m);
      if (c.group && text !== null) Object.assign(message, { text: undefined, msgData: "" });
      s.push("MessageChangedNotify", { ...this.seen(c, s.user), message });
    }
    return "REFUSAL_NONE";
  }

  entries(user, since) {
    const list = [...this.conversations.values()].filter((c) => c.members.includes(user) && c.change > since && (c.group || c.messages.length));
    list.sort((a, b) => a.change - b.change);
    return list.map((c) => {
      const latest = c.messages.at(-1);
      const info = latest && this.info(latest);
      if (latest?.text.length > 20 && !latest.recalled) Object.assign(info, { text: undefined, msgData: "" });
      const peer = c.members.find((m) => m !== user);
      return [c.change, {
        ...this.seen(c, user), latestMsgId: c.messages.length, readMsgId: c.read.get(user) ?? 0, updatedTime: latest?.time ?? 1,
        ...c.removed.has(user) && { removed: true }, ...c.group ? { version: 1 } : { peerRead: c.read.get(peer) ?? 0 },
        ...latest && { latest: info }, changed: [...c.changed].filter(([, at]) => at > since).map(([id]) => id),
      }];
    });
  }

  // socket is the class of WebSockets that lead here.
  socket() {
    const server = this;
    return class {
      constructor() {
        this.readyState = 0;
        new Session(server, this);
      }
      send(data) { this.session.sent(JSON.parse(data)); }
      close() {
        this.readyState = 3;
        this.session.gone = true;
      }
    };
  }
}

class Session {
  user = 0;
  gone = false;
  pushes = [];

  constructor(server, ws) {
    Object.assign(this, { server, ws, up: 0, down: 0 });
    ws.session = this;
    const { world } = server;
    if (!server.lucky() && world.chance(0.5)) {
      if (world.chance(0.7)) this.#later("down", () => this.ws.onclose({ code: 1006 }));
      return; // or nothing ever happens
    }
    this.#later("down", () => {
      ws.readyState = 1;
      server.sessions.add(this);
      ws.onopen({});
    });
  }

  // later does something after a while, in the order of what is done in its direction.
  #later(way, f) {
    const { world } = this.server;
    this[way] = Math.max(this[way], world.time + world.between(0, world.chance(0.1) ? 300 : 20));
    world.at(this[way] - world.time, () => { if (!this.gone) f(); });
  }

  // cut loses the connection; some of the clients don't hear of it.
  cut() {
    if (this.gone) return;
    this.server.cuts++;
    this.server.sessions.delete(this);
    this.gone = true;
    const { world } = this.server;
    if (world.chance(0.8)) {
      world.at(world.between(0, 500), () => {
        if (this.ws.readyState === 3) return;
        this.ws.readyState = 3;
        this.ws.onclose({ code: world.pick([1006, 1001, 1013]) });
      });
    }
  }

  sent(frame) { this.#later("up", () => this.#take(frame)); }

  #out(command, body, seq) {
    if (!this.server.lucky()) this.cut();
    const data = JSON.stringify({ command, seq, body });
    this.#later("down", () => this.ws.onmessage({ data }));
    if (!seq && !this.server.lucky()) this.#later("down", () => this.ws.onmessage({ data })); // twice
  }

  // push sends what was not asked for, somewhat later than acknowledgements.
  push(command, body) {
    if (!this.user) return;
    this.pushes.push([command, body]);
    this.server.world.at(this.server.world.between(0, 60), () => this.#flush(1));
  }

  #flush(n = Infinity) {
    for (const [command, body] of this.pushes.splice(0, n)) this.#out(command, body, 0);
  }

  #answer(command, body, seq) {
    this.#flush();
    this.#out(command, body, seq);
  }

  #take({ command, seq, body }) {
    const { server, user } = this;
    const { world } = server;
    if (!server.lucky()) this.cut();
    if (this.gone) return;
    if (command === "IMLoginReq") {
      this.user = Number(body.resumeToken || body.userName);
      this.#out("IMLoginRes", {
        serverTime: Math.floor(world.time / 1000), resultCode: NONE, userInfo: server.users.get(this.user), features: 15,
        resumeToken: String(this.user), resumeExpires: 1,
      }, seq);
      this.#sync(body.syncToken, seq);
      return;
    }
    if (!user) return;
    const c = body.sessionId && body.sessionType ? server.of(user, body.sessionType, body.sessionId) : null;
    switch (command) {
      case "IMHeartBeat": this.#out(command, {}, seq); break;
      case "IMMsgData": this.#message(body, seq); break;
      case "IMMsgDataReadAck": server.read(user, c, body.msgId, this); break;
      case "IMRemoveSessionReq":
        c.removed.add(user);
        c.read.set(user, c.messages.length);
        c.change = ++server.change;
        this.#answer("IMRemoveSessionRsp", { userId: user, resultCode: 0 }, seq);
        break;
      case "RecallReq": this.#answer("RecallRsp", { refusal: server.amend(user, c, body.msgId, null, this) }, seq); break;
      case "EditReq": this.#answer("EditRsp", { refusal: server.amend(user, c, body.msgId, body.text, this) }, seq); break;
      case "IMGetMsgListReq": {
        const from = body.msgIdBegin || c.messages.length;
        const count = world.chance(0.3) ? world.between(1, 5) : body.msgCnt;
        const list = c.messages.slice(Math.max(0, from - count), from).reverse();
        this.#answer("IMGetMsgListRsp", { ...list.length && { msgList: list.map((m) => server.info(m)) } }, seq);
        break;
      }
      case "IMGetMsgByIdReq": {
        const list = body.msgIdList.filter((id) => c.messages[id - 1]).sort((a, b) => b - a).slice(0, world.between(1, 100));
        this.#answer("IMGetMsgByIdRsp", { msgList: list.map((id) => server.info(c.messages[id - 1])) }, seq);
        break;
      }
      case "IMAllUserReq": {
        const all = [...server.users.values()];
        this.#answer("IMAllUserRsp", { userList: all.slice(0, 2), latestUpdateTime: 1 }, seq);
        this.#answer("IMAllUserRsp", { userList: all.slice(2), latestUpdateTime: 2 }, seq);
        break;
      }
      case "IMUsersInfoReq": this.#answer("IMUsersInfoRsp", { userInfoList: (body.userIdList ?? []).map((id) => server.users.get(id)).filter(Boolean) }, seq); break;
      case "IMUsersStatReq": this.#answer("IMUsersStatRsp", { userStatList: [] }, seq); break;
      case "IMDepartmentReq": this.#answer("IMDepartmentRsp", { latestUpdateTime: 0 }, seq); break;
      case "FriendListReq": this.#answer("FriendListRsp", {}, seq); break;
      case "IMGroupInfoListReq":
        for (const { groupId } of body.groupVersionList) {
          this.#answer("IMGroupInfoListRsp", { groupInfoList: [{
            groupId, version: 1, groupName: "group " + groupId, groupCreatorId: 1, groupType: "GROUP_TYPE_TMP",
            groupMemberList: server.conversations.get("g" + groupId).members,
          }] }, seq);
        }
        break;
    }
  }

  #sync(token, seq) {
    const { server } = this;
    const whole = token === "" || !server.calm && server.world.chance(0.05);
    const all = server.entries(this.user, whole ? -1 : Number(token));
    const end = server.change;
    for (let i = 0; ; i += 2) {
      const part = all.slice(i, i + 2), more = i + 2 < all.length;
      const upTo = more ? part.at(-1)[0] : end;
      this.#answer("SyncRsp", { syncToken: String(upTo), ...i === 0 && whole && { whole }, ...more && { more }, entries: part.map((p) => p[1]) }, seq);
      if (!more) return;
    }
  }

  #message(body, seq) {
    const { server, user } = this;
    const { world } = server;
    const group = /GROUP/.test(body.msgType);
    const sessionType = group ? "SESSION_TYPE_GROUP" : "SESSION_TYPE_SINGLE";
    const c = server.of(user, sessionType, body.toSessionId);
    const names = { userId: user, sessionId: body.toSessionId, sessionType, clientMessageId: body.clientMessageId };
    const unknown = () => {
      server.refusals++;
      this.#out("SendRefused", { ...names, refusal: "REFUSAL_UNKNOWN" }, seq);
    };
    const before = c.byId.get(user + body.clientMessageId);
    if (before) {
      server.repeats++;
      this.#out("IMMsgDataAck", { ...names, msgId: before.id }, seq);
      return;
    }
    if (!server.lucky()) {
      unknown();
      return;
    }
    const { m, tell } = server.write(user, c, body.text, body.clientMessageId, this);
    if (!server.lucky()) {
      this.cut();
    } else if (!server.lucky()) {
      unknown();
    } else {
      this.#out("IMMsgDataAck", { ...names, msgId: m.id, createTime: m.time }, seq);
      if (!server.calm && world.chance(0.05)) this.#out("IMMsgDataAck", { ...names, msgId: m.id, createTime: m.time }, seq);
    }
    tell();
  }
}
