// Dialogs on <dialog>: the browser keeps focus inside, closes on Escape and gives focus back to where it was.

import { h, append } from "./dom.js";
import { icon } from "./icons.js";

let serial = 0;

/**
 * openDialog shows a modal dialog and returns its element. title: its h2. body: nodes. buttons: [{text, kind ("primary",
 * "danger", "quiet"), value, action}], the last one is what Enter does. An action may return a promise: its button is busy
 * meanwhile, the dialog closes when it resolves (unless with false) and shows the error's text when it rejects. A button
 * without an action closes. onclose(value) is called once it is closed, with the value of the button or "".
 */
export function openDialog({ title, body, buttons = [], onclose, className = "", closable = true }) {
  const id = "dialog-" + ++serial;
  const error = h("p", { class: "error", role: "alert", hidden: true });
  let busy = false;
  const fail = (err) => {
    error.textContent = err.message || "That didn't work.";
    error.hidden = false;
  };
  const press = async (button, spec) => {
    if (busy) return;
    if (!spec.action) return dialog.close(spec.value ?? spec.text);
    error.hidden = true;
    busy = true;
    button.setAttribute("aria-busy", "true");
    try {
      if ((await spec.action()) !== false) dialog.close(spec.value ?? spec.text);
    } catch (err) {
      fail(err);
    } finally {
      busy = false;
      button.removeAttribute("aria-busy");
    }
  };
  const made = buttons.map((spec, i) => {
    const submit = i === buttons.length - 1;
    const button = h("button", { class: "button " + (spec.kind ?? ""), type: submit ? "submit" : "button" }, spec.text);
    if (!submit) button.addEventListener("click", () => press(button, spec));
    spec.ref?.(button);
    return button;
  });
  const dialog = h("dialog", { class: "dialog " + className, "aria-labelledby": id },
    h("form", {
      method: "dialog", novalidate: true,
      onsubmit: (e) => {
        e.preventDefault();
        if (made.length) press(made.at(-1), buttons.at(-1));
      },
    },
      h("header", null, h("h2", { id }, title),
        closable && h("button", { class: "icon-button", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"))),
      append(h("div", { class: "body" }), [body]),
      (made.length > 0) && h("footer", null, error, made)));
  const before = document.activeElement;
  // A press on what lies behind closes, if it began there too: text may be marked past the edge.
  let began = null;
  dialog.addEventListener("pointerdown", (e) => (began = e.target));
  dialog.addEventListener("click", (e) => {
    if (e.target === dialog && began === dialog && !busy && closable) dialog.close();
  });
  dialog.addEventListener("cancel", (e) => {
    if (busy || !closable) e.preventDefault();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (!document.querySelector("dialog[open]") || dialogHolds(before)) before?.isConnected && before.focus?.();
    onclose?.(dialog.returnValue); // may know a better place
  });
  dialog.fail = fail;
  document.body.append(dialog);
  dialog.showModal();
  (dialog.querySelector("[autofocus]") ?? dialog.querySelector(".body :is(input, textarea, select):not([hidden], :disabled)") ?? made.at(-1) ?? dialog.querySelector("button"))?.focus();
  return dialog;
}

const dialogHolds = (node) => node instanceof Element && node.closest("dialog[open]");

/**
 * confirmDialog asks before something is done. It resolves with true once it is done, false when it was cancelled.
 * verb: what the button says ("Recall", "Disable"). action: may return a promise, as in openDialog.
 */
export function confirmDialog({ title, text, verb, danger = true, action, body }) {
  return new Promise((resolve) => {
    openDialog({
      title,
      className: "confirm",
      closable: true,
      body: [text && h("p", { class: "wrap" }, text), body],
      buttons: [{ text: "Cancel", value: "" }, { text: verb, kind: danger ? "danger" : "primary", value: "yes", action }],
      onclose: (value) => resolve(value === "yes"),
    });
  });
}

/** promptDialog asks for one line of text; action(text) is called with it. It resolves with the text, or null when cancelled. */
export function promptDialog({ title, label, value = "", verb = "Save", maxLength = 64, required = true, text, action }) {
  return new Promise((resolve) => {
    const input = h("input", { value, maxlength: maxLength, autocomplete: "off", autofocus: true });
    const dialog = openDialog({
      title,
      className: "confirm",
      body: [text && h("p", { class: "hint wrap" }, text), h("label", { class: "field" }, h("span", null, label), input)],
      buttons: [{ text: "Cancel", value: "" }, {
        text: verb, kind: "primary", value: "yes",
        action: () => {
          const said = input.value.trim();
          if (required && !said) {
            input.setAttribute("aria-invalid", "true");
            input.focus();
            return false;
          }
          return action?.(said);
        },
      }],
      onclose: (v) => resolve(v === "yes" ? input.value.trim() : null),
    });
    input.select();
    return dialog;
  });
}

let toasts;

/** toast says for a few seconds what happened. kind: "" or "bad". Open dialogs don't cover it. */
export function toast(text, kind = "") {
  toasts ??= h("div", { class: "toasts", role: "status", popover: "manual" });
  if (!toasts.isConnected) document.body.append(toasts);
  if (toasts.matches(":popover-open")) toasts.hidePopover(); // once more, to be above a dialog that came since
  toasts.showPopover();
  const node = h("div", { class: "toast " + kind }, text);
  toasts.append(node);
  while (toasts.childElementCount > 3) toasts.firstChild.remove();
  setTimeout(() => {
    node.remove();
    if (!toasts.childElementCount && toasts.matches(":popover-open")) toasts.hidePopover();
  }, Math.max(4000, text.length * 70));
}

/**
 * openMenu shows a menu beside anchor: items [{text, icon, bad, action}]. Arrow keys, Home, End and Escape work; focus
 * goes back to what had it. at: {x, y} instead of beside.
 */
export function openMenu(anchor, items, { label = "Actions", at } = {}) {
  const before = document.activeElement;
  const menu = h("div", { class: "menu", role: "menu", popover: "auto", "aria-label": label });
  const leave = () => menu.matches(":popover-open") && menu.hidePopover();
  for (const item of items) {
    if (!item) continue;
    menu.append(h("button", {
      type: "button", role: "menuitem", tabIndex: -1, class: item.bad ? "bad" : "",
      onclick: () => {
        leave();
        item.action();
      },
    }, item.icon && icon(item.icon), item.text));
  }
  menu.addEventListener("keydown", (e) => {
    const all = [...menu.children];
    const i = all.indexOf(document.activeElement);
    const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: -1 }[e.key];
    if (e.key === "Tab") leave();
    if (to === undefined) return;
    e.preventDefault();
    e.stopPropagation();
    all.at(to % all.length).focus();
  });
  menu.addEventListener("toggle", (e) => {
    if (e.newState !== "closed") return;
    anchor.setAttribute("aria-expanded", "false");
    if (menu.contains(document.activeElement) || document.activeElement === document.body) before?.isConnected && before.focus();
    menu.remove();
  });
  (anchor.closest("dialog") ?? document.body).append(menu);
  anchor.setAttribute("aria-expanded", "true");
  menu.showPopover();
  const a = at ? { left: at.x, right: at.x, top: at.y, bottom: at.y } : anchor.getBoundingClientRect();
  const m = menu.getBoundingClientRect();
  const below = a.bottom + 4 + m.height <= innerHeight - 8;
  menu.style.top = Math.max(8, below ? a.bottom + 4 : a.top - 4 - m.height) + "px";
  menu.style.left = Math.max(8, Math.min(a.left, innerWidth - m.width - 8)) + "px";
  menu.firstElementChild?.focus();
  return menu;
}
