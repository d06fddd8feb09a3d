package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
	"godwit/schema/pdu"
)

// Group is one group whose members are all online; some of them write to it.
type Group struct {
	Members  int
	Senders  int
	Window   int // messages of a sender without an ack
	Size     int // bytes of a message's content
	Duration time.Duration
	Warmup   time.Duration // before it, not measured
	Drain    time.Duration // after it, for what is on its way; default 30 s
	Rate     float64       // messages a second of each sender; 0: as the window allows
	Receipts bool          // everybody says what was received and read; checked as well
	Every    time.Duration // between two receipts of a session, default 1 s
}

// GroupReport is what a Group found. Messages and deliveries are counted over the whole
// run, rates and times over the measured part.
type GroupReport struct {
	Members  int     `json:"members"`
	Senders  int     `json:"senders"`
	Window   int     `json:"window"`
	Size     int     `json:"size"`
	Rate     float64 `json:"rate,omitempty"`
	Seed     uint64  `json:"seed"`
	Measured float64 `json:"measured_seconds"`

	PerSecond        float64 `json:"deliveries_per_second"`
	MessagePerSecond float64 `json:"messages_per_second"`
	Delivered        uint64  `json:"delivered_while_measured"`
	Ack              Latency `json:"send_to_ack"`
	Receive          Latency `json:"send_to_receive"`

	tally

	ServerCPU   float64 `json:"server_cpu_seconds_per_100k,omitempty"`
	ServerCores float64 `json:"server_cores,omitempty"`
	ServerRSS   int64   `json:"server_rss_bytes,omitempty"`
	OwnCPU      float64 `json:"bench_cpu_seconds_per_100k"`

	PerRecord  float64 `json:"messages_per_record,omitempty"`
	Durability string  `json:"durability,omitempty"`
}

// Write prints the report for people.
func (r *GroupReport) Write(w io.Writer) {
	line(w, "a group of %d members of whom %d write, %d bytes, window %d, measured %.1f s, durability %s, seed %d",
		r.Members, r.Senders, r.Size, r.Window, r.Measured, orUnknown(r.Durability), r.Seed)
	line(w, "delivered       %12.0f deliveries/s of %.0f messages/s", r.PerSecond, r.MessagePerSecond)
	line(w, "send to ack     p50 %8.2f  p95 %8.2f  p99 %8.2f  max %8.2f ms", r.Ack.P50, r.Ack.P95, r.Ack.P99, r.Ack.Max)
	line(w, "send to receive p50 %8.2f  p95 %8.2f  p99 %8.2f  max %8.2f ms", r.Receive.P50, r.Receive.P95, r.Receive.P99, r.Receive.Max)
	r.write(w)
	if r.ServerRSS > 0 {
		line(w, "server          %12.2f CPU seconds per 100,000 deliveries, %.2f cores, %.1f MiB resident", r.ServerCPU, r.ServerCores, float64(r.ServerRSS)/(1<<20))
	}
	line(w, "bench itself    %12.2f CPU seconds per 100,000 deliveries", r.OwnCPU)
	if r.PerRecord > 0 {
		line(w, "log             %12.1f messages a record", r.PerRecord)
	}
}

// member is one session of the group.
type member struct {
	*session
	own      *sender   // what it writes, nil for most
	received []checker // what it got, by sender
	lastID   uint32    // newest id that it got
}

// sender is a member who writes.
type sender struct {
	*member
	number  int // of this sender
	sent    uint64
	acked   uint64
	unacked int
	ring    []pending // by number modulo its length, a power of two
	due     float64   // messages that the rate allows by now
}

type groupLoad struct {
	o      Options
	c      Group
	l      *loop
	run    uint64
	group  uint32
	filler filler
	buffer []byte

	members  []*member
	senders  []*sender
	by       map[uint32]*sender // by user number
	receipts *receipts          // nil: none
	sending  bool
	told     func(f pdu.Frame) // answers to the creator

	from, to     int64 // measured part, since the epoch
	ack, receive histogram
	r            GroupReport
}

