// createApp as its face sees it, against a socket of the test's.

import { createApp } from "/client/core/app.js";
import { timeOf } from "/client/core/ulid.js";
import { equal, ok, rejects, test as plain } from "./harness.js";
import { sockets } from "./socket.js";
import { settle, store, World } from "./world.js";

const ann = { userId: 1, userRealName: "ann", userNickName: "Ann", avatarUrl: "", signInfo: "hi" };
const single = (id) => ({ sessionId: id, sessionType: "SESSION_TYPE_SINGLE" });

let rigs = [];

// test is one after which, in all apps that it made, all that has changed has been told.
const test = (name, f) => plain(name, async () => {
  rigs = [];
  await f();
  for (const r of rigs) {
    await r.world.pass(20);
    ok(r.shown === r.app.state, "something has changed, and nobody was told");
  }
});

// rig is an app and its socket, whose questions have empty answers unless answers has others.
function rig(options = {}) {
  const world = new World(), net = sockets(), storage = options.storage ?? { local: store(), session: store() };
  const answers = {
    IMUsersInfoReq: {}, IMAllUserReq: { latestUpdateTime: 1 }, IMDepartmentReq: { latestUpdateTime: 1 }, FriendListReq: {}, IMUsersStatReq: {},
    IMGroupInfoListReq: {}, IMHeartBeat: {}, IMGetMsgListReq: {}, IMGetMsgByIdReq: {}, IMLogoutReq: {}, ...options.answers,
  };
  class Socket extends net.Socket {
    onsent({ command, seq, body }) {
      const answer = typeof answers[command] === "function" ? answers[command](body) : answers[command];
      if (answer) queueMicrotask(() => this.say(command === "IMHeartBeat" ? command : command.replace(/Req$/, "Rsp"), answer, seq));
    }
  }
  const app = createApp({ config: {}, url: "ws://server/ws", storage, now: world.now, timers: world.timers, random: () => 1, WebSocket: Socket, ...options });
  const r = { world, net, app, storage, answers, shown: app.state };
  app.subscribe((state) => { r.shown = state; });
  rigs.push(r);
  return r;
}

// accept answers the login of the newest connection.
function accept(r, more = {}, sync = {}) {
  r.net.last.open();
  const { seq, body } = r.net.last.asked("IMLoginReq")[0];
  r.net.last.say("IMLoginRes", { serverTime: r.world.time / 1000 + 7200, resultCode: "REFUSE_REASON_NONE", userInfo: ann, features: 15, resumeToken: "token", ...more }, seq);
  if (sync) r.net.last.say("SyncRsp", { syncToken: "s1", ...sync }, seq);
  return body;
}

async function signedIn(options, sync) {
  const r = rig(options);
  const done = r.app.signIn("ann", "12345", { remember: options?.remember });
  accept(r, {}, sync);
  await done;
  await settle();
  return r;
}

test("a login asks for everything in one round trip, and never has the password itself", async () => {
  const r = rig();
  equal([r.app.state.phase, r.app.state.connection], ["signed-out", "offline"]);
  const done = r.app.signIn("ann", "12345");
  equal(r.app.state.phase, "signing-in");
  const body = accept(r, {}, null);
  await done;
  equal([body.userName, body.password, body.clientType, body.features, body.syncToken], ["ann", "827ccb0eea8a706c4c34a16891f84e7b", "CLIENT_TYPE_WEB", 15, ""]);
  equal(body.resumeToken, undefined);
  equal([r.app.state.phase, r.app.state.connection, r.app.state.synced], ["ready", "online", false]);
  equal(r.app.state.me, { id: 1, name: "ann", nick: "Ann", avatar: "", signature: "hi" });
});

test("a login that is refused says why", async () => {
  for (const [result, code] of [["REFUSE_REASON_DB_VALIDATE_FAILED", "wrong"], ["REFUSE_REASON_NO_DB_SERVER", "busy"], ["REFUSE_REASON_MSG_SERVER_FULL", "full"]]) {
    const r = rig();
    const done = r.app.signIn("ann", "no");
    r.net.last.open();
    r.net.last.say("IMLoginRes", { serverTime: 1, resultCode: result }, r.net.last.sent[0].seq);
    await rejects(done, code);
    equal([r.app.state.phase, r.app.state.signInError.code], ["signed-out", code]);
    await r.world.pass(60000);
    equal(r.net.all.length, 1, "nobody tries again by himself");
  }
  const r = rig();
  const done = r.app.signIn("ann", "no");
  r.net.last.shut();
  await rejects(done, "unreachable");
});

