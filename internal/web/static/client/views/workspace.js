// The frame of a signed-in session: the list, the open conversation, the details beside it, and the way between them.
// The address's fragment names what is open ("#u7"), so that the browser's own back button works as on a phone it must.

import { h, replace, setText } from "../../shared/dom.js";
import { icon } from "../../shared/icons.js";
import { duration } from "../../shared/format.js";
import { conversationView, conversationSkeleton } from "./conversation.js";
import { listView, skeletonRows } from "./list.js";
import { toast } from "../../shared/dialog.js";

// What is opened now and then comes once there is time for it, so that the first conversation is there sooner.
const rare = {
  details: () => import("./details.js"),
  groups: () => import("./groups.js"),
  people: () => import("./people.js"),
  profile: () => import("./profile.js"),
};
const withRare = (name, use) => rare[name]().then(use, () => toast("This can't be loaded right now. Please try again.", "bad"));

const keyOf = () => /^#([ug]\d{1,10})$/.exec(location.hash)?.[1] ?? null;
const coarse = () => matchMedia("(pointer: coarse)").matches; // a keyboard would cover half of the page
const roomy = matchMedia("(min-width: 75rem)"); // the details have a column of their own

export function workspaceView(base) {
  const { app } = base;
  let conversation = null; // the open one's view
  let details = null;
  let open; // its key

  const ctx = {
    ...base,
    /** go opens a conversation, at a message if one is named; null goes back to the list. */
    go(key, messageId) {
      if (key === open) {
        if (messageId) conversation?.reveal(messageId);
        else conversation?.focus();
        return;
      }
      if (!key) {
        if (history.state?.fromList) return history.back();
        history.replaceState(null, "", location.pathname + location.search);
      } else if (open) history.replaceState(history.state, "", "#" + key);
      else history.pushState({ fromList: true }, "", "#" + key);
      route({ messageId, focus: true });
    },
    showPeople: (tab) => withRare("people", (m) => m.peopleDialog(ctx, tab)),
    showProfile: () => withRare("profile", (m) => m.profileDialog(ctx)),
    showNewGroup: () => withRare("groups", (m) => m.newGroupDialog(ctx)),
    toggleDetails,
  };

  const list = listView(ctx);
  const stage = h("div", { class: "stage" });
  const connection = connectionNotice(app);
  const node = h("div", { class: "workspace" }, list.node, stage, connection.node);

  const nobody = () => h("main", { class: "conversation", "aria-label": "Conversation" },
    h("div", { class: "state grow" }, icon("chat"), h("h1", null, "Your conversations"), h("p", null, "Pick one on the left, or search with " + (/Mac/.test(navigator.platform) ? "⌘ K." : "Ctrl K."))));

  function route({ messageId, focus } = {}) {
    const key = keyOf();
    if (key === open) return;
    const before = open;
    conversation?.destroy();
    conversation = null;
    closeDetails(false);
    open = key;
    node.toggleAttribute("data-open", Boolean(key));
    list.clear();
    if (key) {
      conversation = conversationView(ctx, key); // looks at the read cursor before the app moves it
      replace(stage, conversation.node);
      Promise.resolve(app.open(key)).catch(() => {}); // what failed is in the conversation's error
      conversation.shown({ messageId, focus: focus && !coarse() });
      if (details === "wanted") toggleDetails({ quietly: true });
    } else {
      replace(stage, nobody());
      app.open(null);
      if (before) list.focusItem();
    }
    list.opened(key);
  }

  let panel = null;
  function toggleDetails({ quietly = false } = {}) {
    if (panel) return closeDetails(true);
    const key = open;
    if (key) withRare("details", (m) => key === open && !panel && showDetails(m, quietly));
  }
  function showDetails({ detailsView }, quietly) {
    panel = detailsView(ctx, open, () => closeDetails(true));
    node.append(panel.node);
    node.toggleAttribute("data-details", true);
    conversation.detailsShown(true);
    details = roomy.matches ? "wanted" : null; // with a column of its own it stays when another conversation is opened
    if (!quietly) panel.focus();
  }
  function closeDetails(byHand) {
    if (!panel) return;
    const held = panel.node.contains(document.activeElement);
    panel.node.remove();
    panel = null;
    node.toggleAttribute("data-details", false);
    conversation?.detailsShown(false);
    if (!byHand) return;
    details = null;
    if (held) conversation?.focusHeader();
  }

  function keys(e) {
    if (e.isComposing) return; // Escape ends what an input method does
    if ((e.ctrlKey || e.metaKey) && !e.shiftKey && !e.altKey && e.key.toLowerCase() === "k") {
      e.preventDefault();
      if (open && matchMedia("(max-width: 45rem)").matches) ctx.go(null);
      list.focusSearch();
    } else if (e.key === "Escape" && !e.defaultPrevented && !document.querySelector("dialog[open], .menu:popover-open")) {
      if (panel && !(roomy.matches && !panel.node.contains(document.activeElement))) closeDetails(true);
      else if (open) ctx.go(null);
    }
  }
  const back = () => route();
  addEventListener("popstate", back);
  document.addEventListener("keydown", keys);
  // "Yesterday" comes without an event.
  const clockwork = setInterval(() => {
    list.update(app.state);
    conversation?.update(app.state, new Set(["messages:" + open]));
  }, 60_000);

  return {
    node,
    shown() {
      route({ focus: true });
      if (!keyOf()) {
        replace(stage, nobody());
        list.opened(null);
        if (!coarse()) list.focusSearch();
      }
      (window.requestIdleCallback ?? setTimeout)(() => Object.values(rare).forEach((load) => load().catch(() => {})));
    },
    update(state, changes) {
      list.update(state, changes);
      if (changes.has("connection")) connection.update(state);
      // A conversation that is gone for good, or an address of nobody.
      if (open && state.synced && !state.conversations.has(open) && !(open[0] === "g" ? state.groups : state.people).has(Number(open.slice(1))) && changes.has("groups")) ctx.go(null);
      conversation?.update(state, changes);
      panel?.update(state, changes);
    },
    destroy() {
      removeEventListener("popstate", back);
      document.removeEventListener("keydown", keys);
      clearInterval(clockwork);
      connection.destroy();
      conversation?.destroy();
    },
  };
}

