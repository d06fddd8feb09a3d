// A server that a test makes up, in place of fetch, and what waits for a page.

import { ok } from "/coretest/harness.js";

/** requests are all that were made: {method, path, query, key, header, body}. */
export const requests = [];

let answer = () => [404, {}];

/** serve has fn(request) answer: [status, body], or null for a connection that breaks. */
export function serve(fn) {
  requests.length = 0;
  answer = fn;
}

globalThis.fetch = async (url, { method = "GET", headers = {}, body, signal } = {}) => {
  url = new URL(url);
  const head = new Headers(headers);
  const request = {
    method, path: url.pathname, query: Object.fromEntries(url.searchParams), key: head.get("Idempotency-Key"), header: head.get("Godwit-Console"), body: body && JSON.parse(body),
  };
  requests.push(request);
  await null;
  signal?.throwIfAborted();
  const given = await answer(request);
  if (!given) throw new TypeError("Failed to fetch");
  const [status, what] = given;
  return new Response(status === 204 ? null : JSON.stringify(what), { status, headers: { "Content-Type": status < 400 ? "application/json" : "application/problem+json" } });
};

/** until waits for a condition. */
export async function until(what, condition) {
  for (let i = 0; i < 1500; i++) {
    const value = condition();
    if (value) return value;
    await new Promise((next) => setTimeout(next, 20));
  }
  ok(false, `never: ${what}; the page has: ${document.body.innerText.slice(0, 600)}`);
}
