// The field to write in: text, pictures, editing what was sent.

import { h, setText } from "../../shared/dom.js";
import { icon } from "../../shared/icons.js";
import { toast } from "../../shared/dialog.js";
import { explain, idOf, isGroup, outside, titleOf } from "./common.js";
import { attempt } from "./message.js";
import { picturesDialog } from "./pictures.js";

const TYPING_EVERY = 3000; // ms between two notices that the user writes
const TYPING_ENDS = 5000; // ms after the last key

export function composerView(ctx, key, { lastOwn, sent }) {
  const { app, config } = ctx;
  let editing = null; // the message that is being edited
  let told = 0; // when the other side was last told
  let quiet;

  const file = h("input", { type: "file", accept: "image/*", multiple: true, hidden: true, onchange: () => { offer([...file.files]); file.value = ""; } });
  const picture = h("button", { class: "icon-button", type: "button", "aria-label": "Add picture", title: "Add picture", onclick: () => file.click() }, icon("image"));
  const text = h("textarea", { class: "write", rows: 1, "aria-label": "Message", placeholder: "Message", autocomplete: "off", dir: "auto", enterkeyhint: "send" });
  const send = h("button", { class: "icon-button send", type: "submit", "aria-label": "Send", title: "Send" }, icon("send"));
  const editText = h("bdi", { class: "cut grow" });
  const editBar = h("div", { class: "edit-bar small", hidden: true }, icon("edit"), h("span", { class: "strong" }, "Editing"), editText,
    h("button", { class: "icon-button", type: "button", "aria-label": "Stop editing", onclick: stopEditing }, icon("close")));
  const form = h("form", { class: "composer", onsubmit: (e) => { e.preventDefault(); submit(); } }, file, config.pictures !== false && picture, text, send);
  const closed = h("div", { class: "closed", hidden: true });
  const node = h("footer", { class: "composer-place" }, editBar, form, closed);

  function fit() {
    send.setAttribute("aria-disabled", String(!text.value.trim()));
    if (CSS.supports("field-sizing", "content")) return;
    text.style.height = "auto";
    text.style.height = text.scrollHeight + 2 + "px";
  }

  function put(value) {
    text.value = value;
    fit();
  }

  function stopTyping() {
    clearTimeout(quiet);
    if (!told) return;
    told = 0;
    Promise.resolve(app.typing(key, false)).catch(() => {});
  }

  text.addEventListener("input", () => {
    fit();
    if (editing) return;
    app.setDraft(key, text.value);
    if (!text.value.trim()) return stopTyping();
    clearTimeout(quiet);
    quiet = setTimeout(stopTyping, TYPING_ENDS);
    if (Date.now() - told < TYPING_EVERY) return;
    told = Date.now();
    Promise.resolve(app.typing(key, true)).catch(() => {});
  });

  text.addEventListener("keydown", (e) => {
    if (e.isComposing || e.keyCode === 229) return; // the Enter of an input method is not ours
    if (e.key === "Enter" && !e.shiftKey && !e.altKey && !e.ctrlKey && !e.metaKey) {
      e.preventDefault();
      submit();
    } else if (e.key === "Escape" && editing) {
      e.preventDefault();
      stopEditing();
    } else if (e.key === "ArrowUp" && !text.value && !editing) {
      const m = lastOwn();
      if (!m) return;
      e.preventDefault();
      edit(m);
    }
  });

  text.addEventListener("paste", (e) => {
    const files = [...(e.clipboardData?.files ?? [])].filter((f) => f.type.startsWith("image/"));
    if (!files.length || e.clipboardData.getData("text/plain")) return;
    e.preventDefault();
    offer(files);
  });

  async function submit() {
    const value = text.value.trim();
    if (!value) return text.focus();
    stopTyping();
    if (editing) {
      const m = editing;
      stopEditing();
      if (value === m.text) return;
      try {
        await app.edit(key, m.id, value);
      } catch (err) {
        toast(explain(err), "bad");
        if (!text.value && node.isConnected) {
          edit(m);
          put(value); // what was typed is not lost
        }
      }
      return;
    }
    put("");
    app.setDraft(key, "");
    text.focus();
    try {
      await app.send(key, value); // what the server refuses is shown at the message
    } catch (err) {
      toast(err.code === "limit" ? "This is too long for one message." : explain(err), "bad");
      if (text.value) return;
      put(value); // what was typed is not lost
      app.setDraft(key, value);
      return;
    }
    sent();
  }

  function edit(m) {
    editing = m;
    editBar.hidden = false;
    setText(editText, m.text);
    send.setAttribute("aria-label", "Save");
    send.title = "Save";
    picture.disabled = true;
    put(m.text);
    text.focus();
    text.setSelectionRange(m.text.length, m.text.length);
  }

  function stopEditing() {
    if (!editing) return;
    editing = null;
    editBar.hidden = true;
    send.setAttribute("aria-label", "Send");
    send.title = "Send";
    picture.disabled = false;
    put(app.state.conversations.get(key)?.draft ?? "");
    text.focus();
  }

  function offer(files) {
    if (!files.length || form.hidden || config.pictures === false) return;
    const pictures = files.filter((f) => f.type.startsWith("image/"));
    if (!pictures.length) return toast("Only pictures can be sent from here.", "bad");
    picturesDialog(ctx, key, pictures, () => {
      sent();
      text.focus();
    });
  }

  // update shows why nothing can be written, where that is so.
  let why = null;
  function update(state) {
    const c = state.conversations.get(key);
    let now = "";
    if (isGroup(key)) {
      // A group of which nothing is known may still be told.
      if (c?.left || state.groups.has(idOf(key)) || state.synced && !state.order.includes(key) && !c?.removed) now = outside(state, key);
    } else if (state.people.get(idOf(key))?.left) now = "closed";
    else if (state.blocked.has(idOf(key))) now = "blocked";
    if (editing) {
      const m = c?.messages.find((x) => x.id === editing.id);
      if (m?.recalled) stopEditing();
    }
    if (now === why) return;
    why = now;
    if (now) stopEditing();
    form.hidden = Boolean(now);
    closed.hidden = !now;
    closed.replaceChildren();
    if (isGroup(key)) closed.append(now && now + (c?.messages.length ? ". You can still read what is here." : "."));
    else if (now === "closed") closed.append("This account is closed.");
    else if (now === "blocked") {
      closed.append(h("span", null, "You have blocked ", h("bdi", null, titleOf(state, key)), "."),
        h("button", { class: "button small", type: "button", onclick: () => attempt(app.friend("unblock", idOf(key))) }, "Unblock"));
    }
  }

  return {
    node, update, edit, offer,
    focus: () => !form.hidden && text.focus(),
    shown() {
      update(app.state);
      put(app.state.conversations.get(key)?.draft ?? "");
    },
    destroy: stopTyping,
  };
}
