// What the console's pages are made of: heads, states, tables, questions, and the people that numbers stand for.

import { h, replace, renderList } from "../shared/dom.js";
import { openDialog, toast } from "../shared/dialog.js";
import { icon } from "../shared/icons.js";
import { dateTime, fullTime, count } from "../shared/format.js";
import { get, change, may, on, Problem, Unreachable } from "./api.js";

let serial = 0;
export const newId = (of) => `${of}-${++serial}`;

/** head is a page's heading with what can be done there. */
export const head = (title, ...actions) => h("header", { class: "page-head" }, h("h1", { tabIndex: -1 }, title), h("div", { class: "row actions" }, actions));

/** button makes one. kind: "primary", "danger", "quiet", "small" or several of them. */
export const button = (text, onclick, kind = "", props = {}) => h("button", { type: "button", class: "button " + kind, onclick, ...props }, text);

/** state fills a place where there is nothing, or nothing to be had. */
export const state = (picture, title, text, ...more) => h("div", { class: "state" }, icon(picture), h("h3", null, title), text && h("p", null, text), more);

/** lacks says that the key may not. */
export const lacks = (scope) => state("key", "Your key doesn't allow this", `It lacks the scope ${scope}.`);

const skeleton = () => h("div", { class: "stack bones", "aria-hidden": "true" }, [70, 90, 60, 80, 50].map((w) => h("span", { class: "skeleton", style: { width: w + "%" } })));

/** failure says what went wrong, and offers to try again. */
export function failure(err, again) {
  if (err instanceof Problem && err.status === 403) return state("key", "Your key doesn't allow this", err.message);
  if (err instanceof Problem && err.status === 404) return state("search", "Not found", err.message);
  return h("div", { class: "state", role: "alert" }, icon(err instanceof Unreachable ? "offline" : "error"), h("h3", null, err instanceof Unreachable ? "Not reachable" : "That didn't work"), h("p", null, err.message), again && button("Try again", again));
}

/**
 * area is a place filled by load(signal, waits), which gives nodes; waits() has it say that the log is read by others. It
 * shows that it is loading, what went wrong, and loads again by itself once a server that was away is back. area.reload()
 * loads anew and leaves what is there until then.
 */
export function area(signal, load) {
  const box = h("div", { class: "area", "aria-busy": "true" });
  let now = new AbortController(), away = false;
  box.reload = async () => {
    now.abort();
    const mine = (now = new AbortController());
    box.setAttribute("aria-busy", "true");
    const soon = setTimeout(() => box.querySelector(":scope > :not(.bones, .state)") || replace(box, skeleton()), 150);
    let content;
    away = false;
    const turn = () => mine.signal.aborted || box.querySelector(":scope > .turn") || box.prepend(h("p", { class: "hint turn", role: "status" }, TURN));
    try {
      content = await load(AbortSignal.any([mine.signal, signal]), turn);
    } catch (err) {
      if (mine.signal.aborted || signal.aborted) return;
      if (!(err instanceof Problem || err instanceof Unreachable)) console.error(err);
      away = err instanceof Unreachable;
      content = failure(err, box.reload);
    } finally {
      clearTimeout(soon);
    }
    if (mine.signal.aborted || signal.aborted) return;
    replace(box, content);
    box.removeAttribute("aria-busy");
    if (document.activeElement?.id === "content") box.querySelector("h1")?.focus({ preventScroll: true }); // a heading that came late
  };
  on("reach", (yes) => yes && away && box.reload(), signal);
  box.reload();
  return box;
}

/**
 * readLog asks for what needs the log read backward. While others read it the server says log_busy: that is told with
 * waits(), and asked again until it is done or signal ends. A page that nobody looks at does not ask.
 */
export async function readLog(path, query, signal, waits) {
  for (;;) {
    await shown(signal);
    try {
      return await get(path, query, { signal });
    } catch (err) {
      if (err.code !== "log_busy") throw err;
    }
    waits();
    await pause(1000, signal);
  }
}

