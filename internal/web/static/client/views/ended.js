import { h } from "../../shared/dom.js";
import { moment } from "../../shared/format.js";
import { icon } from "../../shared/icons.js";

// Why a session ended, by reason: what it says, how it goes on.
const reasons = {
  replaced: ["Signed in elsewhere at", "This account is open in another browser or tab now, and only one at a time may have it.", "Use here again"],
  phone: ["Signed out by your phone at", "You ended this session from your phone.", "Sign in again"],
  operator: ["Signed out by an operator at", "An operator of this server ended your session.", "Sign in again"],
  disabled: ["Account disabled at", "This account was disabled. Whoever runs this server can tell you more.", "Sign in again"],
  password: ["Password changed at", "Your password was changed, which ends every session. Sign in with the new one.", "Sign in again"],
};

export function endedView({ app }, state) {
  const { reason, at } = state.ended ?? {};
  const [title, text, verb] = reasons[reason] ?? ["Signed out at", "Your session has ended.", "Sign in again"];
  const button = h("button", {
    class: "button primary wide", type: "button",
    onclick: () => {
      button.setAttribute("aria-busy", "true");
      Promise.resolve(app.back()).catch(() => {}).finally(() => button.removeAttribute("aria-busy"));
    },
  }, verb);
  const node = h("main", { class: "gate" },
    h("section", { class: "card gate-card center", dataset: { ended: reason ?? "" }, role: "alert" },
      h("span", { class: "gate-icon" }, icon(reason === "disabled" ? "block" : reason === "password" ? "key" : "leave")),
      h("h1", null, `${title} ${moment(at ?? Date.now())}`),
      h("p", { class: "muted" }, text),
      button));
  return { node, shown: () => button.focus() };
}
