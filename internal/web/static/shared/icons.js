import { svg } from "./dom.js";

// Drawn on 24 × 24 with round strokes; each is one path, a second one where it helps.
const paths = {
  back: "M15 5l-7 7 7 7",
  block: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM5.7 5.7l12.6 12.6",
  chat: "M4 6.5A2.5 2.5 0 0 1 6.5 4h11A2.5 2.5 0 0 1 20 6.5v7a2.5 2.5 0 0 1-2.5 2.5H11l-4.5 4V16A2.5 2.5 0 0 1 4 13.5z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  checks: "M2 12.5l4.5 4.5L16 7.5M11.5 16l1 1L22 7.5",
  clock: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4.5l3 1.5",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  crown: "M4 17h16l1-9-5 3.5L12 6l-4 5.5L3 8z",
  down: "M12 5v14M6 13l6 6 6-6",
  edit: "M4 20l1-4.5L16 4.5l3.5 3.5-11 11zM13.5 7l3.5 3.5",
  error: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7.5v5.5M12 16.300v.2",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  group: "M9 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM2.5 19.5c.5-3.5 3-5 6.5-5s6 1.5 6.5 5M15.5 5.300a3.5 3.5 0 0 1 0 6.400M18 14.800c2 .6 3.2 2.2 3.5 4.7",
  image: "M4 5h16v14H4zM4 16l4.5-4.5 4 4 2.5-2.5 5 5M15.5 8.5v.2",
  info: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 11v5.5M12 7.5v.2",
  key: "M15 4a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM11 12.5L4 19.5M6 17.5l2.5 2.5",
  leave: "M14 5H5v14h9M10 12h11M17.5 8.5L21 12l-3.5 3.5",
  list: "M8 6h12M8 12h12M8 18h12M4 6v.1M4 12v.1M4 18v.1",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  mute: "M6 16V11a6 6 0 0 1 9.5-4.900M18 11.5V16l1.5 2h-12M10 20.5a2 2 0 0 0 4 0M4 4l16 16",
  offline: "M4 4l16 16M8.5 8.700A9 9 0 0 0 4.5 11M12 8a10 10 0 0 1 7.5 3M7.5 14a6.5 6.5 0 0 1 5-1.400M12 18v.1",
  people: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4.5 20.5c.5-4 3.3-6 7.5-6s7 2 7.5 6",
  plus: "M12 5v14M5 12h14",
  refresh: "M19 12a7 7 0 1 1-2-5M19 4v4.5h-4.5",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L20 20",
  send: "M4 12l16-8-5 16-3.5-6.5zM11.5 13.5L20 4",
  server: "M4 4h16v7H4zM4 13h16v7H4zM7.5 7.5v.1M7.5 16.5v.1",
  trash: "M4.5 7h15M9 7V4.5h6V7M6.5 7l1 13h9l1-13",
  undo: "M4 9h10a5.5 5.5 0 0 1 0 11H9M8 5L4 9l4 4",
  user_add: "M10 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM2.5 20.5c.5-4 3.3-6 7.5-6s7 2 7.5 6M19 8v6M16 11h6",
  webhook: "M8.5 8.5a4 4 0 1 1 6.5 1l3 5M12 7l-3.5 6.5M5.5 12.5a4 4 0 1 0 4.5 5h6M18 18v.1",
};

/** icon draws one by its name, as .icon. It says nothing to screen readers: what it stands in has a name. */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", "data-icon": name }, svg("path", { d: paths[name] ?? paths.info }));
}

/** setIcon changes what an icon shows and leaves its place alone. */
export function setIcon(node, name) {
  if (node.dataset.icon === name) return;
  node.dataset.icon = name;
  node.firstChild.setAttribute("d", paths[name] ?? paths.info);
}
