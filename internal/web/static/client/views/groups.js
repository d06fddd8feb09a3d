import { h } from "../../shared/dom.js";
import { openDialog, promptDialog, confirmDialog } from "../../shared/dialog.js";
import { personName, sortedPeople, told } from "./common.js";
import { peoplePicker } from "./picker.js";

const candidates = ({ app, config }) => {
  const { state } = app;
  return sortedPeople(state).filter((p) => config.contacts !== "friends" || state.friends.get(p.id)?.state === "friend");
};

export function newGroupDialog(ctx) {
  const name = h("input", { maxlength: 64, autocomplete: "off", autofocus: true });
  const picker = peoplePicker(ctx, () => candidates(ctx));
  openDialog({
    title: "New group",
    body: h("div", { class: "stack" }, h("label", { class: "field" }, h("span", null, "Name of the group"), name), picker.node),
    buttons: [{ text: "Cancel", value: "" }, {
      text: "Create", kind: "primary",
      action: async () => {
        const said = name.value.trim();
        name.setAttribute("aria-invalid", String(!said));
        if (!said) {
          name.focus();
          throw new Error("Please give the group a name.");
        }
        if (!picker.chosen.size) throw new Error("Please choose who else is in it.");
        const key = await told(ctx.app.createGroup(said, [...picker.chosen]));
        setTimeout(() => ctx.go(key)); // once the dialog has given focus back
      },
    }],
  });
}

export function addMembersDialog(ctx, id) {
  const inside = new Set(ctx.app.state.groups.get(id)?.members);
  const picker = peoplePicker(ctx, () => candidates(ctx).filter((p) => !inside.has(p.id)));
  openDialog({
    title: "Add members",
    body: [h("p", { class: "hint" }, "They see what is written from now on."), picker.node],
    buttons: [{ text: "Cancel", value: "" }, {
      text: "Add", kind: "primary",
      action: () => {
        if (!picker.chosen.size) throw new Error("Please choose somebody.");
        return told(ctx.app.addMembers(id, [...picker.chosen]));
      },
    }],
  });
}

export const renameGroupDialog = ({ app }, id) => promptDialog({
  title: "Rename the group", label: "Name", value: app.state.groups.get(id)?.name ?? "", action: (text) => told(app.renameGroup(id, text)),
});

export const removeMemberDialog = ({ app }, id, person) => confirmDialog({
  title: `Remove ${personName(app.state, person)}?`, text: "They keep what they have read, and get nothing that is written from now on.", verb: "Remove", action: () => told(app.removeMembers(id, [person])),
});

export const administratorDialog = ({ app }, id, person) => confirmDialog({
  title: `Make ${personName(app.state, person)} the administrator?`, text: "A group has one. You will be a member like the others.", verb: "Hand over", danger: false, action: () => told(app.setAdministrator(id, person)),
});

export const leaveGroupDialog = ({ app }, id) => confirmDialog({
  title: "Leave this group?", text: "You get nothing that is written from now on. Somebody in it can add you again.", verb: "Leave", action: () => told(app.leaveGroup(id)),
});

export const dissolveGroupDialog = ({ app }, id) => confirmDialog({
  title: "Dissolve this group?", text: "It ends for everybody in it. This can't be undone.", verb: "Dissolve", action: () => told(app.dissolveGroup(id)),
});