test("the session is kept where the user wants it, and a page that is loaded again takes it up", async () => {
  for (const remember of [true, false]) {
    const { storage, net } = await signedIn({ remember });
    equal([storage.local.m.size, storage.session.m.size], remember ? [1, 0] : [0, 1]);
    for (const s of Object.values(storage)) ok(![...s.m.values()].join().includes("827ccb0e"), "a password is kept");
    net.last.shut();
    const again = rig({ storage });
    equal(again.app.state.phase, "signing-in");
    const body = accept(again, { resumeToken: "newer" });
    equal([body.userName, body.password, body.resumeToken, body.syncToken], ["", "", "token", ""]);
    equal(again.app.state.phase, "ready");
    ok([...storage.local.m.values(), ...storage.session.m.values()].join().includes("newer"));
    await again.app.signOut();
    equal([again.app.state.phase, storage.local.m.size, storage.session.m.size, again.app.state.me], ["signed-out", 0, 0, null]);
    equal(again.net.last.asked("IMLogoutReq").length, 1);
  }
});

test("a kept session that is over leads to the page for signing in; one that can't be checked is tried again", async () => {
  const { storage } = await signedIn({ remember: true });
  const r = rig({ storage });
  r.net.last.shut();
  equal(r.app.state.phase, "signing-in");
  await r.world.until(() => r.net.all.length === 2);
  r.net.last.open();
  r.net.last.say("IMLoginRes", { serverTime: 1, resultCode: "REFUSE_REASON_NO_DB_SERVER" }, r.net.last.sent[0].seq);
  equal(r.app.state.phase, "signing-in");
  await r.world.until(() => r.net.all.length === 3);
  r.net.last.open();
  r.net.last.say("IMLoginRes", { serverTime: 1, resultCode: "REFUSE_REASON_DB_VALIDATE_FAILED" }, r.net.last.sent[0].seq);
  equal([r.app.state.phase, r.app.state.signInError.code, storage.local.m.size], ["signed-out", "expired", 0]);
});

test("a reconnect has both tokens, and goes unseen but for the connection's state", async () => {
  const r = await signedIn({}, { entries: [{ ...single(2), latestMsgId: 1, readMsgId: 0 }] });
  r.net.last.shut(1001);
  equal([r.app.state.phase, r.app.state.connection, r.app.state.retryAt], ["ready", "offline", r.world.time + 400]);
  ok(r.app.state.conversations.has("u2"));
  await r.world.until(() => r.net.all.length === 2);
  equal(r.app.state.connection, "connecting");
  const body = accept(r, {}, {});
  equal([body.resumeToken, body.syncToken, body.password], ["token", "s1", ""]);
  equal([r.app.state.connection, r.app.state.retryAt], ["online", null]);
});

test("close codes that end a session, each with its one way back", async () => {
  for (const [code, reason] of Object.entries({ 4001: "replaced", 4002: "phone", 4003: "operator", 4004: "disabled", 4005: "password" })) {
    const r = await signedIn({ remember: true });
    r.net.last.shut(Number(code));
    equal([r.app.state.phase, r.app.state.ended], ["ended", { reason, at: r.world.time }]);
    await r.world.pass(120000);
    equal(r.net.all.length, 1, "it does not come back by itself");
    r.app.setVisible(true);
    equal(r.net.all.length, 1);
    await r.app.back();
    if (reason === "replaced") {
      equal(r.app.state.phase, "signing-in");
      equal(accept(r).resumeToken, "token");
      equal(r.app.state.phase, "ready");
    } else {
      equal([r.app.state.phase, r.storage.local.m.size, r.net.all.length], ["signed-out", 0, 1]);
    }
  }
});

test("a kick is believed before the connection closes", async () => {
  for (const [kickReason, reason] of [["KICK_REASON_DUPLICATE_USER", "replaced"], ["KICK_REASON_MOBILE_KICK", "phone"]]) {
    const r = await signedIn();
    r.net.last.say("IMKickUser", { userId: 1, kickReason });
    equal(r.app.state.ended.reason, reason);
  }
});

test("the server's state", async () => {
  const r = await signedIn();
  r.net.last.say("ServerNotify", { state: "SERVER_STATE_UNAVAILABLE" });
  equal(r.app.state.connection, "unavailable");
  r.net.last.say("ServerNotify", { state: "SERVER_STATE_AVAILABLE" });
  equal(r.app.state.connection, "online");
  r.net.last.say("ServerNotify", { state: "SERVER_STATE_LEAVING", retryAfterSeconds: 7 });
  equal([r.app.state.connection, r.app.state.retryAt], ["leaving", r.world.time + 7000]);
  await r.world.pass(6900);
  equal(r.net.all.length, 1);
  await r.world.pass(1000);
  equal(r.net.all.length, 2);
});

