// The connection, against a socket of the test's.

import { Link, timing } from "/client/core/link.js";
import { equal, ok, rejects, test } from "./harness.js";
import { sockets } from "./socket.js";
import { settle, World } from "./world.js";

// rig is a link whose login is accepted as soon as it is asked for.
function rig(options = {}) {
  const world = new World(), net = sockets(), states = [], pushes = [], lost = [];
  const link = new Link({
    url: () => "ws://server/ws", WebSocket: net.Socket, now: world.now, timers: world.timers, random: () => 1,
    login: () => link.accepted(), push: (frame) => pushes.push(frame.command),
    state: (name, retryAt) => states.push(retryAt === null ? name : `${name} for ${retryAt - world.time}`),
    lost: (code) => lost.push(code), ...options,
  });
  return { world, net, link, states, pushes, lost };
}

test("an answer goes to who asked, by its number, and nothing else does", async () => {
  const { net, link, pushes } = rig();
  link.start();
  net.last.open();
  const one = link.request("A"), two = link.request("B", { x: 1 });
  const [a, b] = net.last.sent;
  ok(a.seq !== b.seq && a.seq > 0);
  equal(b, { command: "B", seq: b.seq, body: { x: 1 } });
  net.last.say("Push");
  net.last.say("BRsp", { n: 2 }, b.seq);
  net.last.say("ARsp", { n: 1 }, a.seq);
  net.last.say("ARsp", { n: 3 }, a.seq); // once more: nobody waits
  net.last.onmessage({ data: "no json" });
  equal([await one, await two, pushes], [{ n: 1 }, { n: 2 }, ["Push"]]);
});

test("an answer in parts ends with the part that says so, and one that nothing ends with the answer behind it", async () => {
  const { net, link } = rig();
  link.start();
  net.last.open();
  const got = [];
  const some = link.request("A", {}, ({ body }) => { got.push(body.n); return !body.more; });
  const { seq } = net.last.sent[0];
  net.last.say("ARsp", { n: 1, more: true }, seq);
  net.last.say("ARsp", { n: 2 }, seq);
  net.last.say("ARsp", { n: 3 }, seq);
  equal([(await some).n, got], [2, [1, 2]]);

  const all = [];
  let ended = false;
  link.list("IMAllUserReq", {}, (body) => all.push(body.n)).then(() => { ended = true; });
  const [list, behind] = net.last.sent.slice(1);
  net.last.say("IMAllUserRsp", { n: 1 }, list.seq);
  net.last.say("IMAllUserRsp", { n: 2 }, list.seq);
  await settle();
  ok(!ended);
  net.last.say("IMUsersInfoRsp", {}, behind.seq);
  await settle();
  ok(ended);
  equal(all, [1, 2]);
});

test("a refusal by an error frame says why", async () => {
  const { net, link } = rig();
  link.start();
  net.last.open();
  const asked = link.request("A");
  net.last.onmessage({ data: JSON.stringify({ seq: net.last.sent[0].seq, command: "A", error: "body.x: unknown" }) });
  await rejects(asked, "malformed");
});

test("whoever waits is told when the connection is lost, and at once where there is none", async () => {
  const { net, link } = rig();
  await rejects(link.request("A"), "offline");
  link.start();
  net.last.open();
  const asked = link.request("A");
  const all = link.list("B", {}, () => {});
  net.last.shut();
  await rejects(asked, "offline");
  await rejects(all, "offline");
  equal(link.send("C"), false);
});

test("a question without an answer ends the connection", async () => {
  const { world, net, link, lost } = rig();
  link.start();
  net.last.open();
  net.last.onsent = (f) => { if (f.command === "IMHeartBeat") net.last.say("IMHeartBeat"); };
  const asked = link.request("A");
  asked.catch(() => {});
  await world.pass(timing.answer - 1);
  equal(lost, []);
  await world.pass(2);
  await rejects(asked, "timeout");
  equal(lost, [1006]);
});