// The notice says quietly that there is no connection, and when the next attempt is made.
function connectionNotice(app) {
  const text = h("span");
  const wait = h("span", { class: "number", "aria-hidden": "true" });
  const node = h("div", { class: "connection", role: "status" }, h("span", { class: "spinner" }), text, wait);
  let counting;
  function update(state) {
    clearInterval(counting);
    node.dataset.connection = state.connection;
    setText(text, {
      connecting: "Connecting…",
      offline: navigator.onLine === false ? "You are offline." : "No connection.",
      unavailable: "The server is busy.",
      leaving: "The server restarts.",
    }[state.connection] ?? "");
    const count = () => {
      const left = (state.retryAt ?? 0) - Date.now();
      setText(wait, state.connection !== "online" && left > 1500 ? "Next try in " + duration(left) : "");
    };
    count();
    if (state.connection !== "online" && state.retryAt) counting = setInterval(count, 1000);
  }
  update(app.state);
  return { node, update, destroy: () => clearInterval(counting) };
}

/** workspaceSkeleton stands there until the session is ready. */
export function workspaceSkeleton({ app }) {
  const connection = connectionNotice(app);
  const node = h("div", { class: "workspace", "aria-busy": "true" },
    h("aside", { class: "sidebar" },
      h("header", { class: "bar" }, h("span", { class: "skeleton round avatar-place" }), h("span", { class: "skeleton grow" })),
      h("div", { class: "search-place" }, h("div", { class: "search" }, h("input", { disabled: true, "aria-label": "Search" }))),
      h("div", { class: "list" }, skeletonRows())),
    h("div", { class: "stage" }, h("main", { class: "conversation", "aria-label": "Conversation" }, keyOf() && conversationSkeleton())),
    connection.node,
    h("p", { class: "unseen", role: "status" }, "Signing in"));
  node.toggleAttribute("data-open", Boolean(keyOf()));
  return { node, update: connection.update, destroy: connection.destroy };
}