test("a message is pending, then sent; its time is the server's, and one goes after the other", async () => {
  const r = await signedIn();
  await r.app.send("u2", "one");
  await r.app.send("u2", "two");
  const messages = () => r.app.state.conversations.get("u2").messages.map((m) => [m.id, m.text, m.state]);
  equal(messages(), [[0, "one", "pending"], [0, "two", "pending"]]);
  equal(r.app.state.order, ["u2"]);
  const socket = r.net.last, [first] = socket.asked("IMMsgData");
  equal(socket.asked("IMMsgData").length, 1);
  equal([first.body.text, first.body.msgType, first.body.toSessionId], ["one", "MSG_TYPE_SINGLE_TEXT", 2]);
  equal(timeOf(first.body.clientMessageId), r.world.time + 7200e3, "the clock of an id is the server's");
  socket.say("IMMsgDataAck", { ...single(2), msgId: 1, createTime: 777, clientMessageId: first.body.clientMessageId }, first.seq);
  equal(messages(), [[1, "one", "sent"], [0, "two", "pending"]]);
  equal(r.app.state.conversations.get("u2").messages[0].time, 777);
  equal(socket.asked("IMMsgData").length, 2);
});

test("an answer that comes after a quiet time is told", async () => {
  const r = await signedIn();
  for (const answer of ["IMMsgDataAck", "SendRefused"]) {
    await r.app.send("u2", answer);
    await r.world.pass(500);
    const { seq } = r.net.last.asked("IMMsgData").at(-1);
    r.net.last.say(answer, { ...single(2), msgId: 1, createTime: 777, refusal: "REFUSAL_BLOCKED" }, seq);
    await r.world.pass(20);
    equal(r.shown.conversations.get("u2").messages.at(-1).state, answer === "SendRefused" ? "failed" : "sent");
  }
});

test("what was edited or recalled meanwhile is asked for, until it has come", async () => {
  const message = (id, more) => ({ msgId: id, fromSessionId: 2, createTime: id, msgType: "MSG_TYPE_SINGLE_TEXT", msgData: "eA==", text: "m" + id, ...more });
  const r = await signedIn({ answers: { IMGetMsgListReq: { msgList: [message(2), message(1)] }, IMGetMsgByIdReq: null } },
    { entries: [{ ...single(2), latestMsgId: 2, readMsgId: 2, latest: message(2) }] });
  await r.app.open("u2");
  for (const n of [2, 3]) {
    r.net.last.shut();
    await r.world.until(() => r.net.all.length === n);
    if (n === 3) r.answers.IMGetMsgByIdReq = { msgList: [message(1, { text: "new", edits: 1 })] };
    accept(r, {}, n === 2 ? { entries: [{ ...single(2), latestMsgId: 2, readMsgId: 2, latest: message(2), changed: [1] }] } : {});
    await r.world.pass(100);
    equal(r.net.last.asked("IMGetMsgByIdReq").map((f) => f.body.msgIdList), [[1]]);
  }
  equal(r.shown.conversations.get("u2").messages.map((m) => [m.text, m.edits]), [["new", 1], ["m2", 0]]);
});

test("what is not acknowledged is sent again with its id, also by a page that is loaded again", async () => {
  const r = await signedIn({ remember: true });
  await r.app.send("g5", "one");
  const { clientMessageId } = r.net.last.asked("IMMsgData")[0].body;
  r.net.last.shut();
  await r.app.send("g5", "two");
  await settle();
  const again = rig({ storage: r.storage });
  accept(again);
  equal(again.app.state.conversations.get("g5").messages.map((m) => [m.text, m.state]), [["one", "pending"], ["two", "pending"]]);
  const [sent] = again.net.last.asked("IMMsgData");
  equal([sent.body.text, sent.body.clientMessageId], ["one", clientMessageId]);
  await r.world.until(() => r.net.all.length === 2);
  accept(r);
  equal(r.net.last.asked("IMMsgData")[0].body.clientMessageId, clientMessageId);
});

test("a refused message says why and waits for the user; one of which nothing is known is sent again", async () => {
  const r = await signedIn();
  const socket = r.net.last;
  await r.app.send("u2", "one");
  const refuse = (refusal) => {
    const { seq, body } = socket.asked("IMMsgData").at(-1);
    socket.say("SendRefused", { ...single(2), refusal, clientMessageId: body.clientMessageId }, seq);
    return body.clientMessageId;
  };
  const id = refuse("REFUSAL_UNKNOWN");
  await r.app.send("u2", "two");
  await r.world.pass(1000);
  equal(socket.asked("IMMsgData").map((f) => [f.body.text, f.body.clientMessageId]), [["one", id], ["one", id]]);
  refuse("REFUSAL_BLOCKED");
  const messages = () => r.app.state.conversations.get("u2").messages.map((m) => [m.text, m.state, m.error]);
  equal(messages(), [["one", "failed", "blocked"], ["two", "pending", null]]);
  equal(socket.asked("IMMsgData").at(-1).body.text, "two");
  await rejects(r.app.discard("u2", socket.asked("IMMsgData").at(-1).body.clientMessageId), "too_late");
  await r.app.retry("u2", id);
  equal(messages(), [["two", "pending", null], ["one", "pending", null]]);
  const { seq } = socket.asked("IMMsgData").at(-1);
  socket.say("IMMsgDataAck", { ...single(2), msgId: 1, createTime: 777 }, seq);
  equal(refuse("REFUSAL_NOT_FRIENDS"), id);
  await r.app.discard("u2", id);
  equal(messages(), [["two", "sent", null]]);
  await rejects(r.app.send("u2", ""), "malformed");
  await rejects(r.app.send("u2", "x".repeat(70000)), "limit");
});

