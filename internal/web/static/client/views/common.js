// What several views need: names, avatars, addresses of pictures, and plain words for refusals.

import { h, setText } from "../../shared/dom.js";
import { initials, tone } from "../../shared/format.js";

/** idOf "u7" is 7. */
export const idOf = (key) => Number(key.slice(1));
export const isGroup = (key) => key[0] === "g";

/** personName: what the reader calls somebody. */
export function personName(state, id) {
  if (id === state.me?.id) return state.me.nick || state.me.name || "You";
  const p = state.people.get(id);
  return state.friends?.get(id)?.remark || p?.nick || p?.name || `Number ${id}`;
}

/** titleOf a conversation: the person's or the group's name. */
export function titleOf(state, key) {
  if (!isGroup(key)) return personName(state, idOf(key));
  return state.groups.get(idOf(key))?.name || `Group ${idOf(key)}`;
}

/** outside says why nobody writes to a group from here, or "". */
export function outside(state, key) {
  const g = state.groups.get(idOf(key));
  if (g?.dissolved) return "This group was dissolved";
  if (state.conversations.get(key)?.left) return "You are no longer in this group";
  return g?.members.includes(state.me?.id) ? "" : "You are not in this group";
}

/** milliseconds of a time that is in seconds. */
export const ms = (seconds) => (seconds || 0) * 1000;

/**
 * pictureSource makes an address that may be shown of one that somebody sent: blob: as it is (it is ours), the server's
 * pictures from where this page comes from. All else is null: no request goes to a stranger's host.
 */
export function pictureSource(address) {
  if (typeof address !== "string" || !address) return null;
  if (address.startsWith("blob:")) return address;
  try {
    const url = new URL(address, location.origin);
    const at = url.pathname.search(/\/g0\//);
    if ((url.protocol === "http:" || url.protocol === "https:") && at >= 0) return location.origin + url.pathname.slice(at);
  } catch {
    // no address at all
  }
  return null;
}

/** avatar makes one; paintAvatar(node, …) brings it up to date. size: "", "small" or "large". */
export function avatar(size = "") {
  const picture = h("img", { alt: "", hidden: true, decoding: "async", onload: (e) => (e.target.hidden = false), onerror: (e) => (e.target.hidden = true) });
  return h("span", { class: "avatar " + size, "aria-hidden": "true" }, h("span"), picture, h("span", { class: "presence" }));
}

export function paintAvatar(node, { key, name, picture, online }) {
  const [letters, img, presence] = node.children;
  node.dataset.tone = tone(key);
  node.classList.toggle("square", key[0] === "g");
  setText(letters, initials(name));
  const src = pictureSource(picture);
  if ((img.getAttribute("src") ?? null) !== src) {
    img.hidden = true;
    if (src) img.src = src;
    else img.removeAttribute("src");
  }
  presence.dataset.online = Boolean(online);
  return node;
}

/** paintPerson and paintGroup paint by id; paintKey by conversation. */
export function paintPerson(node, state, id, { presence = true } = {}) {
  const p = id === state.me?.id ? state.me : state.people.get(id);
  return paintAvatar(node, { key: "u" + id, name: personName(state, id), picture: p?.avatar, online: presence && p?.online });
}
export function paintKey(node, state, key) {
  if (!isGroup(key)) return paintPerson(node, state, idOf(key));
  return paintAvatar(node, { key, name: titleOf(state, key), picture: state.groups.get(idOf(key))?.avatar });
}

/** preview of a message, for one line. */
export function preview(state, key, message) {
  if (!message) return "";
  const mine = message.from === state.me?.id;
  const who = mine ? "You: " : isGroup(key) ? personName(state, message.from) + ": " : "";
  if (message.recalled) return mine ? "You recalled a message" : "Message recalled";
  return who + (content(message) || "Message");
}

/** content of a message in plain words. */
export function content(message) {
  if (message.kind === "voice") return "Voice message";
  const parts = message.parts ?? [];
  if (parts.length) return parts.map((p) => p.text ?? "Picture").join(" ").trim();
  return message.text ?? "";
}

const compare = new Intl.Collator(undefined, { sensitivity: "base", numeric: true }).compare;
let order = { names: new Map(), ids: [] };

/** people sorted by name, without oneself and those who left. Who comes and goes changes no name: then nothing is sorted. */
export function sortedPeople(state) {
  const names = new Map();
  let same = true;
  for (const p of state.people.values()) {
    if (p.left || p.id === state.me?.id) continue;
    const name = personName(state, p.id);
    names.set(p.id, name);
    same &&= order.names.get(p.id) === name;
  }
  if (!same || names.size !== order.names.size) {
    order = { names, ids: [...names.keys()].sort((a, b) => compare(names.get(a), names.get(b)) || a - b) };
  }
  return order.ids.map((id) => state.people.get(id));
}

const words = {
  malformed: "The server didn't understand this.",
  no_such_user: "There is no such person here, or the account is closed.",
  no_such_group: "There is no such group, or you are no longer in it.",
  no_such_message: "The message is no longer there.",
  not_allowed: "You may not do this here.",
  blocked: "One of you has blocked the other.",
  not_friends: "Only friends may do this here. Send a friend request first.",
  too_late: "It is too late for this now.",
  limit: "This is more than the server allows.",
  no_effect: "It is so already.",
  unknown: "The server couldn't say whether it worked. Please try again.",
  offline: "There is no connection right now. Please try again.",
  timeout: "The server didn't answer in time. Please try again.",
  too_large: "This is too large. Pictures may have 5 MB.",
};

/** explain puts an error, or the code of one, in plain words. */
export const explain = (err) => words[err?.code ?? err] ?? err?.message ?? "That didn't work.";

/** told runs an action and puts what went wrong in plain words: for dialogs, which show it. */
export async function told(promise) {
  try {
    return await promise;
  } catch (err) {
    throw Object.assign(new Error(explain(err)), { code: err?.code });
  }
}
