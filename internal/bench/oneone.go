package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"time"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/pdu"
)

// OneOne is pairs of people of whom one writes to the other.
type OneOne struct {
	Pairs    int
	Window   int // messages of a sender without an ack
	Size     int // bytes of a message's content
	Duration time.Duration
	Warmup   time.Duration // before it, not measured
	Drain    time.Duration // after it, for what is on its way; default 30 s
	Both     bool          // both of a pair write
	Rate     float64       // messages a second of each sender; 0: as the window allows
	Receipts bool          // everybody says what was received and read; checked as well
	Every    time.Duration // between two receipts of a session, default 100 ms

	Hostile      string // kind of misbehaving client beside the load, empty: none
	HostileCount int    // how many of them, 0: the kind's default

	Raw      bool   // measure bare JetStream with the same payloads afterwards
	RawDir   string // where its store goes; removed again
	RawBatch int    // messages a record, 0: what the server's records held
}

// OneOneReport is what a OneOne found. Messages are counted over the whole run, rates
// and times over the measured part.
type OneOneReport struct {
	Pairs    int     `json:"pairs"`
	Window   int     `json:"window"`
	Size     int     `json:"size"`
	Both     bool    `json:"both,omitempty"`
	Rate     float64 `json:"rate,omitempty"`
	Seed     uint64  `json:"seed"`
	Measured float64 `json:"measured_seconds"`

	PerSecond float64 `json:"delivered_per_second"`
	Delivered uint64  `json:"delivered_while_measured"`
	Ack       Latency `json:"send_to_ack"`
	Receive   Latency `json:"send_to_receive"`

	tally

	ServerCPU   float64 `json:"server_cpu_seconds_per_100k,omitempty"`
	ServerCores float64 `json:"server_cores,omitempty"`
	ServerRSS   int64   `json:"server_rss_bytes,omitempty"`
	OwnCPU      float64 `json:"bench_cpu_seconds_per_100k"`

	PerRecord  float64        `json:"messages_per_record,omitempty"`
	Durability string         `json:"durability,omitempty"`
	Raw        *RawReport     `json:"raw,omitempty"`
	Hostile    *HostileReport `json:"hostile,omitempty"`
}