// Run loads a server and reports. An error is that the bench could not run, not that
// the server served it badly: that is Err of the report. The group is made at the
// beginning by one of its members, and dissolved at the end.
func (c Group) Run(ctx context.Context, o Options) (*GroupReport, error) {
	o.complete()
	if c.Drain <= 0 {
		c.Drain = 30 * time.Second
	}
	if c.Every <= 0 {
		c.Every = groupReceipts
	}
	if c.Receipts && c.Members > MaxReceipts {
		return nil, fmt.Errorf("receipts are told in groups of at most %d members", MaxReceipts)
	}
	accounts, err := o.Accounts(ctx, c.Members)
	if err != nil {
		return nil, err
	}
	// A user brings only friends into a group, where only friends may write to each other.
	if err := o.befriend(ctx, c.Members-1, func(i int) (a, z Account) { return accounts[0], accounts[i+1] }); err != nil {
		return nil, err
	}
	if err := raiseFileLimit(len(accounts)); err != nil {
		return nil, err
	}
	l, err := o.loop(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	b := &groupLoad{
		o: o, c: c, l: l, run: rand.Uint64(), filler: newFiller(o.Seed, c.Size), by: map[uint32]*sender{},
		r: GroupReport{Members: c.Members, Senders: c.Senders, Window: c.Window, Size: c.Size, Rate: c.Rate, Seed: o.Seed},
	}
	if err := b.logIn(ctx, accounts); err != nil {
		return nil, err
	}
	if err := b.create(ctx); err != nil {
		return nil, err
	}
	b.join()
	if err := b.load(ctx); err != nil {
		return nil, err
	}
	b.sum()
	b.dissolve(ctx)
	return &b.r, nil
}

func (b *groupLoad) logIn(ctx context.Context, accounts []Account) error {
	b.o.Log.Info("logging in", "people", len(accounts))
	in, failed := 0, error(nil)
	e := &entrance{l: b.l, device: imbase.ClientType(b.o.Device), parallel: b.o.Parallel}
	e.finished = func(_ *session, err error) {
		if in++; err != nil && failed == nil {
			failed = err
		}
	}
	sessions := make([]*session, 0, len(accounts))
	for i, a := range accounts {
		m := &member{session: &session{account: a, receipts: b.c.Receipts}, received: make([]checker, b.c.Senders)}
		m.onFrame = func(f pdu.Frame) { b.frame(m, f) }
		m.onLost = func(err error) { b.r.dropped(m.session, err) }
		if i < b.c.Senders {
			m.own = &sender{member: m, number: i, ring: make([]pending, 1<<bits.Len(uint(2*b.c.Window-1)))}
			b.senders = append(b.senders, m.own)
		}
		b.members = append(b.members, m)
		sessions = append(sessions, m.session)
	}
	e.enter(sessions...)
	beat := time.Now()
	err := b.l.run(ctx, func(now time.Time) (time.Duration, bool) {
		e.expire(sessions, now, loginLimit)
		if now.Sub(beat) >= heartbeatEvery { // the first must not fall silent before the last is in
			beat = now
			for _, s := range sessions {
				s.beat()
			}
		}
		return time.Second, in == len(accounts) || failed != nil
	})
	for _, s := range b.senders {
		b.by[s.id] = s
	}
	return errors.Join(err, failed)
}

// join has the members send receipts, if they shall.
func (b *groupLoad) join() {
	if !b.c.Receipts {
		return
	}
	b.receipts = newReceipts(imbase.SessionType_SESSION_TYPE_GROUP, b.c.Every)
	sessions := make([]*session, len(b.members))
	for i, m := range b.members {
		sessions[i] = m.session
	}
	b.receipts.join(b.group, sessions...)
	for _, s := range b.senders {
		b.receipts.by[s.id].wrote = &s.sent
	}
}

// answerLimit is how long the server may take to make a group, or to dissolve one.
const answerLimit = 30 * time.Second

// ask has the creator ask something and waits for the answer.
func (b *groupLoad) ask(ctx context.Context, command uint16, m proto.Message, answer uint16, got func(body []byte) error) error {
	creator := b.members[0]
	var err error
	creator.conn.out, err = pdu.AppendMessage(creator.conn.out, command, 1, m)
	if err != nil {
		return err
	}
	creator.conn.queue()
	answered := false
	b.told = func(f pdu.Frame) {
		if f.Command == answer {
			answered, err = true, got(f.Body)
		}
	}
	limit := time.Now().Add(answerLimit)
	runErr := b.l.run(ctx, func(now time.Time) (time.Duration, bool) {
		if !answered && !creator.open {
			answered, err = true, errServerClosed
		} else if !answered && now.After(limit) {
			answered, err = true, fmt.Errorf("no answer within %s", answerLimit)
		}
		return 10 * time.Millisecond, answered
	})
	b.told = nil
	return errors.Join(runErr, err)
}

// create makes the group.
func (b *groupLoad) create(ctx context.Context) error {
	b.o.Log.Info("making the group", "members", len(b.members))
	users := make([]uint32, len(b.members))
	for i, m := range b.members {
		users[i] = m.id
	}
	req := &imgroup.IMGroupCreateReq{
		UserId: &b.members[0].id, GroupType: imbase.GroupType_GROUP_TYPE_TMP.Enum(), GroupName: new("bench"), GroupAvatar: new(""), MemberIdList: users,
	}
	err := b.ask(ctx, client.CmdGroupCreateReq, req, client.CmdGroupCreateRsp, func(body []byte) error {
		var rsp imgroup.IMGroupCreateRsp
		if err := client.Unmarshal(body, &rsp); err != nil {
			return err
		}
		if rsp.GetResultCode() != 0 || rsp.GetGroupId() == 0 {
			return errors.New("the server refuses")
		}
		if n := len(rsp.GetUserIdList()); n != len(users) {
			return fmt.Errorf("it has %d members, not %d", n, len(users))
		}
		b.group = rsp.GetGroupId()
		return nil
	})
	if err != nil {
		return fmt.Errorf("make a group of %d: %w", len(users), err)
	}
	return nil
}

// dissolve takes the group away again. It stays where that fails, and harms nobody.
func (b *groupLoad) dissolve(ctx context.Context) {
	req := &imextension.GroupUpdateReq{GroupId: &b.group, Dissolve: new(true)}
	err := b.ask(ctx, client.CmdGroupUpdateReq, req, client.CmdGroupUpdateRsp, func(body []byte) error {
		var rsp imextension.GroupUpdateRsp
		if err := client.Unmarshal(body, &rsp); err != nil {
			return err
		}
		if rsp.GetRefusal() != imextension.Refusal_REFUSAL_NONE {
			return fmt.Errorf("refused: %s", rsp.GetRefusal())
		}
		return nil
	})
	if err != nil {
		b.o.Log.Warn("the group of the bench stays", "group", b.group, "err", err)
	}
}

func (b *groupLoad) frame(m *member, f pdu.Frame) {
	switch f.Command {
	case client.CmdMsgData:
		b.onMessage(m, f.Body)
	case client.CmdMsgDataAck:
		if m.own == nil || !b.onAck(m.own, f) {
			b.r.StrayAcks++
		}
	case client.CmdReceiptNotify:
		if b.receipts != nil {
			b.receipts.notice(m.session, f.Body)
		}
	default:
		if b.told != nil && m == b.members[0] {
			b.told(f)
		}
	}
}

func (b *groupLoad) onAck(s *sender, f pdu.Frame) bool {
	number := numberOf(f.Seq, s.sent)
	p := &s.ring[number&uint64(len(s.ring)-1)]
	session, id, ok := parseAck(f.Body)
	if !ok || number == 0 || p.number != number || session != b.group {
		return false
	}
	now := sinceEpoch(time.Now())
	if p.at >= b.from && p.at < b.to {
		b.ack.add(time.Duration(now - p.at))
	}
	p.number = 0
	s.unacked--
	s.acked++
	if b.receipts != nil {
		b.receipts.acked(s.session, number, id)
	}
	// Its own message does not come back, but takes its place among those that do.
	if id <= s.lastID {
		b.r.BadIDs++
	} else if id == s.lastID+1 {
		s.lastID = id
	}
	if b.sending && b.c.Rate == 0 {
		b.pump(s, now)
	}
	return true
}

func (b *groupLoad) onMessage(m *member, body []byte) {
	d, err := client.ParseMsgData(body)
	if err != nil {
		b.r.Corrupt++
		return
	}
	st, err := parsePayload(d.Data, b.run, b.c.Size)
	switch {
	case errors.Is(err, errForeign):
		return // of another run
	case err != nil:
		b.r.Corrupt++
		return
	}
	from := b.by[st.sender]
	if from == nil || from.member == m || d.From != st.sender || d.To != b.group || st.receiver != b.group || st.number > from.sent {
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
	m.received[from.number].see(st.number, d.ID)
	// Who writes misses the ids of what it wrote: they come with the acks, before or after.
	if d.ID <= m.lastID || m.own == nil && d.ID != m.lastID+1 {
		b.r.BadIDs++
	}
	m.lastID = max(m.lastID, d.ID)
	if b.receipts != nil {
		b.receipts.saw(m.session, d.ID)
	}
}

// pump sends what the window has room for.
func (b *groupLoad) pump(s *sender, now int64) {
	if !s.open {
		return
	}
	before := s.sent
	for s.unacked < b.c.Window && (b.c.Rate == 0 || s.due >= 1) {
		p := &s.ring[(s.sent+1)&uint64(len(s.ring)-1)]
		if p.number != 0 {
			break // acks came out of order, and the oldest is still missing
		}
		s.sent++
		s.unacked++
		s.due--
		*p = pending{number: s.sent, at: now}
		b.buffer = b.filler.appendPayload(b.buffer[:0], stamp{
			run: b.run, sender: s.id, receiver: b.group, number: s.sent, sent: now,
		}, b.c.Size)
		s.conn.out = pdu.Append(s.conn.out, client.Service(client.CmdMsgData), client.CmdMsgData, seqOf(s.sent), func(dst []byte) []byte {
			return client.AppendMsgData(dst, s.id, b.group, 0, 0, int32(imbase.MsgType_MSG_TYPE_GROUP_TEXT), b.buffer)
		})
	}
	if s.sent != before {
		s.conn.queue()
	}
}

// load warms up, measures and drains.
func (b *groupLoad) load(ctx context.Context) error {
	start := time.Now()
	b.from = sinceEpoch(start.Add(b.c.Warmup))
	b.to = sinceEpoch(start.Add(b.c.Warmup + b.c.Duration))
	end := start.Add(b.c.Warmup + b.c.Duration)
	b.o.Log.Info("loading", "members", b.c.Members, "senders", b.c.Senders, "warmup", b.c.Warmup, "duration", b.c.Duration)
	b.sending = true
	for _, s := range b.senders {
		b.pump(s, sinceEpoch(start))
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
			for _, m := range b.members {
				m.beat()
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
				b.fill(&m)
			}
			return 20 * time.Millisecond, done
		case b.c.Rate > 0:
			for _, s := range b.senders {
				s.due = min(s.due+b.c.Rate*now.Sub(last).Seconds(), float64(b.c.Window))
				b.pump(s, sinceEpoch(now))
			}
			last = now
			return time.Millisecond, false
		}
		return 10 * time.Millisecond, false
	})
}

