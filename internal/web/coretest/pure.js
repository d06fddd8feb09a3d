// The parts that only compute.

import { local, parts, picture, words } from "/client/core/content.js";
import { md5 } from "/client/core/md5.js";
import { Model } from "/client/core/model.js";
import { timeOf, ulid } from "/client/core/ulid.js";
import { equal, ok, test } from "./harness.js";

test("md5 is that of RFC 1321", () => {
  const known = {
    "": "d41d8cd98f00b204e9800998ecf8427e", a: "0cc175b9c0f1b6a831c399e269772661", abc: "900150983cd24fb0d6963f7d28e17f72",
    "message digest": "f96b697d7cb7938d525a2f31aaf161d0", abcdefghijklmnopqrstuvwxyz: "c3fcd3d76192e4007dfb496cca67e13b",
    ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789: "d174ab98d277d9f5a5611c2c9f419d9f",
    "12345678901234567890123456789012345678901234567890123456789012345678901234567890": "57edf4a22be3c955ac49da2e2107b67a",
    12345: "827ccb0eea8a706c4c34a16891f84e7b", "你好": "7eca689f0d3389d9dea66ae112e5cfd7",
  };
  for (const [text, sum] of Object.entries(known)) equal(md5(text), sum, text);
  // At each length about the end of a block: all differ, and are of the right form.
  const sums = new Set(Array.from({ length: 130 }, (_, n) => md5("x".repeat(n))));
  equal(sums.size, 130);
  for (const sum of sums) ok(/^[0-9a-f]{32}$/.test(sum), sum);
  equal(md5("x".repeat(55)), "04364420e25c512fd958a70738aa8f72");
  equal(md5("x".repeat(56)), "668a72d5ba17f08e62dabcafad6db14b");
  equal(md5("x".repeat(64)), "c1bb4f81d892b2d57947682aeb252456");
});

test("a ulid has its time, and 80 bits of chance", () => {
  const at = 1_795_450_000_123;
  const ids = Array.from({ length: 1000 }, () => ulid(at));
  equal(new Set(ids).size, 1000);
  for (const id of ids) {
    equal(atob(id).length, 16);
    equal(timeOf(id), at);
  }
  equal(Array.from(atob(ulid(0x01234567_89ab)).slice(0, 6), (c) => c.charCodeAt(0)), [0x01, 0x23, 0x45, 0x67, 0x89, 0xab]);
});

test("a text is cut into words and pictures", () => {
  const at = "http://127.0.0.1:8700/g0/000/001/x_640x480.png";
  for (const [text, want] of [
    ["", []],
    ["hello", [{ text: "hello" }]],
    [picture(at), [{ picture: "/g0/000/001/x_640x480.png", width: 640, height: 480 }]],
    [`see ${picture("/g0/1.png")} and ${picture("http://other/x.png")}!`,
      [{ text: "see " }, { picture: "/g0/1.png" }, { text: " and " }, { link: "http://other/x.png" }, { text: "!" }]],
    ["&$#@~^@[{:half", [{ text: "&$#@~^@[{:half" }]],
    ["half:}]&$~@#@", [{ text: "half:}]&$~@#@" }]],
    ["<b>&amp;", [{ text: "<b>&amp;" }]],
  ]) equal(parts(text), want, text);
  equal(words(parts(`see ${picture("/g0/1.png")}now`)), "see now");
});

test("a picture is only ever asked of this origin, below /g0/", () => {
  for (const bad of ["javascript:alert(1)", "data:image/png;base64,x", "blob:http://x/g0/y", "//evil/x.png", "http://evil/", "/console/x", "/g0/../console",
    "/g0/%2e%2e/client.json", "file:///g0/x", "http://[", "", "ftp://h/g0/x", "/g0\\..\\x"]) equal(local(bad), "", bad);
  for (const [good, path] of [["http://h:8700/g0/1/x.png", "/g0/1/x.png"], ["https://evil/g0/x.png?a#b", "/g0/x.png"], ["/g0/x.png", "/g0/x.png"],
    ["//evil/g0/x.png", "/g0/x.png"]]) equal(local(good), path, good);
});