test("an acknowledgement that does not come ends the connection, but not while the server has said why", async () => {
  const r = await signedIn();
  await r.app.send("u2", "one");
  r.net.last.say("ServerNotify", { state: "SERVER_STATE_UNAVAILABLE" });
  await r.world.pass(300000);
  equal(r.net.all.length, 1);
  r.net.last.say("ServerNotify", { state: "SERVER_STATE_AVAILABLE" });
  await r.world.pass(50000);
  equal(r.net.all.length, 1);
  await r.world.until(() => r.net.all.length === 2, "another connection", 60000);
});

test("a message is read when it is open and somebody looks; else it is told to have come in, once for many", async () => {
  const r = await signedIn({}, { entries: [] });
  const socket = r.net.last;
  const say = (id) => socket.say("IMMsgData", { fromUserId: 2, toSessionId: 1, msgId: id, createTime: id, msgType: "MSG_TYPE_SINGLE_TEXT", msgData: "eA==", text: "m" + id });
  for (let id = 1; id <= 5; id++) say(id);
  equal([r.app.state.unread, socket.asked("IMMsgDataReadAck").length], [5, 0]);
  await r.world.pass(1000);
  equal(socket.asked("ReceivedReq").map((f) => f.body), [{ ...single(2), msgId: 5 }]);
  r.app.setVisible(false);
  await r.app.open("u2");
  say(6);
  equal([r.app.state.unread, socket.asked("IMMsgDataReadAck").length], [6, 0]);
  r.app.setVisible(true);
  equal([r.app.state.unread, socket.asked("IMMsgDataReadAck").map((f) => f.body)], [0, [{ ...single(2), msgId: 6 }]]);
  say(7);
  equal(r.app.state.unread, 0);
  await r.world.pass(2000);
  equal(socket.asked("ReceivedReq").length, 1, "what is read has come in");
  socket.shut();
  await r.world.until(() => r.net.all.length === 2);
  accept(r, {}, { entries: [{ ...single(2), latestMsgId: 7, readMsgId: 6 }] });
  equal([r.app.state.unread, r.net.last.asked("IMMsgDataReadAck").at(-1).body.msgId], [0, 7], "it is told again, as it may have been lost");
});

test("who is not at the end of what is open has not read it", async () => {
  const r = await signedIn({}, { entries: [] });
  const socket = r.net.last;
  const say = (id) => socket.say("IMMsgData", { fromUserId: 2, toSessionId: 1, msgId: id, createTime: id, msgType: "MSG_TYPE_SINGLE_TEXT", msgData: "eA==", text: "m" + id });
  say(1);
  r.app.setAtEnd(false);
  await r.app.open("u2");
  say(2);
  r.app.setVisible(true);
  equal([r.app.state.unread, socket.asked("IMMsgDataReadAck").length], [2, 0]);
  r.app.setVisible(false);
  r.app.setAtEnd(true);
  equal([r.app.state.unread, socket.asked("IMMsgDataReadAck").length], [2, 0], "nobody looks");
  r.app.setVisible(true);
  equal([r.app.state.unread, socket.asked("IMMsgDataReadAck").map((f) => f.body)], [0, [{ ...single(2), msgId: 2 }]]);
  r.app.setAtEnd(false);
  say(3);
  equal(r.app.state.unread, 1);
  r.app.setAtEnd(true);
  equal([r.app.state.unread, socket.asked("IMMsgDataReadAck").at(-1).body.msgId], [0, 3]);
});

test("what came while the connection was lost is loaded into the open conversation, and nothing shown before its time", async () => {
  const message = (id) => ({ msgId: id, fromSessionId: 2, createTime: id, msgType: "MSG_TYPE_SINGLE_TEXT", msgData: "eA==", text: "m" + id });
  let newest = 3;
  const r = await signedIn({ answers: { IMGetMsgListReq: ({ msgIdBegin, msgCnt }) => {
    const list = [];
    for (let id = msgIdBegin || newest; id > 0 && list.length < Math.min(msgCnt, 20); id--) list.push(message(id));
    return { msgList: list };
  } } }, { entries: [{ ...single(2), latestMsgId: 3, readMsgId: 3, latest: message(3) }] });
  await r.app.open("u2");
  const ids = () => r.app.state.conversations.get("u2").messages.map((m) => m.id);
  equal(ids(), [1, 2, 3]);
  for (const [upTo, first] of [[50, 1], [500, 321]]) { // 4 pages that look for what is held, and 5 for the first unread one
    newest = upTo;
    r.net.last.shut();
    const n = r.net.all.length;
    await r.world.until(() => r.net.all.length > n);
    const before = ids();
    accept(r, {}, { entries: [{ ...single(2), latestMsgId: newest, readMsgId: 3, latest: message(newest) }] });
    equal([ids(), r.app.state.conversations.get("u2").loading], [before, true]);
    await r.world.until(() => !r.app.state.conversations.get("u2").loading);
    const { messages, complete, unread } = r.app.state.conversations.get("u2");
    equal([messages[0].id, messages.at(-1).id, messages.length, complete, unread], [first, upTo, upTo - first + 1, first === 1, 0]);
  }
});

