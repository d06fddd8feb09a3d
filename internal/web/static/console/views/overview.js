// One screen that says how the server is: its state, its nodes, and the last 10 minutes, anew every 2 s.

import { h, replace, setText } from "../../shared/dom.js";
import { clock, clockSeconds, count, duration, plural, size } from "../../shared/format.js";
import { icon } from "../../shared/icons.js";
import { get, may, on, awaySince, Problem, Unreachable } from "../api.js";
import { card, head, NONE, state, table } from "../parts.js";
import { Charts } from "../charts.js";

const KEEP = 620_000; // ms of samples
const STATUS_EVERY = 10_000; // ms

// What has come stays while other pages are shown, and while the server is away.
let samples = [], every = 2000, nodes = [], offset = 0;
let sinceKnown = true; // whether the server takes since=

/** fetchLive brings what has been measured since the last time. */
async function fetchLive(signal) {
  const last = samples.at(-1)?.at;
  let live;
  try {
    live = await get("/live", sinceKnown && last ? { since: last } : null, { signal, patience: 8000 });
  } catch (err) {
    if (!(err instanceof Problem && err.status === 422 && sinceKnown)) throw err;
    sinceKnown = false;
    live = await get("/live", null, { signal, patience: 8000 });
  }
  every = (live.every_seconds || 2) * 1000;
  nodes = live.nodes ?? nodes;
  const fresh = live.samples ?? [];
  if (fresh.length) {
    const from = fresh[0].at;
    samples = [...samples.filter((s) => s.at < from), ...fresh].filter((s) => s.at > fresh.at(-1).at - KEEP);
    offset = fresh.at(-1).at - Date.now();
  }
}

const ms = (v) => (v === 0 ? "0" : v < 10 ? v.toFixed(1) : v < 1000 ? String(Math.round(v)) : count(Math.round(v))) + " ms";
const axisMs = (v) => (v >= 1000 ? v / 1000 + " s" : ms(v).replace(".0 ", " ")); // there is room for six characters
const rate = (v) => (v < 10 && v % 1 ? v.toFixed(1) : count(Math.round(v)));
const whole = (v) => count(Math.round(v));
const sum = (s, wanted) => {
  if (!s.streams) return null;
  return Object.entries(s.streams).reduce((n, [name, x]) => (wanted(name) ? n + x.bytes : n), 0);
};

