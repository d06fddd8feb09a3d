// The left side: oneself, search, conversations, and below them the groups and people that one has none with yet.

import { h, later, set, setText } from "../../shared/dom.js";
import { badge, plural, shortTime } from "../../shared/format.js";
import { icon } from "../../shared/icons.js";
import { avatar, content, idOf, isGroup, ms, paintKey, paintPerson, personName, preview, sortedPeople, titleOf } from "./common.js";
import { virtualList } from "./virtual.js";

export function listView(ctx) {
  const { app } = ctx;
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize) || 16;
  const search = h("input", { type: "search", "aria-label": "Search", placeholder: "Search", autocomplete: "off", spellcheck: "false", enterkeyhint: "search" });
  const scroller = h("div", { class: "list-scroll", tabIndex: -1 });
  const nothing = h("div", { class: "state", hidden: true });
  const mine = avatar();
  const myName = h("bdi", { class: "cut strong" });
  const mySignature = h("bdi", { class: "cut small muted" });
  const asked = h("span", { class: "badge" });
  const peopleButton = h("button", { class: "icon-button", type: "button", "aria-label": "People", title: "People and requests", onclick: () => ctx.showPeople() }, icon("user_add"), asked);
  const found = h("p", { class: "unseen", role: "status" });
  let query = "";

  const node = h("aside", { class: "sidebar" },
    h("header", { class: "bar" },
      h("button", { class: "me", type: "button", "aria-label": "Profile", title: "Profile and settings", onclick: () => ctx.showProfile() },
        mine, h("span", { class: "me-text" }, myName, mySignature)),
      peopleButton,
      h("button", { class: "icon-button", type: "button", "aria-label": "New group", title: "New group", onclick: () => ctx.showNewGroup() }, icon("group"))),
    h("div", { class: "search-place" }, h("label", { class: "search" }, icon("search"), search)),
    found,
    h("nav", { class: "list", "aria-label": "Conversations" }, scroller, nothing));

  const list = virtualList(scroller, {
    height: (row) => (row.type === "head" ? 2.25 : row.type === "hint" ? 5.5 : 4.25) * rem,
    create: (row) => (row.type === "head" ? h("h2", { class: "list-head" }) : row.type === "hint" ? h("p", { class: "list-hint muted" }) : row.message ? createHit(row) : createItem(row)),
    update: (el, row) => (row.type === "head" || row.type === "hint" ? setText(el, row.text) : row.message ? updateHit(el, row) : updateItem(el, row)),
  });

  function createItem(row) {
    const parts = {
      face: avatar(), name: h("bdi", { class: "cut item-name" }), quiet: icon("mute"), time: h("time", { class: "item-time" }),
      text: h("bdi", { class: "cut item-text" }), badge: h("span", { class: "badge" }),
    };
    const el = h("button", { class: "item", type: "button", dataset: { key: row.conversation }, onclick: () => ctx.go(row.conversation) },
      parts.face,
      h("span", { class: "item-top" }, parts.name, parts.quiet, parts.time),
      h("span", { class: "item-bottom" }, parts.text, parts.badge));
    parts.quiet.classList.add("small-icon");
    el.parts = parts;
    return el;
  }

  function updateItem(el, row) {
    const { parts } = el;
    const state = app.state;
    const key = row.conversation;
    const c = state.conversations.get(key);
    const group = isGroup(key) && state.groups.get(idOf(key));
    const person = !isGroup(key) && state.people.get(idOf(key));
    const name = titleOf(state, key);
    paintKey(parts.face, state, key);
    setText(parts.name, name);
    const muted = Boolean(c?.muted || group?.muted);
    parts.quiet.style.display = muted ? "" : "none";
    const last = c?.lastMessage;
    const when = row.plain ? 0 : ms(last?.time ?? c?.updated);
    setText(parts.time, shortTime(when));
    const writing = state.typing.get(key);
    const draft = c?.draft?.trim() && state.open !== key;
    let text;
    if (writing?.size) text = isGroup(key) ? `${personName(state, [...writing][0])} is typing…` : "typing…";
    else if (draft && !row.plain) text = "Draft: " + c.draft.trim();
    else if (last && !row.plain) text = preview(state, key, last);
    else text = group ? plural(group.members?.length ?? 0, "member") : person?.signature || state.departments?.get(person?.department)?.name || "";
    setText(parts.text, text);
    parts.text.classList.toggle("accent-text", Boolean(writing?.size));
    parts.text.classList.toggle("bad-text", Boolean(draft && !row.plain && !writing?.size));
    const unread = c?.unread ?? 0;
    setText(parts.badge, badge(unread));
    parts.badge.classList.toggle("muted", muted);
    const open = state.open === key;
    set(el, {
      "aria-current": open ? "true" : null,
      "aria-label": name,
      "aria-description": [person?.online && "online", unread && `${unread} unread`, muted && "muted", text, parts.time.textContent].filter(Boolean).join(", "),
    });
    el.classList.toggle("unread", unread > 0);
    el.classList.toggle("single", !text && !unread);
  }

  function createHit(row) {
    const parts = { face: avatar("small"), name: h("bdi", { class: "cut item-name" }), time: h("time", { class: "item-time" }), text: h("bdi", { class: "cut item-text" }) };
    const el = h("button", { class: "item", type: "button", dataset: { hit: row.key }, onclick: () => ctx.go(row.conversation, row.message.id) },
      parts.face, h("span", { class: "item-top" }, parts.name, parts.time), h("span", { class: "item-bottom" }, parts.text));
    el.parts = parts;
    return el;
  }

  function updateHit(el, row) {
    const state = app.state;
    paintKey(el.parts.face, state, row.conversation);
    setText(el.parts.name, titleOf(state, row.conversation));
    setText(el.parts.time, shortTime(ms(row.message.time)));
    const said = content(row.message).replace(/\s+/g, " ");
    const at = said.toLocaleLowerCase().indexOf(query.toLocaleLowerCase());
    setText(el.parts.text, (row.message.from === state.me.id ? "You: " : personName(state, row.message.from) + ": ") + (at > 24 ? "…" + said.slice(at - 16) : said).slice(0, 200));
  }

  const item = (key, plain) => ({ key, conversation: key, plain });
  const head = (text) => ({ key: "head-" + text, type: "head", text, fixed: true });

  function rowsOf(state) {
    if (query) return hits(state);
    const rows = state.order.map((key) => item(key));
    const listed = new Set(state.order);
    const groups = [...state.groups.values()].filter((g) => !listed.has("g" + g.id) && g.members?.includes(state.me?.id)).sort((a, b) => a.name.localeCompare(b.name));
    const people = sortedPeople(state).filter((p) => !listed.has("u" + p.id));
    if (!rows.length && state.synced && people.length + groups.length) rows.push({ key: "hint", type: "hint", fixed: true, text: "No conversations yet. Pick somebody to write to, or search." });
    if (groups.length) rows.push(head("Groups"), ...groups.map((g) => item("g" + g.id)));
    if (people.length) rows.push(head("People"), ...people.map((p) => item("u" + p.id)));
    return rows;
  }

  function rank(name) {
    const at = name.toLocaleLowerCase().indexOf(query.toLocaleLowerCase());
    return at === 0 ? 0 : at > 0 && /[\s._-]/.test(name[at - 1]) ? 1 : 2;
  }

  function hits(state) {
    const { people = [], groups = [], messages = [] } = app.search(query);
    const rows = [];
    const named = (keys) => keys.map((key) => ({ key, rank: rank(titleOf(state, key)) })).sort((a, b) => a.rank - b.rank);
    const found = [["People", named(people.filter((id) => id !== state.me?.id).map((id) => "u" + id))], ["Groups", named(groups.map((id) => "g" + id))]];
    // Whose name begins with what was typed stands first, for who presses Enter at once.
    found.sort(([, a], [, b]) => (a[0]?.rank ?? 9) - (b[0]?.rank ?? 9));
    for (const [title, keys] of found) if (keys.length) rows.push(head(title), ...keys.map(({ key }) => item(key)));
    if (messages.length) {
      rows.push(head("Messages"));
      for (const { key, id } of messages) {
        const message = state.conversations.get(key)?.messages.find((m) => m.id === id);
        if (message) rows.push({ key: `hit-${key}-${id}`, conversation: key, message });
      }
    }
    return rows.filter((r, i) => r.type !== "head" || (rows[i + 1] && rows[i + 1].type !== "head"));
  }

  let emptyKind = "";
  function showNothing(state, rows) {
    const kind = rows.length ? "" : query ? "found " + query : !state.synced ? "waiting" : "none";
    if (kind === emptyKind) return;
    emptyKind = kind;
    nothing.hidden = !kind;
    nothing.className = kind === "waiting" ? "" : "state";
    nothing.textContent = "";
    if (kind === "waiting") nothing.append(...skeletonRows());
    else if (kind === "none") {
      nothing.append(icon("chat"), h("h2", null, "No conversations yet"), h("p", null, "Find somebody to write to."),
        h("button", { class: "button", type: "button", onclick: () => ctx.showPeople() }, "Find people"));
    } else if (kind) nothing.append(icon("search"), h("h2", null, "Nothing found"), h("p", { class: "wrap" }, "Names, groups and the messages loaded here were searched."));
  }

  function find() {
    if (query === search.value.trim()) return;
    query = search.value.trim();
    scroller.scrollTop = 0;
    update(app.state);
    const n = query ? list.first() : null;
    setText(found, query ? (n ? "Results found" : "Nothing found") : "");
  }
  search.addEventListener("input", later(80, find));
  search.addEventListener("keydown", (e) => {
    if (e.isComposing) return;
    if (e.key === "ArrowDown") {
      e.preventDefault();
      find();
      list.focusFirst();
    } else if (e.key === "Enter" && search.value.trim()) {
      e.preventDefault(); // the key would go on to the field that has the focus then
      find(); // who types fast doesn't wait for it
      const row = list.first();
      if (row) ctx.go(row.conversation, row.message?.id);
    } else if (e.key === "Escape") {
      e.preventDefault();
      if (search.value) clear();
      else search.blur();
    }
  });
  scroller.addEventListener("keydown", (e) => {
    if (e.key === "ArrowUp" && e.target.dataset.row === list.first()?.key) search.focus();
  });

  function clear() {
    if (!search.value) return;
    search.value = "";
    query = "";
    scroller.scrollTop = 0;
    update(app.state);
  }

  let known = null;
  function update(state, changes) {
    // The order of all is worked out anew only when it may be another; else the rows that are there are painted.
    if (!changes || !known || query || ["people", "conversations", "groups", "friends", "phase", "me"].some((c) => changes.has(c))) {
      known = rowsOf(state);
      list.set(known);
      showNothing(state, known);
    } else list.render();
    if (state.me) {
      paintPerson(mine, state, state.me.id, { presence: false });
      setText(myName, state.me.nick || state.me.name);
      setText(mySignature, state.me.signature || ctx.config.name);
    }
    const requests = [...state.friends.values()].filter((f) => f.state === "asked-me").length;
    setText(asked, badge(requests));
    peopleButton.setAttribute("aria-description", requests ? plural(requests, "open request") : "");
  }

  update(app.state);
  return {
    node, update, clear,
    focusSearch() {
      search.focus();
      search.select();
    },
    opened(key) {
      if (key) {
        list.activate(key);
        list.reveal(key);
      }
      list.render();
    },
    focusItem: () => list.focusActive(),
  };
}

export function skeletonRows(n = 8) {
  return Array.from({ length: n }, (_, i) => h("div", { class: "item", "aria-hidden": "true" },
    h("span", { class: "skeleton round avatar-place" }),
    h("span", { class: "item-top" }, h("span", { class: "skeleton", style: { width: 35 + ((i * 37) % 30) + "%" } })),
    h("span", { class: "item-bottom" }, h("span", { class: "skeleton", style: { width: 50 + ((i * 53) % 40) + "%" } }))));
}
