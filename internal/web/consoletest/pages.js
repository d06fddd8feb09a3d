import { equal, ok, test } from "/coretest/harness.js";
import { requests, serve, until } from "./world.js";
import { signedInAs } from "./api.js";
import * as overview from "/console/app/views/overview.js";
import * as people from "/console/app/views/people.js";
import * as log from "/console/app/views/log.js";
import * as why from "/console/app/views/why.js";
import { dateTime } from "/console/shared/format.js";

// page shows one until its test is over.
async function page(view, parts, query, inside) {
  const root = document.createElement("div");
  const end = new AbortController();
  document.body.append(root);
  try {
    view.show(root, { parts, query: new URLSearchParams(query), signal: end.signal });
    await inside(root);
  } finally {
    end.abort();
    root.remove();
    document.querySelectorAll("dialog, .toasts").forEach((d) => d.remove());
  }
}

const button = (root, text) => [...root.querySelectorAll("button")].find((b) => b.innerText.trim() === text);
const hostile = '<img src=x onerror="globalThis.ran=1">';
const person = { number: 7, name: "dora", nick: hostile, gender: 0, avatar_url: "", department: 0, email: hostile, telephone: "", domain: "", employment: 0, signature: hostile, disabled: false, updated: 1 };
const session = { id: "01M84KEQA8NXBNPPQNRGBF8NFF", device: "web", client_type: 33, node: "n", opened: "2026-01-01T10:00:00Z" };
const nobody = { departments: [], more: false, users: [], groups: [], friends: [], requests: [], conversations: [], total: 0, type: "none" };

test("pages: the overview says since when the server is away, and goes on by itself", async () => {
  await signedInAs("operator");
  let away = false, at = Date.now();
  const sample = () => ({ at: (at += 2000), sessions: { desktop: 3, mobile: 2, web: 1 }, connections: 6, messages: 5 });
  serve(({ path }) => {
    if (away) return null;
    if (path.endsWith("/live")) return [200, { every_seconds: 2, samples: [sample()], nodes: [{ process: "p", node: "here", role: "up", clients: 6, capacity: 10, state: "serves", views: 4, owns: 4 }] }];
    if (path.endsWith("/status")) return [200, { version: "1", ready: true, started: "2026-01-01T00:00:00Z", durability: "disk", streams: [], pushes: { targets: [] }, pictures: { room: 10, left: 5 } }];
    return [200, { name: "operator", scopes: [] }];
  });
  await page(overview, [], "", async (root) => {
    const look = () => document.dispatchEvent(new Event("visibilitychange")); // as its clock would
    const banner = () => root.querySelector(".banner").innerText;
    await until("ready", () => banner().includes("Ready"));
    const nodes = () => [...root.querySelectorAll("table")].find((t) => t.caption.innerText === "Nodes").innerText.replaceAll(/\s+/g, " ");
    await until("a node", () => nodes().includes("here"));
    for (const text of ["up connector, gateway and projector in one", "6 of 10", "owns 4 of 4"]) ok(nodes().includes(text), nodes());
    away = true;
    await until("away", () => (look(), /Not reachable since \d/.test(banner())));
    away = false;
    await until("ready again", () => (look(), banner().startsWith("Ready")));
    ok(requests.some((r) => r.query.since), "it asks for what is new alone");
  });
});

test("pages: a kick names whom and what, and is done only once it is confirmed", async () => {
  await signedInAs("operator");
  serve(({ method, path }) => {
    if (method === "DELETE") return [204];
    if (path.endsWith("/users/7")) return [200, person];
    if (path.endsWith("/sessions")) return [200, { sessions: [session] }];
    return [200, nobody];
  });
  const changes = () => requests.filter((r) => r.method !== "GET");
  await page(people, ["7"], "", async (root) => {
    (await until("a session", () => button(root, "Kick"))).click();
    let dialog = await until("the question", () => document.querySelector("dialog[open]"));
    ok(dialog.innerText.includes("web session") && dialog.innerText.includes(hostile), dialog.innerText);
    equal(document.activeElement.innerText, "Cancel", "what has the focus");
    button(dialog, "Cancel").click();
    await until("it is gone", () => !document.querySelector("dialog[open]"));
    equal(changes(), []);
    button(root, "Kick").click();
    dialog = await until("the question", () => document.querySelector("dialog[open]"));
    button(dialog, "Kick").click();
    await until("it is done", () => !document.querySelector("dialog[open]"));
    equal(changes().map((r) => `${r.method} ${r.path}`), [`DELETE /console/api/users/7/sessions/${session.id}`]);
    ok(changes()[0].key, "it has an Idempotency-Key");
    equal([globalThis.ran, root.querySelector("img")], [undefined, null], "markup in a name");
  });
});

