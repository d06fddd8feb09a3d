// Desktop notifications: only when asked for, only while the page is hidden, never of a muted group.

import { content, isGroup, personName, pictureSource, titleOf } from "./common.js";

const KEY = "godwit.notify";

export const notifications = {
  possible: () => "Notification" in window && window.isSecureContext,
  refused: () => Notification.permission === "denied",
  on() {
    try {
      return this.possible() && Notification.permission === "granted" && localStorage.getItem(KEY) === "1";
    } catch {
      return false;
    }
  },
  /** set asks the browser's permission where there is none yet; it resolves with whether they are on. */
  async set(on) {
    if (on && (await Notification.requestPermission()) !== "granted") on = false;
    try {
      localStorage.setItem(KEY, on ? "1" : "0");
    } catch {
      // kept for this page alone
    }
    return on && this.on();
  },
};

export function watchNotifications({ app, config }) {
  const open = new Map();
  app.on("message", ({ key, message }) => {
    if (!document.hidden || !notifications.on()) return;
    const state = app.state;
    const conversation = state.conversations.get(key);
    if (conversation?.muted || (isGroup(key) && state.groups.get(Number(key.slice(1)))?.muted)) return;
    const from = personName(state, message.from);
    let note;
    try {
      note = new Notification(titleOf(state, key) || config.name, {
        body: (isGroup(key) ? from + ": " : "") + content(message),
        tag: key,
        renotify: true,
        icon: pictureSource(state.people.get(message.from)?.avatar) ?? new URL("favicon.svg", document.baseURI).href,
      });
    } catch {
      return; // browsers of phones have only those of service workers
    }
    open.set(key, note);
    note.onclick = () => {
      window.focus();
      location.hash = key;
      note.close();
    };
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const note of open.values()) note.close();
    open.clear();
  });
}
