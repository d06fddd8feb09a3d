// What stands in a message: words, and pictures between marks.

const open = "&$#@~^@[{:", close = ":}]&$~@#@";

// picture is the text that shows the picture at an address.
export const picture = (address) => open + address + close;

// local is the path on this origin of a file that some server of godwit or TeamTalk stores, or "":
// nothing is ever asked of another host, whatever a message says.
export function local(address) {
  try {
    const { protocol, pathname } = new URL(address, "http://localhost");
    return /^https?:$/.test(protocol) && pathname.startsWith("/g0/") ? pathname : "";
  } catch {
    return "";
  }
}

// size is the width and height that the name of a picture tells, where it does.
function size(path) {
  const [, width, height] = /_(\d{1,5})x(\d{1,5})\.\w+$/.exec(path) ?? [];
  return width ? { width: Number(width), height: Number(height) } : {};
}

// parts cuts a text into {text}, {picture: path on this origin, width, height if known} and {link: address of a picture
// elsewhere}.
export function parts(text) {
  const list = [];
  for (;;) {
    const from = text.indexOf(open);
    const to = from < 0 ? -1 : text.indexOf(close, from + open.length);
    if (to < 0) break;
    if (from > 0) list.push({ text: text.slice(0, from) });
    const address = text.slice(from + open.length, to);
    const path = local(address);
    list.push(path ? { picture: path, ...size(path) } : { link: address });
    text = text.slice(to + close.length);
  }
  if (text) list.push({ text });
  return list;
}

// words are what of the parts can be read aloud.
export const words = (list) => list.map((p) => p.text ?? p.link ?? "").join("").trim();
