// MD5 (RFC 1321) of a text's UTF-8, in lower-case hex: the form in which a password travels.
// WebCrypto has none.

const shifts = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];
const sines = Int32Array.from({ length: 64 }, (_, i) => Math.floor(Math.abs(Math.sin(i + 1)) * 2 ** 32));

export function md5(text) {
  const bytes = new TextEncoder().encode(text);
  const blocks = (bytes.length + 8 >> 6) + 1;
  const view = new DataView(new ArrayBuffer(blocks * 64));
  bytes.forEach((b, i) => view.setUint8(i, b));
  view.setUint8(bytes.length, 0x80);
  view.setUint32(blocks * 64 - 8, bytes.length << 3, true);
  view.setUint32(blocks * 64 - 4, bytes.length / 2 ** 29, true);

  const sum = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
  for (let block = 0; block < blocks; block++) {
    let [a, b, c, d] = sum;
    for (let i = 0; i < 64; i++) {
      const round = i >> 4;
      const mixed = [(b & c) | (~b & d), (d & b) | (~d & c), b ^ c ^ d, c ^ (b | ~d)][round];
      const word = [i, 5 * i + 1, 3 * i + 5, 7 * i][round] & 15;
      const n = (a + mixed + sines[i] + view.getInt32(block * 64 + word * 4, true)) | 0;
      const by = shifts[round * 4 + (i & 3)];
      [a, d, c, b] = [d, c, b, (b + (n << by | n >>> 32 - by)) | 0];
    }
    [a, b, c, d].forEach((n, i) => { sum[i] += n; });
  }
  const out = new DataView(new ArrayBuffer(16));
  sum.forEach((n, i) => out.setInt32(i * 4, n, true));
  return Array.from(new Uint8Array(out.buffer), (b) => b.toString(16).padStart(2, "0")).join("");
}
