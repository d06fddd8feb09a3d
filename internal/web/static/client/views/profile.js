import { h, setText } from "../../shared/dom.js";
import { icon } from "../../shared/icons.js";
import { openDialog, toast } from "../../shared/dialog.js";
import { avatar, explain, paintPerson, told } from "./common.js";
import { notifications } from "./notify.js";

const SIDE = 256; // pixels of an avatar's edge, as it is stored

/** squared cuts a picture to the square of an avatar. */
async function squared(file) {
  const bitmap = await createImageBitmap(file);
  const side = Math.min(bitmap.width, bitmap.height);
  const canvas = h("canvas", { width: SIDE, height: SIDE });
  const draw = canvas.getContext("2d");
  draw.imageSmoothingQuality = "high";
  draw.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  bitmap.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
  return new File([blob], "avatar.jpg", { type: "image/jpeg" });
}

export function profileDialog(ctx) {
  const { app, config } = ctx;
  const { me } = app.state;
  const face = avatar("large");
  const paint = () => app.state.me && paintPerson(face, app.state, app.state.me.id, { presence: false });
  paint();

  const file = h("input", { type: "file", accept: "image/*", hidden: true, "aria-label": "Picture of yourself", onchange: async () => {
    const [one] = file.files;
    file.value = "";
    if (!one) return;
    change.setAttribute("aria-busy", "true");
    try {
      await app.setAvatar(await squared(one));
      toast("Your picture is changed");
    } catch (err) {
      toast(err.code ? explain(err) : "This is no picture that this browser can read.", "bad");
    }
    change.removeAttribute("aria-busy");
  } });
  const change = h("button", { class: "button small", type: "button", onclick: () => file.click() }, icon("image"), "Change picture");
  const signature = h("input", { id: "signature", value: me.signature ?? "", maxlength: 200, autocomplete: "off", placeholder: "What others see under your name" });

  const possible = notifications.possible();
  const hint = h("span", { class: "hint" });
  const paintHint = () => setText(hint, !possible ? "This browser allows none on this page." : notifications.refused() ? "This browser doesn't allow them: change that in its settings for this page." : "While this page is in the background.");
  const toggle = h("input", {
    type: "checkbox", role: "switch", checked: notifications.on(), disabled: !possible || notifications.refused(),
    onchange: async () => {
      toggle.checked = await notifications.set(toggle.checked);
      toggle.disabled = notifications.refused();
      paintHint();
    },
  });
  paintHint();

  const signOut = h("button", { class: "button quiet bad", type: "button", onclick: async () => {
    signOut.setAttribute("aria-busy", "true");
    try {
      await app.signOut();
    } catch (err) {
      signOut.removeAttribute("aria-busy");
      dialog.fail(new Error(explain(err)));
    }
  } }, icon("leave"), "Sign out");

  const dialog = openDialog({
    title: "Profile",
    body: h("div", { class: "stack profile" },
      h("div", { class: "row profile-head" }, face,
        h("div", { class: "stack tight" }, h("bdi", { class: "strong wrap" }, me.nick || me.name), h("span", { class: "small muted" }, h("bdi", null, me.name), ` · number ${me.id}`), config.pictures !== false && h("div", null, change))),
      file,
      h("div", { class: "field" }, h("label", { for: "signature" }, "Signature"), signature),
      h("label", { class: "check between" }, h("span", { class: "stack tight" }, "Desktop notifications", hint), toggle),
      h("div", { class: "row between" }, h("span", { class: "small muted" }, h("bdi", null, config.name), config.version ? " " + config.version : ""), signOut)),
    buttons: [{ text: "Cancel", value: "" }, {
      text: "Save", kind: "primary",
      action: async () => {
        const said = signature.value.trim();
        if (said !== (me.signature ?? "")) await told(app.setSignature(said));
      },
    }],
    onclose: () => unsubscribe(),
  });
  const unsubscribe = app.subscribe((_, changes) => changes.has("me") && paint());
}
