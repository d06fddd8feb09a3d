// Groups: the list, and everything about one.

import { h, later, setText } from "../../shared/dom.js";
import { count, plural } from "../../shared/format.js";
import { icon } from "../../shared/icons.js";
import { get, may } from "../api.js";
import { area, button, called, card, form, fullPage, head, Pages, peopleOf, personField, personLink, question, state, table, time } from "../parts.js";

const PAGE = 50;
const MEMBERS = 50;

export function show(root, route) {
  if (route.parts.length) showGroup(root, route, route.parts[0]);
  else showList(root, route);
}

const standing = (g) => g.dissolved ? h("span", { class: "chip bad" }, "dissolved") : h("span", { class: "chip good" }, g.type);

function showList(root, { query, signal }) {
  const pages = new Pages();
  const input = h("input", { type: "search", value: query.get("search") ?? "", maxlength: 64, placeholder: "Name or number", "aria-label": "Search groups", oninput: () => soon() });
  const said = h("p", { class: "muted small", role: "status" });

  const box = area(signal, async (loading) => {
    const search = input.value.trim();
    const { rows, next } = await fullPage("/groups", "groups", { search, cursor: pages.cursor }, PAGE, loading);
    const people = await peopleOf(rows.map((g) => g.administrator), loading);
    const from = (pages.cursors.length - 1) * PAGE;
    setText(said, !search ? "" : next || from ? "" : plural(rows.length, "match", "matches"));
    return [table({
      caption: "Groups", rows, key: (g) => g.number,
      empty: search ? state("search", "No group matches", `No group has the number “${search}”, or that in its name.`) : state("group", "There are no groups yet", "People make them in their clients, and you with “New group”."),
      columns: [
        { label: "Number", number: true, cell: (g) => String(g.number) },
        { label: "Name", head: true, cell: (g) => h("a", { href: `#/groups/${g.number}`, class: "wrap" }, h("bdi", null, g.name)) },
        { label: "State", cell: standing },
        { label: "Members", number: true, cell: (g) => count(g.members) },
        { label: "Administrator", cell: (g) => (g.administrator ? personLink(people.get(g.administrator)) : "nobody") },
        { label: "Made", cell: (g) => time(g.created) },
      ],
    }), pages.bar(next, from, rows.length, () => box.reload())];
  });

  const soon = later(250, () => {
    if (signal.aborted) return;
    const text = input.value.trim();
    history.replaceState(null, "", text ? `#/groups?search=${encodeURIComponent(text)}` : "#/groups");
    pages.cursors = [undefined];
    box.reload();
  });

  root.append(
    head("Groups", may("groups:write") && button([icon("plus"), "New group"], createGroup, "primary")),
    h("section", { class: "card part" }, h("div", { class: "row tools" }, h("label", { class: "search grow" }, icon("search"), input), said), box));
}

/** peopleField is a field in which several people are picked, one after the other. */
function peopleField(label) {
  const chosen = new Map();
  const chips = h("ul", { class: "row chips", "aria-label": "Chosen" });
  const field = personField({
    label,
    hint: "Pick one after the other.",
    picked: (p) => {
      if (!p) return;
      add(p);
      field.set(null);
    },
  });
  const add = (p) => {
    if (chosen.has(p.number)) return;
    chosen.set(p.number, p);
    const chip = h("li", { class: "chip accent" }, h("bdi", null, called(p)), h("button", {
      type: "button", class: "drop", "aria-label": `Leave out ${called(p)}`,
      onclick: () => {
        chosen.delete(p.number);
        chip.remove();
        field.focus();
      },
    }, icon("close")));
    chips.append(chip);
  };
  return {
    node: h("div", { class: "stack tight" }, field.node, chips),
    async numbers() {
      const last = await field.person();
      if (last) {
        add(last);
        field.set(null);
      }
      return [...chosen.keys()];
    },
    names: () => [...chosen.values()].map(called),
  };
}

async function createGroup() {
  const members = peopleField("Members");
  const group = await form({
    title: "New group",
    text: "The group appears with its members at once. The first one who is picked becomes its administrator.",
    verb: "Create group",
    fields: [
      { name: "name", label: "Name", required: true, max: 64 },
      { name: "type", label: "Type", type: "select", value: "normal", options: [["normal", "Normal: its administrator changes members"], ["temporary", "Temporary: any member adds others"]] },
      { node: members.node },
    ],
    run: async (v, send) => {
      const numbers = await members.numbers();
      return send("POST", "/groups", { name: v.name, type: v.type, creator: numbers[0], members: numbers });
    },
    done: (g) => `The group ${g.name} was made.`,
  });
  if (group) location.hash = `#/groups/${group.number}`;
}