/** pause waits; it rejects when signal ends. */
export const pause = (ms, signal) => new Promise((resolve, reject) => {
  const over = () => reject(signal.reason);
  signal.throwIfAborted();
  signal.addEventListener("abort", over, { once: true });
  setTimeout(() => {
    signal.removeEventListener("abort", over);
    resolve();
  }, ms);
});

/** shown waits until somebody may look at the page. */
const shown = async (signal) => {
  while (document.hidden) await pause(500, signal);
};

/** TURN is what is said while others read the log. */
export const TURN = "Four others search the log now. This waits for its turn …";

/** card is a part of a page with a heading. */
export const card = (title, actions, ...content) => h("section", { class: "card part" }, h("header", null, h("h2", null, title), actions && h("div", { class: "row actions" }, actions)), content);

/** NONE stands in a cell that has nothing. */
export const NONE = "–";

/**
 * table makes a real one, which becomes a list of cards where there is no room for columns. columns: {label, cell(row),
 * number, head (names the row), actions}. table.update(rows) changes what has changed, and nothing else. empty: what stands
 * there without rows.
 */
export function table({ caption, columns, rows, key, empty, className = "" }) {
  const body = h("tbody", { role: "rowgroup" });
  const cell = (c, row) => {
    const content = c.cell(row);
    const kind = [c.number && "number", c.actions && "actions", (!content || content === NONE) && "none"].filter(Boolean).join(" ");
    const props = { class: kind, dataset: { label: c.actions ? "" : c.label } };
    return c.head ? h("th", { ...props, scope: "row", role: "rowheader" }, content) : h("td", { ...props, role: "cell" }, content);
  };
  const grid = h("table", { class: "table fold " + className, role: "table" },
    h("caption", { class: "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((c) =>
      h("th", { scope: "col", role: "columnheader", class: [c.number && "number", c.actions && "actions"].filter(Boolean).join(" ") }, c.actions ? h("span", { class: "unseen" }, c.label) : c.label)))),
    body);
  const none = h("div", { hidden: true }, empty ?? state("list", "Nothing here", ""));
  const box = h("div", { class: "scroll-x" }, grid, none);
  box.update = (now) => {
    renderList(body, now, key ?? ((row) => row), () => h("tr", { role: "row" }), (tr, row) => {
      columns.forEach((c, i) => {
        const fresh = cell(c, row), old = tr.children[i];
        if (!old) tr.append(fresh);
        else if (!old.isEqualNode(fresh)) old.replaceWith(fresh);
      });
    });
    none.hidden = now.length > 0;
    grid.hidden = now.length === 0;
  };
  box.body = body;
  box.update(rows);
  return box;
}

/** Pages goes forward and back through a list that comes by cursors. */
export class Pages {
  cursors = [undefined];
  get cursor() { return this.cursors.at(-1); }
  get first() { return this.cursors.length === 1; }

  /** bar has the buttons; turned() is called when there is another page to load. */
  bar(next, from, shown, turned) {
    const go = (fn) => () => {
      fn();
      turned();
    };
    return h("nav", { class: "row pages", "aria-label": "Pages" },
      h("span", { class: "muted small number grow" }, shown ? `${count(from + 1)} to ${count(from + shown)}` : ""),
      button("Previous", go(() => this.cursors.pop()), "small", { disabled: this.first }),
      button("Next", go(() => this.cursors.push(next)), "small", { disabled: !next }));
  }
}

// ---- questions ----

/**
 * question asks before something is changed. text says exactly what will happen, verb is what the button says. run(send)
 * does it with send(method, path, body), and done is what is said then. It resolves with true when it is done.
 */