// Write prints the report for people.
func (r *OneOneReport) Write(w io.Writer) {
	line(w, "%d pairs, %d bytes, window %d, measured %.1f s, durability %s, seed %d", r.Pairs, r.Size, r.Window, r.Measured, orUnknown(r.Durability), r.Seed)
	line(w, "delivered       %12.0f messages/s", r.PerSecond)
	line(w, "send to ack     p50 %8.2f  p95 %8.2f  p99 %8.2f  max %8.2f ms", r.Ack.P50, r.Ack.P95, r.Ack.P99, r.Ack.Max)
	line(w, "send to receive p50 %8.2f  p95 %8.2f  p99 %8.2f  max %8.2f ms", r.Receive.P50, r.Receive.P95, r.Receive.P99, r.Receive.Max)
	r.write(w)
	if r.ServerRSS > 0 {
		line(w, "server          %12.2f CPU seconds per 100,000 messages, %.2f cores, %.1f MiB resident", r.ServerCPU, r.ServerCores, float64(r.ServerRSS)/(1<<20))
	}
	line(w, "bench itself    %12.2f CPU seconds per 100,000 messages", r.OwnCPU)
	if r.PerRecord > 0 {
		line(w, "log             %12.1f messages a record", r.PerRecord)
	}
	if r.Hostile != nil {
		line(w, "hostile         %s", r.Hostile)
	}
	if r.Raw != nil {
		r.Raw.write(w)
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// writer is the sending half of a session.
type writer struct {
	*session
	peer     *session
	sent     uint64 // number of the newest message
	acked    uint64
	unacked  int
	ring     []pending // by number modulo its length, a power of two
	received *checker  // what the peer got of it
	offset   int64     // id - number in a conversation that one writes; set by the first ack
	known    bool      // offset is
	due      float64   // messages that the rate allows by now
}

type pending struct {
	number uint64 // 0: none
	at     int64
}

// seqMost is the highest sequence number that a sender uses.
const seqMost = 0xfeff

func seqOf(number uint64) uint16 { return uint16((number-1)%seqMost + 1) }

// numberOf is the newest number up to sent that has the sequence number.
func numberOf(seq uint16, sent uint64) uint64 {
	if seq == 0 || seq > seqMost || sent == 0 {
		return 0
	}
	back := ((sent-1)%seqMost + seqMost - uint64(seq-1)) % seqMost
	if back >= sent {
		return 0
	}
	return sent - back
}

type oneOne struct {
	o      Options
	c      OneOne
	l      *loop
	run    uint64
	filler filler
	buffer []byte

	sessions []*session
	writers  []*writer
	receipts *receipts // nil: none
	sending  bool

	from, to       int64 // measured part, since the epoch
	ack, receive   histogram
	r              OneOneReport
	acked          uint64
	deliveredTotal uint64
}

// Run loads a server and reports. An error is that the bench could not run, not that
// the server served it badly: that is Err of the report.
func (c OneOne) Run(ctx context.Context, o Options) (*OneOneReport, error) {
	o.complete()
	if c.Drain <= 0 {
		c.Drain = 30 * time.Second
	}
	if c.Every <= 0 {
		c.Every = oneOneReceipts
	}
	accounts, err := o.Accounts(ctx, 2*c.Pairs+hostileAccounts(c.Hostile))
	if err != nil {
		return nil, err
	}
	if err := o.befriend(ctx, c.Pairs, func(i int) (a, z Account) { return accounts[2*i], accounts[2*i+1] }); err != nil {
		return nil, err
	}
	if err := raiseFileLimit(len(accounts) + c.HostileCount); err != nil {
		return nil, err
	}
	l, err := o.loop(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	b := &oneOne{
		o: o, c: c, l: l, run: rand.Uint64(), filler: newFiller(o.Seed, c.Size),
		r: OneOneReport{Pairs: c.Pairs, Window: c.Window, Size: c.Size, Both: c.Both, Rate: c.Rate, Seed: o.Seed},
	}
	if err := b.logIn(ctx, accounts[:2*c.Pairs]); err != nil {
		return nil, err
	}
	stop, err := startHostile(ctx, c.Hostile, c.HostileCount, o, accounts[2*c.Pairs:])
	if err != nil {
		return nil, err
	}
	err = b.load(ctx)
	b.r.Hostile = stop()
	if err != nil {
		return nil, err
	}
	b.sum()
	if c.Raw {
		if b.r.Raw, err = b.raw(ctx); err != nil {
			return nil, fmt.Errorf("bare JetStream: %w", err)
		}
	}
	return &b.r, nil
}

const loginLimit = 60 * time.Second

func (b *oneOne) logIn(ctx context.Context, accounts []Account) error {
	b.o.Log.Info("logging in", "people", len(accounts))
	in, failed := 0, error(nil)
	e := &entrance{l: b.l, device: imbase.ClientType(b.o.Device), parallel: b.o.Parallel}
	e.finished = func(_ *session, err error) {
		if in++; err != nil && failed == nil {
			failed = err
		}
	}
	if b.c.Receipts {
		b.receipts = newReceipts(imbase.SessionType_SESSION_TYPE_SINGLE, b.c.Every)
	}
	for i, a := range accounts {
		s := &session{account: a, receipts: b.c.Receipts}
		s.onLost = func(err error) { b.r.dropped(s, err) }
		b.sessions = append(b.sessions, s)
		if i%2 == 1 {
			b.pair(b.sessions[i-1], s)
		}
	}
	e.enter(b.sessions...)
	err := b.l.run(ctx, func(now time.Time) (time.Duration, bool) {
		e.expire(b.sessions, now, loginLimit)
		return time.Second, in == len(accounts) || failed != nil
	})
	if err = errors.Join(err, failed); err == nil && b.receipts != nil {
		for i := 0; i < len(b.sessions); i += 2 {
			b.receipts.join(0, b.sessions[i], b.sessions[i+1])
		}
		for _, w := range b.writers {
			b.receipts.by[w.id].wrote = &w.sent
		}
	}
	return err
}

// pair makes a write to z, and if wanted z to a.
func (b *oneOne) pair(a, z *session) {
	there := b.writer(a, z)
	var back *writer
	if b.c.Both {
		back = b.writer(z, a)
	}
	a.onFrame = func(f pdu.Frame) { b.frame(a, there, back, f) }
	z.onFrame = func(f pdu.Frame) { b.frame(z, back, there, f) }
}

func (b *oneOne) writer(s, peer *session) *writer {
	w := &writer{session: s, peer: peer, received: new(checker), ring: make([]pending, 1<<bits.Len(uint(2*b.c.Window-1)))}
	b.writers = append(b.writers, w)
	return w
}

// frame handles what a session gets: acks of what it writes and messages of its peer.
// Either writer is nil where that half does not write.
func (b *oneOne) frame(s *session, own, peers *writer, f pdu.Frame) {
	switch f.Command {
	case client.CmdMsgDataAck:
		if own == nil || !b.onAck(own, f) {
			b.r.StrayAcks++
		}
	case client.CmdMsgData:
		b.onMessage(s, peers, f.Body)
	case client.CmdReceiptNotify:
		if b.receipts != nil {
			b.receipts.notice(s, f.Body)
		}
	}
}

func (b *oneOne) onAck(w *writer, f pdu.Frame) bool {
	number := numberOf(f.Seq, w.sent)
	p := &w.ring[number&uint64(len(w.ring)-1)]
	session, id, ok := parseAck(f.Body)
	if !ok || number == 0 || p.number != number || session != w.peer.id {
		return false
	}
	now := sinceEpoch(time.Now())
	if p.at >= b.from && p.at < b.to {
		b.ack.add(time.Duration(now - p.at))
	}
	p.number = 0
	w.unacked--
	w.acked++
	b.acked++
	b.checkID(w, number, id)
	if b.receipts != nil {
		b.receipts.acked(w.session, number, id)
	}
	if b.sending && b.c.Rate == 0 {
		b.pump(w, now)
	}
	return true
}

// checkID holds ids against numbers: where one of the two writes, they run in step.
func (b *oneOne) checkID(w *writer, number uint64, id uint32) {
	if b.c.Both {
		return
	}
	offset := int64(id) - int64(number)
	if !w.known {
		w.known, w.offset = true, offset
	}
	if offset != w.offset {
		b.r.BadIDs++
	}
}

func (b *oneOne) onMessage(s *session, w *writer, body []byte) {
	m, err := client.ParseMsgData(body)
	if err != nil {
		b.r.Corrupt++
		return
	}
	st, err := parsePayload(m.Data, b.run, b.c.Size)
	switch {
	case errors.Is(err, errForeign):
		return // of another run, or of a hostile client
	case err != nil:
		b.r.Corrupt++
		return
	case w == nil || st.receiver != s.id || st.sender != w.id || m.From != w.id || m.To != s.id || st.number > w.sent:
		b.r.Misplaced++
		return
	}
	now := sinceEpoch(time.Now())
	if now >= b.from && now < b.to {
		b.r.Delivered++
	}
	if st.sent >= b.from && st.sent < b.to {
		b.receive.add(time.Duration(now - st.sent))
	}
	w.received.see(st.number, m.ID)
	b.checkID(w, st.number, m.ID)
	b.deliveredTotal++
	if b.receipts != nil {
		b.receipts.saw(s, m.ID)
	}
}

// pump sends what the window has room for.
func (b *oneOne) pump(w *writer, now int64) {
	if !w.open {
		return
	}
	before := w.sent
	for w.unacked < b.c.Window && (b.c.Rate == 0 || w.due >= 1) {
		p := &w.ring[(w.sent+1)&uint64(len(w.ring)-1)]
		if p.number != 0 {
			break // acks came out of order, and the oldest is still missing
		}
		w.sent++
		w.unacked++
		w.due--
		*p = pending{number: w.sent, at: now}
		b.buffer = b.filler.appendPayload(b.buffer[:0], stamp{
			run: b.run, sender: w.id, receiver: w.peer.id, number: w.sent, sent: now,
		}, b.c.Size)
		w.conn.out = pdu.Append(w.conn.out, client.Service(client.CmdMsgData), client.CmdMsgData, seqOf(w.sent), func(dst []byte) []byte {
			return client.AppendMsgData(dst, w.id, w.peer.id, 0, 0, int32(imbase.MsgType_MSG_TYPE_SINGLE_TEXT), b.buffer)
		})
	}
	if w.sent != before {
		w.conn.queue()
	}
}

// load warms up, measures and drains.
func (b *oneOne) load(ctx context.Context) error {
	start := time.Now()
	b.from = sinceEpoch(start.Add(b.c.Warmup))
	b.to = sinceEpoch(start.Add(b.c.Warmup + b.c.Duration))
	end := start.Add(b.c.Warmup + b.c.Duration)
	b.o.Log.Info("loading", "pairs", b.c.Pairs, "warmup", b.c.Warmup, "duration", b.c.Duration)
	b.sending = true
	for _, w := range b.writers {
		b.pump(w, sinceEpoch(start))
	}
	m := meter{o: b.o}
	last, beat := start, start
	return b.l.run(ctx, func(now time.Time) (time.Duration, bool) {
		if at := sinceEpoch(now); at >= b.from && !m.begun {
			m.begin(ctx)
		} else if at >= b.to && !m.ended {
			m.end(ctx)
			b.sending = false
		}
		if now.Sub(beat) >= heartbeatEvery { // who only receives is silent for the server
			beat = now
			for _, w := range b.writers {
				w.peer.beat()
			}
		}
		if b.receipts != nil {
			b.receipts.tick(now)
		}
		switch {
		case m.err != nil:
			return 0, true
		case !b.sending:
			done := b.quiet() || now.Sub(end) > b.c.Drain
			if done {
				m.fill(&b.r)
			}
			return 20 * time.Millisecond, done
		case b.c.Rate > 0:
			for _, w := range b.writers {
				w.due = min(w.due+b.c.Rate*now.Sub(last).Seconds(), float64(b.c.Window))
				b.pump(w, sinceEpoch(now))
			}
			last = now
			return time.Millisecond, false
		}
		return 10 * time.Millisecond, false
	})
}

// quiet: everything that was sent is acked and received, or can't be any more.
func (b *oneOne) quiet() bool {
	for _, w := range b.writers {
		if w.unacked > 0 && w.open || w.received.received < w.acked && w.peer.open {
			return false
		}
	}
	return b.receipts == nil || b.receipts.quiet()
}

// meter reads the clocks at both ends of the measured part.
type meter struct {
	o            Options
	begun, ended bool
	err          error
	at, until    time.Time
	server, last usage
	own, ownLast time.Duration
	probes       [2]chan Probe
}

func (m *meter) begin(ctx context.Context) {
	m.begun = true
	m.probes[0] = m.probe(ctx)
	m.at, m.own = time.Now(), ownCPU()
	m.server, m.err = usageOf(m.o.PID)
}

func (m *meter) end(ctx context.Context) {
	m.ended = true
	m.until, m.ownLast = time.Now(), ownCPU()
	m.last, m.err = usageOf(m.o.PID)
	m.probes[1] = m.probe(ctx)
}

// probe asks beside the load, which must not wait.
func (m *meter) probe(ctx context.Context) chan Probe {
	got := make(chan Probe, 1)
	if m.o.Probe == nil {
		close(got)
		return got
	}
	go func() {
		defer close(got)
		p, err := m.o.Probe(ctx)
		if err != nil {
			m.o.Log.Warn("the server's records are not known", "err", err)
			return
		}
		got <- p
	}()
	return got
}

func (m *meter) fill(r *OneOneReport) {
	r.Measured = m.until.Sub(m.at).Seconds()
	r.PerSecond = float64(r.Delivered) / r.Measured
	r.OwnCPU = per100k(m.ownLast-m.own, r.Delivered)
	if m.o.PID != 0 {
		cpu := m.last.cpu - m.server.cpu
		r.ServerCPU, r.ServerCores, r.ServerRSS = per100k(cpu, r.Delivered), cpu.Seconds()/r.Measured, m.last.rss
	}
	before, ok := <-m.probes[0]
	after, also := <-m.probes[1]
	if ok && also {
		r.Durability = after.Durability
		if records := after.Records - before.Records; records > 0 {
			r.PerRecord = float64(r.Delivered) / float64(records)
		}
	}
}

// sum adds up what the checkers found.
func (b *oneOne) sum() {
	r := &b.r
	r.Ack, r.Receive = b.ack.latency(), b.receive.latency()
	if b.receipts != nil {
		r.Receipts = b.receipts.report()
	}
	for _, w := range b.writers {
		r.Sent += w.sent
		r.Acked += w.acked
		r.Received += w.received.received
		r.Duplicated += w.received.repeated
		r.Disorder += w.received.late
		r.BadIDs += w.received.badIDs
		r.Unacked += uint64(w.unacked)
		open := map[uint64]bool{}
		for _, p := range w.ring {
			open[p.number] = true
		}
		for _, n := range w.received.lost(w.sent) {
			if !open[n] {
				r.Lost++
			}
		}
	}
}