test("pages: what goes wrong is said in the dialog, which stays", async () => {
  await signedInAs("operator");
  serve(({ method, path }) => {
    if (method === "POST") return [409, { name: "person_disabled", title: "No", detail: "dora is disabled already", status: 409 }];
    return [200, path.endsWith("/users/7") ? person : nobody];
  });
  await page(people, ["7"], "", async (root) => {
    (await until("the button", () => button(root, "Disable"))).click();
    const dialog = await until("the question", () => document.querySelector("dialog[open]"));
    button(dialog, "Disable").click();
    await until("why not", () => dialog.innerText.includes("Dora is disabled already."));
    ok(dialog.open);
  });
});

test("pages: a key sees what it may, and is told what it may not", async () => {
  await signedInAs("key:abc", ["users:read"]);
  serve(({ path }) => [200, path.endsWith("/users/7") ? person : nobody]);
  await page(people, ["7"], "", async (root) => {
    await until("the page", () => root.innerText.includes("sessions:read"));
    for (const text of ["Disable", "Reset password", "Edit profile", "Kick"]) equal(button(root, text), undefined, text);
    equal(requests.filter((r) => r.path.endsWith("/sessions") || r.path.endsWith("/unread")), [], "asked in vain");
  });
});

test("pages: the log shows the newest first, more on demand, and what is new when live", async () => {
  await signedInAs("operator");
  const event = (sequence) => ({ stream: "PEOPLE", sequence, index: 0, at: "2026-01-01T10:00:00Z", type: "PasswordChanged", who: "operator", summary: `event ${sequence} ${hostile}`, fields: { user: 7, text: hostile } });
  let newest = 150;
  serve(({ path, query }) => {
    if (!path.endsWith("/events")) return [200, { streams: [] }];
    const from = query.before ? Number(query.before) : newest;
    const events = Array.from({ length: Math.min(100, from) }, (_, i) => event(from - i));
    return [200, { events, next: from > 100 ? String(from - 100) : undefined, searched_to: "2026-01-01T09:00:00Z", as_of: 1_000_000 }];
  });
  await page(log, [], "type=PasswordChanged", async (root) => {
    const rows = () => [...root.querySelectorAll("tbody tr:not(.fields) th")].map((r) => Number(r.innerText.match(/event (\d+)/)[1]));
    await until("events", () => rows().length === 100);
    equal(rows(), Array.from({ length: 100 }, (_, i) => 150 - i));
    equal(requests.find((r) => r.path.endsWith("/events")).query.type, "PasswordChanged");
    button(root, "Fields").click();
    ok(root.querySelector("tr.fields:not([hidden])").innerText.includes(hostile));
    equal(requests.filter((r) => r.path.endsWith("/events")).length, 1, "pages that nobody asked for");
    button(root, "Search further back").click();
    await until("older ones", () => rows().length === 150);
    newest = 152;
    root.querySelector("input[role=switch]").click();
    await until("new ones", () => rows()[0] === 152);
    equal(Number(requests.findLast((r) => r.path.endsWith("/events")).query.since), 940_000, "the whole log is searched again and again");
    equal(rows(), Array.from({ length: 152 }, (_, i) => 152 - i));
    equal(globalThis.ran, undefined, "markup in an event");
  });
});