export function question({ title, text, verb, danger = true, run, done }) {
  const send = change();
  return new Promise((resolve) => {
    openDialog({
      title,
      className: "confirm",
      body: h("p", { class: "wrap" }, text),
      buttons: [
        { text: "Cancel", value: "", ref: (b) => danger && b.setAttribute("autofocus", "") }, // Enter alone breaks nothing
        { text: verb, kind: danger ? "danger" : "primary", value: "yes", action: async () => { await run(send); } },
      ],
      onclose: (value) => {
        if (value === "yes" && done) toast(done);
        resolve(value === "yes");
      },
    });
  });
}

/**
 * form asks for values before something is changed. fields: {name, label, value, type (of an input, or "select", "check",
 * "checks", "person" …), hint, required, max, options [[value, text]]}; or {node}. run(values, send) does it; what it
 * gives is what form resolves with, null when it was cancelled.
 */
export function form({ title, text, verb, danger = false, fields, run, done, wide = false }) {
  const send = change();
  return new Promise((resolve) => {
    let outcome = null;
    const made = fields.map((f) => f.node ? { node: f.node } : field(f));
    const dialog = openDialog({
      title,
      className: (wide ? "wide " : "") + "question",
      body: h("div", { class: "stack" }, text && h("p", { class: "wrap" }, text), made.map((m) => m.node)),
      buttons: [{ text: "Cancel", value: "" }, {
        text: verb, kind: danger ? "danger" : "primary", value: "yes",
        action: async () => {
          const bad = made.find((m) => m.check && !m.check());
          if (bad) {
            bad.focus();
            return false;
          }
          const values = {};
          for (const m of made) if (m.name) values[m.name] = m.value();
          outcome = (await run(values, send)) ?? true;
          return true;
        },
      }],
      onclose: (value) => {
        if (value !== "yes") return resolve(null);
        if (done) toast(typeof done === "function" ? done(outcome) : done);
        resolve(outcome);
      },
    });
    return dialog;
  });
}

function field(f) {
  const id = newId("field");
  if (f.type === "check") {
    const input = h("input", { type: "checkbox", checked: Boolean(f.value), id });
    return { name: f.name, node: h("div", null, h("label", { class: "check" }, input, h("span", null, f.label)), f.hint && h("p", { class: "hint" }, f.hint)), value: () => input.checked };
  }
  if (f.type === "checks") {
    const boxes = f.options.map(([value, text, hint]) => ({ value, input: h("input", { type: "checkbox", value, checked: f.value?.includes(value) ?? false }), text, hint }));
    const error = h("p", { class: "error", role: "alert" });
    return {
      name: f.name,
      node: h("fieldset", { class: "checks" }, h("legend", null, f.label), boxes.map((b) => h("label", { class: "check" }, b.input, h("span", null, h("span", { class: "mono" }, b.text), b.hint && h("span", { class: "hint" }, b.hint)))), error),
      value: () => boxes.filter((b) => b.input.checked).map((b) => b.value),
      check: () => {
        error.textContent = f.required && !boxes.some((b) => b.input.checked) ? "Choose at least one." : "";
        return !error.textContent;
      },
      focus: () => boxes[0].input.focus(),
    };
  }
  const input = f.type === "select"
    ? h("select", { id }, f.options.map(([value, text]) => option(value, text, String(value) === String(f.value ?? ""))))
    : h("input", { id, type: f.type ?? "text", value: f.value ?? "", maxlength: f.max, min: f.min, autocomplete: f.autocomplete ?? "off", spellcheck: "false", inputmode: f.inputmode, placeholder: f.placeholder });
  const error = h("p", { class: "error", role: "alert", id: id + "-error", hidden: true });
  const hint = f.hint && h("p", { class: "hint", id: id + "-hint" }, f.hint);
  if (hint) input.setAttribute("aria-describedby", hint.id);
  if (f.required) input.setAttribute("aria-required", "true");
  return {
    name: f.name,
    node: h("div", { class: "field" }, h("label", { for: id }, f.label), input, hint, error),
    value: () => (f.type === "select" ? input.value : f.raw ? input.value : input.value.trim()),
    check: () => {
      const wrong = f.required && !input.value.trim() ? `${f.label} is needed.` : f.valid?.(input.value.trim()) ?? "";
      error.textContent = wrong;
      error.hidden = !wrong;
      input.toggleAttribute("aria-invalid", Boolean(wrong));
      if (wrong) input.setAttribute("aria-invalid", "true");
      return !wrong;
    },
    focus: () => input.focus(),
  };
}

