// The open conversation: header, messages, the line that says who writes, and the field to write in.
//
// Of the messages that the app holds only a window is in the page, a few hundred at most: it grows and is trimmed as the
// reader scrolls, and what the reader looks at stays where it is. Who is at the bottom stays there.

import { h, perFrame, renderList, replace, setText } from "../../shared/dom.js";
import { badge, dayName, dayNumber, plural } from "../../shared/format.js";
import { icon } from "../../shared/icons.js";
import { avatar, content, explain, idOf, isGroup, ms, outside, paintKey, personName, titleOf } from "./common.js";
import { composerView } from "./composer.js";
import { attempt, createMessage, mayEdit, messageKey, updateMessage } from "./message.js";

const PAGE = 60; // messages that come into the page at once
const MOST = 240; // and at most stay there
const NEAR = 700; // pixels from an edge at which more is fetched
const GROUPED = 5 * 60; // seconds within which messages of one person are drawn as said in one go

export function conversationView(base, key) {
  const { app } = base;
  const ctx = { ...base, edit: (m) => composer.edit(m) };
  const group = isGroup(key);
  let dividerAfter = null; // the read cursor above which "New" is drawn
  let startKey = null; // first message in the page; null: a page from the end
  let endKey = null; // last message in the page; null: the newest
  let bottom = true; // the reader is at the end
  let positioned = false; // the first messages have been put into place
  let lastId = 0; // newest message that was counted
  let arrived = 0; // others' messages since the reader left the end
  let wanted = null; // a message to be shown once it is there
  let active = null; // key of the message whose actions Tab reaches

  // The header.
  const face = avatar();
  const title = h("h1", { class: "cut" }, h("bdi"));
  const subtitle = h("p", { class: "cut small muted" });
  const detailsButton = h("button", { class: "icon-button", type: "button", "aria-label": "Details", "aria-expanded": "false", title: "Details", onclick: () => ctx.toggleDetails() }, icon("info"));
  const header = h("header", { class: "bar" },
    h("button", { class: "icon-button back", type: "button", "aria-label": "Back to the list", onclick: () => ctx.go(null) }, icon("back")),
    h("div", { class: "who", onclick: () => ctx.toggleDetails() }, face, h("div", { class: "who-text" }, title, subtitle)),
    detailsButton);

  // The messages.
  const top = h("div", { class: "log-top" });
  const rows = h("div", { class: "rows" });
  const log = h("div", { class: "log", role: "log", "aria-label": "Messages", "aria-live": "off", tabIndex: 0 }, h("div", { class: "log-inner" }, top, rows));
  const waiting = conversationSkeleton();
  const nothing = h("div", { class: "state", hidden: true });
  const jumpCount = h("span", { class: "badge" });
  const jump = h("button", { class: "jump icon-button", type: "button", "aria-label": "Jump to the newest message", tabIndex: -1, onclick: toEnd }, icon("down"), jumpCount);
  const older = h("button", { class: "older button small", type: "button", hidden: true, onclick: toUnread });
  const announce = h("div", { class: "unseen", "aria-live": "polite" });
  const typing = h("div", { class: "typing small muted", "aria-live": "polite" });
  const composer = composerView(ctx, key, { lastOwn, sent: () => { dividerAfter = null; toEnd(); } });
  const drop = h("div", { class: "drop" }, icon("image"), "Drop pictures here");
  const node = h("main", { class: "conversation", "aria-label": "Conversation", dataset: { conversation: key } },
    header, h("div", { class: "log-frame" }, older, log, waiting, nothing, jump), typing, composer.node, drop, announce);

  const held = () => app.state.conversations.get(key);
  const messagesOf = (c) => c?.messages ?? [];
  const indexOf = (all, k, fallback) => {
    if (k === null) return fallback;
    for (let i = all.length - 1; i >= 0; i--) if (messageKey(all[i]) === k) return i;
    return fallback;
  };

  const why = () => group && outside(app.state, key);

  // ---- what is in the page

  function windowOf(all) {
    let start = startKey === null ? Math.max(0, all.length - PAGE) : indexOf(all, startKey, -1);
    if (start < 0) start = Math.max(0, all.length - PAGE); // what stood there is gone: begin anew at the end
    const end = endKey === null ? all.length : indexOf(all, endKey, all.length - 1) + 1;
    return { start: Math.min(start, end), end };
  }

  // rowsOf adds days and the mark of what is new to the messages.
  function rowsOf(all, start, end, me) {
    const list = [];
    let day = start > 0 ? dayNumber(ms(all[start - 1].time)) : null;
    let marked = dividerAfter === null;
    for (let i = start; i < end; i++) {
      const m = all[i];
      const itsDay = dayNumber(ms(m.time));
      let apart = i === start;
      if (itsDay > day) { // clocks differ: a message that seems a day older goes on with this day
        list.push({ key: "day-" + itsDay, day: ms(m.time) });
        day = itsDay;
        apart = true;
      }
      if (!marked && m.id > dividerAfter && m.from !== me) {
        marked = true;
        // Not above the first that is there while the true first unread one may still come.
        if (i > 0 || held().complete || all[0].id === dividerAfter + 1) {
          list.push({ key: "new", fresh: true });
          apart = true;
        }
      }
      const before = all[i - 1];
      const goesOn = !apart && before && before.from === m.from && m.time - before.time < GROUPED;
      list.push({ key: messageKey(m), m, goesOn });
      if (goesOn && list.at(-2)?.m) list.at(-2).followed = true;
    }
    return list;
  }

  function render() {
    const c = held();
    const all = messagesOf(c);
    const { start, end } = windowOf(all);
    if (all.length && positioned) { // before, the page grows with what is loaded
      startKey = messageKey(all[start] ?? all[0]);
      endKey = end < all.length ? messageKey(all[end - 1]) : null;
    }
    const list = rowsOf(all, start, end, app.state.me?.id);
    const last = list.findLast((r) => r.m && r.m.id && !r.m.recalled)?.key ?? null;
    const keys = renderList(rows, list, (r) => r.key, create, (el, r) => {
      if (!r.m) return r.day && setText(el.firstChild, dayName(r.day));
      const place = r.goesOn ? (r.followed ? "middle" : "last") : r.followed ? "first" : "only";
      updateMessage(ctx, key, el, r.m, place, c);
    });
    if (!keys.has(active)) active = null;
    for (const r of list) {
      const more = r.m && keys.get(r.key).parts.more;
      if (more) more.tabIndex = r.key === (active ?? last) ? 0 : -1;
    }
    paintEdges(c, all, start);
  }

  function create(r) {
    if (r.day) return h("div", { class: "day", role: "separator" }, h("span"));
    if (r.fresh) return h("div", { class: "fresh", role: "separator" }, h("span", null, "New messages"));
    const el = createMessage(ctx, key, r.m);
    el.dataset.row = r.key;
    return el;
  }

  // paintEdges shows what stands above the first message, and what stands there when there is none.
  let edge = "";
  function paintEdges(c, all, start) {
    const empty = !all.length;
    const failed = Boolean(c?.error);
    const coming = empty && !failed && c && !c.complete && (c.loading || !app.state.synced || c.latest > 0 || c.unread > 0);
    waiting.hidden = !coming;
    const kind = empty ? (failed ? "failed" : coming ? "" : why() ? "outside" : "empty") : "";
    nothing.hidden = !kind;
    if (nothing.dataset.kind !== kind) {
      nothing.dataset.kind = kind;
      if (kind === "failed") replace(nothing, icon("error"), h("h2", null, "The messages can't be loaded"), h("p", null, explain(c.error)), retryButton());
      else if (kind) replace(nothing, icon("chat"), h("h2", null, "Nothing has been written yet"), kind === "empty" && h("p", null, "Say hello to ", h("bdi", null, titleOf(app.state, key)), "."));
    }
    const next = empty ? "" : start > 0 || !c.complete ? (failed ? "failed" : "more") : all[0].id > 1 ? "cut" : "start";
    const above = dividerAfter === null || empty || c.complete ? 0 : all[0].id - dividerAfter - 1;
    older.hidden = above <= 0;
    setText(older, plural(above, "older unread message"));
    if (next !== edge) {
      edge = next;
      if (next === "failed") replace(top, h("span", { class: "small muted" }, "Older messages can't be loaded."), retryButton());
      else if (next === "more") replace(top, h("span", { class: "spinner", role: "status", "aria-label": "Loading older messages" }));
      else replace(top, next && h("span", { class: "small muted" }, next === "cut" ? "Older messages can't be read here." : "This is where the conversation begins."));
    }
  }
  const retryButton = () => h("button", { class: "button small", type: "button", onclick: () => attempt(app.loadOlder(key)) }, "Try again");

  // ---- scrolling

  const distance = () => log.scrollHeight - log.scrollTop - log.clientHeight;

  // By its lower edge: what comes above a message may take its name or its space away, all below stays.
  const bottomOf = (el) => el.offsetTop + el.offsetHeight;

  /** still runs change and leaves what the reader looks at where it is, or the reader at the end. */
  function still(change) {
    if (bottom) {
      change();
      log.scrollTop = log.scrollHeight;
      return;
    }
    const y = log.scrollTop;
    const list = rows.children;
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (bottomOf(list[middle]) <= y) low = middle + 1;
      else high = middle;
    }
    const anchors = [list[low], list[low + 1], list[low + 2]].filter(Boolean).map((el) => [el, bottomOf(el)]);
    change();
    const kept = anchors.find(([el]) => el.isConnected && el.dataset.row) ?? anchors.find(([el]) => el.isConnected);
    if (kept) {
      const moved = bottomOf(kept[0]) - kept[1];
      if (moved || log.scrollTop !== y) log.scrollTop = y + moved;
    }
  }

  function more() {
    const c = held();
    const all = messagesOf(c);
    if (!all.length || !positioned) return;
    const { start, end } = windowOf(all);
    if (log.scrollTop < NEAR) {
      if (start > 0) {
        const from = Math.max(0, start - PAGE);
        still(() => {
          startKey = messageKey(all[from]);
          if (end - from > MOST && distance() > 2 * NEAR) endKey = messageKey(all[from + MOST - 1]);
          render();
        });
      } else if (!c.complete && !c.loading && !c.error && app.state.connection === "online") attempt(app.loadOlder(key));
    } else if (end < all.length && distance() < NEAR) {
      const to = Math.min(all.length, end + PAGE);
      still(() => {
        endKey = to === all.length ? null : messageKey(all[to - 1]);
        startKey = messageKey(all[Math.max(start, to - MOST)]);
        render();
      });
    }
  }

  let seenHeight = 0;
  let seenRoom = 0;
  function look() {
    if (!positioned || !node.isConnected) return;
    // Where only the page has changed, not the reader's place in it, who was at the end still is.
    const changed = log.scrollHeight !== seenHeight || log.clientHeight !== seenRoom;
    seenHeight = log.scrollHeight;
    seenRoom = log.clientHeight;
    if (bottom && changed) log.scrollTop = log.scrollHeight;
    bottom = endKey === null && distance() < 40;
    if (bottom) arrived = 0;
    app.setAtEnd(bottom);
    paintJump();
    more();
  }

  function paintJump() {
    const away = positioned && (endKey !== null || distance() > 300);
    jump.toggleAttribute("data-shown", away);
    jump.tabIndex = away ? 0 : -1;
    setText(jumpCount, badge(arrived));
    jump.setAttribute("aria-label", arrived ? `Jump to the newest message, ${plural(arrived, "new message")}` : "Jump to the newest message");
  }

  function toEnd() {
    startKey = endKey = null;
    bottom = true;
    render();
    log.scrollTop = log.scrollHeight;
    arrived = 0;
    paintJump();
    app.setAtEnd(true);
  }

  // toUnread goes up to the first unread message, or towards it where it is very far.
  async function toUnread() {
    const after = dividerAfter;
    older.setAttribute("aria-busy", "true");
    await attempt(app.loadOlder(key, after + 1));
    older.removeAttribute("aria-busy");
    const first = messagesOf(held()).find((m) => m.id > after && m.from !== app.state.me?.id);
    if (!first || !node.isConnected) return;
    reveal(first.id);
    rows.querySelector(".fresh")?.scrollIntoView();
    log.focus({ preventScroll: true }); // the button may be gone
  }

  // position puts the first messages into place, once the first page of them is there: at the first unread one, else at the end.
  function position(all) {
    const c = held();
    if (positioned || !app.state.synced || c?.loading || (!all.length && !c?.complete)) return;
    positioned = true;
    if (c.unread) {
      dividerAfter = c.read;
      const i = all.findIndex((m) => m.id > c.read && m.from !== app.state.me?.id);
      if (i >= 0 && i < all.length - PAGE) around(all, i);
    }
    render();
    lastId = all.findLast((m) => m.id)?.id ?? 0;
    log.scrollTop = log.scrollHeight;
    const fresh = rows.querySelector(".fresh");
    if (fresh && fresh.offsetTop < log.scrollTop) log.scrollTop = Math.max(0, fresh.offsetTop - 48);
    // What is unread begins even before what is there: it is not read by standing behind it.
    else if (!fresh && c.unread && all[0]?.id > c.read + 1) log.scrollTop = 0;
    bottom = endKey === null && distance() < 40;
    if (!bottom) arrived = all.filter((m) => m.id > dividerAfter && m.from !== app.state.me?.id).length;
    look();
  }

  // around has a message and some on both sides of it in the page.
  function around(all, i) {
    startKey = messageKey(all[Math.max(0, i - PAGE / 2)]);
    endKey = i + PAGE < all.length ? messageKey(all[i + PAGE]) : null;
  }

  function reveal(id) {
    const all = messagesOf(held());
    const i = all.findIndex((m) => m.id === id);
    if (i < 0) return void (wanted = id);
    wanted = null;
    around(all, i);
    bottom = false;
    render();
    const el = rows.querySelector(`[data-id="${id}"]`);
    positioned = true;
    el.scrollIntoView({ block: "center" });
    el.classList.add("found");
    setTimeout(() => el.classList.remove("found"), 2000);
    look();
  }

  log.addEventListener("scroll", perFrame(look), { passive: true });
  // The field grows, a keyboard comes up, a picture of unknown size arrives: the end stays the end.
  const sizes = new ResizeObserver(look);
  sizes.observe(log);
  sizes.observe(log.firstChild);

  // ---- keys in the messages: up and down go from one message's actions to the next

  rows.addEventListener("keydown", (e) => {
    const own = e.target.closest("article");
    const step = { ArrowUp: -1, ArrowDown: 1 }[e.key];
    if (!own || !step || !e.target.classList.contains("more")) return;
    e.preventDefault();
    const all = [...rows.querySelectorAll("article")].filter((el) => !el.parts.more.hidden);
    const next = all[all.indexOf(own) + step];
    if (!next) return;
    own.parts.more.tabIndex = -1;
    next.parts.more.tabIndex = 0;
    active = next.dataset.row;
    next.parts.more.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  });

  // ---- pictures that are dropped

  let over = 0;
  const files = (e) => [...(e.dataTransfer?.types ?? [])].includes("Files");
  node.addEventListener("dragenter", (e) => files(e) && (over++, node.toggleAttribute("data-drop", true)));
  node.addEventListener("dragleave", (e) => files(e) && --over <= 0 && node.toggleAttribute("data-drop", false));
  node.addEventListener("drop", (e) => {
    if (!files(e)) return;
    e.preventDefault();
    over = 0;
    node.toggleAttribute("data-drop", false);
    composer.offer([...(e.dataTransfer?.files ?? [])]);
  });

  // ---- painting

  function paintHeader() {
    const { state } = app;
    paintKey(face, state, key);
    setText(title.firstChild, titleOf(state, key));
    let text;
    if (group) {
      const members = state.groups.get(idOf(key))?.members ?? [];
      const online = members.filter((id) => id === state.me?.id || state.people.get(id)?.online).length;
      text = why() || plural(members.length, "member") + (online > 1 ? `, ${online} online` : "");
    } else {
      const p = state.people.get(idOf(key));
      text = p?.left ? "Account closed" : p?.online ? "online" : "offline";
    }
    setText(subtitle, text);
  }

  function paintTyping() {
    const who = [...(app.state.typing.get(key) ?? [])].map((id) => personName(app.state, id));
    const text = !who.length ? "" : who.length === 1 ? `${who[0]} is typing` : who.length === 2 ? `${who[0]} and ${who[1]} are typing` : `${plural(who.length, "person", "people")} are typing`;
    if (typing.dataset.text === text) return;
    typing.dataset.text = text;
    replace(typing, text && [h("bdi", { class: "cut" }, text), h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i"))]);
  }

  function arrivals(all) {
    if (!positioned) return;
    const fresh = [];
    for (let i = all.length - 1; i >= 0 && (all[i].id > lastId || !all[i].id); i--) if (all[i].id) fresh.unshift(all[i]);
    if (!fresh.length) return;
    const others = fresh.filter((m) => m.from !== app.state.me?.id);
    const away = document.visibilityState !== "visible";
    // What comes while nobody looks gets its line, as what was unread at opening has.
    if (others.length && dividerAfter === null && (away || !bottom) && !arrived) dividerAfter = lastId;
    lastId = fresh.at(-1).id;
    if (!bottom || away) arrived += others.length;
    if (others.length) setText(announce, others.slice(-3).map((m) => `${personName(app.state, m.from)}: ${m.recalled ? "recalled" : content(m).slice(0, 300)}`).join(". "));
  }

  function update(state, changes) {
    if (changes.has("messages:" + key) || changes.has("receipts") || (group && (changes.has("people") || changes.has("groups"))) || changes.has("phase")) {
      const all = messagesOf(held());
      // Nor does it while he reads further up: what comes then waits below.
      if (positioned && !bottom && endKey === null && distance() > 2 * NEAR) endKey = rows.lastElementChild?.dataset.row ?? null;
      arrivals(all);
      still(render);
      if (wanted !== null) reveal(wanted);
      position(all);
      // While the reader stays at the end, the page doesn't grow without bounds.
      if (bottom && endKey === null && rows.childElementCount > MOST + PAGE) {
        startKey = null;
        still(render);
      }
      look();
    }
    if (["people", "groups", "friends", "conversations"].some((c) => changes.has(c))) paintHeader();
    if (changes.has("typing")) paintTyping();
    composer.update(state, changes);
    if (changes.has("connection") && state.connection === "online") more();
  }

  function lastOwn() {
    const all = messagesOf(held());
    for (let i = all.length - 1; i >= 0 && i > all.length - 50; i--) {
      if (mayEdit(all[i], app, ctx.config)) return all[i];
    }
    return null;
  }

  const seen = () => {
    if (document.visibilityState !== "visible") return;
    arrived = bottom ? 0 : arrived;
    paintJump();
  };
  document.addEventListener("visibilitychange", seen);
  app.setAtEnd(false); // until the messages are in their place

  return {
    node, update, reveal,
    shown({ messageId, focus }) {
      paintHeader();
      paintTyping();
      render();
      position(messagesOf(held()));
      composer.shown();
      if (messageId) reveal(messageId);
      if (focus) composer.focus();
    },
    focus: () => composer.focus(),
    focusHeader: () => detailsButton.focus(),
    detailsShown: (on) => detailsButton.setAttribute("aria-expanded", String(on)),
    destroy() {
      document.removeEventListener("visibilitychange", seen);
      sizes.disconnect();
      composer.destroy();
    },
  };
}

/** conversationSkeleton stands where messages will be. */
export function conversationSkeleton() {
  return h("div", { class: "log-wait", "aria-hidden": "true" }, [46, 62, 30, 54, 38, 58].map((w, i) =>
    h("span", { class: "skeleton", style: { width: w + "%", "align-self": i % 3 === 1 ? "flex-end" : "flex-start", height: i % 2 ? "2.25rem" : "3.5rem" } })));
}
