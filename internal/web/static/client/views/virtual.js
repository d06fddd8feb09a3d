import { h, perFrame, renderList } from "../../shared/dom.js";

/**
 * virtualList shows any number of rows of known heights and keeps only those near the viewport in the page.
 * height(row) in pixels; row.key is unique; create(row) and update(node, row) as in renderList. Keys move the focus: the one
 * row that Tab reaches is the one that had it last.
 */
export function virtualList(scroller, { height, create, update }) {
  const inner = h("div", { class: "virtual" });
  scroller.append(inner);
  let rows = [];
  let tops = [0];
  let index = new Map();
  let active = null; // key of the row that Tab reaches

  const at = (y) => {
    let low = 0;
    let high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tops[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  function render() {
    const top = scroller.scrollTop;
    const room = scroller.clientHeight || 800;
    const from = at(Math.max(0, top - 400));
    const to = Math.min(rows.length, at(top + room + 400) + 1);
    const shown = rows.slice(from, to);
    const held = index.get(inner.contains(document.activeElement) ? document.activeElement.dataset.row : active);
    if (held !== undefined && (held < from || held >= to)) held < from ? shown.unshift(rows[held]) : shown.push(rows[held]);
    renderList(inner, shown, (r) => r.key, (r) => {
      const node = create(r);
      node.classList.add("virtual-row");
      if (!r.fixed) node.dataset.row = r.key;
      return node;
    }, (node, r) => {
      const y = tops[index.get(r.key)] + "px";
      if (node.style.top !== y) node.style.top = y;
      if (!r.fixed) node.tabIndex = r.key === active ? 0 : -1;
      update(node, r);
    });
  }

  function activate(key) {
    active = key;
    for (const node of inner.children) if (node.dataset.row) node.tabIndex = node.dataset.row === key ? 0 : -1;
  }

  function focus(i, step = 1) {
    while (rows[i]?.fixed) i += step;
    if (!rows[i]) return false;
    activate(rows[i].key);
    reveal(rows[i].key);
    render();
    [...inner.children].find((n) => n.dataset.row === rows[i].key)?.focus({ preventScroll: true });
    return true;
  }

  function reveal(key) {
    const i = index.get(key);
    if (i === undefined) return;
    const room = scroller.clientHeight;
    if (tops[i] < scroller.scrollTop) scroller.scrollTop = tops[i] - (rows[i - 1]?.fixed ? height(rows[i - 1]) : 0);
    else if (tops[i + 1] > scroller.scrollTop + room) scroller.scrollTop = tops[i + 1] - room;
  }

  scroller.addEventListener("scroll", perFrame(render), { passive: true });
  new ResizeObserver(perFrame(render)).observe(scroller);
  inner.addEventListener("focusin", (e) => e.target.dataset.row && activate(e.target.dataset.row));
  inner.addEventListener("keydown", (e) => {
    const i = index.get(e.target.dataset.row);
    if (i === undefined || e.altKey || e.ctrlKey || e.metaKey) return;
    const page = Math.max(1, Math.floor(scroller.clientHeight / height(rows[i])) - 1);
    const to = { ArrowDown: [i + 1, 1], ArrowUp: [i - 1, -1], Home: [0, 1], End: [rows.length - 1, -1], PageDown: [Math.min(rows.length - 1, i + page), -1], PageUp: [Math.max(0, i - page), 1] }[e.key];
    if (!to) return;
    e.preventDefault();
    focus(...to);
  });

  return {
    set(next) {
      rows = next;
      tops = [0];
      index = new Map();
      for (let i = 0; i < rows.length; i++) {
        tops.push(tops[i] + height(rows[i]));
        index.set(rows[i].key, i);
      }
      inner.style.height = tops.at(-1) + "px";
      if (!index.has(active)) active = rows.find((r) => !r.fixed)?.key ?? null;
      render();
    },
    activate,
    reveal,
    render,
    focusFirst: () => focus(0),
    focusActive: () => active !== null && focus(index.get(active)),
    first: () => rows.find((r) => !r.fixed),
  };
}