const info = (id, from, text, more) => ({ msgId: id, fromSessionId: from, createTime: 100 + id, msgType: "MSG_TYPE_SINGLE_TEXT", msgData: "eA==", text, ...more });
const pushed = (id, from, to, text, more) => {
  const { fromSessionId, ...m } = info(id, from, text, more);
  return { ...m, fromUserId: from, toSessionId: to };
};
const entry = (id, latest, read, more) => ({ sessionId: id, sessionType: "SESSION_TYPE_SINGLE", latestMsgId: latest, readMsgId: read, updatedTime: 100 + latest, ...more });
const ids = (model, key) => model.state.conversations.get(key).messages.map((m) => m.id);

// mine is a model of user 1.
function mine() {
  const model = new Model();
  model.login({ userId: 1, userRealName: "ann", userNickName: "Ann", avatarUrl: "" });
  return model;
}

test("messages that come twice, late or over a hole are shown once and in order", () => {
  const model = mine();
  model.sync({ whole: true, entries: [entry(2, 3, 1, { latest: info(3, 2, "c") })] });
  equal(ids(model, "u2"), [3]);
  equal(model.state.unread, 2);
  model.page("u2", [info(1, 2, "a"), info(2, 2, "b")], 3);
  equal(ids(model, "u2"), [1, 2, 3]);
  ok(model.state.conversations.get("u2").complete);
  equal(model.arrive(pushed(3, 2, 1, "c")), null);
  ok(model.arrive(pushed(5, 2, 1, "e")));
  equal(ids(model, "u2"), [1, 2, 3], "behind a hole nothing of others is shown");
  model.write("u2", "X", 200, "mine");
  ok(model.acked("u2", "X", 6, 201));
  equal(ids(model, "u2"), [1, 2, 3, 6], "what the user has seen stays");
  equal(model.arrive(pushed(4, 2, 1, "d")), null, "no news: newer ones were here");
  equal(ids(model, "u2"), [1, 2, 3, 4, 5, 6]);
  equal(model.state.conversations.get("u2").unread, 0, "whoever writes has read");
});

test("of a conversation that nobody looks at, no more than some messages are held", () => {
  const model = mine();
  model.set({ open: "u3" });
  for (const who of [2, 3]) for (let id = 1; id <= 5000; id++) model.arrive(pushed(id, who, 1, "x"));
  const all = ids(model, "u2");
  ok(all.length >= 100 && all.length <= 1000, `${all.length} are held`);
  equal([all[0], all.at(-1), model.state.conversations.get("u2").unread, model.state.conversations.get("u2").complete], [5001 - all.length, 5000, 5000, false]);
  equal(ids(model, "u3").length, 5000, "what is open stays");
});

test("after an absence the window begins anew, or waits for what is missing where it is open", () => {
  const model = mine();
  for (const who of [2, 3]) {
    model.sync({ entries: [entry(who, 2, 0, { latest: info(2, who, "b") })] });
    model.page("u" + who, [info(1, who, "a")], 2);
  }
  model.set({ open: "u3" });
  for (const who of [2, 3]) model.sync({ entries: [entry(who, 9, 0, { latest: info(9, who, "i") })] });
  equal(ids(model, "u2"), [9]);
  ok(!model.state.conversations.get("u2").complete);
  equal(ids(model, "u3"), [1, 2]);
  equal(model.state.conversations.get("u3").lastMessage.text, "i");
  ok(model.missing("u3"));
  model.page("u3", [4, 5, 6, 7, 8, 9].map((id) => info(id, 3, "x")), 0);
  equal(ids(model, "u3"), [4, 5, 6, 7, 8, 9], "3 is missing still: what is before it goes");
  ok(!model.state.conversations.get("u3").complete);
});