test("only what others write just now is news", async () => {
  const r = await signedIn({}, { entries: [{ ...single(2), latestMsgId: 1, readMsgId: 0, latest: { msgId: 1, fromSessionId: 2, createTime: 1, msgType: "MSG_TYPE_SINGLE_TEXT", text: "old" } }] });
  const news = [];
  r.app.on("message", ({ key, message }) => news.push([key, message.text]));
  const say = (from, to, id, more) => r.net.last.say("IMMsgData", { fromUserId: from, toSessionId: to, msgId: id, createTime: 5, msgType: "MSG_TYPE_SINGLE_TEXT", text: "n" + id, ...more });
  say(2, 1, 1);
  say(2, 1, 2);
  say(2, 1, 2);
  say(1, 3, 1);
  say(3, 9, 1, { msgType: "MSG_TYPE_GROUP_TEXT" });
  equal(news, [["u2", "n2"], ["g9", "n1"]]);
});

test("typing is told every 4 seconds at most, and shown for 6", async () => {
  const r = await signedIn();
  const told = () => r.net.last.asked("TypingReq").map((f) => f.body.typing);
  for (let i = 0; i < 10; i++) {
    r.app.typing("u2", true);
    await r.world.pass(500);
  }
  equal(told(), [true, true]);
  r.app.typing("u2", false);
  r.app.typing("u2", false);
  equal(told(), [true, true, false]);
  const typing = (on) => r.net.last.say("TypingNotify", { ...single(2), userId: 2, typing: on });
  typing(true);
  equal([...r.app.state.typing.get("u2")], [2]);
  await r.world.pass(3000);
  typing(true);
  await r.world.pass(5000);
  equal(r.app.state.typing.size, 1);
  await r.world.pass(2000);
  equal(r.app.state.typing.size, 0);
  typing(true);
  r.net.last.say("IMMsgData", { fromUserId: 2, toSessionId: 1, msgId: 1, createTime: 1, msgType: "MSG_TYPE_SINGLE_TEXT", text: "done" });
  equal(r.app.state.typing.size, 0);
  typing(true);
  r.net.last.shut();
  equal(r.app.state.typing.size, 0);
});

test("the directory, groups and presence are asked for, and names of those who are in neither", async () => {
  const person = (id, more) => ({ userId: id, userRealName: "p" + id, userNickName: "P" + id, avatarUrl: "http://x/g0/a.png", status: 0, ...more });
  const r = await signedIn({ answers: {
    IMAllUserReq: { userList: [person(1), person(2), person(3, { status: 3 })], latestUpdateTime: 9 },
    IMUsersInfoReq: (body) => ({ userInfoList: (body.userIdList ?? []).map((id) => person(id)) }),
    IMUsersStatReq: (body) => ({ userStatList: body.userIdList.map((userId) => ({ userId, status: userId === 2 ? "USER_STATUS_ONLINE" : "USER_STATUS_OFFLINE" })) }),
    IMGroupInfoListReq: { groupInfoList: [{ groupId: 5, version: 3, groupName: "g", groupAvatar: "", groupCreatorId: 8, groupType: "GROUP_TYPE_TMP", groupMemberList: [1, 8] }] },
  } }, { entries: [{ sessionId: 5, sessionType: "SESSION_TYPE_GROUP", latestMsgId: 0, readMsgId: 0, version: 3 }, { ...single(7), latestMsgId: 1, readMsgId: 0 }] });
  await r.world.until(() => r.app.state.people.get(8) && r.app.state.people.get(2).online);
  const { people, groups } = r.app.state;
  equal([...people.keys()].sort(), [1, 2, 3, 7, 8]);
  equal([people.get(3).left, people.get(2).avatar, groups.get(5).members], [true, "/g0/a.png", [1, 8]]);
  equal(r.net.last.asked("IMGroupInfoListReq").map((f) => f.body.groupVersionList), [[{ groupId: 5, version: 0 }]]);
  r.net.last.say("IMUserStatNotify", { userStat: { userId: 2, status: "USER_STATUS_OFFLINE" } });
  ok(!r.app.state.people.get(2).online);
  r.net.last.shut();
  await r.world.until(() => r.net.all.length === 2);
  accept(r, {}, {});
  await r.world.until(() => r.app.state.people.get(2).online, "presence is asked anew");
  equal([r.net.last.asked("IMAllUserReq").length, r.net.last.asked("IMGroupInfoListReq").length], [0, 0], "what has not changed is not asked for");
  r.net.last.shut();
  await r.world.until(() => r.net.all.length === 3);
  accept(r, {}, { directoryChanged: true });
  await r.world.until(() => r.net.last.asked("IMAllUserReq").length === 1);
  equal(r.net.last.asked("IMAllUserReq")[0].body.latestUpdateTime, 9);
});

