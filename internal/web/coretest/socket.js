// A WebSocket of which the test is the other side.

export function sockets() {
  const all = [];
  class Socket {
    readyState = 0;
    sent = [];
    constructor(url) {
      this.url = url;
      all.push(this);
    }
    send(data) {
      const frame = JSON.parse(data);
      this.sent.push(frame);
      this.onsent?.(frame);
    }
    close() { this.readyState = 3; }
    open() {
      this.readyState = 1;
      this.onopen?.({});
    }
    say(command, body = {}, seq = 0) { this.onmessage?.({ data: JSON.stringify({ service: 1, command, seq, body }) }); }
    shut(code = 1006, reason = "") {
      this.readyState = 3;
      this.onclose?.({ code, reason });
    }
    // asked are the frames of a command that were sent.
    asked(command) { return this.sent.filter((f) => f.command === command); }
  }
  return { Socket, all, get last() { return all.at(-1); } };
}
