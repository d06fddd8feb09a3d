// Starts the client: asks what this server is, makes the app (all that is known, no page) and shows the view of its phase.

import { createApp } from "./core/app.js";
import { h, replace } from "../shared/dom.js";
import { signInView } from "./views/signin.js";
import { endedView } from "./views/ended.js";
import { workspaceView, workspaceSkeleton } from "./views/workspace.js";
import { watchNotifications } from "./views/notify.js";

/** What holds for a server that doesn't say. */
const usual = { name: "godwit", version: "", ws: "/ws", contacts: "everyone", recallSeconds: 120, editSeconds: 900, groupLimit: 10000, pictures: true };

async function readConfig() {
  try {
    const answer = await fetch(new URL("../client.json", import.meta.url));
    return answer.ok ? { ...usual, ...(await answer.json()) } : usual;
  } catch {
    return usual; // the app finds out by itself that nobody answers
  }
}

const root = document.getElementById("app");
const config = await readConfig();
const app = createApp({ config });
const ctx = { app, config };

let shown = ""; // the phase's view that is there
let view = null; // {node, update(state, changes), destroy()}

function show(state, changes) {
  let want = state.phase;
  // Signing in from the form stays there, until it is known whether it worked; with a kept session the frame comes at once.
  if (want === "signing-in") want = shown === "signed-out" ? "signed-out" : "skeleton";
  if (want !== shown) {
    view?.destroy?.();
    // Whoever signs in next begins at the list.
    if (want === "signed-out" && shown === "ready") history.replaceState(null, "", location.pathname + location.search);
    shown = want;
    view = { "signed-out": signInView, ended: endedView, ready: workspaceView, skeleton: workspaceSkeleton }[want](ctx, state);
    document.querySelectorAll("dialog[open]").forEach((d) => d.close());
    document.querySelectorAll(".menu:popover-open").forEach((m) => m.hidePopover());
    replace(root, view.node);
    view.shown?.();
  } else view.update?.(state, changes);
  // Muted groups count in the list alone.
  const unread = state.phase === "ready" ? state.order.map((key) => state.conversations.get(key)).reduce((n, c) => n + (c.muted ? 0 : c.unread), 0) : 0;
  document.title = (unread ? `(${unread > 99 ? "99+" : unread}) ` : "") + config.name;
}

watchNotifications(ctx);
app.subscribe(show);
show(app.state, new Set());

const visible = () => app.setVisible(document.visibilityState === "visible");
document.addEventListener("visibilitychange", visible);
visible();
// A file dropped beside its place doesn't replace the page; text may be dropped where it can be written.
const keep = (e) => e.dataTransfer?.types.includes("Files") && e.preventDefault();
addEventListener("dragover", keep);
addEventListener("drop", keep);