test("an action that is refused says why; one that is not is seen at once", async () => {
  const r = await signedIn({ answers: { RecallReq: { refusal: "REFUSAL_TOO_LATE" }, EditReq: { refusal: "REFUSAL_NONE" }, IMGroupCreateReq: { resultCode: 0, groupId: 5, groupName: "g", userIdList: [1, 2] },
    FriendReq: { refusal: "REFUSAL_NONE" }, GroupUpdateReq: { refusal: "REFUSAL_NOT_ALLOWED" }, ReceiptsReq: { read: [2] } } });
  r.net.last.say("IMMsgData", { fromUserId: 1, toSessionId: 2, msgId: 1, createTime: 1, msgType: "MSG_TYPE_SINGLE_TEXT", text: "mine" });
  await rejects(r.app.recall("u2", 1), "too_late");
  await r.app.edit("u2", 1, "better");
  const [m] = r.app.state.conversations.get("u2").messages;
  equal([m.text, m.edits, m.state], ["better", 1, "sent"]);
  equal(await r.app.createGroup("g", [2]), "g5");
  equal([r.app.state.groups.get(5).members, r.app.state.order[0]], [[1, 2], "g5"]);
  await r.app.friend("block", 2);
  ok(r.app.state.blocked.has(2) && r.app.state.conversations.get("u2").blocked);
  await rejects(r.app.renameGroup(5, "x"), "not_allowed");
  equal(await r.app.receipts("u2", 1), { read: [2], delivered: [] });
});

test("a picture is shown at once, uploaded with the session's token, and sent in its turn", async () => {
  const uploads = [];
  let fail = true;
  const r = await signedIn({ fetch: async (url, { headers, body }) => {
    uploads.push([url, headers.Authorization, body.get("file").name]);
    if (fail) throw new TypeError("no network");
    return { json: async () => ({ error_code: 0, url: "http://server/g0/1/x_1x1.png" }) };
  } });
  const canvas = new OffscreenCanvas(1, 1);
  canvas.getContext("2d");
  const file = new File([await canvas.convertToBlob()], "photo.png", { type: "image/png" });
  const eventually = async (holds) => {
    while (!holds()) await new Promise((done) => { setTimeout(done, 5); });
  };
  await r.app.sendPicture("u2", file);
  await r.app.send("u2", "and words");
  ok(r.app.state.conversations.get("u2").messages[0].parts[0].picture.startsWith("blob:"));
  await eventually(() => uploads.length === 1);
  await settle();
  equal(r.net.last.asked("IMMsgData"), [], "nothing overtakes it");
  await r.world.pass(6000);
  await eventually(() => uploads.length === 2);
  fail = false;
  r.net.last.shut();
  await r.world.until(() => r.net.all.length === 2);
  accept(r);
  await r.world.pass(6000);
  await eventually(() => r.net.last.asked("IMMsgData").length === 1);
  equal(uploads.at(-1), ["/", "Bearer token", "picture_1x1.png"]);
  equal(r.net.last.asked("IMMsgData")[0].body.text, "&$#@~^@[{:http://server/g0/1/x_1x1.png:}]&$~@#@");
});

test("subscribers are called once for many changes, and one that fails does not stop the others", async () => {
  const r = await signedIn();
  const calls = [];
  const stop = r.app.subscribe(() => { throw new Error("a subscriber's own"); });
  r.app.subscribe((state, changes) => calls.push([...changes]));
  const failed = new Promise((done) => {
    addEventListener("error", (e) => {
      e.preventDefault();
      done(e.message);
    }, { once: true });
  });
  await r.world.pass(100);
  calls.length = 0;
  for (let id = 1; id <= 100; id++) {
    r.net.last.say("IMMsgData", { fromUserId: 2, toSessionId: 1, msgId: id, createTime: id, msgType: "MSG_TYPE_SINGLE_TEXT", text: "x" });
  }
  await r.world.pass(20);
  equal(calls, [["conversations", "messages:u2"]]);
  ok((await failed).includes("a subscriber's own"));
  stop();
});

test("search finds people, groups and messages of what is loaded", async () => {
  const r = await signedIn({ answers: { IMAllUserReq: { userList: [{ userId: 2, userRealName: "bela", userNickName: "Béla", email: "b@x.org" }], latestUpdateTime: 1 } } });
  await r.world.until(() => r.app.state.people.size === 1);
  for (let id = 1; id <= 60; id++) r.net.last.say("IMMsgData", { fromUserId: 2, toSessionId: 1, msgId: id, createTime: id, msgType: "MSG_TYPE_SINGLE_TEXT", text: id === 7 ? "Lunch at noon" : "dull" });
  equal(r.app.search("LUNCH"), { people: [], groups: [], messages: [{ key: "u2", id: 7 }] });
  equal(r.app.search("bél").people, [2]);
  equal(r.app.search("dull").messages.length, 50);
  equal(r.app.search(" "), { people: [], groups: [], messages: [] });
});

