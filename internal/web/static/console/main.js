// The operator's console: who is signed in, where they are, and whether the server answers.

import { h, replace, setText } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { openDialog, openMenu, toast } from "../shared/dialog.js";
import { moment } from "../shared/format.js";
import * as api from "./api.js";
import { failure, lacks, state } from "./parts.js";
import * as overview from "./views/overview.js";
import * as people from "./views/people.js";
import * as groups from "./views/groups.js";
import * as departments from "./views/departments.js";
import * as keys from "./views/keys.js";
import * as webhooks from "./views/webhooks.js";
import * as log from "./views/log.js";
import * as why from "./views/why.js";

// Each page: its address, what it is called, which scope it needs to show anything, and where it is made.
const pages = [
  { at: "overview", text: "Overview", scope: "status:read", view: overview },
  { at: "people", text: "People", scope: "users:read", view: people },
  { at: "groups", text: "Groups", scope: "groups:read", view: groups },
  { at: "departments", text: "Departments", scope: "users:read", view: departments },
  { at: "keys", text: "Keys", scope: "keys", view: keys },
  { at: "webhooks", text: "Webhooks", scope: "webhooks", view: webhooks },
  { at: "log", text: "Log", scope: "log:read", view: log },
  { at: "why", text: "Why", scope: "log:read", view: why },
];

let here = new AbortController(); // ends with the page that is shown
let main, tabs, notice;

async function begin() {
  try {
    if (await api.whoAmI()) showConsole();
    else showSignIn();
  } catch (err) {
    replace(document.body, h("main", { class: "alone" }, failure(err, begin)));
    setTimeout(() => document.querySelector("main.alone .state") && begin(), 3000);
  }
}

function showSignIn(text = "") {
  here.abort();
  document.querySelectorAll("dialog[open]").forEach((d) => d.close());
  document.title = "Sign in · godwit console";
  const error = h("p", { class: "error", role: "alert" }, text);
  const key = h("input", { type: "password", autocomplete: "current-password", required: true, spellcheck: "false" });
  const go = h("button", { class: "button primary wide", type: "submit" }, "Sign in");
  replace(document.body, h("main", { class: "alone" }, h("form", {
    class: "card sign-in", novalidate: true,
    onsubmit: async (e) => {
      e.preventDefault();
      const text = key.value.trim();
      if (!text) return key.focus();
      go.setAttribute("aria-busy", "true");
      error.textContent = "";
      try {
        if (await api.signIn(text)) return showConsole(true);
        error.textContent = "Signed in, but this browser keeps no cookie for it.";
      } catch (err) {
        error.textContent = err.status === 401 ? "This key is not known, or it has been revoked." : err.message;
        key.select();
      }
      go.removeAttribute("aria-busy");
    },
  },
    h("div", { class: "brand" }, icon("server"), h("h1", null, "godwit console")),
    h("input", { type: "text", autocomplete: "username", value: "operator", hidden: true, "aria-hidden": "true", tabIndex: -1 }), // for password managers
    h("label", { class: "field" }, h("span", null, "Key"), key),
    h("p", { class: "hint" }, "The operator's token, in the file admin.token of the data directory, or an API key."),
    error, go)));
  key.focus();
}

function showConsole(focus = false) {
  main = h("main", { id: "content", tabIndex: -1 });
  tabs = h("nav", { class: "tabs", "aria-label": "Console" }, pages.filter((p) => api.may(p.scope)).map((p) => h("a", { href: `#/${p.at}`, dataset: { at: p.at } }, p.text)));
  notice = h("div", { class: "away", role: "status" });
  const name = api.caller.name === "operator" ? "Operator" : api.caller.name.replace(/^key:/, "Key ");
  const menu = h("button", {
    class: "button quiet small", type: "button", "aria-haspopup": "menu", "aria-expanded": "false",
    onclick: () => openMenu(menu, [{ text: "Scopes", icon: "key", action: showScopes }, { text: "Sign out", icon: "leave", action: leave }], { label: "Session" }),
  }, icon("people"), h("span", { class: "cut" }, name));
  replace(document.body,
    h("a", { class: "skip button", href: "#content", onclick: (e) => { e.preventDefault(); main.focus(); } }, "Skip to content"),
    h("header", { class: "top" }, h("div", { class: "brand" }, icon("server"), h("span", null, "godwit ", h("span", { class: "muted" }, "console"))), tabs, menu),
    notice, main);
  showAway();
  route(focus);
}

function showScopes() {
  const all = api.caller.name === "operator";
  openDialog({
    title: all ? "Operator" : api.caller.name.replace(/^key:/, "Key "),
    body: h("div", { class: "stack" }, h("p", null, all ? "The operator's token may do everything." : "This key has these scopes. What it lacks is not shown, or says so."),
      !all && h("ul", { class: "row chips" }, api.caller.scopes.map((s) => h("li", { class: "chip mono" }, s)))),
    buttons: [{ text: "Close" }],
  });
}

async function leave() {
  try {
    await api.signOut();
    showSignIn();
  } catch (err) {
    toast(err.message, "bad");
  }
}

// route shows the page that the address names: #/people/7?search=anna.
function route(focus = true) {
  if (!api.caller) return;
  here.abort();
  here = new AbortController();
  const { signal } = here;
  document.querySelectorAll("dialog[open]:not(.keep)").forEach((d) => d.close()); // they ask about another page
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  let parts;
  try {
    parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    parts = ["?"];
  }
  const page = parts.length ? pages.find((p) => p.at === parts[0]) : pages.find((p) => api.may(p.scope)) ?? pages[0];
  for (const a of tabs.children) {
    if (a.dataset.at === page?.at) {
      a.setAttribute("aria-current", "page");
      a.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else a.removeAttribute("aria-current");
  }
  document.title = `${page?.text ?? "Not found"} · godwit console`;
  const root = h("div", { class: "page", dataset: { page: page?.at ?? "none" } });
  if (!page) root.append(state("search", "There is no such page", `Nothing is at #/${path}.`));
  else if (!api.may(page.scope)) root.append(h("header", { class: "page-head" }, h("h1", { tabIndex: -1 }, page.text)), lacks(page.scope));
  else page.view.show(root, { parts: parts.slice(1), query: new URLSearchParams(search), signal });
  replace(main, root);
  scrollTo(0, 0);
  if (focus) (root.querySelector("h1") ?? main).focus({ preventScroll: true });
}

// While the server does not answer, that is said at the top, and it is asked again.
let asking;
function showAway() {
  if (!notice) return;
  clearTimeout(asking);
  const away = api.awaySince;
  notice.classList.toggle("shown", away !== null);
  if (away === null) return setText(notice, "");
  setText(notice, `Not reachable since ${moment(away)}. What you see is from before; trying again …`);
  asking = setTimeout(async () => {
    await api.reach();
    if (api.awaySince !== null) showAway();
  }, 2500);
}

api.on("reach", (yes) => {
  showAway();
  if (yes && api.caller) toast("The server answers again.");
});
api.on("signedOut", () => showSignIn("This key is not accepted any more, or the session is over. Sign in again."));
addEventListener("hashchange", () => route());
begin();
