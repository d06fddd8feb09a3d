// API keys: who may do what by program.

import { h } from "../../shared/dom.js";
import { icon } from "../../shared/icons.js";
import { caller, get, may } from "../api.js";
import { area, button, form, head, millis, question, secret, state, table, time } from "../parts.js";

const SCOPES = [
  ["users:read", "read accounts, departments, friends, blocks, devices"], ["users:write", "make and change accounts, friends, blocks, devices"], ["directory:write", "change departments"],
  ["groups:read", "read groups and their members"], ["groups:write", "make, change and dissolve groups"], ["messages:send", "send, edit, recall and mark as read as anybody"], ["messages:read", "read everybody's messages"],
  ["sessions:read", "list sessions"], ["sessions:write", "end sessions"], ["webhooks", "targets of pushes"], ["keys", "make and revoke keys"], ["export", "export a person's data"], ["files", "upload pictures and files"],
  ["status:read", "see how the server is"], ["log:read", "read the log's events and what explains them"],
];

export function show(root, { signal }) {
  const revoked = h("input", { type: "checkbox", role: "switch", onchange: () => box.reload() });
  const box = area(signal, async () => {
    const { keys } = await get("/keys", null, { signal });
    const shown = keys.filter((k) => revoked.checked || !k.revoked);
    return table({
      caption: "API keys", rows: shown, key: (k) => k.id,
      empty: state("key", keys.length ? "All keys are revoked" : "There are no keys yet", "The operator's token needs none. Make one for each program that uses the server API."),
      columns: [
        { label: "Name", head: true, cell: (k) => h("bdi", { class: "wrap" }, k.name) },
        { label: "Id", cell: (k) => h("span", { class: "mono" }, k.id) },
        { label: "Scopes", cell: (k) => h("ul", { class: "row chips" }, k.scopes.map((s) => h("li", { class: "chip mono" }, s))) },
        { label: "State", cell: keyState },
        { label: "Made", cell: (k) => [time(k.added), h("span", { class: "muted small by" }, ` by ${k.by}`)] },
        { label: "Action", actions: true, cell: (k) => !k.revoked && button("Revoke", () => revoke(k), "small") },
      ],
    });
  });
  const revoke = async (k) => {
    const own = caller.name === `key:${k.id}`;
    if (await question({
      title: `Revoke the key ${k.name}?`, verb: "Revoke", done: `The key ${k.name} is revoked.`,
      text: `The key ${k.name} (${k.id}) ends for good: within 5 seconds no server takes it any more, and what uses it gets errors. It can't be brought back.${own ? " It is the key that you are signed in with: you are signed out by this." : ""}`,
      run: (send) => send("DELETE", `/keys/${k.id}`),
    })) box.reload();
  };
  const create = async () => {
    const given = SCOPES.filter(([s]) => may(s));
    const extra = caller.scopes.filter((s) => !SCOPES.some(([known]) => known === s)).map((s) => [s, ""]);
    const key = await form({
      title: "New API key", verb: "Create key", wide: true, text: "It works at once. Its secret is shown once.",
      fields: [
        { name: "name", label: "Name", required: true, max: 64, hint: "What it is for." },
        { name: "scopes", label: "Scopes: what it may do", type: "checks", required: true, options: [...given, ...extra].map(([s, text]) => [s, s, text]) },
        { name: "expires", label: "Expires", type: "datetime-local", hint: "Empty: never." },
      ],
      run: (v, send) => send("POST", "/keys", { name: v.name, scopes: v.scopes, expires: v.expires ? new Date(v.expires).toISOString() : undefined }),
    });
    if (!key) return;
    box.reload();
    await secret({ title: `The key ${key.name} was made`, text: "Give it to the program that is to use it, as its bearer token. It is not shown again; only a hash of it is kept.", label: "Key", value: key.key });
  };
  root.append(head("Keys", h("label", { class: "check" }, revoked, h("span", null, "Show revoked")), button([icon("plus"), "New key"], create, "primary")), h("section", { class: "card part" }, box));
}

function keyState(k) {
  if (k.revoked) return h("span", { class: "chip bad" }, "revoked");
  if (!k.expires) return h("span", { class: "chip good" }, "works");
  return millis(k.expires) < Date.now() ? h("span", { class: "chip warn" }, "expired") : [h("span", { class: "chip good" }, "works"), h("span", { class: "muted small by" }, " until ", time(k.expires))];
}