/** option of a select. */
export const option = (value, text, selected = false) => new Option(text, value, selected, selected);

/** whole checks a field that takes a whole number, or nothing. */
export const whole = (greatest) => (text) => (text === "" || (/^\d+$/.test(text) && Number(text) <= greatest) ? "" : `A whole number up to ${count(greatest)}.`);

/** secret shows once what is not shown again. */
export function secret({ title, text, label, value }) {
  return new Promise((resolve) => {
    const input = h("input", { class: "input mono", readonly: true, value, "aria-label": label, onfocus: (e) => e.target.select() });
    const copied = h("span", { role: "status", class: "small muted" });
    const copy = button("Copy", async () => {
      copied.textContent = (await copyText(value, input)) ? "Copied." : "Mark it and copy it yourself.";
    }, "primary");
    openDialog({
      title,
      closable: false,
      className: "question keep", // also on the next page
      body: h("div", { class: "stack" }, h("p", { class: "wrap" }, text), h("div", { class: "secret" }, input, copy), copied),
      buttons: [{ text: "Done" }],
      onclose: () => resolve(),
    });
    copy.focus();
  });
}

// The clipboard is there only where the page came by TLS or from this machine.
async function copyText(text, input) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    input.focus();
    input.select();
    return document.execCommand?.("copy") ?? false;
  }
}

const LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"; // none that look alike

/** newPassword is a random one of 80 bits that can be read out. */
export function newPassword() {
  const out = [];
  while (out.length < 16) for (const b of crypto.getRandomValues(new Uint8Array(32))) if (b < 248 && out.length < 16) out.push(LETTERS[b % 31]);
  return out.join("").replace(/(.{4})(?=.)/g, "$1-");
}

// ---- times and people ----

/** millis of a time as the API has it: RFC 3339, or Unix seconds. */
export const millis = (t) => (typeof t === "number" ? t * 1000 : Date.parse(t));

/** time shows one. */
export const time = (t) => (t ? h("time", { datetime: new Date(millis(t)).toISOString(), title: fullTime(millis(t)) }, dateTime(millis(t))) : "");

const UTC = /(\d{1,2} (?:January|February|March|April|May|June|July|August|September|October|November|December) \d{4}) at (\d\d:\d\d:\d\d) UTC/;

/**
 * sentence is one of the server's, which has its times as "2 January 2006 at 15:04:05 UTC", with them by the reader's
 * clock. The server's own words are behind each.
 */
export const sentence = (text) => text.split(new RegExp(UTC, "g")).map((part, i, all) => {
  if (i % 3 === 2) return null;
  if (i % 3 === 0) return part;
  const at = Date.parse(`${part} ${all[i + 1]} UTC`);
  return h("time", { datetime: new Date(at).toISOString(), title: `${part} at ${all[i + 1]} UTC` }, dateTime(at));
});

const known = new Map(); // number -> {at, person}
const KEEP = 60_000; // ms

/** forgetPeople makes the next look at people a new one: something has changed. */
export const forgetPeople = () => known.clear();

const unknown = (number) => ({ number, name: "", nick: `user ${number}` });

