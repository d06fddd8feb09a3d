// Builds and updates the page. Text becomes text nodes and nothing else: there is no way from here to markup, so what
// people write can't run.

const SVG = "http://www.w3.org/2000/svg";

/**
 * h makes an element. Props: class, dataset {…}, style {…} (custom properties too), on<event> (a function), ref (called with
 * the element), properties that the element has under that name (value, checked, disabled …); all else becomes an
 * attribute. null, undefined and false leave a prop out. Children: nodes, text, numbers, lists of these; null and false are skipped.
 */
export function h(tag, props, ...children) {
  const node = document.createElement(tag);
  if (props) set(node, props);
  append(node, children);
  return node;
}

/** svg makes an SVG element; every prop is an attribute. */
export function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const name in attributes) node.setAttribute(name, attributes[name]);
  append(node, children);
  return node;
}

/** set applies props as h does. Here null, undefined and false take an attribute away. */
export function set(node, props) {
  for (const name in props) {
    const value = props[name];
    if (name === "ref") value?.(node);
    else if (name === "class") node.className = value || "";
    else if (name === "dataset") {
      for (const key in value) setData(node, key, value[key]);
    } else if (name === "style") {
      for (const key in value) node.style.setProperty(key, value[key]);
    } else if (name.startsWith("on")) {
      if (value) node.addEventListener(name.slice(2), value);
    } else if (PROPERTIES.has(name)) {
      if (node[name] !== value && value != null) node[name] = value;
    } else if (value == null || value === false) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : value);
  }
  return node;
}

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "textContent", "tabIndex", "indeterminate"]);

function setData(node, key, value) {
  if (value == null || value === false) delete node.dataset[key];
  else if (node.dataset[key] !== String(value)) node.dataset[key] = value;
}

/** append adds children as h does. */
export function append(node, children) {
  for (const child of children) {
    if (child == null || child === false || child === true) continue;
    if (Array.isArray(child)) append(node, child);
    else node.append(child); // text that isn't a node becomes a text node
  }
  return node;
}

/** replace puts children in place of what was there. */
export function replace(node, ...children) {
  node.textContent = "";
  return append(node, children);
}

/** setText changes text only where it differs: selections and screen readers are left in peace. */
export function setText(node, text) {
  text = text == null ? "" : String(text);
  if (node.textContent !== text) node.textContent = text;
  return node;
}

const rows = new WeakMap(); // parent -> Map(key -> node)

/**
 * renderList makes parent's children those of items, in their order, and keeps the node of a key that was there before
 * (with its focus, its scroll place and its picture). key(item) is unique; create(item) makes a node; update(node, item, index)
 * is called for old and new ones alike. Nothing else may add children to parent.
 */
export function renderList(parent, items, key, create, update) {
  const old = rows.get(parent) ?? new Map();
  const now = new Map();
  let at = parent.firstChild;
  // Nodes that go are taken away first, so that what stays needs no move.
  const nodes = items.map((item) => {
    const k = key(item);
    const node = old.get(k) ?? create(item);
    now.set(k, node);
    return node;
  });
  for (const [k, node] of old) {
    if (now.get(k) === node) continue;
    if (at === node) at = node.nextSibling;
    node.remove();
  }
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i];
    if (node === at) at = at.nextSibling;
    else if (at && at.nextSibling === node && i + 1 < nodes.length && nodes[i + 1] !== at) {
      // One that stood here goes further down: move it, rather than all that follow.
      const gone = at;
      at = node.nextSibling;
      move(parent, gone, null);
    } else move(parent, node, at);
    update?.(node, items[i], i);
  }
  rows.set(parent, now);
  return now;
}

// A node that is only moved keeps focus and scroll place where the browser can do that.
function move(parent, node, before) {
  if (parent.moveBefore && node.parentNode === parent) parent.moveBefore(node, before);
  else parent.insertBefore(node, before);
}

let pressed = false, ending;
const waiting = new Set();
for (const type of ["pointerdown", "keydown"]) {
  addEventListener(type, () => {
    pressed = true;
    clearTimeout(ending);
  }, true);
}
for (const type of ["pointerup", "pointercancel", "keyup", "blur"]) {
  // The click comes after; leaving the window ends a press, an element that loses the focus does not.
  addEventListener(type, () => {
    clearTimeout(ending);
    ending = setTimeout(released, 100);
  }, type !== "blur");
}
function released() {
  pressed = false;
  const all = [...waiting];
  waiting.clear();
  for (const fn of all) fn();
}

/** unpressed calls fn once no press is under way: a button that is replaced under one hears no click. */
export function unpressed(fn) {
  if (pressed) waiting.add(fn);
  else fn();
}

/** once returns fn that runs at most once per frame, however often it is called. */
export function perFrame(fn) {
  let asked = 0;
  return () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      fn();
    });
  };
}

/** later returns fn that runs when it wasn't called again for ms milliseconds. */
export function later(ms, fn) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => fn(...args), ms);
  };
}
