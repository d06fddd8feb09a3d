// Webhooks: the targets of pushes, and how far behind they are.

import { h } from "../../shared/dom.js";
import { icon } from "../../shared/icons.js";
import { get } from "../api.js";
import { area, button, form, head, NONE, question, secret, state, table, time } from "../parts.js";
import { backlogText } from "./overview.js";

const url = (text) => (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol) ? "" : "An absolute address that begins with http:// or https://.");

export function show(root, { signal }) {
  const box = area(signal, async () => {
    const [{ webhooks }, status] = await Promise.all([get("/webhooks", null, { signal }), get("/status", null, { signal }).catch(() => null)]);
    const targets = new Map((status?.pushes?.targets ?? []).map((t) => [t.id, t]));
    return table({
      caption: "Webhooks", rows: webhooks, key: (w) => w.id, empty: state("webhook", "There are no webhooks", "Without one no pushes go out. A target gets what happens after it was made."),
      columns: [
        { label: "URL", head: true, cell: (w) => h("span", { class: "wrap" }, w.url) },
        { label: "Id", cell: (w) => h("span", { class: "mono" }, w.id) },
        { label: "State", cell: (w) => (w.disabled ? h("span", { class: "chip bad" }, "disabled") : h("span", { class: "chip good" }, "enabled")) },
        { label: "Backlog", cell: (w) => backlog(status, targets.get(w.id), w) },
        { label: "Made", cell: (w) => time(w.added) },
        {
          label: "Actions", actions: true, cell: (w) => [button("Change", () => edit(w), "small quiet"),
            w.disabled ? button("Enable", () => enable(w), "small") : button("Disable", () => disable(w), "small"), button("Remove", () => remove(w), "small")],
        },
      ],
    });
  });
  const ask = async (q) => {
    if (await question(q)) box.reload();
  };
  const enable = (w) => ask({
    title: "Enable this webhook?", verb: "Enable", danger: false, done: "The webhook is enabled.",
    text: `What is due is sent to ${w.url} now, with all that has come since it was disabled.`, run: (send) => send("PATCH", `/webhooks/${w.id}`, { disabled: false }),
  });
  const disable = (w) => ask({
    title: "Disable this webhook?", verb: "Disable", done: "The webhook is disabled.",
    text: `Nothing is sent to ${w.url} until it is enabled again. What comes meanwhile is sent then.`, run: (send) => send("PATCH", `/webhooks/${w.id}`, { disabled: true }),
  });
  const remove = (w) => ask({
    title: "Remove this webhook?", verb: "Remove", done: "The webhook is removed.",
    text: `${w.url} gets nothing any more, also not what is still due, and its secret ends. A new target with this URL has another secret.`, run: (send) => send("DELETE", `/webhooks/${w.id}`),
  });
  const edit = async (w) => {
    const done = await form({
      title: "Change the URL", verb: "Change URL", text: "The secret stays, and what is due goes to the new URL.", fields: [{ name: "url", label: "URL", type: "url", value: w.url, required: true, max: 2048, valid: url }],
      run: (v, send) => send("PATCH", `/webhooks/${w.id}`, { url: v.url }), done: "The webhook has another URL.",
    });
    if (done) box.reload();
  };
  const create = async () => {
    const made = await form({
      title: "New webhook", verb: "Create webhook", text: "From now on the server posts to this URL whom to push to, and perhaps the beginnings of messages. The secret that signs it is shown once.",
      fields: [{ name: "url", label: "URL", type: "url", required: true, max: 2048, valid: url, placeholder: "https://push.example.org/godwit" }],
      run: (v, send) => send("POST", "/webhooks", { url: v.url }),
    });
    if (!made) return;
    box.reload();
    await secret({ title: "The webhook was made", text: `This secret signs what is sent to ${made.url}. It is not shown again.`, label: "Secret", value: made.secret });
  };
  root.append(head("Webhooks", button([icon("refresh"), "Reload"], () => box.reload(), "quiet"), button([icon("plus"), "New webhook"], create, "primary")), h("section", { class: "card part" }, box));
}

function backlog(status, target, w) {
  if (w.disabled) return NONE;
  if (!status || !target) return h("span", { class: "muted" }, "not known");
  const text = backlogText(target, status.pushes.sending);
  return target.backlog_seconds > 60 ? h("span", { class: "chip warn" }, text) : text;
}
