// People: the list, and everything about one.

import { h, later, setText } from "../../shared/dom.js";
import { count, moment, plural } from "../../shared/format.js";
import { icon } from "../../shared/icons.js";
import { get, may } from "../api.js";
import {
  allOf, area, button, called, card, conversationTexts, departmentsList, forgetPeople, form, fullPage, head, lacks, millis, newPassword, NONE,
  Pages, peopleOf, personLink, question, secret, state, table, time, whole,
} from "../parts.js";

const PAGE = 50;

export function show(root, route) {
  if (route.parts.length) showPerson(root, route, route.parts[0]);
  else showList(root, route);
}

const standing = (p) => p.employment === 3 ? h("span", { class: "chip" }, "has left") : p.disabled ? h("span", { class: "chip bad" }, "disabled") : h("span", { class: "chip good" }, "active");

function showList(root, { query, signal }) {
  const pages = new Pages();
  const input = h("input", { type: "search", value: query.get("search") ?? "", maxlength: 64, placeholder: "Name, number, e-mail or telephone", "aria-label": "Search people", oninput: () => searchSoon() });
  const said = h("p", { class: "muted small", role: "status" });

  const box = area(signal, async (loading) => {
    const search = input.value.trim();
    const { rows, next } = await fullPage("/users", "users", { search, cursor: pages.cursor }, PAGE, loading);
    const from = (pages.cursors.length - 1) * PAGE;
    setText(said, !search ? "" : next || from ? "" : plural(rows.length, "match", "matches"));
    return [table({
      caption: "People", rows, key: (p) => p.number,
      empty: search ? state("search", "Nobody matches", `Nobody's number, name, e-mail or telephone has “${search}” in it.`) : state("people", "There is nobody yet", "Make the first account with “New person”."),
      columns: [
        { label: "Number", number: true, cell: (p) => String(p.number) },
        { label: "Nick", head: true, cell: personLink },
        { label: "Login name", cell: (p) => h("bdi", { class: "wrap" }, p.name) },
        { label: "E-mail", cell: (p) => p.email ? h("span", { class: "wrap" }, p.email) : NONE },
        { label: "State", cell: standing },
        { label: "Last change", cell: (p) => time(p.updated) },
      ],
    }), pages.bar(next, from, rows.length, () => box.reload())];
  });

  const searchSoon = later(250, () => {
    if (signal.aborted) return;
    const text = input.value.trim();
    history.replaceState(null, "", text ? `#/people?search=${encodeURIComponent(text)}` : "#/people");
    pages.cursors = [undefined];
    box.reload();
  });

  root.append(
    head("People", may("users:write") && button([icon("user_add"), "New person"], () => createPerson(), "primary")),
    h("section", { class: "card part" }, h("div", { class: "row tools" }, h("label", { class: "search grow" }, icon("search"), input), said), box));
}

const departmentOptions = (all, present) => [[0, "None"], ...all.filter((d) => !d.deleted || d.number === present).map((d) => [d.number, d.name])];

async function createPerson() {
  const departments = await departmentsList().catch(() => []);
  const random = newPassword(); // one for all tries: sent again, it is the same request
  const made = await form({
    title: "New person",
    text: "An account is made, and its password is shown once.",
    verb: "Create person",
    fields: [
      { name: "name", label: "Login name", required: true, max: 64, hint: "What they sign in with. It can't be changed." },
      { name: "nick", label: "Nick", max: 32, hint: "What others see. Empty: the login name." },
      { name: "password", label: "Password", raw: true, max: 256, hint: "Empty: a random one." },
      { name: "department", label: "Department", type: "select", options: departmentOptions(departments), value: 0 },
      { name: "email", label: "E-mail", type: "email", max: 64 },
      { name: "telephone", label: "Telephone", type: "tel", max: 11 },
      { name: "number", label: "Number", inputmode: "numeric", valid: whole(2147483647), hint: "Empty: the next free one." },
    ],
    run: async (v, send) => {
      const password = v.password || random;
      const body = { name: v.name, password, department: Number(v.department) || undefined, number: Number(v.number) || undefined };
      for (const f of ["nick", "email", "telephone"]) if (v[f]) body[f] = v[f];
      return { person: await send("POST", "/users", body), password };
    },
  });
  if (!made) return;
  forgetPeople();
  await secret({ title: `${called(made.person)} was made`, text: `The account has the number ${made.person.number}. This is its password; it is not shown again.`, label: "Password", value: made.password });
  location.hash = `#/people/${made.person.number}`;
}