// rare is a log in which the filter finds what found(page) says of so many pages; each says how far back it came.
const hour = (n) => `2026-01-01T${String(n).padStart(2, "0")}:00:00Z`;
const event = (n) => ({ stream: "PEOPLE", sequence: n, index: 0, at: hour(n), type: "PasswordChanged", who: "operator", summary: `event ${n}`, fields: {} });
function rare(pages, found = () => [], gate = () => {}) {
  serve(async ({ path, query }) => {
    if (!path.endsWith("/events")) return [200, { streams: [] }];
    const n = Number(query.before ?? pages);
    await gate(n);
    return [200, { events: found(n), next: n > 1 ? String(n - 1) : undefined, searched_to: n > 1 ? hour(n) : undefined, as_of: 1_000_000 }];
  });
}
const searches = () => requests.filter((r) => r.path.endsWith("/events"));
const held = () => {
  let open;
  const gate = new Promise((done) => { open = done; });
  return { gate, open };
};

test("pages: a search for what is rare goes on by itself, says how far it is, and ends at the beginning", async () => {
  await signedInAs("operator");
  const last = held();
  rare(4, (n) => (n === 2 ? [event(2)] : []), (n) => n === 1 && last.gate);
  await page(log, [], "type=PasswordChanged", async (root) => {
    await until("how far it is", () => root.innerText.includes(`Searching … back to ${dateTime(Date.parse(hour(2)))}`));
    ok(root.innerText.includes("event 2"), "what was found stands there while it goes on");
    ok(button(root, "Stop"), "a way to stop it");
    last.open();
    await until("the end", () => root.innerText.includes("That is all, back to the beginning of the log."));
    equal(searches().map((r) => r.query.before), [undefined, "3", "2", "1"]);
    equal([button(root, "Stop"), button(root, "Search further back")].filter((b) => b?.checkVisibility()), []);
  });
  rare(2);
  await page(log, [], "type=PasswordChanged", async (root) => {
    await until("nothing at all", () => root.innerText.includes("Nothing passes the filter, back to the beginning of the log."));
  });
});

test("pages: a search that is stopped stays so, and goes on when it is told to", async () => {
  await signedInAs("operator");
  const third = held();
  rare(5, () => [], (n) => n === 3 && third.gate);
  await page(log, [], "type=PasswordChanged", async (root) => {
    await until("the third", () => searches().length === 3);
    button(root, "Stop").click();
    third.open();
    await until("how far it came", () => root.innerText.includes(`Searched back to ${dateTime(Date.parse(hour(4)))}.`));
    await new Promise((next) => setTimeout(next, 1200));
    equal(searches().length, 3, "it went on");
    button(root, "Search further back").click();
    await until("the end", () => root.innerText.includes("Nothing passes the filter, back to the beginning"));
    equal(searches().map((r) => r.query.before), [undefined, "4", "3", "3", "2", "1"]);
  });
});

test("pages: a search leaves the log in peace while nobody sees it, and after five minutes", async () => {
  await signedInAs("operator");
  const now = performance.now;
  let late = 0, hidden = false;
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  performance.now = () => now.call(performance) + late;
  try {
    rare(20, () => [], (n) => { hidden = n === 18; });
    await page(log, [], "type=PasswordChanged", async (root) => {
      await until("the third", () => searches().length === 3);
      await new Promise((next) => setTimeout(next, 1500));
      equal(searches().length, 3, "hidden, it asks");
      hidden = false;
      await until("it goes on", () => searches().length > 3);
      late = 300_000;
      await until("it rests", () => button(root, "Search further back")?.checkVisibility());
      const asked = searches().length;
      await new Promise((next) => setTimeout(next, 1200));
      equal(searches().length, asked, "it asks for ever");
    });
  } finally {
    performance.now = now;
    delete document.hidden;
  }
});

