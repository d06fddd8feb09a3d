// Pictures: looked at before they are sent, and large.

import { h, replace } from "../../shared/dom.js";
import { plural, size } from "../../shared/format.js";
import { icon } from "../../shared/icons.js";
import { openDialog } from "../../shared/dialog.js";
import { attempt } from "./message.js";
import { titleOf } from "./common.js";

const MOST_BYTES = 5 << 20; // what the server's store takes
const LONGEST = 2560; // pixels of a picture that had to be made smaller
const TAKEN = /^image\/(png|jpeg|gif)$/;

/** fitting makes of any picture that the browser can show one that the store takes. */
async function fitting(file) {
  if (TAKEN.test(file.type) && file.size <= MOST_BYTES) return file;
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const canvas = h("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  const draw = canvas.getContext("2d");
  draw.fillStyle = "#fff";
  draw.fillRect(0, 0, canvas.width, canvas.height);
  draw.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.86));
  if (!blob || blob.size > MOST_BYTES) throw new Error("The picture is too large.");
  return new File([blob], (file.name || "picture").replace(/\.\w+$/, "") + ".jpg", { type: "image/jpeg" });
}

/** picturesDialog shows what is about to be sent, and sends it when told to. */
export function picturesDialog(ctx, key, files, done) {
  const addresses = [];
  const chosen = files.slice(0, 10).map((file) => {
    const src = URL.createObjectURL(file);
    addresses.push(src);
    return { file, src };
  });
  const grid = h("div", { class: "preview-grid" });
  let button;
  function paint() {
    grid.classList.toggle("one", chosen.length === 1);
    button.textContent = chosen.length === 1 ? "Send" : "Send " + plural(chosen.length, "picture");
    replace(grid, chosen.map((one, i) => h("figure", null,
      h("img", { src: one.src, alt: one.file.name || "Picture", onerror: (e) => e.target.replaceWith(h("span", { class: "state" }, icon("image"), "Can't be shown")) }),
      h("figcaption", { class: "row small muted" }, h("bdi", { class: "cut grow" }, one.file.name || "Picture"), h("span", { class: "number" }, size(one.file.size)),
        chosen.length > 1 && h("button", { class: "icon-button", type: "button", "aria-label": "Leave out", onclick: () => { chosen.splice(i, 1); paint(); } }, icon("close"))))));
  }
  openDialog({
    title: `Send to ${titleOf(ctx.app.state, key)}`,
    className: "preview",
    body: grid,
    buttons: [{ text: "Cancel", value: "" }, {
      text: "Send", kind: "primary", value: "sent", ref: (b) => { button = b; b.autofocus = true; paint(); },
      action: async () => {
        const ready = [];
        for (const one of chosen) {
          try {
            ready.push(await fitting(one.file));
          } catch (err) {
            throw new Error(err.name === "Error" ? err.message : `“${one.file.name || "This file"}” is no picture that this browser can read.`);
          }
        }
        for (const file of ready) attempt(ctx.app.sendPicture(key, file));
      },
    }],
    onclose: (value) => {
      addresses.forEach((a) => URL.revokeObjectURL(a));
      if (value === "sent") done();
    },
  });
}

/** lightbox shows a picture as large as the window; arrow keys go to the others that are in the page. */
export function lightbox(ctx, message, source) {
  const all = [...(message.closest(".rows") ?? message).querySelectorAll(".picture:not(.lost) img")].map((i) => i.src);
  let at = Math.max(0, all.indexOf(new URL(source, document.baseURI).href));
  const img = h("img", { alt: "Picture", src: all[at] ?? source });
  const before = document.activeElement;
  const go = (step) => {
    at = (at + step + all.length) % all.length;
    img.src = all[at];
  };
  const dialog = h("dialog", {
    class: "lightbox", "aria-label": "Picture",
    onclick: (e) => e.target.closest("button") || dialog.close(),
    onkeydown: (e) => {
      if (e.key === "ArrowLeft") go(-1);
      if (e.key === "ArrowRight") go(1);
    },
    onclose: () => {
      dialog.remove();
      before?.isConnected && before.focus();
    },
  },
    img,
    h("button", { class: "icon-button close", type: "button", "aria-label": "Close", autofocus: true, onclick: () => dialog.close() }, icon("close")),
    all.length > 1 && [
      h("button", { class: "icon-button previous", type: "button", "aria-label": "Previous picture", onclick: () => go(-1) }, icon("back")),
      h("button", { class: "icon-button next", type: "button", "aria-label": "Next picture", onclick: () => go(1) }, icon("back")),
    ]);
  document.body.append(dialog);
  dialog.showModal();
}