function showGroup(root, { signal }, number) {
  if (!/^\d+$/.test(number)) return root.append(head("Group"), state("search", "There is no such group", "A group's address ends with a number."));
  const body = area(signal, async (loading) => {
    const g = await get(`/groups/${number}`, null, { signal: loading });
    document.title = `${g.name} · godwit console`;
    const people = await peopleOf([g.administrator, g.creator], loading);
    return group(g, people, loading, () => body.reload());
  });
  root.append(h("nav", { class: "trail", "aria-label": "Place" }, h("a", { href: "#/groups" }, "Groups"), h("span", { class: "muted" }, ` › ${number}`)), body);
}

function group(g, people, signal, changed) {
  const write = may("groups:write") && !g.dissolved;
  const person = (n) => (n ? personLink(people.get(n)) : "nobody");
  const rows = [["Number", String(g.number)], ["Type", g.type === "temporary" ? "temporary: any member adds others" : "normal: its administrator changes members"], ["Administrator", person(g.administrator)], ["Made by", person(g.creator)],
    ["Made", time(g.created)], ["Last change", time(g.updated)], ["Version", String(g.version)]];
  const pages = new Pages();

  const ask = async (question_) => {
    if (await question(question_)) changed();
  };
  const remove = (p) => ask({
    title: `Remove ${called(p)} from ${g.name}?`, verb: "Remove", done: `${called(p)} was removed from ${g.name}.`,
    text: `${called(p)} leaves the group ${g.name} now, and reads nothing that is written there from then on. The other members are told.`,
    run: (send) => send("DELETE", `/groups/${g.number}/members/${p.number}`),
  });
  const crown = (p) => ask({
    title: `Make ${called(p)} the administrator of ${g.name}?`, verb: "Make administrator", danger: false, done: `${called(p)} is the administrator of ${g.name}.`,
    text: `${called(p)} may then change the members and the name of the group${g.administrator ? `; ${called(people.get(g.administrator))} may not any more` : ""}.`,
    run: (send) => send("PATCH", `/groups/${g.number}`, { administrator: p.number }),
  });
  const members = area(signal, async () => {
    const page = await get(`/groups/${g.number}/members`, { limit: MEMBERS, cursor: pages.cursor }, { signal });
    const who = await peopleOf(page.members, signal);
    return [table({
      caption: `Members of ${g.name}`, rows: page.members.map((n) => who.get(n)), key: (p) => p.number, empty: state("people", "No members", ""),
      columns: [
        { label: "Number", number: true, cell: (p) => String(p.number) },
        { label: "Member", head: true, cell: personLink },
        { label: "Part", cell: (p) => (p.number === g.administrator ? h("span", { class: "chip accent" }, "administrator") : "member") },
        {
          label: "Actions", actions: true, cell: (p) => write && [
            p.number !== g.administrator && button("Make administrator", () => crown(p), "small quiet"), button("Remove", () => remove(p), "small")],
        },
      ],
    }), pages.bar(page.next, (pages.cursors.length - 1) * MEMBERS, page.members.length, () => members.reload())];
  });

  return [
    head([h("bdi", null, g.name), " ", standing(g)],
      write && button([icon("edit"), "Rename"], async () => {
        const done = await form({
          title: `Rename ${g.name}`, text: "All members see the new name.", verb: "Rename", fields: [{ name: "name", label: "Name", value: g.name, required: true, max: 64 }],
          run: (v, send) => send("PATCH", `/groups/${g.number}`, { name: v.name }), done: "The group has a new name.",
        });
        if (done) changed();
      }),
      write && button([icon("user_add"), "Add members"], async () => {
        const field = peopleField("People");
        const done = await form({
          title: `Add members to ${g.name}`, text: "They become members at once, and read what is written from then on. The others are told.", verb: "Add members", fields: [{ node: field.node }],
          run: async (_, send) => {
            const add = await field.numbers();
            if (!add.length) throw new Error("Pick at least one person.");
            await send("POST", `/groups/${g.number}/members`, { add });
          },
          done: () => `Added to ${g.name}: ${field.names().join(", ")}.`,
        });
        if (done) changed();
      }),
      write && button("Dissolve", () => ask({
        title: `Dissolve ${g.name}?`, verb: "Dissolve", done: `${g.name} is dissolved.`,
        text: `All ${plural(g.members, "member")} leave the group ${g.name} now, for good: it can't be brought back. What was written stays in the log.`,
        run: (send) => send("DELETE", `/groups/${g.number}`),
      }), "bad")),
    h("div", { class: "columns" },
      card(`Members (${count(g.members)})`, null, members),
      card("About", null, h("dl", { class: "facts" }, rows.map(([k, v]) => h("div", null, h("dt", null, k), h("dd", null, v)))))),
  ];
}
