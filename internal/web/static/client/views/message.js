// One message: what it says, its time and mark, and what can be done with it.

import { h, replace, set, setText } from "../../shared/dom.js";
import { clock, fullTime } from "../../shared/format.js";
import { icon, setIcon } from "../../shared/icons.js";
import { confirmDialog, openDialog, openMenu, toast } from "../../shared/dialog.js";
import { avatar, content, explain, isGroup, ms, paintPerson, personName, pictureSource, told } from "./common.js";
import { lightbox } from "./pictures.js";

const LONG = 3000; // characters of a text that is folded
const LINES = 40; // and lines

const marks = {
  pending: ["clock", "Sending"], sent: ["check", "Sent"], delivered: ["checks", "Delivered"], read: ["checks", "Read"], failed: ["error", "Not sent"],
};

/** keyOf a message: the same before and after the server has given it a number. */
export const messageKey = (m) => m.clientId || "m" + m.id;

/** markOf one's own message. */
export function markOf(m, conversation) {
  if (m.state === "pending" || m.state === "failed") return m.state;
  if (conversation.type === "single") {
    if (m.id && m.id <= conversation.peerRead) return "read";
    if (m.id && m.id <= conversation.peerDelivered) return "delivered";
  }
  return "sent";
}

/** mayEdit and mayRecall: the server decides; these only say what is worth offering. */
export const mayEdit = (m, app, config) =>
  own(m, app.state) && Boolean(m.text) && !(m.parts ?? []).some((p) => p.picture || p.link) && within(m, app, config.editSeconds);
const mayRecall = (m, app, config) => own(m, app.state) && within(m, app, config.recallSeconds);
const within = (m, app, seconds) => app.time() - ms(m.time) < seconds * 1000;
const own = (m, state) => m.from === state.me?.id && m.id > 0 && !m.recalled;

export function createMessage(ctx, key, m) {
  const group = isGroup(key);
  const parts = {
    from: h("bdi", { class: "from" }),
    body: h("div", { class: "body", dir: "auto" }),
    edited: h("span", { class: "edited" }),
    time: h("time"),
    mark: h("span", { class: "mark", role: "img" }, icon("clock")),
    more: h("button", { class: "icon-button more", type: "button", "aria-label": "Message actions", "aria-haspopup": "menu", tabIndex: -1 }, icon("more")),
    failed: h("div", { class: "failed", hidden: true }),
    face: group ? avatar("small") : null,
  };
  const mine = m.from === ctx.app.state.me?.id;
  parts.meta = h("span", { class: "meta", dir: "ltr" }, parts.edited, parts.time, mine && parts.mark);
  const node = h("article", { class: "message" },
    !mine && parts.face,
    h("div", { class: "bubble" }, group && !mine && parts.from, parts.body),
    parts.more, parts.failed);
  node.dataset.mine = mine;
  node.parts = parts;
  parts.more.addEventListener("click", () => menu(ctx, key, node, parts.more));
  node.addEventListener("contextmenu", (e) => {
    // On a touch a long press; with a mouse only where nothing of the browser's own menu would be missed.
    if (e.target.closest("a, img") || String(getSelection())) return;
    if (menu(ctx, key, node, parts.more, { x: e.clientX, y: e.clientY })) e.preventDefault();
  });
  return node;
}

/** updateMessage paints m into its node; place is "first", "middle", "last" or "only" of those said in one go. */
export function updateMessage(ctx, key, node, m, place, conversation) {
  const { parts } = node;
  const { state } = ctx.app;
  const mine = m.from === state.me?.id;
  const mark = mine ? markOf(m, conversation) : "";
  const name = personName(state, m.from);
  set(node, { dataset: { id: m.id || null, clientId: m.id ? null : m.clientId, state: m.state ?? (mine ? "sent" : "received"), place, recalled: m.recalled ? "true" : null } });
  if (parts.from.isConnected || isGroup(key)) {
    setText(parts.from, name);
    if (parts.face) paintPerson(parts.face, state, m.from, { presence: false });
  }
  if (node.shown !== m) {
    node.shown = m;
    paintBody(ctx, key, node, m, mine);
    setText(parts.edited, m.edits > 0 && !m.recalled ? "edited" : "");
    parts.time.dateTime = new Date(ms(m.time)).toISOString();
    parts.time.title = fullTime(ms(m.time));
    setText(parts.time, clock(ms(m.time)));
    paintFailed(ctx, key, node, m);
  }
  if (mine && parts.mark.dataset.mark !== mark) {
    const [picture, word] = marks[mark];
    parts.mark.dataset.mark = mark;
    parts.mark.setAttribute("aria-label", word);
    parts.mark.title = word;
    setIcon(parts.mark.firstChild, picture);
  }
  const label = `${mine ? "You" : name}, ${parts.time.textContent}`;
  if (node.getAttribute("aria-label") !== label) node.setAttribute("aria-label", label);
  parts.more.hidden = !m.id || m.recalled;
}

function paintBody(ctx, key, node, m, mine) {
  const { parts } = node;
  const list = m.recalled ? [] : m.parts ?? [];
  // A picture that was ours a moment ago and is the server's now stays the picture that is there.
  const before = parts.body.querySelector(".picture img");
  const body = [];
  let pictures = 0;
  if (m.recalled) body.push(h("span", { class: "text gone" }, mine ? "You recalled this message" : "This message was recalled"));
  else if (m.kind === "voice") body.push(h("span", { class: "text gone" }, "Voice message (to be heard on a phone)"));
  else if (m.kind === "other" && !list.length) body.push(h("span", { class: "text gone" }, "A message of a kind that can't be shown here"));
  else {
    for (const p of list) {
      const source = p.picture && pictureSource(p.picture);
      if (source) {
        pictures++;
        body.push(pictureFrame(ctx, node, source, p, before));
      } else if (p.picture || p.link) body.push(linkTo(p.link ?? p.picture));
      else if (p.text) body.push(textOf(p.text));
    }
    if (!body.length) body.push(textOf(m.text ?? ""));
  }
  node.classList.toggle("only-picture", pictures > 0 && pictures === body.length);
  node.classList.toggle("has-picture", pictures > 0);
  replace(parts.body, body, parts.meta);
}