function showPerson(root, { signal }, number) {
  if (!/^\d+$/.test(number)) return root.append(head("Person"), state("search", "There is no such person", "A person's address ends with a number."));
  const body = area(signal, async (loading) => {
    const [p, departments] = await Promise.all([get(`/users/${number}`, null, { signal: loading }), departmentsList(loading)]);
    document.title = `${called(p)} · godwit console`;
    return person(p, departments, loading, () => {
      forgetPeople();
      body.reload();
    });
  });
  root.append(h("nav", { class: "trail", "aria-label": "Place" }, h("a", { href: "#/people" }, "People"), h("span", { class: "muted" }, ` › ${number}`)), body);
}

function person(p, departments, signal, changed) {
  const name = called(p);
  const write = may("users:write");
  const department = departments.find((d) => d.number === p.department);
  const rows = [
    ["Number", String(p.number)], ["Login name", p.name], ["Nick", p.nick], ["Department", p.department ? department?.name ?? `department ${p.department}` : ""], ["E-mail", p.email], ["Telephone", p.telephone],
    ["Latin name", p.domain], ["Signature", p.signature], ["Gender", ["", "male", "female"][p.gender]], ["Last change", time(p.updated)],
  ];
  const friendsBox = area(signal, () => friends(p, signal, () => friendsBox.reload()));
  const requestsBox = area(signal, () => requests(p, signal, () => requestsBox.reload()));
  const sessions = may("sessions:read") && sessionsCard(p, signal);
  const change = async (title, text, verb, danger, run, done) => {
    if (await question({ title, text, verb, danger, run, done })) changed();
  };
  return [
    head([h("bdi", null, p.nick || p.name), " ", standing(p)],
      may("log:read") && h("a", { class: "button", href: `#/why/${p.number}` }, icon("info"), "Why"),
      write && button([icon("edit"), "Edit profile"], () => editProfile(p, departments, changed)),
      write && button([icon("key"), "Reset password"], () => resetPassword(p, changed)),
      write && (p.disabled
        ? button("Enable", () => change(`Enable ${name}?`, `${name} can sign in again${p.employment === 3 ? ". They stay marked as one who has left" : ""}.`, "Enable", false, (send) => send("POST", `/users/${p.number}/enable`), `${name} is enabled.`), "primary")
        : button("Disable", () => change(`Disable ${name}?`, `${name} can't sign in any more, and all their sessions end now. What they wrote stays, and the account can be enabled again.`, "Disable", true, (send) => send("POST", `/users/${p.number}/disable`), `${name} is disabled, and their sessions have ended.`), "bad"))),
    h("div", { class: "columns even" },
      h("div", { class: "stack" },
        card("Profile", null, h("dl", { class: "facts" }, rows.filter(([, v]) => v).map(([k, v]) => h("div", null, h("dt", null, k), h("dd", { class: "wrap" }, v))))),
        sessions || card("Sessions", null, lacks("sessions:read")),
        card("Unread", null, may("messages:read") ? area(signal, () => unread(p, signal)) : lacks("messages:read"))),
      h("div", { class: "stack" },
        card("Groups", null, may("groups:read") ? area(signal, () => groups(p, signal)) : lacks("groups:read")),
        card("Friends", null, friendsBox),
        card("Requests and blocks", null, requestsBox),
        card("Pushes", null, area(signal, () => pushes(p, signal))))),
  ];
}