// quiet: everything that was sent is acked and received, or can't be any more.
func (b *groupLoad) quiet() bool {
	for _, s := range b.senders {
		if s.unacked > 0 && s.open {
			return false
		}
		for _, m := range b.members {
			if m != s.member && m.open && m.received[s.number].received < s.acked {
				return false
			}
		}
	}
	return b.receipts == nil || b.receipts.quiet()
}

// fill takes over what the meter found: it counts deliveries as messages.
func (b *groupLoad) fill(m *meter) {
	all := OneOneReport{Delivered: b.r.Delivered}
	m.fill(&all)
	r := &b.r
	r.Measured, r.PerSecond, r.OwnCPU = all.Measured, all.PerSecond, all.OwnCPU
	r.ServerCPU, r.ServerCores, r.ServerRSS, r.Durability = all.ServerCPU, all.ServerCores, all.ServerRSS, all.Durability
	// A message becomes one delivery for each of the others.
	others := float64(max(b.c.Members-1, 1))
	r.MessagePerSecond, r.PerRecord = r.PerSecond/others, all.PerRecord/others
}

// sum adds up what the checkers found.
func (b *groupLoad) sum() {
	r := &b.r
	r.Ack, r.Receive = b.ack.latency(), b.receive.latency()
	if b.receipts != nil {
		r.Receipts = b.receipts.report()
	}
	for _, s := range b.senders {
		r.Sent += s.sent
		r.Acked += s.acked
		r.Unacked += uint64(s.unacked)
		open := map[uint64]bool{}
		for _, p := range s.ring {
			open[p.number] = true
		}
		for _, m := range b.members {
			if m == s.member {
				continue
			}
			c := &m.received[s.number]
			r.Received += c.received
			r.Duplicated += c.repeated
			r.Disorder += c.late
			for _, n := range c.lost(s.sent) {
				if !open[n] {
					r.Lost++
				}
			}
		}
	}
}