export function show(root, { signal }) {
  const mark = h("span"), said = h("strong"), detail = h("span", { class: "wrap" });
  const banner = h("div", { class: "banner", role: "status" }, mark, said, detail);
  const charts = new Charts();
  const grid = h("div", { class: "charts" },
    charts.chart({
      title: "Sessions", show: whole, least: 4,
      series: [["Desktop", "desktop"], ["Mobile", "mobile"], ["Web", "web"]].map(([label, name]) => ({ label, value: (s) => s.sessions?.[name] })),
    }),
    charts.chart({
      title: "Messages per second", show: rate, least: 4,
      series: [{ label: "Sent", value: (s) => s.messages }, { label: "Delivered", value: (s) => s.deliveries }],
    }),
    charts.chart({
      title: "Append latency", show: ms, axis: axisMs, least: 4,
      series: [{ label: "p50", value: (s) => s.append_p50_ms }, { label: "p99", value: (s) => s.append_p99_ms }],
    }),
    charts.chart({
      title: "Fold lag, time", show: ms, axis: axisMs, least: 10,
      series: [{ label: "The view furthest behind", value: (s) => s.lag_ms }],
    }),
    charts.chart({
      title: "Fold lag, records", show: whole, least: 8,
      series: [
        { label: "All views", value: (s) => (s.lag ? Object.values(s.lag).reduce((a, b) => a + b, 0) : null) },
        { label: "Greatest", value: (s) => (s.lag ? Math.max(0, ...Object.values(s.lag)) : null) },
      ],
    }),
    charts.chart({
      title: "Size of the log", show: size, least: 1e6,
      series: [
        { label: "Conversations", value: (s) => sum(s, (n) => n.startsWith("CONVERSATION")) },
        { label: "People", value: (s) => sum(s, (n) => n === "PEOPLE") },
        { label: "Presence", value: (s) => sum(s, (n) => n === "PRESENCE") },
      ],
    }));

  const nodeTable = table({
    caption: "Nodes", key: (n) => n.process, rows: [], empty: state("server", "No nodes are known", "They appear with the first sample."),
    columns: [
      { label: "Role", head: true, cell: (n) => (n.role === "up" ? ["up", h("span", { class: "muted small by" }, " connector, gateway and projector in one")] : n.role) },
      { label: "Host", cell: (n) => h("span", { class: "wrap", title: `process ${n.process}` }, n.node) },
      { label: "State", cell: nodeState },
      { label: "Clients", number: true, cell: (n) => (n.capacity ? count(n.clients) + ` of ${count(n.capacity)}` : NONE) },
      { label: "Views", number: true, cell: (n) => (n.views ? `owns ${n.owns ?? 0} of ${n.views}` : NONE) },
      { label: "CPU", number: true, cell: (n) => (n.live?.cpu === undefined ? NONE : `${(n.live.cpu * 100).toFixed(n.live.cpu < 0.1 ? 1 : 0)} %`) },
      { label: "Memory", number: true, cell: (n) => (n.live?.memory_bytes === undefined ? NONE : size(n.live.memory_bytes)) },
      { label: "Clock", number: true, cell: clockOf },
    ],
  });
  const streamTable = table({
    caption: "Streams", key: (s) => s.name, rows: [], empty: state("list", "No streams are known", ""),
    columns: [
      { label: "Stream", head: true, cell: (s) => h("span", { class: "mono" }, s.name) },
      { label: "Records", number: true, cell: (s) => (s.messages === undefined ? NONE : count(s.messages)) },
      { label: "Size", number: true, cell: (s) => (s.bytes === undefined ? NONE : size(s.bytes)) },
      { label: "In 10 min", number: true, cell: (s) => (s.grown === undefined ? NONE : (s.grown < 0 ? "−" : s.grown > 0 ? "+" : "") + size(Math.abs(s.grown))) },
      { label: "Behind", number: true, cell: (s) => (s.behind === undefined ? NONE : count(s.behind)) },
      { label: "Leader", cell: (s) => s.leader ?? NONE },
      { label: "Copies", number: true, cell: (s) => (s.replicas ? (s.current < s.replicas ? h("span", { class: "chip warn" }, `${s.current} of ${s.replicas} current`) : `${s.replicas}`) : NONE) },
      { label: "Owner", cell: (s) => s.owner ?? NONE },
    ],
  });
  const stores = h("div", { class: "stack" });
  const hooks = h("div");
  const sessions = h("span", { class: "muted small number" });
  const asOf = h("span", { class: "muted small number" });
  root.append(head("Overview", asOf), banner, grid,
    h("div", { class: "columns" }, card("Nodes", [sessions], nodeTable), h("div", { class: "stack" }, card("Store room", null, stores), may("webhooks") || may("status:read") ? card("Webhook backlog", null, hooks) : null)),
    card("Streams", null, streamTable));

  let status = null, statusFails = null, statusAt = -Infinity, running = false, failed = null;

  function draw() {
    const last = samples.at(-1);
    const now = Date.now() + offset;
    const end = last && now - last.at < 3 * every ? last.at : Math.floor(now / every) * every;
    charts.update(samples, last ? end : 0, every);
    const away = awaySince !== null;
    setText(asOf, away ? "" : last ? `as of ${clockSeconds(last.at)}` : "");
    drawBanner(away);
    nodeTable.update(nodes);
    setText(sessions, last?.sessions ? `${plural(Object.values(last.sessions).reduce((a, b) => a + b, 0), "session")} on ${plural(last.connections ?? 0, "connection")}` : "");
    streamTable.update(streams(last));
  }

  function drawBanner(away) {
    const [kind, picture, title, more] = away ? ["bad", "offline", `Not reachable since ${clock(awaySince)}`, "The figures are from before. They go on by themselves once the server answers."]
      : failed ? ["bad", "error", "No figures", failed.message]
      : !status ? ["", "clock", statusFails ? "State not known" : "Asking …", statusFails ? statusFails.message : ""]
      : !status.ready ? ["bad", "error", "Not ready", status.not_ready ?? "The server does not say why."]
      : status.unknown?.length ? ["warn", "info", "Ready, but not all is known", status.unknown.join(" · ")]
      : ["good", "check", "Ready", `godwit ${status.version} · running for ${duration(Date.now() + offset - Date.parse(status.started))} · ${status.durability}`];
    if (title !== said.textContent) replace(mark, icon(picture));
    banner.className = "banner " + kind;
    setText(said, title);
    detail.setAttribute("aria-live", kind === "good" ? "off" : "polite"); // how long it runs is no news
    setText(detail, more);
  }

  // streams puts together what samples and status say of each.
  function streams(last) {
    const first = samples.find((s) => s.at > (last?.at ?? 0) - 600_000 && s.streams);
    const known = new Map((status?.streams ?? []).map((s) => [s.name, s]));
    const names = [...new Set([...known.keys(), ...Object.keys(last?.streams ?? {})])];
    return names.map((name) => {
      const s = known.get(name), now = last?.streams?.[name], then = first?.streams?.[name];
      const view = s?.view ?? (name.startsWith("CONVERSATION") ? name.replace("CONVERSATION", "timeline") : name.toLowerCase());
      return {
        name, messages: now?.messages ?? s?.last, bytes: now?.bytes, grown: now && then ? now.bytes - then.bytes : undefined, behind: last?.lag?.[view],
        leader: s?.leader, replicas: s?.replicas, current: s?.current, owner: s?.owner?.node,
      };
    });
  }

  function drawStatus() {
    if (!status) {
      replace(stores, h("p", { class: "hint" }, statusFails ? statusFails.message : "Asking …"));
      replace(hooks, h("p", { class: "hint" }, statusFails ? statusFails.message : "Asking …"));
      return;
    }
    replace(stores, room("Files", status.files), room("Pictures", status.pictures));
    const targets = status.pushes?.targets ?? [];
    if (!targets.length) return replace(hooks, h("p", { class: "hint" }, "There are no webhooks: no pushes go out."));
    replace(hooks, h("ul", { class: "stack tight" }, targets.map((t) => h("li", { class: "row" },
      h("span", { class: "dot " + (t.disabled ? "" : t.backlog_seconds > 60 ? "bad" : t.backlog_seconds > 5 ? "warn" : t.backlog_seconds === undefined ? "" : "good") }),
      may("webhooks") ? h("a", { href: "#/webhooks", class: "mono grow cut" }, t.id) : h("span", { class: "mono grow cut" }, t.id), h("span", { class: "small number" }, backlogText(t, status.pushes.sending))))));
  }

  async function tick() {
    if (running || signal.aborted || document.hidden) return;
    running = true;
    try {
      await fetchLive(signal);
      failed = null;
    } catch (err) {
      if (signal.aborted) return;
      failed = err instanceof Unreachable ? null : err;
    }
    draw();
    if (awaySince === null && performance.now() - statusAt >= STATUS_EVERY) {
      statusAt = performance.now();
      try {
        status = await get("/status", null, { signal, patience: 8000 });
        statusFails = null;
      } catch (err) {
        if (signal.aborted) return;
        if (err instanceof Problem) status = null; // else it stays what it was
        statusFails = err;
      }
      drawStatus();
      draw();
    }
    running = false;
  }

  draw();
  drawStatus();
  tick();
  const timer = setInterval(tick, 2000);
  const visible = () => tick();
  document.addEventListener("visibilitychange", visible);
  on("reach", (yes) => {
    if (yes) statusAt = -Infinity;
    draw();
  }, signal);
  signal.addEventListener("abort", () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", visible);
  });
}