const address = /\bhttps?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}]/gi;

function textOf(text) {
  const node = h("span", { class: "text" });
  let from = 0;
  for (const found of text.matchAll(address)) {
    node.append(text.slice(from, found.index), linkTo(found[0]));
    from = found.index + found[0].length;
  }
  node.append(text.slice(from));
  return text.length > LONG || text.split("\n", LINES + 1).length > LINES ? folded(node) : node;
}

// A very long text shows its beginning, and all of it when asked to.
function folded(node) {
  node.classList.add("folded");
  const button = h("button", { class: "button quiet small", type: "button", onclick: () => { node.classList.remove("folded"); button.remove(); } }, "Show all");
  return [node, button];
}

function linkTo(url) {
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) return h("span", { class: "text" }, url);
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow", dir: "ltr" }, url);
}

// Where the picture's size is known (the store writes it into the name), its place is right before it is there.
function pictureFrame(ctx, node, source, { width, height }, before) {
  const frame = h("button", { class: "picture", type: "button", tabIndex: -1, "aria-label": "Show picture", onclick: () => lightbox(ctx, node, source) });
  const place = frame.style;
  const fit = (width, height) => {
    const ratio = Math.min(2.5, Math.max(0.6, width / height));
    place.aspectRatio = String(ratio);
    place.width = Math.round(Math.max(96, Math.min(width, 320, 320 * ratio))) + "px";
  };
  if (width > 0 && height > 0) fit(width, height);
  const img = h("img", { alt: "Picture", decoding: "async", draggable: "false" });
  img.addEventListener("load", () => {
    frame.classList.add("loaded");
    if (source.startsWith("blob:")) fit(img.naturalWidth, img.naturalHeight); // one's own, on its way
  });
  img.addEventListener("error", () => {
    frame.classList.add("lost");
    replace(frame, icon("image"), h("span", { class: "small" }, "The picture can't be loaded"));
  });
  if (before?.complete && before.src.startsWith("blob:") && !source.startsWith("blob:")) {
    // Shown until the server's copy has come.
    place.backgroundImage = `url("${before.src}")`;
    frame.classList.add("loaded");
  }
  img.src = source;
  frame.append(img);
  return frame;
}

function paintFailed(ctx, key, node, m) {
  const { failed } = node.parts;
  failed.hidden = m.state !== "failed";
  if (failed.hidden) return failed.replaceChildren();
  const why = m.error ? explain(m.error) : "";
  replace(failed,
    h("span", { class: "bad-text small" }, "Not sent. ", why),
    h("button", { class: "button quiet small", type: "button", onclick: () => attempt(ctx.app.retry(key, m.clientId)) }, "Retry"),
    h("button", { class: "button quiet small bad", type: "button", onclick: () => attempt(ctx.app.discard(key, m.clientId)) }, "Discard"));
}

/** attempt says in a toast what went wrong. */
export const attempt = (promise) => Promise.resolve(promise).catch((err) => toast(explain(err), "bad"));

function menu(ctx, key, node, anchor, at) {
  const { app, config } = ctx;
  const m = node.shown;
  const { state } = app;
  const left = state.conversations.get(key)?.left;
  const items = [
    !left && mayEdit(m, app, config) && { text: "Edit", icon: "edit", action: () => ctx.edit(m) },
    !left && isGroup(key) && own(m, state) && { text: "Seen by", icon: "eye", action: () => seenBy(ctx, key, m) },
    node.querySelector(".picture:not(.lost)") && { text: "View picture", icon: "image", action: () => node.querySelector(".picture").click() },
    m.text && !m.recalled && { text: "Copy text", icon: "copy", action: () => copy(content(m)) },
    !left && mayRecall(m, app, config) && { text: "Recall", icon: "undo", bad: true, action: () => recall(ctx, key, m) },
  ].filter(Boolean);
  if (!items.length || !m.id || m.recalled) return false;
  openMenu(anchor, items, { label: "Message actions", at });
  return true;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch {
    toast("The browser didn't allow it.", "bad");
  }
}

function recall({ app }, key, m) {
  confirmDialog({
    title: "Recall this message?", text: "It disappears for everybody who can read it here. That it was recalled stays to be seen.",
    verb: "Recall", action: () => told(app.recall(key, m.id)),
  });
}

async function seenBy({ app }, key, m) {
  const box = h("div", { class: "stack", "aria-busy": "true" }, h("span", { class: "skeleton" }), h("span", { class: "skeleton" }));
  openDialog({ title: "Seen by", body: box });
  try {
    const { read = [], delivered = [] } = await app.receipts(key, m.id);
    const others = (ids) => ids.filter((id) => id !== app.state.me.id);
    const seen = others(read);
    const got = others(delivered).filter((id) => !seen.includes(id));
    const section = (title, ids) => [h("h3", { class: "list-head" }, `${title} (${ids.length})`), ids.map((id) => h("div", { class: "row person" }, paintPerson(avatar("small"), app.state, id), h("bdi", { class: "cut" }, personName(app.state, id))))];
    replace(box, seen.length || got.length ? [seen.length && section("Read", seen), got.length && section("Delivered", got)] : h("p", { class: "state" }, "Nobody yet."));
  } catch (err) {
    replace(box, h("p", { class: "error" }, explain(err)));
  }
  box.removeAttribute("aria-busy");
}
