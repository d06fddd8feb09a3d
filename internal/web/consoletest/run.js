import { run } from "/coretest/harness.js";
import "./charts.js";
import "./api.js";
import "./pages.js";

run(new URLSearchParams(location.search).get("only") ?? "").then((results) => { globalThis.results = results; });