function sessionsCard(p, signal) {
  const name = called(p);
  const all = may("sessions:write") ? button("Kick all", () => kickAll(), "small", { hidden: true }) : null;
  let now = [];
  const box = area(signal, async () => {
    now = (await get(`/users/${p.number}/sessions`, null, { signal })).sessions;
    if (all) all.hidden = now.length < 2;
    return table({
      caption: `Sessions of ${name}`, rows: now, key: (s) => s.id, empty: state("offline", "Not signed in", `${name} has no session now.`),
      columns: [
        { label: "Device", head: true, cell: (s) => deviceName(s) },
        { label: "Opened", cell: (s) => time(s.opened) },
        { label: "Session", cell: (s) => h("span", { class: "mono small wrap", title: `held by node life ${s.node}` }, s.id) },
        { label: "Action", actions: true, cell: (s) => may("sessions:write") && button("Kick", () => kick(s), "small") },
      ],
    });
  });
  const kick = async (s) => {
    if (await question({
      title: `Kick this session of ${name}?`, verb: "Kick", done: `The session of ${name} has ended.`,
      text: `The ${s.device} session that ${name} opened at ${moment(millis(s.opened))} ends now: its connection is closed, and the log says who did it. ${name} may sign in again: to keep them out, disable the account.`,
      run: (send) => send("DELETE", `/users/${p.number}/sessions/${s.id}`),
    })) box.reload();
  };
  const kickAll = async () => {
    if (await question({
      title: `Kick all sessions of ${name}?`, verb: "Kick all", done: `All sessions of ${name} have ended.`,
      text: `${plural(now.length, "session")} of ${name} end now: ${now.map((s) => s.device).join(", ")}. ${name} may sign in again: to keep them out, disable the account.`,
      run: (send) => send("DELETE", `/users/${p.number}/sessions`),
    })) box.reload();
  };
  return card("Sessions", [button([icon("refresh"), "Reload"], () => box.reload(), "small quiet"), all], box);
}

const CLIENTS = { 1: "Windows", 2: "Mac", 17: "iOS", 18: "Android", 33: "browser" };
const deviceName = (s) => `${s.device}${CLIENTS[s.client_type] ? ` (${CLIENTS[s.client_type]})` : ""}`;

async function pushes(p, signal) {
  const d = await get(`/users/${p.number}/device`, null, { signal });
  const to = { ios: "Pushes go to an iPhone.", android: "Pushes go to an Android phone." }[d.type] ?? "No phone is known: pushes go nowhere.";
  return h("p", null, to, d.quiet_nights ? " Quiet nights are on." : "");
}

async function groups(p, signal) {
  const { groups: all, next } = await get(`/users/${p.number}/groups`, { limit: 200 }, { signal });
  return [table({
    caption: `Groups of ${called(p)}`, rows: all, key: (g) => g.number, empty: state("group", "In no group", ""),
    columns: [
      { label: "Group", head: true, cell: (g) => h("a", { href: `#/groups/${g.number}`, class: "wrap" }, h("bdi", null, g.name)) },
      { label: "Members", number: true, cell: (g) => count(g.members) },
      { label: "Part", cell: (g) => (g.administrator === p.number ? h("span", { class: "chip accent" }, "administrator") : "member") },
    ],
  }), next && h("p", { class: "hint" }, "These are the first 200.")];
}

async function unread(p, signal) {
  const u = await get(`/users/${p.number}/unread`, { limit: 20 }, { signal });
  const texts = await conversationTexts(u.conversations.map((c) => c.conversation), signal);
  return [table({
    caption: `Unread conversations of ${called(p)}`, rows: u.conversations, key: (c) => c.conversation, empty: state("check", "All is read", ""),
    columns: [
      { label: "Conversation", head: true, cell: (c) => h("bdi", { class: "wrap" }, texts.get(c.conversation)) },
      { label: "Unread", number: true, cell: (c) => count(c.unread) },
      { label: "Newest", cell: (c) => time(c.updated) },
      { label: "Why", actions: true, cell: (c) => may("log:read") && h("a", { class: "button small", href: `#/why/${p.number}/${c.conversation}` }, "Why") },
    ],
  }), u.total > 0 && h("p", { class: "hint" }, `${plural(u.total, "message")} in all.`)];
}

async function friends(p, signal, changed) {
  const all = await allOf(`/users/${p.number}/friends`, "friends", signal, 1000);
  const shown = all.slice(0, 100);
  const people = await peopleOf(shown.map((f) => f.user), signal);
  const end = async (other) => {
    const [a, b] = [called(p), called(other)];
    if (await question({
      title: `End the friendship of ${a} and ${b}?`, verb: "End friendship", done: `${a} and ${b} are friends no more.`,
      text: `${a} and ${b} are taken off each other's lists of friends, with the names that they gave each other. Where only friends write to each other, they can't any more. They may ask each other again.`,
      run: (send) => send("DELETE", `/users/${p.number}/friends/${other.number}`),
    })) changed();
  };
  return [table({
    caption: `Friends of ${called(p)}`, rows: shown, key: (f) => f.user, empty: state("people", "No friends", ""),
    columns: [
      { label: "Friend", head: true, cell: (f) => personLink(people.get(f.user)) },
      { label: "Own name for them", cell: (f) => f.remark ? h("bdi", { class: "wrap" }, f.remark) : NONE },
      { label: "Since", cell: (f) => time(f.since) || NONE },
      { label: "Action", actions: true, cell: (f) => may("users:write") && button("Unfriend", () => end(people.get(f.user)), "small") },
    ],
  }), all.length > shown.length && h("p", { class: "hint" }, `The first ${shown.length} of ${all.length >= 1000 ? "more than " : ""}${count(all.length)}.`)];
}