test("a heartbeat goes out every 25 seconds; silence after one ends the connection", async () => {
  const { world, net, link, lost } = rig();
  link.start();
  const first = net.last;
  first.open();
  first.onsent = () => first.say("IMHeartBeat");
  await world.pass(10 * 25000 + 100);
  equal([first.asked("IMHeartBeat").length, lost], [10, []]);
  first.onsent = null;
  await world.pass(25000 + timing.dead + 1);
  equal(lost, [1006]);
  await world.pass(timing.retryFirst + 1);
  ok(net.last !== first, "another connection is made");
  net.last.open();
  first.shut(4001); // what the old one says is not heard any more
  equal(lost, [1006]);
});

test("anything that comes is a sign of life", async () => {
  const { world, net, link, lost } = rig();
  link.start();
  net.last.open();
  net.last.onsent = () => net.last.say("Push");
  await world.pass(100000);
  equal(lost, []);
});

test("pauses grow to a bound, by chance up to half shorter, and end when the network comes", async () => {
  for (const [chance, factor] of [[0, 0.5], [1, 1]]) {
    const { world, net, link, states } = rig({ random: () => chance });
    link.start();
    for (let i = 0; i < 10; i++) {
      net.last.shut();
      const n = net.all.length;
      await world.until(() => net.all.length > n);
    }
    const pauses = states.filter((s) => s.startsWith("offline")).map((s) => Number(s.split(" ").at(-1)));
    equal(pauses, [400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000].map((ms) => ms * factor));
    net.last.shut();
    const n = net.all.length;
    link.poke();
    equal(net.all.length, n + 1, "at once");
    equal(states.at(-1), "connecting");
    net.last.shut();
    equal(states.at(-1), `offline for ${400 * factor}`, "and the pauses begin anew");
  }
});

test("a connection that did not hold does not shorten the next pause; one that did does", async () => {
  const { world, net, link, states } = rig();
  link.start();
  const pauses = [];
  for (const held of [0, 10, 10, 6000, 10]) {
    net.last.open();
    await world.pass(held);
    net.last.shut();
    pauses.push(states.at(-1).split(" ").at(-1));
    const n = net.all.length;
    await world.until(() => net.all.length > n);
  }
  equal(pauses, ["400", "800", "1600", "400", "800"]);
});

test("a connection that does not come about is given up, and the busy server is given time", async () => {
  const { world, net, link, lost, states } = rig();
  link.start();
  await world.pass(timing.connect + 1);
  equal([lost, net.last.readyState], [[1006], 3]);
  await world.until(() => net.all.length === 2);
  net.last.shut(1013);
  equal(states.at(-1), "offline for 4000");
});

test("a doubt is settled by a heartbeat", async () => {
  const { world, net, link, lost } = rig();
  link.start();
  net.last.open();
  await world.pass(10);
  link.poke();
  equal(net.last.asked("IMHeartBeat").length, 1);
  await world.pass(timing.poke + 1);
  equal(lost, [1006]);
});

test("stop ends it for good", async () => {
  const { world, net, link, states } = rig({ lost: () => link.stop() });
  link.start();
  net.last.open();
  net.last.shut(4001);
  await world.pass(120000);
  link.poke();
  equal([net.all.length, states.at(-1)], [1, "offline"]);
  link.start();
  equal(net.all.length, 2);
});

test("numbers of requests that wait are not used again", async () => {
  const { net, link } = rig();
  link.start();
  net.last.open();
  link.request("First", {}, () => true, true).catch(() => {});
  const first = net.last.sent[0].seq;
  for (let i = 0; i < 0xff00; i++) {
    link.request("A").catch(() => {});
    const { seq } = net.last.sent.pop();
    ok(seq !== first && seq > 0 && seq <= 0xffff, `seq ${seq}`);
    net.last.say("ARsp", {}, seq);
  }
});
