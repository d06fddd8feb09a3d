// Departments, as the tree that they are.

import { h } from "../../shared/dom.js";
import { icon } from "../../shared/icons.js";
import { may } from "../api.js";
import { area, button, departmentsList, form, head, question, state, table, time, whole } from "../parts.js";

export function show(root, { signal }) {
  const write = may("directory:write");
  let all = [];
  const deleted = h("input", { type: "checkbox", role: "switch", onchange: () => box.reload() });
  const box = area(signal, async () => {
    all = await departmentsList(signal);
    const rows = tree(all.filter((d) => deleted.checked || !d.deleted));
    return table({
      caption: "Departments", rows, key: (r) => r.department.number, empty: state("server", "There are no departments yet", write ? "Make the first one with “New department”." : ""), className: "tree",
      columns: [
        { label: "Department", head: true, cell: ({ department: d, depth }) => h("span", { class: "branch", style: { "--depth": depth } }, depth > 0 && h("span", { class: "muted", "aria-hidden": "true" }, "└ "), h("bdi", { class: "wrap" }, d.name), depth > 0 && h("span", { class: "unseen" }, `, level ${depth + 1}`), d.deleted && h("span", { class: "chip bad" }, "deleted")) },
        { label: "Number", number: true, cell: ({ department: d }) => String(d.number) },
        { label: "Order", number: true, cell: ({ department: d }) => String(d.priority) },
        { label: "Last change", cell: ({ department: d }) => time(d.updated) },
        {
          label: "Actions", actions: true, cell: ({ department: d }) => write && (d.deleted
            ? button("Bring back", () => bringBack(d), "small")
            : [button("Add below", () => create(d), "small quiet"), button("Change", () => edit(d), "small"), button("Delete", () => remove(d), "small")]),
        },
      ],
    });
  });

  const parents = (not) => [[0, "None: at the root"], ...tree(all.filter((d) => !d.deleted && !not?.has(d.number))).map(({ department: d, depth }) => [d.number, "\u2003".repeat(depth) + d.name])];
  const fields = (d, not) => [
    { name: "name", label: "Name", value: d?.name, required: true, max: 64 },
    { name: "parent", label: "Below", type: "select", value: d?.parent ?? 0, options: parents(not) },
    { name: "priority", label: "Order", value: String(d?.priority ?? 0), inputmode: "numeric", valid: whole(4294967295), hint: "Clients show departments by this number, then by name." },
  ];
  const create = async (parent) => {
    const done = await form({
      title: "New department", verb: "Create department", text: "Clients show it at their next look at the departments.", fields: fields(parent && { parent: parent.number }),
      run: (v, send) => send("POST", "/departments", { name: v.name, parent: Number(v.parent), priority: Number(v.priority) }), done: (d) => `The department ${d.name} was made.`,
    });
    if (done) box.reload();
  };
  const edit = async (d) => {
    const done = await form({
      title: `Change ${d.name}`, verb: "Change department", fields: fields(d, below(all, d.number)),
      run: (v, send) => {
        const body = {};
        if (v.name !== d.name) body.name = v.name;
        for (const f of ["parent", "priority"]) if (Number(v[f]) !== d[f]) body[f] = Number(v[f]);
        if (!Object.keys(body).length) throw new Error("Nothing is different from what it was.");
        return send("PATCH", `/departments/${d.number}`, body);
      },
      done: `The department ${d.name} is changed.`,
    });
    if (done) box.reload();
  };
  const remove = async (d) => {
    const children = all.filter((c) => c.parent === d.number && !c.deleted).length;
    if (await question({
      title: `Delete ${d.name}?`, verb: "Delete", done: `The department ${d.name} is deleted.`,
      text: `Clients drop the department ${d.name}. The people in it stay in it${children ? `, and so do the ${children} departments below it` : ""}. It can be brought back.`.replace("the 1 departments below it", "the department below it"),
      run: (send) => send("DELETE", `/departments/${d.number}`),
    })) box.reload();
  };
  const bringBack = async (d) => {
    if (await question({
      title: `Bring ${d.name} back?`, verb: "Bring back", danger: false, text: `Clients show the department ${d.name} again, with the people in it.`, done: `The department ${d.name} is back.`,
      run: (send) => send("PATCH", `/departments/${d.number}`, { deleted: false }),
    })) box.reload();
  };

  root.append(head("Departments", h("label", { class: "check" }, deleted, h("span", null, "Show deleted")), write && button([icon("plus"), "New department"], () => create(), "primary")),
    h("section", { class: "card part" }, box));
}

// below has the numbers of a department and of all below it: none of these can stand above it.
function below(all, number) {
  const found = new Set([number]);
  for (let more = true; more;) {
    more = false;
    for (const d of all) if (found.has(d.parent) && !found.has(d.number)) more = Boolean(found.add(d.number));
  }
  return found;
}

// tree gives departments with how deep they are, each after its parent. One whose parent is not among them stands at the root.
function tree(all) {
  const there = new Set(all.map((d) => d.number));
  const children = new Map();
  for (const d of all) {
    const parent = there.has(d.parent) ? d.parent : 0;
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(d);
  }
  const out = [];
  const walk = (number, depth) => {
    const of = children.get(number) ?? [];
    children.delete(number); // a loop ends here
    of.sort((a, b) => a.priority - b.priority || a.name.localeCompare(b.name));
    for (const d of of) {
      out.push({ department: d, depth });
      walk(d.number, depth + 1);
    }
  };
  walk(0, 0);
  for (const number of [...children.keys()]) walk(number, 0);
  return out;
}