test("a log that has lost its tail is believed", () => {
  const model = mine();
  model.sync({ whole: true, entries: [entry(2, 9, 9, { latest: info(9, 2, "i") }), entry(3, 4, 4, { latest: info(4, 3, "d") })] });
  model.write("u3", "X", 300, "kept");
  model.sync({ whole: true, entries: [entry(2, 7, 5, { latest: info(7, 2, "g") })] });
  const { conversations, order } = model.state;
  equal([conversations.get("u2").latest, conversations.get("u2").unread, ids(model, "u2")], [7, 2, [7]]);
  equal([conversations.get("u3").latest, conversations.get("u3").messages.map((m) => m.text)], [0, ["kept"]]);
  equal(order, ["u3", "u2"]);
});

test("a message that was given up and is found in the history after all is shown once", () => {
  const model = mine();
  model.sync({ entries: [entry(2, 3, 0)] });
  model.write("u2", "X", 300, "b", { state: "failed", error: "too_late" });
  model.page("u2", [info(1, 2, "a"), info(2, 1, "b", { clientMessageId: "X" }), info(3, 2, "c")], 0);
  equal(model.state.conversations.get("u2").messages.map((m) => [m.id, m.text, m.state]), [[1, "a", null], [2, "b", "sent"], [3, "c", null]]);
});

test("a snapshot never changes, and shares what has not changed", () => {
  const model = mine();
  model.sync({ whole: true, entries: [entry(2, 1, 0, { latest: info(1, 2, "a") }), entry(3, 1, 0, { latest: info(1, 3, "a") })] });
  model.people([{ userId: 2, userRealName: "bob" }]);
  const before = model.state, copy = JSON.stringify([...before.conversations]);
  equal(model.state === before, true, "nothing happened");
  model.arrive(pushed(2, 2, 1, "b"));
  const after = model.state;
  equal(JSON.stringify([...before.conversations]), copy);
  ok(after !== before && after.conversations.get("u2") !== before.conversations.get("u2"));
  ok(after.conversations.get("u3") === before.conversations.get("u3"), "what others wrote is as it was");
  ok(after.people === before.people);
});

test("what has changed is told by name", () => {
  const model = mine();
  model.sync({ whole: true, entries: [entry(2, 1, 0, { latest: info(1, 2, "a") })] });
  model.take();
  const told = (f) => {
    f();
    return [...model.take()].sort();
  };
  equal(told(() => model.arrive(pushed(2, 2, 1, "b"))), ["conversations", "messages:u2"]);
  equal(told(() => model.receipt({ sessionId: 2, sessionType: "SESSION_TYPE_SINGLE", userId: 2, deliveredMsgId: 2 })), ["receipts"]);
  equal(told(() => model.read("u2", 2)), ["conversations"]);
  equal(told(() => model.typing("u2", 2, true)), ["typing"]);
  equal(told(() => model.typing("u2", 2, true)), []);
  equal(told(() => model.arrive(pushed(2, 2, 1, "b"))), [], "a repeat is no change");
});

test("the list: newest first, and what was removed comes back as the protocol has it", () => {
  const model = mine();
  const group = { sessionId: 5, sessionType: "SESSION_TYPE_GROUP", latestMsgId: 1, readMsgId: 0, updatedTime: 300, version: 1 };
  model.sync({ whole: true, entries: [entry(2, 1, 0), entry(3, 2, 0), group] });
  equal(model.state.order, ["g5", "u3", "u2"]);
  equal(model.state.unread, 4);
  for (const key of ["u2", "g5"]) model.removed(key);
  equal([model.state.order, model.state.unread], [["u3"], 2]);
  model.arrive(pushed(2, 2, 1, "x", { createTime: 400 }));
  equal(model.state.order, ["u2", "u3"], "one of two comes back with any message");
  model.arrive(pushed(2, 2, 5, "x", { createTime: 500, msgType: "MSG_TYPE_GROUP_TEXT" }));
  equal(model.state.order, ["u2", "u3"], "a group does not");
  model.arrive(pushed(3, 1, 5, "x", { createTime: 500, msgType: "MSG_TYPE_GROUP_TEXT" }));
  equal(model.state.order, ["g5", "u2", "u3"], "but with one's own");
});

