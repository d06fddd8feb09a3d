// What the user has written and no server has acknowledged yet. A message gets its id here, once, and is sent again
// with it over every new connection until the server has acknowledged or refused it: it counts once, however often it is
// sent. Of one conversation one message is on its way at a time, so that the order is the user's even where
// one of them has to be sent again.

import { Refused } from "./link.js";
import { address } from "./model.js";
import { parts, picture } from "./content.js";
import { timeOf, ulid } from "./ulid.js";

const maxText = 64 << 10; // bytes
const maxAge = 23 * 3600e3; // ms for which a server takes an id, with an hour to spare
const mostDrafts = 256 << 10; // characters of all that are kept
const shownFor = 60e3; // ms after an upload for which its file can be shown still, until the server's copy has come

export class Outbox {
  #model;
  #link;
  #time; // ms of the server
  #upload;
  #tell; // that something has changed that nobody asked for
  #unsure; // what to do about a message that was stored before
  #sending = new Map(); // key -> {id, at} of the message that is on its way
  #files = new Map(); // clientId -> {file, url: that shows it}
  #uploading = new Set();
  #timers;
  #timing;
  #ready = false;

  constructor({ model, link, time, upload, unsure, tell, timers, timing }) {
    this.#model = model;
    this.#link = link;
    this.#time = time;
    this.#upload = upload;
    this.#unsure = unsure;
    this.#tell = tell;
    this.#timers = timers;
    this.#timing = timing;
  }

