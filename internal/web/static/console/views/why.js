// Why something is so: of a person's sessions, or of what is unread in a conversation. Sentences first, then the events
// that they come from.

import { h, replace } from "../../shared/dom.js";
import { count } from "../../shared/format.js";
import { get, may } from "../api.js";
import { area, called, card, conversationTexts, head, lacks, peopleOf, personField, personLink, readLog, sentence, state, table, time } from "../parts.js";
import { eventList } from "./log.js";

export function show(root, { parts, signal }) {
  const [number, conversation] = parts;
  root.append(head("Why"), chooser(number, conversation, signal));
  if (!number) {
    return root.append(h("section", { class: "card" }, state("info", "Pick a person", "You see why each of their sessions began and ended, and of a conversation why so much is unread: first in sentences, then the events of the log that they come from.")));
  }
  if (!/^\d+$/.test(number)) return root.append(h("section", { class: "card" }, state("search", "There is no such person", `“${number}” is no number of a person.`)));
  if (conversation) root.append(area(signal, (loading, waits) => ofConversation(number, conversation, loading, waits)));
  else {
    root.append(card("Sessions", null, area(signal, (loading, waits) => ofSessions(number, loading, waits))),
      card("Conversations", null, may("messages:read") ? area(signal, () => conversations(number, signal)) : lacks("messages:read")));
  }
}

function chooser(number, conversation, signal) {
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const person = personField({ label: "Person", picked: (p) => p && (location.hash = `#/why/${p.number}`) });
  const name = h("input", { id: "why-conversation", value: conversation ?? "", autocomplete: "off", spellcheck: "false", placeholder: "user-7 or group-5" });
  if (/^\d+$/.test(number ?? "")) peopleOf([Number(number)], signal).then((all) => !signal.aborted && person.set(all.get(Number(number))), () => {});
  return h("form", {
    class: "card part filters", "aria-label": "What to explain",
    onsubmit: async (e) => {
      e.preventDefault();
      error.hidden = true;
      try {
        const p = await person.person();
        const c = name.value.trim();
        if (!p) throw new Error("Pick a person.");
        if (c && !/^(user|group)-\d+$/.test(c)) throw new Error("A conversation is user- and a number, or group- and a number.");
        const to = `#/why/${p.number}${c ? "/" + c : ""}`;
        if (location.hash === to) dispatchEvent(new HashChangeEvent("hashchange"));
        location.hash = to;
      } catch (err) {
        error.textContent = err.message;
        error.hidden = false;
      }
    },
  }, person.node, h("div", { class: "field" }, h("label", { for: "why-conversation" }, "Conversation"), name), h("button", { class: "button primary", type: "submit" }, "Explain"), error);
}

async function ofSessions(number, signal, waits) {
  const [why, people] = await Promise.all([readLog(`/users/${number}/why`, null, signal, waits), peopleOf([Number(number)], signal)]);
  const name = called(people.get(Number(number)));
  document.title = `Why: ${name} · godwit console`;
  const sentences = (why.explanation ?? []).map((t) => h("li", { class: "wrap" }, sentence(t)));
  if (!why.sessions?.length && !sentences.length) return state("offline", "No sessions", `${name} has no session, and none has ended lately.`);
  return [
    sentences.length > 0 && h("ul", { class: "sentences" }, sentences),
    h("ul", { class: "stack reasons" }, (why.sessions ?? []).map((s) => h("li", { class: "reason", dataset: { session: s.id } },
      h("p", { class: "row wrapping" }, h("span", { class: "chip " + (s.ended ? "" : "good") }, s.ended ? "ended" : "lives"), h("strong", null, `${s.device} session`), s.reason && h("span", { class: "chip" }, s.reason.replaceAll("_", " ")),
        h("span", { class: "muted small" }, "opened ", time(s.opened), s.ended && [", ended ", time(s.ended)])),
      h("p", { class: "wrap sentence" }, sentence(s.explanation)),
      h("p", { class: "mono small muted wrap" }, s.id),
      evidence(s.events, `Events of the session ${s.id}`)))),
    why.complete === false && incomplete(),
  ];
}

async function ofConversation(number, conversation, signal, waits) {
  const [why, people, texts] = await Promise.all([
    readLog(`/users/${number}/conversations/${encodeURIComponent(conversation)}/why`, null, signal, waits), peopleOf([Number(number)], signal), conversationTexts([conversation], signal),
  ]);
  const person = people.get(Number(number));
  document.title = `Why: ${called(person)}, ${conversation} · godwit console`;
  const list = eventList("Events that explain it, the newest first");
  list.update(why.events ?? []);
  const n = why.unread ?? 0;
  return [
    h("section", { class: "card part" },
      h("header", null, h("h2", null, personLink(person), ", conversation ", h("bdi", null, texts.get(conversation)), ": ", n === 0 ? "nothing is unread" : `${count(n)} unread`),
        h("a", { class: "button small", href: `#/why/${number}` }, "All of this person")),
      h("ul", { class: "sentences" }, (why.explanation ?? []).map((t) => h("li", { class: "wrap" }, sentence(t))))),
    card("The events behind it", h("a", { class: "button small quiet", href: `#/log?user=${number}&conversation=${encodeURIComponent(conversation)}` }, "In the log"),
      why.events?.length ? list : state("list", "No events", "The log has none of this conversation that are kept."), why.complete === false && incomplete()),
  ];
}

const incomplete = () => h("p", { class: "hint" }, "There are older events that were not searched: the figures count them, this list doesn't show them.");

function evidence(events, caption) {
  if (!events?.length) return null;
  const list = eventList(caption);
  const shown = h("div");
  return h("details", { ontoggle: () => { if (!shown.firstChild) { list.update(events); replace(shown, list); } } }, h("summary", null, events.length === 1 ? "The event behind it" : `The ${events.length} events behind it`), shown);
}

async function conversations(number, signal) {
  const u = await get(`/users/${number}/unread`, { limit: 100 }, { signal });
  const byUnread = new Map(u.conversations.map((c) => [c.conversation, c]));
  // The list begins with the oldest change; what changed last is at its end.
  let all = [];
  for (let cursor, pages = 0; pages < 20; pages++) {
    const page = await get(`/users/${number}/conversations`, { cursor }, { signal });
    all.push(...page.conversations);
    if (!page.more) break;
    cursor = page.next;
  }
  all = all.filter((c) => !c.left && !byUnread.has(c.conversation)).sort((a, b) => b.updated - a.updated);
  const shown = [...u.conversations, ...all].slice(0, 100);
  const texts = await conversationTexts(shown.map((c) => c.conversation), signal);
  return table({
    caption: "Conversations", rows: shown, key: (c) => c.conversation, empty: state("chat", "No conversations", "Nobody has written to this person yet, and they to nobody."),
    columns: [
      { label: "Conversation", head: true, cell: (c) => h("a", { href: `#/why/${number}/${c.conversation}`, class: "wrap" }, h("bdi", null, texts.get(c.conversation))) },
      { label: "Unread", number: true, cell: (c) => (c.unread ? h("span", { class: "badge" }, count(c.unread)) : "0") },
      { label: "Messages", number: true, cell: (c) => count(c.head) },
      { label: "Newest", cell: (c) => time(c.updated) },
    ],
  });
}
