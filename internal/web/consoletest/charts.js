import { equal, ok, test } from "/coretest/harness.js";
import { until } from "./world.js";
import { Charts, linePath, niceTop, Scale } from "/console/app/charts.js";

test("charts: the top of a scale is easy to read", () => {
  equal([0, 0.3, 1, 1.1, 3, 4.5, 7, 9, 42, 810, 1000].map(niceTop).map((n) => Number(n.toPrecision(6))), [1, 0.4, 1, 2, 4, 5, 8, 10, 50, 1000, 1000]);
});

test("charts: a scale goes up at once, and down only when values stayed low", () => {
  const scale = new Scale(4);
  equal(scale.fit(0, 0), 4, "the least");
  equal(scale.fit(70, 1000), 80, "up");
  equal(scale.fit(3, 2000), 80, "just low");
  equal(scale.fit(60, 20_000), 80, "high again");
  equal(scale.fit(3, 30_000), 80);
  equal(scale.fit(3, 59_000), 80, "29 s low");
  equal(scale.fit(3, 60_000), 4, "30 s low");
});

test("charts: a line has gaps where values or samples are missing", () => {
  const x = (at) => at, y = (v) => v;
  const at = (...points) => points.map(([at, value]) => ({ at, value }));
  equal(linePath(at([0, 1], [2, 2], [4, 3]), x, y, 5), "M0.0 1.0L2.0 2.0L4.0 3.0");
  equal(linePath(at([0, 1], [2, 1], [4, null], [6, 1], [8, 1]), x, y, 5), "M0.0 1.0L2.0 1.0M6.0 1.0L8.0 1.0", "a value");
  equal(linePath(at([0, 1], [2, 1], [20, 1], [22, 1]), x, y, 5), "M0.0 1.0L2.0 1.0M20.0 1.0L22.0 1.0", "samples");
  ok(linePath(at([0, 1], [20, 2], [40, 3]), x, y, 5).match(/M[\d.]+ [\d.]+m-/g).length === 3, "what stands alone is a point");
});

// shown puts a chart on the page with a sample each 2 s that counts up, but for those that are left out.
async function shown(count, without = () => false) {
  const end = Date.UTC(2026, 0, 1, 12);
  const samples = Array.from({ length: count }, (_, i) => ({ at: end - (count - 1 - i) * 2000, n: i })).filter((s) => !without(s));
  const charts = new Charts();
  const box = document.createElement("div");
  box.append(charts.chart({ title: "Messages", show: (v) => String(v), series: [{ label: "Sent", value: (s) => s.n }, { label: "Lost", value: () => undefined }] }));
  document.body.append(box);
  charts.update(samples, end, 2000);
  await until("the chart is drawn", () => box.querySelector(".plot path.line.s0[d]")?.getAttribute("d"));
  return { box, charts, samples, end, plot: box.querySelector(".plot"), values: () => [...box.querySelectorAll("output")].map((o) => o.textContent) };
}

const press = (node, key) => node.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));

test("charts: it is read by keys and as a table, also where nothing is known", async () => {
  const { box, plot, values } = await shown(300, (s) => s.n >= 100 && s.n < 150);
  equal(values(), ["299", "–"], "the newest");
  equal(plot.querySelector("path.line.s0").getAttribute("d").match(/M/g).length, 2, "pieces of a line with one gap");
  press(plot, "ArrowLeft");
  equal(values()[0], "298");
  ok(plot.getAttribute("aria-valuetext").endsWith("Sent 298, Lost not known"), plot.getAttribute("aria-valuetext"));
  press(plot, "Home");
  equal(values()[0], "0");
  press(plot, "PageUp");
  equal(values()[0], "30", "a minute later");
  press(plot, "Escape");
  equal(values()[0], "299");
  box.querySelector("button").click();
  const rows = [...box.querySelectorAll(".figures tbody tr")].map((r) => r.innerText);
  ok(rows.length >= 9 && rows.length <= 11, `${rows.length} minutes`);
  ok(rows[0].includes("not known"), rows[0]);
  box.remove();
});

test("charts: when samples stay away the newest are not taken for now", async () => {
  const { box, charts, samples, end, values } = await shown(10);
  charts.update(samples, end + 60_000, 2000);
  equal(values(), ["–", "–"]);
  box.remove();
});
