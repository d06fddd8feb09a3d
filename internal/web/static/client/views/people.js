// The people dialog: requests, friends, everybody, who is blocked.

import { h, replace, set, setText, unpressed } from "../../shared/dom.js";
import { badge, shortTime } from "../../shared/format.js";
import { icon } from "../../shared/icons.js";
import { openDialog, openMenu, promptDialog, confirmDialog } from "../../shared/dialog.js";
import { ms, personName, sortedPeople, told } from "./common.js";
import { attempt } from "./message.js";
import { filterPeople, personRow } from "./picker.js";

const SHOWN = 100;

export const requestDialog = ({ app }, id) => promptDialog({
  title: `Ask ${personName(app.state, id)} to be friends`, label: "A few words (optional)", verb: "Send request", required: false, maxLength: 200, action: (text) => told(app.friend("request", id, text)),
});
export const blockDialog = ({ app }, id) => confirmDialog({
  title: `Block ${personName(app.state, id)}?`, text: "Neither of you can write to the other until you unblock. They are not told.", verb: "Block", action: () => told(app.friend("block", id)),
});
export const unfriendDialog = ({ app }, id) => confirmDialog({
  title: `Remove ${personName(app.state, id)} from your friends?`, text: "What you wrote to each other stays.", verb: "Remove", action: () => told(app.friend("remove", id)),
});
export const remarkDialog = ({ app }, id) => promptDialog({
  title: "A name of your own", label: "Name", text: "Only you see it. Leave it empty to see their own name.", value: app.state.friends.get(id)?.remark ?? "", required: false, action: (text) => told(app.friend("remark", id, text)),
});

/** friendActions are what can be done about somebody, as items of a menu. */
export function friendActions(ctx, id) {
  const { app } = ctx;
  const { state } = app;
  const f = state.friends.get(id)?.state;
  const blocked = state.blocked.has(id);
  return [
    !f && !blocked && { text: "Send friend request", icon: "user_add", action: () => requestDialog(ctx, id) },
    f === "asked-me" && { text: "Accept request", icon: "check", action: () => attempt(app.friend("accept", id)) },
    f === "asked-me" && { text: "Refuse request", icon: "close", action: () => attempt(app.friend("refuse", id)) },
    f === "asked-by-me" && { text: "Withdraw request", icon: "undo", action: () => attempt(app.friend("withdraw", id)) },
    f === "friend" && { text: "Give a name of your own", icon: "edit", action: () => remarkDialog(ctx, id) },
    f === "friend" && { text: "Remove from friends", icon: "trash", bad: true, action: () => unfriendDialog(ctx, id) },
    blocked ? { text: "Unblock", icon: "block", action: () => attempt(app.friend("unblock", id)) } : { text: "Block", icon: "block", bad: true, action: () => blockDialog(ctx, id) },
  ].filter(Boolean);
}

