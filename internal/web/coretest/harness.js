// Tests that run in a page: test names one, run runs them all and gives a list of {name, error}.

const tests = [];

export const test = (name, f) => tests.push({ name, f });

export async function run(only = "") {
  const results = [];
  for (const { name, f } of tests) {
    if (!name.includes(only)) continue;
    let error = "";
    try {
      await f();
    } catch (e) {
      error = String(e?.stack ?? e);
    }
    results.push({ name, error });
  }
  return results;
}

export function ok(value, what = "a condition does not hold") {
  if (!value) throw new Error(what);
}

const plain = (_, v) => (v instanceof Map ? { map: [...v] } : v instanceof Set ? { set: [...v] } : v);

export function equal(got, want, what = "") {
  const [a, b] = [JSON.stringify(got, plain), JSON.stringify(want, plain)];
  if (a !== b) throw new Error(`${what}\n got ${a}\nwant ${b}`);
}

export async function rejects(promise, code) {
  let error = null;
  try {
    await promise;
  } catch (e) {
    error = e;
  }
  ok(error, `was not refused, but for ${code}`);
  equal(error.code, code, "the code of a refusal");
}