/** backlogText says how far a target is behind. sending: whether the process that was asked sends pushes. */
export function backlogText(t, sending) {
  if (t.disabled) return "disabled";
  if (t.backlog_seconds === undefined) return sending ? "not known yet" : "sent by another process";
  return t.backlog_seconds < 1 ? "caught up" : `${duration(t.backlog_seconds * 1000)} behind`;
}

function nodeState(n) {
  const text = n.state || "runs";
  return h("span", { class: "chip " + (text === "stopping" ? "warn" : text === "no clients now" ? "bad" : "good") }, text);
}

function clockOf(n) {
  if (n.clock_seconds === undefined) return NONE;
  const off = Math.abs(n.clock_seconds);
  const text = off < 0.05 ? "in step" : `${n.clock_seconds > 0 ? "+" : "−"}${off < 10 ? off.toFixed(1) : Math.round(off)} s`;
  return off < 1 ? text : h("span", { class: "chip warn" }, text);
}

// room draws how full a store is.
function room(name, store) {
  if (!store) return h("p", { class: "hint" }, `${name}: no server for them here.`);
  if (store.left === undefined || store.left === null) return h("p", { class: "small" }, `${name}: room for ${size(store.room)}; how full it is, is not known now.`);
  const used = Math.max(0, store.room - store.left);
  const share = store.room ? used / store.room : 0;
  return h("div", { class: "room" }, h("div", { class: "row small" }, h("span", { class: "grow strong" }, name), h("span", { class: "number muted" }, `${size(used)} of ${size(store.room)}`)),
    h("meter", { min: 0, max: 1, low: 0.8, high: 0.95, optimum: 0, "aria-label": `${name}: used`, value: share }, `${Math.round(share * 100)} %`));
}
