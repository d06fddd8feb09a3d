// Line charts of the last minutes, in SVG. One is a figure with a legend that has the present values, a plot that is read
// by pointer or by arrow keys, and the same figures as a table. What is not known is a gap, never a line across it; and a
// scale follows its values up at once, but down only when they have stayed low for a while, so that it doesn't jump.

import { h, svg, set, setText, replace } from "../shared/dom.js";
import { clock, clockSeconds } from "../shared/format.js";
import { icon } from "../shared/icons.js";

let serial = 0;

const SPAN = 600_000; // ms shown
const LEFT = 48, RIGHT = 8, TOP = 6, BOTTOM = 20; // px around the plot
const HEIGHT = 136;
const LINES = 4; // parts of the value axis
const REST = 30_000; // ms that values stay low before the scale comes down

/** niceTop is the least 1, 2, 4, 5 or 8 times a power of ten that is at least max: its quarters are easy to read. */
export function niceTop(max) {
  if (!(max > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(max));
  for (const step of [1, 2, 4, 5, 8, 10]) if (max <= step * power * (1 + 1e-9)) return step * power;
  return 10 * power;
}

/** Scale is the top of a value axis. */
export class Scale {
  constructor(least) {
    this.least = least;
    this.top = least;
    this.low = null; // since when a smaller scale would do, ms
  }

  /** fit gives the top for what is shown now. */
  fit(max, now) {
    const wanted = Math.max(this.least, niceTop(max * 1.02));
    if (wanted >= this.top) {
      this.top = wanted;
      this.low = null;
    } else {
      this.low ??= now;
      if (now - this.low >= REST) {
        this.top = wanted;
        this.low = null;
      }
    }
    return this.top;
  }
}

/** linePath draws [{at, value}] with a break wherever a value is missing or points are further apart than gap ms. */
export function linePath(points, x, y, gap) {
  let d = "", last = null;
  for (let i = 0; i < points.length; i++) {
    const p = points[i];
    if (p.value == null) {
      last = null;
      continue;
    }
    const joined = last !== null && p.at - last <= gap;
    const next = points[i + 1];
    const alone = !joined && !(next && next.value != null && next.at - p.at <= gap);
    d += `${joined ? "L" : "M"}${x(p.at).toFixed(1)} ${y(p.value).toFixed(1)}`;
    if (alone) d += "m-1.5 0h3"; // a point, which no line would show; shorter than a dash
    last = p.at;
  }
  return d;
}

/** Charts are read together: a moment that is looked at in one is marked in all. */
export class Charts {
  all = [];
  at = null; // the moment looked at, ms; null: the newest
  every = 2000;
  samples = [];
  end = 0;

  /** chart adds one. series: [{label, value(sample)}], up to three; show(value) is a value as text, with its unit. */
  chart(spec) {
    const made = new Chart(this, spec);
    this.all.push(made);
    return made.element;
  }

  /** update shows samples ({at} ascending) up to end. */
  update(samples, end, every) {
    this.samples = samples.filter((s) => s.at > end - SPAN && s.at <= end);
    this.end = end;
    this.every = every;
    if (this.at !== null && this.at < end - SPAN) this.at = null;
    this.all.forEach((c) => c.draw());
  }

  look(at) {
    if (this.at === at) return;
    this.at = at;
    this.all.forEach((c) => c.mark());
  }

  /** nearest is the index of the sample next to a time, -1 if there is none. */
  nearest(at) {
    let best = -1, away = Infinity;
    for (let i = 0; i < this.samples.length; i++) {
      const d = Math.abs(this.samples[i].at - at);
      if (d <= away) [best, away] = [i, d];
    }
    return best;
  }
}

class Chart {
  constructor(group, { title, series, show, axis = show, least = 1 }) {
    Object.assign(this, { group, title, series, show, axis, scale: new Scale(least), width: 0 });
    this.values = series.map(() => h("output", { class: "number" }, "–"));
    this.lines = series.map((_, i) => svg("path", { class: "line s" + i }));
    this.dots = series.map((_, i) => svg("circle", { class: "point s" + i, r: 3.5 }));
    this.grid = svg("g", { class: "grid" });
    this.cross = svg("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM });
    this.picture = svg("svg", { height: HEIGHT, "aria-hidden": "true" }, this.grid, this.lines, this.cross, this.dots);
    this.none = h("p", { class: "none", hidden: true }, "Nothing measured in these minutes");
    this.readout = h("div", { class: "readout", hidden: true });
    this.plot = h("div", {
      class: "plot", tabIndex: 0, role: "slider", "aria-label": `${title}, the last 10 minutes; arrow keys read earlier values`,
      "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0,
      onpointermove: (e) => this.point(e), onpointerdown: (e) => this.point(e),
      onpointerleave: () => this.leave(), onblur: () => this.leave(), onkeydown: (e) => this.key(e),
    }, this.picture, this.none, this.readout);
    this.rows = h("tbody");
    const id = `figures-${++serial}`;
    this.table = h("div", { id, class: "figures scroll-x", hidden: true, tabIndex: 0, role: "group", "aria-label": `${title} as a table` }, h("table", { class: "table" },
      h("caption", { class: "unseen" }, `${title}, minute by minute: mean and greatest`),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Minute"), series.map((s) => h("th", { scope: "col", class: "number" }, s.label, h("span", { class: "unit" }, "mean (max)"))))),
      this.rows));
    const toggle = h("button", {
      type: "button", class: "icon-button", "aria-label": `${title} as a table`, title: "As a table", "aria-expanded": "false", "aria-controls": id,
      onclick: () => {
        this.table.hidden = !this.table.hidden;
        toggle.setAttribute("aria-expanded", String(!this.table.hidden));
        this.tabulate();
      },
    }, icon("list"));
    this.element = h("figure", { class: "card chart" },
      h("figcaption", null, h("h2", null, title), toggle),
      h("ul", { class: "legend" }, series.map((s, i) => h("li", null,
        h("span", { class: "row" }, svg("svg", { class: "swatch", viewBox: "0 0 18 8", "aria-hidden": "true" }, svg("path", { class: "line s" + i, d: "M1 4h16" })), h("span", { class: "cut" }, s.label)),
        this.values[i]))),
      this.plot, this.table);
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width === this.width) return;
      this.width = width;
      this.draw();
    }).observe(this.plot);
  }

  x = (at) => LEFT + (1 - (this.group.end - at) / SPAN) * (this.width - LEFT - RIGHT);
  y = (value) => TOP + (1 - value / this.scale.top) * (HEIGHT - TOP - BOTTOM);

  draw() {
    const { group, series } = this;
    if (!this.width || !group.end) return;
    let max = 0;
    const points = series.map((s) => group.samples.map((sample) => {
      const value = s.value(sample);
      if (value > max) max = value;
      return { at: sample.at, value: Number.isFinite(value) ? value : null };
    }));
    this.scale.fit(max, group.end);
    set(this.picture, { width: this.width, viewBox: `0 0 ${this.width} ${HEIGHT}` });
    this.axes();
    points.forEach((p, i) => this.lines[i].setAttribute("d", linePath(p, this.x, this.y, group.every * 2.5)));
    this.none.hidden = points.some((p) => p.some((q) => q.value !== null));
    this.mark();
    if (performance.now() - (this.tabled ?? 0) > 10_000) this.tabulate();
  }

  axes() {
    const { group, grid } = this;
    replace(grid);
    for (let i = 0; i <= LINES; i++) {
      const value = (this.scale.top / LINES) * i, y = Math.round(this.y(value)) + 0.5;
      grid.append(svg("line", { x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y, class: i ? "" : "base" }));
      if (i % 2 === 0) grid.append(svg("text", { x: LEFT - 6, y: y + 3.5, "text-anchor": "end" }, this.axis(value)));
    }
    const step = this.width < 300 ? 240_000 : 120_000;
    for (let at = Math.ceil((group.end - SPAN) / step) * step; at <= group.end; at += step) {
      const x = this.x(at);
      if (x < LEFT + 4 || x > this.width - 27) continue;
      grid.append(svg("line", { x1: x, x2: x, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4, class: "base" }),
        svg("text", { x, y: HEIGHT - 5, "text-anchor": "middle" }, clock(at)));
    }
  }

  // mark shows the values of the moment looked at, else the newest ones.
  mark() {
    const { group, series } = this;
    const looking = group.at !== null;
    const i = looking ? group.nearest(group.at) : group.samples.length - 1;
    // The newest values are those of now only while samples come.
    const sample = i < 0 || (!looking && group.end - group.samples[i].at > group.every * 2.5) ? null : group.samples[i];
    const texts = series.map((s) => {
      const value = sample ? s.value(sample) : null;
      return Number.isFinite(value) ? this.show(value) : "–";
    });
    texts.forEach((t, n) => setText(this.values[n], t));
    this.cross.toggleAttribute("hidden", !looking || !sample);
    if (sample) set(this.cross, { x1: this.x(sample.at), x2: this.x(sample.at) });
    series.forEach((s, n) => {
      const value = sample && s.value(sample);
      const shown = looking && Number.isFinite(value);
      this.dots[n].toggleAttribute("hidden", !shown);
      if (shown) set(this.dots[n], { cx: this.x(sample.at), cy: this.y(value) });
    });
    const said = sample ? `${clockSeconds(sample.at)}: ${series.map((s, n) => `${s.label} ${texts[n] === "–" ? "not known" : texts[n]}`).join(", ")}` : "nothing known";
    set(this.plot, { "aria-valuemax": Math.max(0, group.samples.length - 1), "aria-valuenow": Math.max(0, i), "aria-valuetext": said });
    const active = looking && sample && this.active;
    this.readout.hidden = !active;
    if (!active) return;
    replace(this.readout, h("strong", null, clockSeconds(sample.at)), series.map((s, n) => h("span", null, `${s.label}: ${texts[n]}`)));
    const x = this.x(sample.at), width = this.readout.offsetWidth;
    this.readout.style.left = (x + 12 + width < this.width ? x + 12 : Math.max(0, x - 12 - width)) + "px";
  }

  point(e) {
    const at = this.group.end - (1 - (e.offsetX - LEFT) / (this.width - LEFT - RIGHT)) * SPAN;
    if (e.target.closest?.(".readout")) return;
    const i = this.group.nearest(at);
    this.active = true;
    this.group.look(i < 0 ? null : this.group.samples[i].at);
  }

  leave() {
    this.active = false;
    this.group.look(null);
    this.readout.hidden = true;
  }

  key(e) {
    const { group } = this;
    const last = group.samples.length - 1;
    const now = group.at === null ? last : group.nearest(group.at);
    const minute = Math.round(60_000 / group.every);
    const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageDown: now - minute, PageUp: now + minute, Home: 0, End: last }[e.key];
    if (e.key === "Escape") return this.leave();
    if (to === undefined || last < 0) return;
    e.preventDefault();
    this.active = true;
    group.look(group.samples[Math.min(last, Math.max(0, to))].at);
  }

  tabulate() {
    if (this.table.hidden) return;
    this.tabled = performance.now();
    const minutes = new Map();
    for (const s of this.group.samples) {
      const minute = Math.floor(s.at / 60_000) * 60_000;
      if (!minutes.has(minute)) minutes.set(minute, []);
      minutes.get(minute).push(s);
    }
    replace(this.rows, [...minutes].reverse().map(([minute, of]) => h("tr", null, h("th", { scope: "row" }, clock(minute)), this.series.map((s) => {
      const known = of.map(s.value).filter(Number.isFinite);
      if (!known.length) return h("td", { class: "number" }, "not known");
      const mean = known.reduce((a, b) => a + b, 0) / known.length;
      return h("td", { class: "number" }, `${this.show(mean)} (${this.show(Math.max(...known))})`);
    }))));
  }
}
