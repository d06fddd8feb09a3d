// Times, numbers and names as people read them. The words of the pages are English; clocks and calendars go by the
// reader's own settings as far as that reads as English.

const locale = navigator.language?.startsWith("en") ? navigator.language : "en-GB";
const made = new Map();
const by = (options) => {
  const key = JSON.stringify(options);
  if (!made.has(key)) made.set(key, new Intl.DateTimeFormat(locale, options));
  return made.get(key);
};

/** dayNumber counts local days, so that the days of two times can be compared. ms: since 1970. */
export function dayNumber(ms) {
  const d = new Date(ms);
  return Math.round(Date.UTC(d.getFullYear(), d.getMonth(), d.getDate()) / 864e5);
}

/** clock: "10:42". */
export const clock = (ms) => by({ timeStyle: "short" }).format(ms);

/** clockSeconds: "10:42:07". */
export const clockSeconds = (ms) => by({ hour: "numeric", minute: "2-digit", second: "2-digit" }).format(ms);

/** dayName: "Today", "Yesterday", "Wednesday", "12 March", "12 March 2024". */
export function dayName(ms, now = Date.now()) {
  const days = dayNumber(now) - dayNumber(ms);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days > 1 && days < 7) return by({ weekday: "long" }).format(ms);
  if (new Date(ms).getFullYear() === new Date(now).getFullYear()) return by({ day: "numeric", month: "long" }).format(ms);
  return by({ day: "numeric", month: "long", year: "numeric" }).format(ms);
}

/** shortTime is for lists: "10:42", "Yesterday", "Wed", "12 Mar", "12/03/24". */
export function shortTime(ms, now = Date.now()) {
  if (!ms) return "";
  const days = dayNumber(now) - dayNumber(ms);
  if (days <= 0) return clock(ms);
  if (days === 1) return "Yesterday";
  if (days < 7) return by({ weekday: "short" }).format(ms);
  if (new Date(ms).getFullYear() === new Date(now).getFullYear()) return by({ day: "numeric", month: "short" }).format(ms);
  return by({ day: "2-digit", month: "2-digit", year: "2-digit" }).format(ms);
}

/** fullTime: "Wednesday 12 March 2025 at 10:42", for titles and screen readers. */
export const fullTime = (ms) => by({ dateStyle: "full", timeStyle: "short" }).format(ms);

/** dateTime: "12 Mar 2025, 10:42:07", for tables. */
export const dateTime = (ms) => by({ dateStyle: "medium", timeStyle: "medium" }).format(ms);

/** moment: "10:42" today, "10:42 yesterday", else "10:42 on Wednesday". */
export function moment(ms, now = Date.now()) {
  const day = dayName(ms, now);
  if (day === "Today") return clock(ms);
  return clock(ms) + (day === "Yesterday" ? " yesterday" : " on " + day);
}

/** duration: "3 s", "5 min", "2 h 10 min", "4 d 3 h". */
export function duration(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return s + " s";
  const m = Math.floor(s / 60);
  if (m < 60) return m + " min";
  const hours = Math.floor(m / 60);
  if (hours < 24) return hours + " h" + (m % 60 ? ` ${m % 60} min` : "");
  return Math.floor(hours / 24) + " d" + (hours % 24 ? ` ${hours % 24} h` : "");
}

const whole = new Intl.NumberFormat(locale);
const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });

/** count: "12,345". */
export const count = (n) => whole.format(n);

/** compact: "12K", for places that don't grow. */
export const compact = (n) => (Math.abs(n) < 1000 ? whole.format(Math.round(n * 10) / 10) : short.format(n));

/** badge: "" for 0, "1" … "99", "99+". */
export const badge = (n) => (n > 99 ? "99+" : n > 0 ? String(n) : "");

/** size of so many bytes: "812 B", "1.4 MB" (decimal, as file managers count). */
export function size(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit++;
  }
  if (!unit) return `${count(bytes)} B`; // the short form of Intl is "byte"
  return new Intl.NumberFormat(locale, { style: "unit", unit: units[unit], unitDisplay: "short", maximumFractionDigits: bytes < 10 ? 1 : 0 }).format(bytes);
}

/** plural: plural(1, "member") is "1 member", plural(3, "member") "3 members". */
export const plural = (n, word, many = word + "s") => `${count(n)} ${n === 1 ? word : many}`;

const graphemes = new Intl.Segmenter(locale, { granularity: "grapheme" });
const first = (text) => graphemes.segment(text)[Symbol.iterator]().next().value?.segment ?? "";

/** initials of a name: of its first and its last word; a letter per writing system that has letters. "?" of nothing. */
export function initials(name) {
  const words = (name ?? "").split(/[\s_.\-]+/u).map((w) => w.replace(/^[^\p{L}\p{N}\p{Extended_Pictographic}]+/u, "")).filter(Boolean);
  if (!words.length) return "?";
  const last = words.length > 1 ? first(words.at(-1)) : "";
  return (first(words[0]) + (/^\p{Script=Latin}|^\p{Script=Cyrillic}|^\p{Script=Greek}/u.test(last) ? last : "")).toLocaleUpperCase(locale);
}

/** tone of a key: 0 … 7, always the same for the same key. The key is an id, not a name, so that a new name keeps it. */
export function tone(key) {
  let hash = 2166136261;
  for (const c of String(key)) hash = Math.imul(hash ^ c.codePointAt(0), 16777619);
  return (hash ^ (hash >>> 15)) & 7;
}