test("a group that one leaves, and comes back to", () => {
  const model = mine();
  model.groups([{ groupId: 5, version: 1, groupName: "g", groupCreatorId: 2, groupMemberList: [1, 2] }]);
  model.members(5, [1, 2, 3], 10);
  equal(model.state.groups.get(5).members, [1, 2, 3]);
  equal(model.state.order, ["g5"]);
  model.page("g5", [info(1, 2, "a")], 0);
  equal(model.members(5, [2, 3], 20), false);
  equal([model.state.conversations.get("g5").left, model.state.order, model.state.groups.get(5).members], [true, [], [2, 3]]);
  equal(ids(model, "g5"), [1], "what was read stays readable");
  model.members(5, [1, 2, 3], 30);
  equal([model.state.conversations.get("g5").left, model.state.order, ids(model, "g5")], [false, ["g5"], []]);
});

test("a group that is dissolved stays readable, and says so", () => {
  const model = mine();
  model.groups([{ groupId: 5, version: 1, groupName: "g", groupCreatorId: 1, groupMemberList: [1, 2] }]);
  model.page("g5", [info(1, 2, "a")], 0);
  model.gone(5);
  equal([model.state.groups.get(5).dissolved, model.state.conversations.get("g5").left, model.state.order, ids(model, "g5")], [true, true, [], [1]]);
});

test("a recall and an edit change a message where it stands", () => {
  const model = mine();
  model.sync({ whole: true, entries: [entry(2, 2, 0, { latest: info(2, 1, "mine") })] });
  model.page("u2", [info(1, 2, "a")], 2);
  model.changed("u2", [info(1, 2, "b", { edits: 1 }), info(2, 1, "此消息已撤回", { recalled: true }), info(7, 2, "elsewhere")]);
  const { messages, lastMessage } = model.state.conversations.get("u2");
  equal(messages.map((m) => [m.id, m.text, m.edits, m.recalled]), [[1, "b", 1, false], [2, "", 0, true]]);
  ok(lastMessage === messages[1]);
});

test("friends and blocks", () => {
  const model = mine();
  model.sync({ entries: [entry(2, 1, 0)] });
  model.friends([{ friends: [{ userId: 2, state: "FRIEND_STATE_FRIEND", since: 5, remark: "b" }], blocked: [2] }, { friends: [{ userId: 3, state: "FRIEND_STATE_INCOMING", since: 6, text: "hi" }] }]);
  equal([...model.state.friends.keys()], [2, 3]);
  ok(model.state.conversations.get("u2").blocked);
  model.friend(3, "FRIEND_ACTION_ACCEPT", true, "", 7);
  model.friend(2, "FRIEND_ACTION_UNBLOCK", true);
  model.friend(4, "FRIEND_ACTION_REQUEST", false, "me", 8);
  equal(model.state.friends.get(3).state, "friend");
  equal(model.state.friends.get(4), { state: "asked-me", since: 8, remark: "", text: "me" });
  equal([model.state.blocked.size, model.state.conversations.get("u2").blocked], [0, false]);
  model.friend(4, "FRIEND_ACTION_WITHDRAW", false);
  ok(!model.state.friends.has(4));
});

test("1,000 conversations and 10,000 messages take no time", () => {
  const model = mine();
  const entries = Array.from({ length: 1000 }, (_, i) => entry(i + 2, 10, 5, { latest: info(10, i + 2, "text " + i) }));
  const begin = performance.now();
  model.sync({ whole: true, entries });
  for (let i = 2; i < 1002; i++) model.page("u" + i, Array.from({ length: 9 }, (_, n) => info(n + 1, i, "text")), 10);
  equal(model.state.unread, 5000);
  const live = 500;
  for (let n = 0; n < live; n++) {
    model.arrive(pushed(11, 2 + n, 1, "more"));
    ok(model.state.order[0] !== "");
  }
  const took = performance.now() - begin;
  equal(model.state.unread, 5000 + live);
  ok(took < 30_000, `it took ${took} ms`); // a bound for what is quadratic, on any machine
});