test("a page forgets its own session, and never that of whom another tab has signed in since", async () => {
  const bob = { userInfo: { userId: 2, userRealName: "bob", userNickName: "Bob", avatarUrl: "" }, resumeToken: "bob's" };
  const stored = ({ local, session }) => [local, session].map((s) => JSON.parse(s.getItem("godwit.session"))?.token ?? null);
  // together is ann's page, and one of the same browser in which bob has signed in after her.
  const together = async () => {
    const local = store();
    const his = rig({ storage: { local, session: store() } });
    const ann = await signedIn({ remember: true, storage: { local, session: store() } });
    const done = his.app.signIn("bob", "12345", { remember: true });
    accept(his, bob);
    await done;
    equal(stored(ann.storage), ["bob's", null]);
    return [ann, his];
  };
  const refuse = async (r) => {
    r.net.last.shut();
    const n = r.net.all.length;
    await r.world.until(() => r.net.all.length > n);
    r.net.last.open();
    r.net.last.say("IMLoginRes", { serverTime: 1, resultCode: "REFUSE_REASON_DB_VALIDATE_FAILED" }, r.net.last.sent[0].seq);
    equal([r.app.state.phase, r.app.state.signInError.code], ["signed-out", "expired"]);
  };
  {
    const [ann] = await together();
    await refuse(ann);
    equal(stored(ann.storage), ["bob's", null], "after ann's token was refused");
  }
  {
    const [ann] = await together();
    ann.net.last.shut(4003);
    equal([ann.app.state.phase, stored(ann.storage)], ["ended", ["bob's", null]]);
  }
  {
    const [ann] = await together();
    await ann.app.signOut();
    equal(stored(ann.storage), ["bob's", null], "after ann has signed out");
  }
  const [ann, his] = await together();
  ann.net.last.shut();
  await ann.world.until(() => ann.net.all.length === 2);
  accept(ann, { resumeToken: "newer" });
  equal(stored(ann.storage), ["bob's", "newer"], "a page that comes back keeps its own beside bob's");
  await refuse(ann);
  equal(stored(ann.storage), ["bob's", null]);
  await refuse(his);
  equal(stored(his.storage), [null, null], "one's own is forgotten");
});

test("a draft outlives the page, and not the signing out", async () => {
  const r = await signedIn({ remember: true });
  r.app.setDraft("u2", "half a tho");
  r.app.setDraft("u2", "half a thought");
  r.app.setDraft("g5", "another");
  r.app.setDraft("u3", "gone");
  r.app.setDraft("u3", "");
  r.app.setDraft("u4", "x".repeat(300_000));
  await settle();
  const again = rig({ storage: r.storage });
  accept(again, {}, { entries: [{ ...single(2), latestMsgId: 1, readMsgId: 1 }] });
  const drafts = (app) => Object.fromEntries(["u2", "g5", "u3", "u4"].map((key) => [key, app.state.conversations.get(key)?.draft ?? ""]));
  equal(drafts(again.app), { u2: "half a thought", g5: "another", u3: "", u4: "" }, "what is too long to be kept does not keep the others from it");
  equal(again.app.state.order, ["u2"], "a draft is no conversation");
  const other = rig({ storage: { local: store(), session: store() } });
  for (const [key, value] of r.storage.local.m) if (key !== "godwit.session") other.storage.local.setItem(key, value);
  const done = other.app.signIn("bob", "12345", { remember: true });
  accept(other, { userInfo: { ...ann, userId: 7 } });
  await done;
  equal(drafts(other.app), { u2: "", g5: "", u3: "", u4: "" }, "somebody else's");
  await again.app.send("u2", "half a thought");
  again.app.setDraft("u2", "");
  await again.app.signOut();
  await settle();
  equal([...r.storage.local.m.keys(), ...r.storage.session.m.keys()], []);
});

