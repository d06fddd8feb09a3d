// Requests to the server: who is signed in, what that key may do, and what came of a change. A change that got no answer
// can be sent again as it is: the server does it once, by its Idempotency-Key.

const base = new URL(".", document.baseURI);
const PATIENCE = 28_000; // ms; the server gives a request 25 s

/** Problem is an answer that says no. name: one word that never changes; message: what a person reads. */
export class Problem extends Error {
  constructor(status, body) {
    super(plain(status, body));
    this.status = status;
    this.code = body.name ?? "";
    this.detail = body.detail ?? "";
  }
}

/** Unreachable is no answer at all, or one that broke off. */
export class Unreachable extends Error {}

const FIELDS = { avatar_url: "Avatar", to_user: "User", url: "URL" };

// plain makes a sentence of a problem document.
function plain(status, { title, detail, errors }) {
  const wrong = (errors ?? []).map(({ location = "", message }) => {
    const at = location.replace(/^(body|path|query)\.?/, "");
    return at ? `${FIELDS[at] ?? sentence(at.replaceAll("_", " "))}: ${message}` : sentence(message);
  });
  if (wrong.length) return [...new Set(wrong)].join(". ") + ".";
  const text = sentence(detail || title || `The server answered with status ${status}`);
  return /[.!?]$/.test(text) ? text : text + ".";
}

const sentence = (text) => text.charAt(0).toLocaleUpperCase("en") + text.slice(1);

/** caller is who is signed in, or null. */
export let caller = null;

/** may tells whether the key that is signed in with has a scope. */
export const may = (scope) => caller !== null && (caller.name === "operator" || caller.scopes.includes(scope));

const listeners = { signedOut: new Set(), reach: new Set() };

/** on calls fn, until signal ends, when the session has come to its end ("signedOut"), or when the server goes or comes back ("reach"). */
export function on(what, fn, signal) {
  listeners[what].add(fn);
  signal?.addEventListener("abort", () => listeners[what].delete(fn), { once: true });
}
const tell = (what, ...args) => [...listeners[what]].forEach((fn) => fn(...args));

/** awaySince is since when the server has not answered, in ms; null: it does. */
export let awaySince = null;

function reached(yes) {
  if (yes === (awaySince === null)) return;
  awaySince = yes ? null : Date.now();
  tell("reach", yes);
}

async function send(url, { method = "GET", body, headers = {}, signal, patience = PATIENCE } = {}) {
  const limit = AbortSignal.timeout(patience);
  let answer, text;
  try {
    answer = await fetch(url, {
      method,
      headers: body === undefined ? headers : { ...headers, "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      credentials: "same-origin",
      cache: "no-store",
    });
    text = await answer.text();
  } catch (err) {
    if (signal?.aborted) throw err;
    reached(false);
    throw new Unreachable("The server can't be reached." + (!headers["Idempotency-Key"] ? "" : " If you try again now, it is done once only, even if it was done already."));
  }
  const json = /[/+]json/.test(answer.headers.get("Content-Type") ?? "");
  let parsed = null;
  try {
    if (json && text) parsed = JSON.parse(text);
  } catch {
    throw new Unreachable("The server's answer broke off.");
  }
  reached(json || answer.ok || ![502, 503, 504].includes(answer.status)); // else only a proxy answers
  if (answer.ok) return parsed;
  throw new Problem(answer.status, parsed ?? {});
}

const address = (path, query) => {
  const url = new URL("api" + path, base);
  for (const name in query) if (query[name] !== undefined && query[name] !== null && query[name] !== "") url.searchParams.set(name, query[name]);
  return url;
};

async function ask(path, query, options) {
  try {
    return await send(address(path, query), { ...options, headers: { ...options.headers, "Godwit-Console": "1" } });
  } catch (err) {
    if (err instanceof Problem && err.status === 401) ended();
    throw err;
  }
}

/** get reads. query: an object; empty values are left out. */
export const get = (path, query, options = {}) => ask(path, query, options);

/**
 * change makes a function that sends one change: (method, path, body) -> answer. Sent again as it was after no answer or
 * one that invites to come again, it has the same Idempotency-Key; sent otherwise it is another change.
 */
export function change() {
  let key, last;
  return async (method, path, body) => {
    const what = JSON.stringify([method, path, body]);
    if (what !== last) key = random(16);
    last = what;
    try {
      return await ask(path, null, { method, body, headers: { "Idempotency-Key": key } });
    } catch (err) {
      if (err instanceof Problem && err.status < 500 && err.status !== 429 && err.code !== "conflict" && err.code !== "in_progress") last = undefined;
      throw err;
    }
  };
}

// random is n random bytes in hexadecimal. (crypto.randomUUID is not there on a page that came without TLS.)
const random = (n) => Array.from(crypto.getRandomValues(new Uint8Array(n)), (b) => b.toString(16).padStart(2, "0")).join("");

/** signIn gives a key for a session. */
export async function signIn(key) {
  await send(new URL("login", base), { method: "POST", body: { key } });
  return whoAmI();
}

/** whoAmI finds out who is signed in: true if somebody is. */
export async function whoAmI() {
  try {
    caller = await send(new URL("me", base));
    caller.scopes ??= [];
  } catch (err) {
    if (!(err instanceof Problem && err.status === 401)) throw err;
    caller = null;
  }
  return caller !== null;
}

export async function signOut() {
  await send(new URL("logout", base), { method: "POST" });
  caller = null;
}

/** reach asks whether the server answers again. */
export async function reach() {
  try {
    await send(new URL("me", base), { patience: 5000 });
  } catch (err) {
    if (err instanceof Problem && err.status === 401) ended();
  }
}

function ended() {
  if (!caller) return;
  caller = null;
  tell("signedOut");
}
