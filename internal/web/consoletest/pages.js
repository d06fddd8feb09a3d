import { equal, ok, test } from "/coretest/harness.js";
import { requests, serve, until } from "./world.js";
import { signedInAs } from "./api.js";
import * as overview from "/console/app/views/overview.js";
import * as people from "/console/app/views/people.js";
import * as log from "/console/app/views/log.js";

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
    if (path.endsWith("/live")) return [200, { every_seconds: 2, samples: [sample()], nodes: [{ process: "p", node: "here", role: "connector", clients: 6, state: "serves" }] }];
    if (path.endsWith("/status")) return [200, { version: "1", ready: true, started: "2026-01-01T00:00:00Z", durability: "disk", streams: [], pushes: { targets: [] }, pictures: { room: 10, left: 5 } }];
    return [200, { name: "operator", scopes: [] }];
  });
  await page(overview, [], "", async (root) => {
    const look = () => document.dispatchEvent(new Event("visibilitychange")); // as its clock would
    const banner = () => root.querySelector(".banner").innerText;
    await until("ready", () => banner().includes("Ready"));
    await until("a node", () => [...root.querySelectorAll("table")].find((t) => t.caption.innerText === "Nodes").innerText.includes("here"));
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
  let newest = 10;
  serve(({ path, query }) => {
    if (!path.endsWith("/events")) return [200, { streams: [] }];
    const from = query.before ? Number(query.before) : newest;
    const events = Array.from({ length: Math.min(5, from) }, (_, i) => event(from - i));
    return [200, { events, next: from > 5 ? String(from - 5) : undefined, searched_to: "2026-01-01T09:00:00Z", as_of: 1_000_000 }];
  });
  await page(log, [], "type=PasswordChanged", async (root) => {
    const rows = () => [...root.querySelectorAll("tbody tr:not(.fields) th")].map((r) => Number(r.innerText.match(/event (\d+)/)[1]));
    await until("events", () => rows().length === 5);
    equal(rows(), [10, 9, 8, 7, 6]);
    equal(requests.find((r) => r.path.endsWith("/events")).query.type, "PasswordChanged");
    button(root, "Fields").click();
    ok(root.querySelector("tr.fields:not([hidden])").innerText.includes(hostile));
    button(root, "Load more").click();
    await until("older ones", () => rows().length === 10);
    newest = 12;
    root.querySelector("input[role=switch]").click();
    await until("new ones", () => rows()[0] === 12);
    equal(Number(requests.findLast((r) => r.path.endsWith("/events")).query.since), 940_000, "the whole log is searched again and again");
    equal(rows(), [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    equal(globalThis.ran, undefined, "markup in an event");
  });
});