test("what is unread is loaded in few large pages, from its first message on; where it is very far, in steps", async () => {
  const message = (id) => ({ msgId: id, fromSessionId: 2, createTime: id, msgType: "MSG_TYPE_SINGLE_TEXT", msgData: "eA==", text: "m" + id });
  for (const [most, first] of [[1000, 1], [100, 1451]]) { // messages that an answer takes; where the window begins after opening
    const r = await signedIn({ answers: { IMGetMsgListReq: ({ msgIdBegin, msgCnt }) => {
      const list = [];
      for (let id = msgIdBegin || 2000; id > 0 && list.length < Math.min(msgCnt, most); id--) list.push(message(id));
      return { msgList: list };
    } } }, { entries: [{ ...single(2), latestMsgId: 2000, readMsgId: 10, latest: message(2000) }] });
    r.app.setAtEnd(false);
    await r.app.open("u2");
    const c = () => r.app.state.conversations.get("u2");
    ok(r.net.last.asked("IMGetMsgListReq").length <= 6, "few questions");
    ok(c().messages[0].id <= 11 === (first === 1), `the window begins with ${c().messages[0].id}`);
    for (let step = 0; step < 4; step++) {
      const asked = r.net.last.asked("IMGetMsgListReq").length;
      await r.app.loadOlder("u2", 11);
      ok(r.net.last.asked("IMGetMsgListReq").length - asked <= 5, "steps of a bounded length");
    }
    ok(c().messages[0].id <= 11, `${c().messages[0].id} is the first`);
    equal([c().messages.length, c().unread], [2001 - c().messages[0].id, 1990]);
  }
});

test("who asks for what is unread while something is loaded gets it behind that", async () => {
  const message = (id) => ({ msgId: id, fromSessionId: 2, createTime: id, msgType: "MSG_TYPE_SINGLE_TEXT", msgData: "eA==", text: "m" + id });
  const r = await signedIn({ answers: { IMGetMsgListReq: ({ msgIdBegin, msgCnt }) => {
    const list = [];
    for (let id = msgIdBegin || 600; id > 0 && list.length < Math.min(msgCnt, 60); id--) list.push(message(id));
    return { msgList: list };
  } } }, { entries: [{ ...single(2), latestMsgId: 600, readMsgId: 10, latest: message(600) }] });
  r.app.setAtEnd(false);
  await r.app.open("u2");
  r.app.loadOlder("u2");
  await r.app.loadOlder("u2", 11);
  ok(r.app.state.conversations.get("u2").messages[0].id <= 11);
});

test("the file of a picture is let go of when the server's copy is there, when it is discarded, and when one signs out", async () => {
  const { createObjectURL, revokeObjectURL } = URL;
  const held = new Set();
  URL.createObjectURL = (file) => { const url = createObjectURL.call(URL, file); held.add(url); return url; };
  URL.revokeObjectURL = (url) => { held.delete(url); revokeObjectURL.call(URL, url); };
  try {
    let answer = () => ({ error_code: 0, url: "http://server/g0/1/x_1x1.png" });
    const r = await signedIn({ fetch: async () => ({ json: async () => answer() }) });
    const file = new File([await new OffscreenCanvas(1, 1).getContext("2d").canvas.convertToBlob()], "photo.png", { type: "image/png" });
    const eventually = async (holds) => {
      while (!holds()) await new Promise((done) => { setTimeout(done, 5); });
    };
    const last = (key) => r.app.state.conversations.get(key).messages.at(-1);
    await r.app.sendPicture("u2", file);
    equal(held.size, 1);
    await eventually(() => r.net.last.asked("IMMsgData").length === 1);
    equal([last("u2").parts, held.size], [[{ picture: "/g0/1/x_1x1.png", width: 1, height: 1 }], 1], "the server's copy is shown, in the place of the file, which is there still");
    await r.world.pass(61000);
    equal(held.size, 0, "files after a while");
    answer = () => ({ error_code: 12 });
    const id = await r.app.sendPicture("u3", file);
    await eventually(() => last("u3").state === "failed");
    equal([held.size, last("u3").parts[0].picture.slice(0, 5)], [1, "blob:"], "it can be tried again");
    await r.app.discard("u3", id);
    equal(held.size, 0, "files after a discard");
    await r.app.sendPicture("u3", file);
    await eventually(() => last("u3").state === "failed");
    await r.app.signOut();
    equal(held.size, 0, "files after signing out");
  } finally {
    Object.assign(URL, { createObjectURL, revokeObjectURL });
  }
});

test("a page that is open for long holds no more of a conversation than one can look at", async () => {
  const r = await signedIn({}, { entries: [] });
  const say = (id) => r.net.last.say("IMMsgData", { fromUserId: 2, toSessionId: 1, msgId: id, createTime: id, msgType: "MSG_TYPE_SINGLE_TEXT", text: "m" + id });
  const held = () => r.app.state.conversations.get("u2").messages;
  await r.app.open("u2");
  for (let id = 1; id <= 3000; id++) say(id);
  ok(held().length <= 1000 && held().length >= 300, `${held().length} are held at the end`);
  equal([held().at(-1).id, r.app.state.conversations.get("u2").complete], [3000, false]);
  r.app.setAtEnd(false);
  for (let id = 3001; id <= 6000; id++) say(id);
  ok(held().length >= 3000, "who reads further up keeps what he reads");
  await r.app.open("u3");
  ok(held().length <= 1000, `${held().length} are held of what was left`);
});

test("time is the server's", async () => {
  const r = await signedIn();
  equal(r.app.time(), r.world.time + 7200e3);
});
