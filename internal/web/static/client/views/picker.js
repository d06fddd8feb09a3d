import { h, replace, setText, unpressed } from "../../shared/dom.js";
import { icon } from "../../shared/icons.js";
import { avatar, paintPerson, personName } from "./common.js";

const SHOWN = 100; // rows at once; whoever has more people searches

/** filterPeople finds by name, signature's owner, number or email. */
export function filterPeople(state, people, query) {
  const q = query.trim().toLocaleLowerCase();
  if (!q) return people;
  return people.filter((p) => [personName(state, p.id), p.nick, p.name, p.email, String(p.id)].some((s) => s?.toLocaleLowerCase().includes(q)));
}

/** personRow is one person in a dialog, with whatever can be done at its end. */
export function personRow(state, id, note, ...end) {
  return h("div", { class: "person row", dataset: { person: id } }, paintPerson(avatar(), state, id),
    h("div", { class: "grow" }, h("bdi", { class: "cut block" }, personName(state, id)), note && h("bdi", { class: "cut block small muted" }, note)), end);
}

/** peoplePicker lets people be chosen: a search field, those chosen, a list to tick. people gives those of now, sorted. */
export function peoplePicker(ctx, people) {
  const chosen = new Set();
  const search = h("input", { type: "search", "aria-label": "Search people", placeholder: "Search people", autocomplete: "off", oninput: paint });
  const chips = h("div", { class: "chips", "aria-label": "Chosen" });
  const list = h("div", { class: "pick-list", role: "group", "aria-label": "People" });

  function toggle(id, on) {
    if (on) chosen.add(id);
    else chosen.delete(id);
    paintChips();
  }
  function paintChips() {
    const { state } = ctx.app;
    replace(chips, [...chosen].map((id) => h("button", {
      class: "chip accent", type: "button", "aria-label": `Leave out ${personName(state, id)}`,
      onclick: () => { toggle(id, false); paint(); search.focus(); },
    }, h("bdi", { class: "cut" }, personName(state, id)), icon("close"))));
  }
  let count; // of those there are
  function paint() {
    const { state } = ctx.app;
    const there = people();
    count = there.length;
    const found = filterPeople(state, there, search.value);
    const more = h("p", { class: "hint" });
    if (found.length > SHOWN) setText(more, `${found.length - SHOWN} more: search to find them.`);
    replace(list, found.slice(0, SHOWN).map((p) => h("label", { class: "check person" },
      h("input", { type: "checkbox", checked: chosen.has(p.id), onchange: (e) => toggle(p.id, e.target.checked) }),
      paintPerson(avatar("small"), state, p.id), h("bdi", { class: "cut grow" }, personName(state, p.id)))),
      !found.length && h("p", { class: "hint" }, count ? "Nobody of that name." : "There is nobody to choose."),
      found.length > SHOWN && more);
  }
  search.addEventListener("keydown", (e) => {
    if (e.key !== "Enter" || e.isComposing) return;
    e.preventDefault(); // chooses the only one found; it never ends the dialog
    const boxes = list.querySelectorAll("input");
    if (boxes.length === 1) {
      boxes[0].click();
      search.select();
    }
  });
  paint();
  const end = ctx.app.subscribe((_, changes) => {
    if (!list.isConnected) end();
    else if ((changes.has("people") || changes.has("friends")) && people().length !== count) unpressed(paint);
  });
  return { node: h("div", { class: "picker" }, h("label", { class: "search" }, icon("search"), search), chips, list), chosen };
}
