// Message ids that a client makes: ULIDs, as 16 bytes in base64.

// ulid makes one for a time in milliseconds.
export function ulid(ms) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Math.floor(ms / 2 ** 32));
  view.setUint32(2, ms % 2 ** 32);
  return btoa(String.fromCharCode(...bytes));
}

// timeOf is the time in an id.
export function timeOf(id) {
  const view = new DataView(Uint8Array.from(atob(id), (c) => c.charCodeAt(0)).buffer);
  return view.getUint16(0) * 2 ** 32 + view.getUint32(2);
}
