import { equal, ok, rejects, test } from "/coretest/harness.js";
import { requests, serve } from "./world.js";
import * as api from "/console/app/api.js";
import { findPeople, fullPage, newPassword, peopleOf } from "/console/app/parts.js";

export async function signedInAs(name, scopes = []) {
  serve(() => [200, { name, scopes }]);
  ok(await api.whoAmI());
}

const refused = (status, name) => [status, { name, title: "No", status, detail: "it is not so" }];

test("api: a change without an answer is sent again as the same change", async () => {
  const answers = [null, refused(503, "unavailable"), [200, { number: 7 }], [200, {}]];
  serve(() => answers.shift());
  const send = api.change();
  const make = () => send("POST", "/users", { name: "dora" });
  for (let i = 0; i < 2; i++) await make().then(() => ok(false, "it was refused"), () => {});
  equal(await make(), { number: 7 });
  const keys = requests.map((r) => r.key);
  ok(/^[0-9a-f]{32}$/.test(keys[0]), keys[0]);
  equal(keys, [keys[0], keys[0], keys[0]]);
  equal(requests.map((r) => r.path + " " + r.header), Array(3).fill("/console/api/users 1"));
});

test("api: another change, or one after a refusal, has another key", async () => {
  const answers = [null, null, refused(409, "name_taken"), [200, {}]];
  serve(() => answers.shift());
  const send = api.change();
  await send("POST", "/users", { name: "dora" }).catch(() => {});
  await send("POST", "/users", { name: "emil" }).catch(() => {});
  await rejects(send("POST", "/users", { name: "emil" }), "name_taken");
  await send("POST", "/users", { name: "emil" });
  const [a, b, c, d] = requests.map((r) => r.key);
  ok(a !== b, "another body");
  ok(b === c, "the same again");
  ok(c !== d, "a refusal is an answer");
});

test("api: a problem is said in a sentence", async () => {
  const said = async (status, body) => {
    serve(() => [status, body]);
    return api.get("/users").then(() => "", (err) => err.message);
  };
  equal(await said(404, { title: "There is none", detail: "there is no user 9" }), "There is no user 9.");
  equal(await said(422, { detail: "validation failed", errors: [{ location: "body.avatar_url", message: "too long" }, { location: "body", message: "expected a name" }] }), "Avatar: too long. Expected a name.");
  equal(await said(502, {}), "The server answered with status 502.");
});

test("api: who may what is what the scopes say, and a session that is over ends", async () => {
  await signedInAs("key:abc", ["users:read"]);
  ok(api.may("users:read") && !api.may("users:write"));
  await signedInAs("operator");
  ok(api.may("users:write"));
  let ended = 0;
  const off = new AbortController();
  api.on("signedOut", () => ended++, off.signal);
  serve(() => refused(401, "unauthorised"));
  await rejects(api.get("/users"), "unauthorised");
  await rejects(api.get("/users"), "unauthorised");
  off.abort();
  equal([ended, api.caller], [1, null], "told once");
});

test("api: a search goes on through pages that bring little", async () => {
  const pages = { "": [[1], "a"], a: [[], "b"], b: [[2, 3], "c"], c: [[4], undefined] };
  serve(({ query }) => [200, { users: pages[query.cursor ?? ""][0], next: pages[query.cursor ?? ""][1] }]);
  equal(await fullPage("/users", "users", { search: "x" }, 3), { rows: [1, 2, 3], next: "c" });
  equal(requests.map((r) => r.query.limit), ["3", "2", "2"]);
  equal((await fullPage("/users", "users", { search: "x", cursor: "c" }, 3)).rows, [4]);
});

test("api: who is meant is found by number and name first, and by number alone without the scope", async () => {
  await signedInAs("operator");
  const all = [{ number: 3, name: "annabel", nick: "A" }, { number: 12, name: "bo7", nick: "B" }, { number: 7, name: "anna", nick: "C" }];
  serve(({ query }) => [200, { users: all.filter((p) => (query.name ? p.name === query.name : String(p.number) === query.search || p.name.includes(query.search))) }]);
  equal((await findPeople("anna")).map((p) => p.number), [7, 3]);
  equal((await findPeople("7")).map((p) => p.number), [7, 12]);
  await signedInAs("key:abc", ["log:read"]);
  serve(() => refused(403, "forbidden"));
  equal((await findPeople("7")).map((p) => p.number), [7]);
  equal(await findPeople("anna"), []);
  equal(requests, []);
});

test("api: each person is asked for once, and one who is not there is a number", async () => {
  await signedInAs("operator");
  serve(({ path }) => (path.endsWith("/9") ? refused(404, "no_such_person") : [200, { number: Number(path.split("/").at(-1)), nick: "N" + path.split("/").at(-1) }]));
  equal([...(await peopleOf([701, 9, 701, 0])).values()].map((p) => p.nick), ["N701", "user 9"]);
  await peopleOf([9, 701]);
  equal(requests.length, 2);
});

test("api: a password is long, without letters that look alike, and another each time", () => {
  const all = Array.from({ length: 50 }, newPassword);
  for (const p of all) ok(/^([a-hjkmnp-z2-9]{4}-){3}[a-hjkmnp-z2-9]{4}$/.test(p), p);
  equal(new Set(all).size, 50);
});
