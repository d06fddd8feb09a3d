// The log, as people read it: newest first, filtered, and live if wanted.

import { h, later, renderList, replace, set, setText } from "../../shared/dom.js";
import { clock, clockSeconds, dateTime, dayNumber, fullTime } from "../../shared/format.js";
import { icon } from "../../shared/icons.js";
import { get, may, Problem, Unreachable } from "../api.js";
import { area, button, failure, head, newId, option, pause, peopleOf, personField, readLog, state, TURN } from "../parts.js";

const PAGE = 100;
const SEARCH = 300_000; // ms that a search goes on by itself: the server reads 5 s of the log a request
const REST = 500; // ms between two requests of it, in which others have their turn
const MOST = 2000; // events kept on the page
const LIVE_EVERY = 2000; // ms
const LATE = 60_000; // ms by which clocks of the log and of the server may differ

const TYPES = {
  People: ["PersonRegistered", "PasswordChanged", "PasswordRehashed", "PersonDisabled", "PersonEnabled", "ProfileChanged", "DepartmentChanged", "FriendAdded", "FriendRemoved", "FriendRequested", "FriendAnswered", "FriendRemarked",
    "GroupReserved", "DeviceTokenSet", "PushShieldSet", "ApiKeyAdded", "ApiKeyRevoked", "WebhookSet", "WebhookRemoved"],
  Presence: ["SessionOpened", "SessionEnded", "DeviceClassKicked", "NodeStarted", "NodeStopped", "NodeLost"],
  Conversations: ["MessageSent", "MessageEdited", "MessageRecalled", "MessageImported", "ReadAdvanced", "DeliveredAdvanced", "SessionEntryRemoved", "BlockChanged", "GroupCreated", "GroupMembersChanged", "GroupChanged", "GroupShieldSet", "FileOffered", "FileRemoved"],
  Any: ["StreamOpened"],
};

const CONVERSATION = /^((user|group)-[1-9]\d*|g-[1-9]\d*|d-[1-9]\d*-[1-9]\d*)$/;

const idOf = (e) => `${e.stream} ${e.sequence} ${e.index}`;