async function requests(p, signal, changed) {
  const [open, blocked] = await Promise.all([
    get(`/users/${p.number}/friend-requests`, { limit: 100 }, { signal }).then((r) => r.requests),
    get(`/users/${p.number}/blocks`, { limit: 100 }, { signal }).then((r) => r.users),
  ]);
  if (!open.length && !blocked.length) return state("check", "None", "");
  const people = await peopleOf([...open.map((r) => r.user), ...blocked], signal);
  const unblock = async (other) => {
    const [a, b] = [called(p), called(other)];
    if (await question({
      title: `Unblock ${b} for ${a}?`, verb: "Unblock", done: `${a} does not block ${b} any more.`,
      text: `The block of ${a} against ${b} ends: both can write to each other again, unless ${b} blocks ${a} too. ${a} is not asked, and may block again.`,
      run: (send) => send("DELETE", `/users/${p.number}/blocks/${other.number}`),
    })) changed();
  };
  return h("ul", { class: "stack tight" },
    open.map((r) => h("li", null, r.outgoing ? "Has asked " : "Was asked by ", personLink(people.get(r.user)), " to be friends, ", time(r.since))),
    blocked.map((n) => h("li", { class: "row wrapping" }, h("span", { class: "grow" }, "Blocks ", personLink(people.get(n))), may("users:write") && button("Unblock", () => unblock(people.get(n)), "small"))));
}

async function editProfile(p, departments, changed) {
  const fields = [
    { name: "nick", label: "Nick", value: p.nick, required: true, max: 32 },
    { name: "department", label: "Department", type: "select", options: departmentOptions(departments, p.department), value: p.department },
    { name: "email", label: "E-mail", type: "email", value: p.email, max: 64 },
    { name: "telephone", label: "Telephone", type: "tel", value: p.telephone, max: 11 },
    { name: "domain", label: "Latin name", value: p.domain, max: 32, hint: "By which clients search." },
    { name: "signature", label: "Signature", value: p.signature, max: 128 },
    { name: "gender", label: "Gender", type: "select", options: [[0, "Not known"], [1, "Male"], [2, "Female"]], value: p.gender },
    { name: "left", label: "Has left", type: "check", value: p.employment === 3, hint: "Who has left is shown so to others, and their sessions end." },
  ];
  const done = await form({
    title: `Edit the profile of ${called(p)}`,
    verb: "Change profile",
    fields,
    run: async (v, send) => {
      const body = {};
      for (const f of ["nick", "email", "telephone", "domain", "signature"]) if (v[f] !== p[f]) body[f] = v[f];
      for (const f of ["department", "gender"]) if (Number(v[f]) !== p[f]) body[f] = Number(v[f]);
      if (v.left !== (p.employment === 3)) body.employment = v.left ? 3 : 0;
      if (!Object.keys(body).length) throw new Error("Nothing is different from what it was.");
      return send("PATCH", `/users/${p.number}`, body);
    },
    done: `The profile of ${called(p)} is changed.`,
  });
  if (done) changed();
}

async function resetPassword(p, changed) {
  const name = called(p);
  const random = newPassword();
  const made = await form({
    title: `Reset the password of ${name}?`,
    text: `The old password ends, and so do all sessions of ${name}. The new one is shown once.`,
    verb: "Reset password",
    danger: true,
    fields: [{ name: "password", label: "New password", raw: true, max: 256, hint: "Empty: a random one." }],
    run: async (v, send) => {
      const password = v.password || random;
      await send("PUT", `/users/${p.number}/password`, { password });
      return { password };
    },
  });
  if (!made) return;
  changed();
  await secret({ title: `New password of ${name}`, text: `${name} signs in with it from now on. It is not shown again.`, label: "Password", value: made.password });
}