/** peopleOf gives Map(number -> person) of numbers. Where the key may not read people, or there is no such one, it has the number alone. */
export async function peopleOf(numbers, signal) {
  const wanted = [...new Set(numbers)].filter((n) => n > 0);
  const old = Date.now() - KEEP;
  const missing = may("users:read") ? wanted.filter((n) => !(known.get(n)?.at > old)) : [];
  const one = async () => {
    for (let n = missing.pop(); n !== undefined; n = missing.pop()) {
      try {
        known.set(n, { at: Date.now(), person: await get(`/users/${n}`, null, { signal }) });
      } catch (err) {
        if (!(err instanceof Problem) || err.status === 401) throw err;
        known.set(n, { at: Date.now(), person: unknown(n) });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(8, missing.length) }, one));
  return new Map(wanted.map((n) => [n, known.get(n)?.person ?? unknown(n)]));
}

/** personLink leads to the page of a person. */
export const personLink = (p) => (p.number ? h("a", { href: `#/people/${p.number}`, class: "wrap" }, h("bdi", null, p.nick || p.name)) : "nobody");

/** called is how a person is called in sentences: "Anna (anna)". */
export const called = (p) => (p.name && p.nick && p.nick.toLowerCase() !== p.name ? `${p.nick} (${p.name})` : p.nick || p.name);

/**
 * fullPage reads rows of a list up to a limit, however few each answer brings: of a search they may bring none and yet go
 * on. It gives {rows, next}.
 */
export async function fullPage(path, name, query, limit, signal) {
  const rows = [];
  let next = query.cursor;
  do {
    const page = await get(path, { ...query, cursor: next, limit: limit - rows.length }, { signal });
    rows.push(...page[name]);
    next = page.next;
  } while (next && rows.length < limit);
  return { rows, next };
}

/** findPeople gives a few people that a text may mean, whoever has that number or login name first. */
export async function findPeople(text, signal) {
  const wanted = text.trim().slice(0, 64);
  if (!wanted) return [];
  if (!may("users:read")) return /^[1-9]\d{0,9}$/.test(wanted) ? [unknown(Number(wanted))] : [];
  const [named, { rows }] = await Promise.all([get("/users", { name: wanted }, { signal }), fullPage("/users", "users", { search: wanted }, 8, signal)]);
  const number = rows.filter((p) => String(p.number) === wanted);
  const all = new Map([...number, ...named.users, ...rows].map((p) => [p.number, p]));
  for (const p of all.values()) known.set(p.number, { at: Date.now(), person: p });
  return [...all.values()].slice(0, 8);
}

const nobody = () => (may("users:read") ? "Nobody is called that." : "Your key can't look names up (users:read): write a number.");

/**
 * personField is a field in which a person is searched and picked by name or number. picked(person or null) is told.
 * field.person() gives the one picked, or the only one that what is written names, or rejects.
 */
