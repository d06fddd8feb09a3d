import { run } from "./harness.js";
import "./pure.js";
import "./link.js";
import "./session.js";
import "./chaos.js";

run(new URLSearchParams(location.search).get("only") ?? "").then((results) => { globalThis.results = results; });