test("pages: while others search the log a page says that it waits, and has its turn", async () => {
  await signedInAs("operator");
  const busy = [503, { name: "log_busy", title: "Others read the log now", status: 503 }];
  for (const [view, parts, query] of [[log, [], "type=PasswordChanged"], [why, ["7"], ""]]) {
    let free = false, second = false;
    serve(({ path, query }) => {
      if (path.endsWith("/why")) return free ? [200, { sessions: [], explanation: ["anna is not signed in anywhere."], complete: true }] : busy;
      if (!path.endsWith("/events")) return [200, path.endsWith("/7") ? person : nobody];
      if (query.before) second = true;
      return free ? [200, { events: [], next: query.before ? undefined : "2", as_of: 1 }] : busy;
    });
    await page(view, parts, query, async (root) => {
      await until("it waits", () => root.innerText.includes("Four others search the log now. This waits for its turn"));
      ok(!root.innerText.includes("That didn't work"), root.innerText);
      free = true;
      await until("its turn", () => root.innerText.includes(view === why ? "not signed in anywhere" : "Nothing passes the filter"));
      equal(root.innerText.includes("waits for its turn"), false);
      equal(second, view === log);
    });
  }
});

test("pages: why tells its times by the reader's clock", async () => {
  await signedInAs("operator");
  const at = Date.UTC(2026, 10, 3, 12, 0, 2), text = `anna signed in on 3 November 2026 at 12:00:02 UTC, at the node on <b>. It ended on 4 November 2026 at 00:00:00 UTC.`;
  serve(({ path }) => {
    if (path.endsWith("/7/why")) return [200, { sessions: [{ id: "1", device: "web", lives: false, explanation: text, events: [] }], explanation: ["anna is not signed in anywhere.", text], complete: true }];
    return [200, path.endsWith("/7") ? person : nobody];
  });
  await page(why, ["7"], "", async (root) => {
    const times = await until("the times", () => [...root.querySelectorAll("time[title$=UTC]")].slice(0, 4).length === 4 && [...root.querySelectorAll("time[title$=UTC]")]);
    equal(times[0].dateTime, "2026-11-03T12:00:02.000Z");
    equal(times[0].title, "3 November 2026 at 12:00:02 UTC");
    const said = `anna signed in on ${dateTime(at)}, at the node on <b>. It ended on ${dateTime(Date.UTC(2026, 10, 4))}.`;
    equal([...root.querySelectorAll(".sentences li:last-child, .sentence")].map((n) => n.textContent), [said, said]);
  });
});

test("pages: a friendship is ended and a block taken away once that is confirmed", async () => {
  await signedInAs("operator");
  const other = { ...person, number: 8, name: "emil", nick: "Emil", email: "" };
  serve(({ method, path }) => {
    if (method === "DELETE") return [204];
    if (path.endsWith("/users/7")) return [200, person];
    if (path.endsWith("/users/8")) return [200, other];
    if (path.endsWith("/friends")) return [200, { friends: [{ user: 8, since: 1 }] }];
    if (path.endsWith("/blocks")) return [200, { users: [8] }];
    return [200, nobody];
  });
  const changes = () => requests.filter((r) => r.method !== "GET").map((r) => `${r.method} ${r.path}`);
  await page(people, ["7"], "", async (root) => {
    for (const [text, verb] of [["Unfriend", "End friendship"], ["Unblock", "Unblock"]]) {
      (await until(text, () => button(root, text))).click();
      const dialog = await until("the question", () => document.querySelector("dialog[open]"));
      ok(dialog.innerText.includes("Emil") && dialog.innerText.includes("dora"), dialog.innerText);
      equal(changes().length, text === "Unfriend" ? 0 : 1, "done before it was confirmed");
      button(dialog, verb).click();
      await until("it is done", () => !document.querySelector("dialog[open]"));
    }
    equal(changes(), ["DELETE /console/api/users/7/friends/8", "DELETE /console/api/users/7/blocks/8"]);
  });
  await signedInAs("key:abc", ["users:read"]);
  serve(({ path }) => [200, path.endsWith("/friends") ? { friends: [{ user: 7, since: 1 }] } : path.endsWith("/blocks") ? { users: [7] } : path.endsWith("/users/7") ? person : nobody]);
  await page(people, ["7"], "", async (root) => {
    await until("the block", () => root.innerText.includes("Blocks"));
    equal([button(root, "Unfriend"), button(root, "Unblock")], [undefined, undefined]);
  });
});