export function peopleDialog(ctx, first) {
  const { app, config } = ctx;
  const search = h("input", { type: "search", "aria-label": "Search people", placeholder: "Search by name, number or email", autocomplete: "off", autofocus: true, oninput: paint });
  const list = h("div", { class: "people-list", role: "tabpanel", tabIndex: -1 });
  const asked = () => [...app.state.friends].filter(([, f]) => f.state !== "friend");
  const incoming = () => asked().filter(([, f]) => f.state === "asked-me").length;
  const tabs = { requests: "Requests", friends: "Friends", everybody: config.contacts === "friends" ? "Find" : "Everybody", blocked: "Blocked" };
  let tab = first ?? (incoming() ? "requests" : "everybody");
  const buttons = Object.entries(tabs).map(([name, text]) => h("button", {
    type: "button", role: "tab", dataset: { tab: name }, onclick: () => { tab = name; paint(); },
    onkeydown: (e) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
      if (!step) return;
      const i = buttons.indexOf(e.target);
      const to = buttons.at((i + step) % buttons.length);
      to.click();
      to.focus();
    },
  }, text, name === "requests" && h("span", { class: "badge" })));

  const dialog = openDialog({
    title: "People",
    className: "tall",
    body: [h("div", { class: "tabs", role: "tablist", "aria-label": "People" }, buttons), h("label", { class: "search" }, icon("search"), search), list],
    onclose: () => unsubscribe(),
  });
  // Enter in the search field has nothing to end here.
  dialog.querySelector("form").addEventListener("submit", (e) => e.preventDefault());

  const write = (id) => h("button", { class: "icon-button", type: "button", "aria-label": `Write to ${personName(app.state, id)}`, title: "Write", onclick: () => { dialog.close(); ctx.go("u" + id); } }, icon("chat"));
  const more = (id) => {
    const button = h("button", { class: "icon-button", type: "button", "aria-label": `More about ${personName(app.state, id)}`, "aria-haspopup": "menu", onclick: () => openMenu(button, friendActions(ctx, id)) }, icon("more"));
    return button;
  };
  const small = (text, kind, action) => h("button", { class: "button small " + kind, type: "button", onclick: async (e) => {
    e.target.setAttribute("aria-busy", "true");
    await attempt(action());
    e.target.removeAttribute("aria-busy");
  } }, text);
  const none = (picture, title, text) => h("div", { class: "state" }, icon(picture), h("h3", null, title), text && h("p", null, text));

  const pages = {
    requests() {
      const open = asked().sort((a, b) => b[1].since - a[1].since).filter(([id]) => filterPeople(app.state, [app.state.people.get(id) ?? { id }], search.value).length);
      if (!open.length) return none("user_add", "No open requests", "Requests that you get or send are here.");
      return open.map(([id, f]) => personRow(app.state, id, f.text || (f.state === "asked-me" ? "wants to be friends" : "asked") + (f.since ? " · " + shortTime(ms(f.since)) : ""),
        f.state === "asked-me"
          ? [small("Accept", "primary", () => app.friend("accept", id)), small("Refuse", "", () => app.friend("refuse", id))]
          : small("Withdraw", "", () => app.friend("withdraw", id))));
    },
    friends() {
      const { state } = app;
      const found = filterPeople(state, sortedPeople(state).filter((p) => state.friends.get(p.id)?.state === "friend"), search.value);
      if (!found.length) return none("people", search.value ? "Nobody found" : "No friends yet", search.value ? "" : "Find somebody and send a request.");
      return found.slice(0, SHOWN).map((p) => personRow(state, p.id, p.signature, write(p.id), more(p.id)));
    },
    everybody() {
      const { state } = app;
      const found = filterPeople(state, sortedPeople(state), search.value);
      const rows = found.slice(0, SHOWN).map((p) => {
        const f = state.friends.get(p.id)?.state;
        return personRow(state, p.id, { friend: "friend", "asked-me": "wants to be friends", "asked-by-me": "request sent" }[f] ?? state.departments.get(p.department)?.name ?? p.signature, write(p.id), more(p.id));
      });
      if (found.length > SHOWN) rows.push(h("p", { class: "hint" }, `${found.length - SHOWN} more: search to find them.`));
      const number = /^\s*#?(\d{1,10})\s*$/.exec(search.value)?.[1];
      if (number && Number(number) !== state.me?.id && !state.people.has(Number(number))) {
        rows.push(h("div", { class: "person row" }, h("span", { class: "grow" }, "Number ", number), small("Send request", "", () => requestDialog(ctx, Number(number)))));
      }
      if (rows.length) return rows;
      return none("search", search.value ? "Nobody found" : "Nobody here yet", config.contacts === "friends" ? "Type somebody's number to send a request." : "");
    },
    blocked() {
      const { state } = app;
      const ids = [...state.blocked].filter((id) => filterPeople(state, [state.people.get(id) ?? { id }], search.value).length);
      if (!ids.length) return none("block", "Nobody is blocked");
      return ids.map((id) => personRow(state, id, "", small("Unblock", "", () => app.friend("unblock", id))));
    },
  };

  function paint() {
    for (const b of buttons) {
      const chosen = b.dataset.tab === tab;
      set(b, { "aria-selected": String(chosen), tabIndex: chosen ? 0 : -1 });
    }
    setText(buttons[0].querySelector(".badge"), badge(incoming()));
    const held = list.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    const y = list.scrollTop;
    replace(list, pages[tab]());
    list.scrollTop = y;
    if (held) ([...list.querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === held) ?? list).focus();
  }
  paint();
  const unsubscribe = app.subscribe((state, changes) => {
    if (["friends", "people"].some((c) => changes.has(c))) unpressed(paint);
  });
}