/** eventList shows events in a real table; more fields of one on demand. list.update(events). */
export function eventList(caption) {
  const body = h("tbody", { role: "rowgroup" });
  const list = h("div", { class: "scroll-x" }, h("table", { class: "table fold events", role: "table" },
    h("caption", { class: "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ["Time", "What happened", "By", "Type", "Place", "Fields"].map((t) => h("th", { scope: "col", role: "columnheader", class: t === "Fields" ? "actions" : "" }, t === "Fields" ? h("span", { class: "unseen" }, t) : t)))),
    body));
  list.update = (events) => renderList(body, events.flatMap((e) => [{ e }, { e, more: true }]), (r) => idOf(r.e) + (r.more ? " fields" : ""), ({ e, more }) => (more ? fieldsRow(e) : eventRow(e)));
  return list;
}

const stamp = (ms) => (dayNumber(ms) === dayNumber(Date.now()) ? clockSeconds(ms) : dateTime(ms));

const detailId = (e) => "fields-" + idOf(e).replaceAll(" ", "-");

function eventRow(e) {
  const cell = (label, className, ...content) => h("td", { role: "cell", class: className, dataset: { label } }, content);
  return h("tr", { role: "row", dataset: { type: e.type } },
    cell("Time", "when", h("time", { datetime: e.at, title: fullTime(Date.parse(e.at)) }, stamp(Date.parse(e.at)))),
    h("th", { role: "rowheader", scope: "row", class: "wrap", dataset: { label: "What happened" } }, h("bdi", null, e.summary)),
    cell("By", "", e.who || "–"),
    cell("Type", "", h("span", { class: "chip mono" }, e.type)),
    cell("Place", "mono small place", `${e.stream} ${e.sequence}${e.index ? ` / ${e.index}` : ""}`),
    h("td", { role: "cell", class: "actions", dataset: { label: "" } }, h("button", {
      type: "button", class: "button small quiet", "aria-expanded": "false", "aria-controls": detailId(e),
      onclick: (click) => {
        const row = click.currentTarget.closest("tr").nextElementSibling;
        row.hidden = !row.hidden;
        click.currentTarget.setAttribute("aria-expanded", String(!row.hidden));
      },
    }, "Fields")));
}

function fieldsRow(e) {
  const fields = Object.entries(e.fields ?? {});
  return h("tr", { role: "row", hidden: true, class: "fields", id: detailId(e) }, h("td", { role: "cell", colspan: 6 },
    fields.length ? h("dl", { class: "facts mono" }, fields.map(([k, v]) => h("div", null, h("dt", null, k), h("dd", { class: "wrap" }, typeof v === "object" ? JSON.stringify(v) : String(v))))) : h("p", { class: "hint" }, "It has no fields to show.")));
}

export function show(root, { query, signal }) {
  let events = [], next, searchedTo, asOf = 0, problem = null;
  let run = 0; // counts lists that were begun: what comes for an older one is dropped
  let search = null; // ends the search that goes on
  let waits = false; // it has to wait for its turn
  const seen = new Set();

  const stream = h("select", { id: newId("f") }, option("", "All"));
  const type = h("select", { id: newId("f") }, option("", "All"), Object.entries(TYPES).map(([of, all]) => h("optgroup", { label: of }, all.map((t) => option(t, t)))));
  const user = personField({ label: "User", picked: () => soon() });
  const conversation = h("input", { id: newId("f"), autocomplete: "off", spellcheck: "false", placeholder: "group-5 or user-7" });
  const hint = h("p", { class: "error", role: "alert", hidden: true }, "A conversation is group-5, or d-1-7 between users 1 and 7, or user-7 as the user of the filter sees it.");
  const live = h("input", { type: "checkbox", role: "switch", id: newId("f"), onchange: () => tail() });
  const said = h("span", { class: "muted small", role: "status" });
  let userNumber = /^\d+$/.test(query.get("user") ?? "") ? query.get("user") : "";
  for (const [select, name] of [[stream, "stream"], [type, "type"]]) {
    const wanted = query.get(name);
    if (!wanted) continue;
    if (![...select.options].some((o) => o.value === wanted)) select.append(option(wanted, wanted));
    select.value = wanted;
  }
  conversation.value = query.get("conversation") ?? "";

  const filters = () => ({ stream: stream.value, type: type.value, user: userNumber, conversation: conversation.value.trim() });
  const list = eventList("Events, the newest first");
  const more = h("div", { class: "more" });
  const box = area(signal, async (loading, turn) => {
    begun();
    const page = await readLog("/events", { ...filters(), limit: PAGE }, loading, turn);
    events = [];
    seen.clear();
    problem = null;
    asOf = page.as_of;
    const few = PAGE - take(page, false);
    drawList();
    if (next && few > 0) queueMicrotask(() => goOn(few));
    return content();
  });

  // begun says that the list begins anew.
  function begun() {
    run++;
    search?.abort();
    search = null;
  }

  const content = () => [events.length ? list : state("list", next ? "Nothing found yet" : "No events", !filtered() ? "The log is empty." : next ? "Nothing in what was searched so far passes the filter." : "Nothing passes the filter, back to the beginning of the log."), more];
  const filtered = () => Object.values(filters()).some(Boolean);

  // take puts a page's events where they belong.
  function take(page, first) {
    const fresh = page.events.filter((e) => !seen.has(idOf(e)));
    fresh.forEach((e) => seen.add(idOf(e)));
    events = first ? [...fresh, ...events] : [...events, ...fresh];
    if (!first) ({ next, searched_to: searchedTo } = page);
    if (first && events.length > MOST) {
      for (const e of events.splice(MOST)) seen.delete(idOf(e));
      next = undefined;
      begun();
    }
    return fresh.length;
  }

  function drawList() {
    list.update(events);
    for (const e of events) {
      if (![...stream.options].some((o) => o.value === e.stream)) stream.append(option(e.stream, e.stream));
    }
    drawMore();
  }

  // One line and one button, which are the same nodes all the time: the focus stays where it is.
  const back = h("p", { class: "hint", role: "status" });
  const go = button("", () => (search ? stop() : goOn(PAGE)));
  const failed = h("div");

  function drawMore() {
    const to = searchedTo ? dateTime(Date.parse(searchedTo)) : "";
    const was = to && `Searched back to ${to}.`;
    setText(back, search ? (waits ? `${TURN} ${was}` : to ? `Searching … back to ${to}` : "Searching …")
      : next ? was
      : events.length >= MOST ? `These are the newest ${MOST}.`
      : filtered() ? (events.length ? "That is all, back to the beginning of the log." : "") : "That is all there is.");
    setText(go, search ? "Stop" : filtered() ? "Search further back" : "Load more");
    go.hidden = !next && !search;
    replace(failed, problem && failure(problem));
    if (!more.firstChild) more.append(failed, back, go);
  }

  const stop = () => {
    search?.abort();
    search = null;
    drawMore();
  };

  // goOn searches further back until so many events are found, the log has no more, nobody wants it, or it has taken long:
  // a tab that is forgotten leaves the log in peace, as does one that nobody sees.
  async function goOn(wanted) {
    if (signal.aborted || !next) return;
    search?.abort();
    const mine = run, own = (search = new AbortController());
    const going = AbortSignal.any([own.signal, signal]);
    const until = performance.now() + SEARCH;
    problem = null;
    drawMore();
    try {
      while (next && wanted > 0 && performance.now() < until) {
        const page = await readLog("/events", { ...filters(), limit: PAGE, before: next }, going, () => {
          waits = true;
          drawMore();
        });
        going.throwIfAborted();
        if (mine !== run) return;
        waits = false;
        const found = take(page, false);
        wanted -= found;
        drawList();
        if (found && !list.isConnected || !next && !events.length) replace(box, content());
        if (next && wanted > 0) await pause(REST, going);
      }
    } catch (err) {
      if (going.aborted) return;
      problem = err;
    } finally {
      if (search === own) search = null;
      waits = false;
    }
    drawMore();
  }

  // tail looks for what is new while it is switched on.
  let timer;
  async function tail() {
    clearTimeout(timer);
    if (!live.checked || signal.aborted) return setText(said, "");
    if (!document.hidden) {
      const mine = run;
      try {
        const page = await get("/events", { ...filters(), limit: PAGE, since: Math.max(0, asOf - LATE) }, { signal, patience: 10_000 });
        if (mine === run && !signal.aborted && !box.hasAttribute("aria-busy")) {
          asOf = page.as_of;
          // More have come than one page has: what lies between is not here, so the list begins anew.
          if (events.length && page.events.length === PAGE && !page.events.some((e) => seen.has(idOf(e)))) {
            begun();
            events = [];
            seen.clear();
            take(page, false);
            drawList();
          } else if (take(page, true)) {
            const none = events.length && !list.isConnected;
            drawList();
            if (none) replace(box, content());
          }
          setText(said, `Live, as of ${clock(Date.now())}`);
        }
      } catch (err) {
        if (signal.aborted) return;
        setText(said, err instanceof Unreachable ? "The server can't be reached; trying again" : err instanceof Problem ? err.message : "");
      }
    }
    timer = setTimeout(tail, LIVE_EVERY);
  }

  const soon = later(300, async () => {
    if (signal.aborted) return;
    let person;
    try {
      person = await user.person();
    } catch {
      return; // not to its end yet
    }
    const odd = conversation.value.trim() !== "" && !CONVERSATION.test(conversation.value.trim());
    set(conversation, { "aria-invalid": odd && "true" });
    hint.hidden = !odd;
    if (odd) return;
    userNumber = person ? String(person.number) : "";
    const q = new URLSearchParams(Object.entries(filters()).filter(([, v]) => v));
    history.replaceState(null, "", "#/log" + (q.size ? "?" + q : ""));
    clear.hidden = !q.size;
    box.reload();
  });
  const clear = button([icon("close"), "Clear"], () => {
    stream.value = type.value = conversation.value = "";
    user.set(null);
    soon();
  }, "quiet small", { hidden: !filtered() });
  for (const f of [stream, type, conversation]) f.addEventListener(f === conversation ? "input" : "change", soon);
  user.node.querySelector("input").addEventListener("input", (e) => e.target.value.trim() === "" && soon());

  const labelled = (text, control) => h("div", { class: "field" }, h("label", { for: control.id }, text), control);
  root.append(head("Log", said, h("label", { class: "check" }, live, h("span", null, "Live"))),
    h("section", { class: "card part" },
      h("form", { class: "filters", role: "search", "aria-label": "Filter events", onsubmit: (e) => { e.preventDefault(); soon(); } },
        labelled("Stream", stream), labelled("Type", type), user.node, labelled("Conversation", conversation), clear, hint),
      box));
  signal.addEventListener("abort", () => clearTimeout(timer));

  // What the filter offers beyond what is known already.
  if (userNumber) peopleOf([Number(userNumber)], signal).then((all) => user.set(all.get(Number(userNumber))), () => {});
  if (may("status:read")) {
    get("/status", null, { signal }).then((s) => {
      const chosen = stream.value;
      replace(stream, option("", "All"), s.streams.map((x) => option(x.name, x.name)));
      if (chosen && ![...stream.options].some((o) => o.value === chosen)) stream.append(option(chosen, chosen));
      stream.value = chosen;
    }, () => {});
  }
}
