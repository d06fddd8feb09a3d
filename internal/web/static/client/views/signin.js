import { h, setText } from "../../shared/dom.js";

const said = {
  wrong: "The name or the password is wrong.",
  busy: "Too many attempts. Please wait a little.",
  unreachable: "The server can't be reached. Please try again.",
  expired: "You were signed in long ago. Please sign in again.",
  full: "The server is full right now. Please try again later.",
};

export function signInView({ app, config }, state) {
  const name = h("input", { id: "name", name: "username", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true });
  const password = h("input", { id: "password", name: "password", type: "password", autocomplete: "current-password", required: true });
  const remember = h("input", { type: "checkbox", name: "remember", checked: true });
  const error = h("p", { class: "error", role: "alert", id: "sign-in-error" });
  const button = h("button", { class: "button primary wide", type: "submit" }, "Sign in");
  const fields = [name, password];

  const submit = async (e) => {
    e.preventDefault();
    const empty = fields.find((f) => !f.value);
    for (const f of fields) f.setAttribute("aria-invalid", String(!f.value));
    if (empty) {
      setText(error, empty === name ? "Please type your name." : "Please type your password.");
      return empty.focus();
    }
    if (button.getAttribute("aria-busy") === "true") return;
    setText(error, "");
    button.setAttribute("aria-busy", "true");
    try {
      await app.signIn(name.value.trim(), password.value, { remember: remember.checked });
    } catch (err) {
      if (!app.state.signInError) fail(said[err.code] ?? err.message);
    }
    update(app.state);
  };

  function fail(text) {
    setText(error, text);
    button.removeAttribute("aria-busy");
  }

  function update(state) {
    const busy = state.phase === "signing-in";
    if (busy) return button.setAttribute("aria-busy", "true");
    button.removeAttribute("aria-busy");
    const err = state.signInError;
    if (!err) return;
    fail(said[err.code] ?? err.text);
    for (const f of fields) f.setAttribute("aria-invalid", String(err.code === "wrong"));
    if (err.code === "wrong") {
      password.focus();
      password.select();
    }
  }

  const node = h("main", { class: "gate" },
    h("form", { class: "card gate-card", novalidate: true, onsubmit: submit, "aria-describedby": "sign-in-error" },
      h("img", { src: "favicon.svg", alt: "", width: 48, height: 48 }),
      h("h1", null, "Sign in to ", h("bdi", null, config.name)),
      h("div", { class: "field" }, h("label", { for: "name" }, "Name"), name),
      h("div", { class: "field" }, h("label", { for: "password" }, "Password"), password),
      h("label", { class: "check" }, remember, "Stay signed in"),
      error,
      button));
  if (state.signInError) update(state);
  return { node, update, shown: () => (name.value ? password : name).focus() };
}