  // add takes a text and gives its id.
  add(key, raw) {
    if (!this.#model.state.me) throw new Refused("offline", "Nobody is signed in.");
    if (!raw) throw new Refused("malformed", "There is nothing to send.");
    if (new TextEncoder().encode(raw).length > maxText) throw new Refused("limit", "The text is too long.");
    const id = ulid(this.#time());
    this.#model.write(key, id, Math.floor(this.#time() / 1000), raw);
    this.#next(key);
    return id;
  }

  // addFile takes a picture, which is shown at once and sent when it is uploaded.
  addFile(key, file) {
    const id = ulid(this.#time()), url = URL.createObjectURL(file);
    this.#files.set(id, { file, url });
    this.#model.write(key, id, Math.floor(this.#time() / 1000), "", { parts: [{ picture: url }] });
    this.#next(key);
    return id;
  }

  // retry sends a message that was refused, as the last.
  retry(key, id) {
    const m = this.#model.rewrite(key, id, { state: "pending", error: null }, true);
    if (!m) return;
    if (this.#old(m)) {
      const fresh = ulid(this.#time());
      this.#model.rewrite(key, id, { clientId: fresh });
      if (!m.raw) this.#files.set(fresh, this.#files.get(id)).delete(id);
    }
    this.#next(key);
  }

  discard(key, id) {
    if (this.#sending.get(key)?.id === id) throw new Refused("too_late", "The message is on its way.");
    this.#model.drop(key, id);
    this.#release(id);
    this.#next(key);
  }

  // release lets go of a file; forget of all.
  #release(id) {
    URL.revokeObjectURL(this.#files.get(id)?.url);
    this.#files.delete(id);
  }

  forget() { for (const id of [...this.#files.keys()]) this.#release(id); }

  // go begins to send, over a connection that is in step with the server.
  go() {
    this.#ready = true;
    for (const c of this.#model.conversations()) if (c.pending.length) this.#next(c.key);
  }

  // stop: the connection is gone. What was on its way may have come in, or not.
  stop() {
    this.#ready = false;
    this.#sending.clear();
  }

  // late tells whether a message has been on its way for so many milliseconds; again begins to count anew.
  late(ms) { return [...this.#sending.values()].some((sent) => this.#time() - sent.at > ms); }
  again() { for (const sent of this.#sending.values()) sent.at = Math.max(sent.at, this.#time()); }

  // saved are the texts and drafts to keep, in order; restore takes them back.
  saved() {
    const list = [];
    let room = mostDrafts;
    for (const c of this.#model.conversations()) {
      if (c.draft && c.draft.length <= room) {
        room -= c.draft.length;
        list.push({ key: c.key, draft: c.draft });
      }
      for (const m of c.pending) if (m.raw) list.push({ key: c.key, clientId: m.clientId, time: m.time, raw: m.raw, state: m.state, error: m.error });
    }
    return list;
  }

  restore(list) {
    for (const { key, clientId, time, raw, state, error, draft } of list) {
      if (draft) {
        this.#model.draft(key, draft);
        continue;
      }
      const c = this.#model.conversation(key);
      if (!c || ![...c.pending, ...c.window, ...c.ahead].some((m) => m.clientId === clientId)) this.#model.write(key, clientId, time, raw, { state, error });
    }
  }

  #old(m) { return this.#time() - timeOf(m.clientId) > maxAge; }

  #fail(key, id, error) {
    this.#model.rewrite(key, id, { state: "failed", error });
  }

  // next sends the oldest message of a conversation that waits.
  #next(key) {
    if (!this.#ready || this.#sending.has(key)) return;
    const m = this.#model.conversation(key)?.pending.find((p) => p.state === "pending");
    if (!m) return;
    if (this.#files.has(m.clientId) && !m.raw) {
      this.#carry(key, m.clientId);
      return;
    }
    if (this.#old(m)) {
      this.#fail(key, m.clientId, "too_late");
      this.#next(key);
      return;
    }
    const sent = { id: m.clientId, at: this.#time() };
    this.#sending.set(key, sent);
    const { sessionId } = address(key);
    this.#link.request("IMMsgData", {
      toSessionId: sessionId, msgType: key[0] === "g" ? "MSG_TYPE_GROUP_TEXT" : "MSG_TYPE_SINGLE_TEXT", text: m.raw, clientMessageId: m.clientId,
    }, (frame) => {
      this.#answered(key, sent, frame);
      this.#tell();
      return true;
    }, true).catch((e) => {
      if (e.code !== "malformed") return; // the connection is gone: stop was called, or will be
      this.#sending.delete(key);
      this.#fail(key, m.clientId, "malformed");
      this.#next(key);
      this.#tell();
    });
  }

  #answered(key, sent, { command, body }) {
    const { id } = sent;
    if (this.#sending.get(key) === sent) this.#sending.delete(key);
    if (command === "IMMsgDataAck") {
      const known = this.#model.acked(key, id, body.msgId, body.createTime);
      // The answer to a repeat has no time.
      if (!known || body.createTime === undefined) this.#unsure(key, body.msgId);
    } else if (body.refusal === "REFUSAL_UNKNOWN") {
      sent.at = Infinity;
      this.#sending.set(key, sent); // nothing else goes before it
      this.#timers.setTimeout(() => {
        if (this.#sending.get(key) !== sent) return;
        this.#sending.delete(key);
        this.#next(key);
        this.#tell();
      }, this.#timing.retryFirst);
      return;
    } else {
      this.#fail(key, id, (body.refusal ?? "REFUSAL_MALFORMED").replace("REFUSAL_", "").toLowerCase());
    }
    this.#next(key);
  }

  // carry uploads a picture, as often as the network loses it.
  async #carry(key, id) {
    if (this.#uploading.has(id)) return;
    this.#uploading.add(id);
    try {
      const raw = picture(await this.#upload(this.#files.get(id).file));
      this.#model.rewrite(key, id, { raw, parts: parts(raw) });
      this.#timers.setTimeout(() => this.#release(id), shownFor);
    } catch (e) {
      if (e.code === "offline" || e.code === "busy") {
        this.#timers.setTimeout(() => this.#next(key), this.#timing.upAgain);
        return;
      }
      this.#fail(key, id, e.code ?? "unknown");
    } finally {
      this.#uploading.delete(id);
    }
    this.#next(key);
    this.#tell();
  }
}
