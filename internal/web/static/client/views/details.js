// What there is to know about the open conversation's person or group, and what can be done about it.

import { h, replace, unpressed } from "../../shared/dom.js";
import { plural } from "../../shared/format.js";
import { icon } from "../../shared/icons.js";
import { confirmDialog, openMenu } from "../../shared/dialog.js";
import { avatar, idOf, isGroup, outside, paintKey, personName, titleOf, told } from "./common.js";
import { addMembersDialog, administratorDialog, dissolveGroupDialog, leaveGroupDialog, removeMemberDialog, renameGroupDialog } from "./groups.js";
import { attempt } from "./message.js";
import { friendActions } from "./people.js";
import { personRow } from "./picker.js";

const SHOWN = 100;

export function detailsView(ctx, key, close) {
  const { app } = ctx;
  const id = idOf(key);
  const body = h("div", { class: "details-body" });
  const closing = h("button", { class: "icon-button", type: "button", "aria-label": "Close details", onclick: close }, icon("close"));
  const node = h("aside", { class: "details", "aria-label": "Details" }, h("header", { class: "bar" }, h("h2", { class: "grow" }, isGroup(key) ? "Group" : "Person"), closing), body);
  let all = false; // of the members

  const action = ({ text, icon: picture, bad, action }) => h("button", { class: "action" + (bad ? " bad-text" : ""), type: "button", onclick: action }, icon(picture), text);
  const fact = (name, value) => value && h("div", { class: "fact" }, h("dt", { class: "small muted" }, name), h("dd", { class: "wrap" }, h("bdi", null, value)));

  const head = (state, note) => h("div", { class: "details-head" }, paintKey(avatar("large"), state, key), h("h3", { class: "wrap" }, h("bdi", null, titleOf(state, key))), note && h("p", { class: "muted wrap" }, h("bdi", null, note)));

  function person(state) {
    const p = state.people.get(id) ?? {};
    const f = state.friends.get(id);
    return [
      head(state, p.signature),
      h("dl", { class: "facts" },
        f?.remark && fact("Own name", p.nick || p.name), fact("Login name", p.name), fact("Department", state.departments.get(p.department)?.name),
        fact("Email", p.email), fact("Telephone", p.phone), fact("Number", String(id)),
        f && fact("Friendship", { friend: "You are friends", "asked-me": "Wants to be friends with you", "asked-by-me": "You have sent a request" }[f.state])),
      h("div", { class: "actions" }, friendActions(ctx, id).map(action), removal(state)),
    ];
  }

  const removal = (state) => state.order.includes(key) && action({
    text: "Remove from the list", icon: "trash", bad: true,
    action: () => confirmDialog({
      title: "Remove this conversation from your list?", text: (isGroup(key) ? "It stays below, under Groups, and comes back when you write in it." : "It comes back with the next message.") + " Nothing that was written is deleted.", verb: "Remove",
      action: async () => {
        await told(app.removeConversation(key));
        setTimeout(() => ctx.go(null));
      },
    }),
  });

  function group(state) {
    const g = state.groups.get(id);
    const me = state.me?.id;
    const why = outside(state, key);
    if (why) return head(state, why); // who comes and goes is not told from now on, and nothing can be done
    const admin = g.admin === me;
    const muted = Boolean(g.muted ?? state.conversations.get(key)?.muted);
    const normal = g.type !== "temporary";
    const members = [...g.members].sort((a, b) => (b === g.admin) - (a === g.admin) || (b === me) - (a === me) || personName(state, a).localeCompare(personName(state, b)));
    const shown = all ? members : members.slice(0, SHOWN);
    const more = (member) => {
      const name = personName(state, member);
      const button = h("button", {
        class: "icon-button", type: "button", "aria-label": `More about ${name}`, "aria-haspopup": "menu",
        onclick: () => openMenu(button, [
          { text: "Write", icon: "chat", action: () => ctx.go("u" + member) },
          admin && { text: "Make administrator", icon: "crown", action: () => administratorDialog(ctx, id, member) },
          admin && { text: "Remove from the group", icon: "trash", bad: true, action: () => removeMemberDialog(ctx, id, member) },
        ]),
      }, icon("more"));
      return button;
    };
    return [
      head(state, plural(members.length, "member")),
      h("div", { class: "actions" },
        h("label", { class: "action check" }, icon("mute"), h("span", { class: "grow" }, "Mute"), h("input", { type: "checkbox", role: "switch", checked: muted, onchange: (e) => attempt(app.muteGroup(id, e.target.checked)) })),
        (admin || !normal) && action({ text: "Add members", icon: "user_add", action: () => addMembersDialog(ctx, id) }),
        admin && action({ text: "Rename", icon: "edit", action: () => renameGroupDialog(ctx, id) })),
      h("h4", { class: "list-head" }, "Members"),
      h("div", { class: "members" }, shown.map((m) => personRow(state, m, m === g.admin ? "administrator" : m === me ? "you" : "", m !== me && more(m)))),
      members.length > shown.length && h("button", { class: "button quiet wide", type: "button", onclick: () => { all = true; paint(); } }, `Show all ${members.length}`),
      h("div", { class: "actions" },
        action({ text: "Leave the group", icon: "leave", bad: true, action: () => leaveGroupDialog(ctx, id) }),
        admin && !normal && action({ text: "Dissolve the group", icon: "trash", bad: true, action: () => dissolveGroupDialog(ctx, id) }),
        removal(state)),
    ];
  }

  function paint() {
    const y = body.scrollTop;
    const held = body.contains(document.activeElement) ? document.activeElement : null;
    const name = held?.getAttribute("aria-label") ?? held?.textContent;
    replace(body, (isGroup(key) ? group : person)(app.state));
    body.scrollTop = y;
    if (held) ([...body.querySelectorAll("button, input")].find((b) => (b.getAttribute("aria-label") ?? b.textContent) === name) ?? closing).focus({ preventScroll: true });
  }
  paint();

  let asked = false;
  const repaint = () => {
    asked = false;
    if (node.isConnected) paint();
  };
  return {
    node,
    update(state, changes) {
      if (!["people", "groups", "friends"].some((c) => changes.has(c)) || asked) return;
      asked = true; // presence of many comes at once: paint a little later, and once
      setTimeout(unpressed, 200, repaint);
    },
    focus: () => closing.focus(),
  };
}