export function personField({ label = "Person", hint, person = null, picked, className = "" }) {
  const id = newId("person");
  let chosen = person, options = [], active = -1, search = null, timer;
  const list = h("div", { id: id + "-list", role: "listbox", class: "menu options", popover: "manual", "aria-label": label });
  const input = h("input", {
    id, role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id, autocomplete: "off", spellcheck: "false",
    value: person ? called(person) : "", placeholder: "Name or number",
    oninput: () => {
      if (chosen) picked?.(chosen = null);
      clearTimeout(timer);
      timer = setTimeout(look, 150);
    },
    onkeydown: (e) => {
      const open = list.matches(":popover-open");
      if (e.key === "ArrowDown" || e.key === "ArrowUp") {
        e.preventDefault();
        if (!open) return look();
        choose((active + (e.key === "ArrowDown" ? 1 : options.length - (active < 0 ? 0 : 1)) + options.length) % options.length);
      } else if (e.key === "Enter" && open && active >= 0) {
        e.preventDefault();
        take(options[active]);
      } else if (e.key === "Escape" && open) {
        e.preventDefault();
        e.stopPropagation();
        shut();
      }
    },
    onblur: () => setTimeout(shut, 150),
  });
  const shut = () => {
    clearTimeout(timer);
    search?.abort();
    if (list.matches(":popover-open")) list.hidePopover();
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    active = -1;
  };
  const choose = (i) => {
    active = i;
    [...list.children].forEach((o, n) => o.setAttribute("aria-selected", String(n === i)));
    list.children[i]?.scrollIntoView({ block: "nearest" });
    if (list.children[i]?.id) input.setAttribute("aria-activedescendant", list.children[i].id);
  };
  const take = (p) => {
    chosen = p;
    input.value = called(p);
    shut();
    picked?.(p);
  };
  const look = async () => {
    search?.abort();
    search = new AbortController();
    const { signal } = search;
    if (!input.value.trim()) return shut();
    let found;
    try {
      found = await findPeople(input.value, signal);
    } catch (err) {
      if (signal.aborted) return;
      found = [];
      replace(list, h("p", { class: "hint" }, err.message));
    }
    if (signal.aborted || !input.isConnected || document.activeElement !== input) return;
    options = found;
    active = -1;
    if (found.length) {
      replace(list, found.map((p, i) => h("div", { role: "option", id: `${id}-${i}`, "aria-selected": "false", onpointerdown: (e) => { e.preventDefault(); take(p); } },
        h("bdi", { class: "cut" }, called(p)), h("span", { class: "muted small number" }, p.number))));
    } else if (!list.firstChild || list.querySelector("[role=option]")) replace(list, h("p", { class: "hint" }, nobody()));
    if (!list.matches(":popover-open")) list.showPopover();
    const at = input.getBoundingClientRect();
    Object.assign(list.style, { left: at.left + "px", top: at.bottom + 4 + "px", minWidth: at.width + "px", maxWidth: innerWidth - at.left - 8 + "px" });
    input.setAttribute("aria-expanded", "true");
  };
  const node = h("div", { class: "field person " + className }, h("label", { for: id }, label), input, hint && h("p", { class: "hint" }, hint), list);
  return {
    node,
    focus: () => input.focus(),
    set: (p) => {
      chosen = p;
      input.value = p ? called(p) : "";
    },
    async person() {
      const text = input.value.trim();
      if (chosen || !text) return chosen;
      const found = await findPeople(text);
      const exact = found.filter((p) => String(p.number) === text || p.name === text.toLowerCase());
      if (exact.length === 1 || found.length === 1) {
        take(exact[0] ?? found[0]);
        return chosen;
      }
      input.focus();
      throw new Error(found.length ? `Several people match “${text}”: pick one.` : may("users:read") ? `Nobody is called “${text}”.` : nobody());
    },
  };
}

/** departmentsList gives all departments, deleted ones as well. */
export async function departmentsList(signal) {
  const all = [];
  for (let cursor; ;) {
    const page = await get("/departments", { limit: 1000, cursor }, { signal });
    all.push(...page.departments);
    if (!page.more) return all;
    cursor = page.next;
  }
}

/** allOf reads a whole list of pages, up to a bound. */
export async function allOf(path, name, signal, bound = 5000) {
  const all = [];
  for (let cursor; ;) {
    const page = await get(path, { limit: 1000, cursor }, { signal });
    all.push(...page[name]);
    if (!page.next || all.length >= bound) return all;
    cursor = page.next;
  }
}

/** conversationText names a conversation as a person sees it. */
export async function conversationTexts(names, signal) {
  const users = names.map((n) => /^user-(\d+)$/.exec(n)?.[1]).filter(Boolean).map(Number);
  const people = await peopleOf(users, signal);
  const texts = new Map();
  for (const n of names) {
    const [, kind, number] = /^(user|group)-(\d+)$/.exec(n) ?? [];
    if (kind === "user") texts.set(n, `with ${called(people.get(Number(number)))}`);
    else if (kind === "group") {
      let name = "";
      if (may("groups:read")) name = await get(`/groups/${number}`, null, { signal }).then((g) => g.name, () => "");
      texts.set(n, name ? `group ${name}` : `group ${number}`);
    } else texts.set(n, n);
  }
  return texts;
}


