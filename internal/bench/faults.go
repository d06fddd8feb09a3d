package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/internal/ttclient"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	immsg "godwit/schema/client/message"
)

// Faults is pairs of people who write to each other and go on whatever happens to the
// server meanwhile: who is cut off comes back, reads what was missed, and sends again what
// has no ack. One message of each is under way at a time, with an id of the client's own.
type Faults struct {
	Pairs    int
	Size     int           // bytes of a message's content
	Rate     float64       // messages a second of each person
	Duration time.Duration // how long they write
	Drain    time.Duration // after it, for what is on its way; default 60 s
	Every    time.Duration // between two lines of progress, default 5 s
	// Enough ends the writing before Duration is over, nil: never. What is under way is
	// brought out and everything checked all the same.
	Enough <-chan struct{}
}

// FaultsReport is what a Faults found.
type FaultsReport struct {
	Pairs    int     `json:"pairs"`
	Size     int     `json:"size"`
	Rate     float64 `json:"rate"`
	Seed     uint64  `json:"seed"`
	Duration float64 `json:"duration_seconds"`

	tally

	Repeated   uint64  `json:"sent_again"`
	Reconnects uint64  `json:"reconnects"`
	Failed     uint64  `json:"failed_logins"`
	Refilled   uint64  `json:"read_after_reconnect"`
	Ack        Latency `json:"send_to_ack"` // from the first attempt, however many it took
	Away       Latency `json:"cut_off_to_back"`
}

// Write prints the report for people.
func (r *FaultsReport) Write(w io.Writer) {
	line(w, "%d pairs, %d bytes, %.0f messages/s each, %.0f s, seed %d", r.Pairs, r.Size, r.Rate, r.Duration, r.Seed)
	line(w, "send to ack     p50 %8.2f  p95 %8.2f  p99 %8.2f  max %8.2f ms", r.Ack.P50, r.Ack.P95, r.Ack.P99, r.Ack.Max)
	line(w, "cut off to back p50 %8.2f  p95 %8.2f  p99 %8.2f  max %8.2f ms (%d reconnects, %d logins failed)",
		r.Away.P50, r.Away.P95, r.Away.P99, r.Away.Max, r.Reconnects, r.Failed)
	line(w, "sent again      %d, read after a reconnect %d", r.Repeated, r.Refilled)
	r.write(w)
}

const (
	faultsDrain   = 60 * time.Second
	faultsEvery   = 5 * time.Second
	faultsTimeout = 20 * time.Second
	historyPage   = 100
	backFirst     = 100 * time.Millisecond
	backMost      = 2 * time.Second
)

// Run loads a server and reports. An error is that the bench could not run, not that the
// server served it badly: that is Err of the report.
func (c Faults) Run(ctx context.Context, o Options) (*FaultsReport, error) {
	o.complete()
	if c.Drain <= 0 {
		c.Drain = faultsDrain
	}
	if c.Every <= 0 {
		c.Every = faultsEvery
	}
	accounts, err := o.Accounts(ctx, 2*c.Pairs)
	if err != nil {
		return nil, err
	}
	if err := o.befriend(ctx, c.Pairs, func(i int) (a, z Account) { return accounts[2*i], accounts[2*i+1] }); err != nil {
		return nil, err
	}
	if err := raiseFileLimit(len(accounts)); err != nil {
		return nil, err
	}
	b := &faults{
		o: o, c: c, run: rand.Uint64(), filler: newFiller(o.Seed, c.Size), logins: make(chan struct{}, o.Parallel),
		r: FaultsReport{Pairs: c.Pairs, Size: c.Size, Rate: c.Rate, Seed: o.Seed},
	}
	for i := 0; i < len(accounts); i += 2 {
		p, q := b.talker(accounts[i]), b.talker(accounts[i+1])
		p.peer, q.peer = q, p
		b.people = append(b.people, p, q)
	}
	return &b.r, b.load(ctx)
}

type faults struct {
	o      Options
	c      Faults
	run    uint64
	filler filler
	people []*talker
	logins chan struct{} // taken while somebody logs in

	mu   sync.Mutex // of all that follows
	r    FaultsReport
	ack  histogram
	away histogram
	in   atomic.Int64
}

func (b *faults) count(f func(r *FaultsReport)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.r)
}

// load lets people write for a while, waits until all is quiet, and looks at everything.
func (b *faults) load(ctx context.Context) error {
	online, leave := context.WithCancel(ctx)
	var there sync.WaitGroup
	defer there.Wait()
	defer leave()
	for _, p := range b.people {
		there.Go(func() { p.stay(online) })
	}
	b.o.Log.Info("logging in", "people", len(b.people))
	for _, p := range b.people {
		if _, err := p.client(ctx); err != nil {
			return err
		}
	}
	writing, stop := context.WithTimeout(ctx, b.c.Duration)
	defer stop()
	drained, cancel := context.WithCancel(ctx)
	defer cancel()
	there.Go(func() {
		began := time.Now()
		select {
		case <-b.c.Enough:
			stop()
		case <-writing.Done():
		}
		b.count(func(r *FaultsReport) { r.Duration = time.Since(began).Seconds() })
		_ = hold(drained, b.c.Drain) // the end of it is told by the context
		cancel()
	})
	b.o.Log.Info("loading", "pairs", b.c.Pairs, "duration", b.c.Duration)
	there.Go(func() { b.progress(writing) })
	var writers sync.WaitGroup
	for _, p := range b.people {
		writers.Go(func() { p.write(writing, drained) })
	}
	writers.Wait()
	b.o.Log.Info("waiting for what is on its way")
	for drained.Err() == nil && !b.quiet() {
		if err := hold(drained, 50*time.Millisecond); err != nil {
			break
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return b.audit(ctx)
}

// progress says now and then how it goes.
func (b *faults) progress(ctx context.Context) {
	var before FaultsReport
	for hold(ctx, b.c.Every) == nil {
		b.mu.Lock()
		now := b.r
		b.mu.Unlock()
		b.o.Log.Info("loading", "online", b.in.Load(), "acked", now.Acked-before.Acked, "received", now.Received-before.Received,
			"reconnects", now.Reconnects-before.Reconnects, "sent_again", now.Repeated-before.Repeated)
		before = now
	}
}

// quiet: everybody knows of all that is acked of the other.
func (b *faults) quiet() bool {
	for _, p := range b.people {
		if p.missing() > 0 {
			return false
		}
	}
	return true
}

// audit reads all conversations and holds them against what people know.
func (b *faults) audit(ctx context.Context) error {
	for i := 0; i < len(b.people); i += 2 {
		a, z := b.people[i], b.people[i+1]
		all, err := a.history(ctx)
		if err != nil {
			return fmt.Errorf("read the conversation of %s and %s: %w", a.account.Name, z.account.Name, err)
		}
		b.count(func(r *FaultsReport) {
			checkHistory(all, a.own(), z.own(), &r.tally)
			// What a session did not get though it was there.
			r.Lost += uint64(a.missing() + z.missing())
		})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r.Ack, b.r.Away = b.ack.latency(), b.away.latency()
	return nil
}

// entry is a message of this run as the server keeps it.
type entry struct {
	id, sender uint32
	number     uint64
}

// writes is what somebody wrote: the ids that the server acked, by number.
type writes struct {
	sender uint32
	acked  map[uint64]uint32
	sent   uint64
}

// checkHistory counts into t what is wrong with a conversation: its messages of this run,
// the oldest first, must have ids without a hole, and of each writer every number that is
// acked once, under the id of its ack and in order.
func checkHistory(all []entry, a, z writes, t *tally) {
	for i, e := range all {
		if i > 0 && e.id != all[i-1].id+1 {
			t.BadIDs++
		}
	}
	for _, w := range []writes{a, z} {
		seen, last := map[uint64]uint32{}, uint64(0)
		for _, e := range all {
			if e.sender != w.sender {
				continue
			}
			if _, again := seen[e.number]; again {
				t.Duplicated++
				continue
			}
			seen[e.number] = e.id
			if e.number > w.sent {
				t.Misplaced++
			}
			if e.number < last {
				t.Disorder++
			}
			last = max(last, e.number)
		}
		for number, id := range w.acked {
			switch at, there := seen[number]; {
			case !there:
				t.Lost++
			case at != id:
				t.BadIDs++
			}
		}
	}
	for _, e := range all {
		if e.sender != a.sender && e.sender != z.sender {
			t.Misplaced++
		}
	}
}

// talker is one of a pair.
type talker struct {
	b       *faults
	account Account
	peer    *talker
	seq     ttclient.Sequence

	mu      sync.Mutex
	c       *ttclient.Client // nil while cut off
	came    chan struct{}    // closed when there is one
	id      uint32
	sent    uint64
	acked   map[uint64]uint32 // id by number
	known   map[uint32]uint64 // the other's messages: number by id
	numbers map[uint64]uint32 // and id by number
	full    uint32            // up to here nothing is missing
}

func (b *faults) talker(a Account) *talker {
	return &talker{b: b, account: a, came: make(chan struct{}), acked: map[uint64]uint32{}, known: map[uint32]uint64{}, numbers: map[uint64]uint32{}}
}

// hold waits d or until ctx ends, and gives why.
func hold(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// stay keeps somebody online until ctx ends.
func (p *talker) stay(ctx context.Context) {
	wait, lost := backFirst, time.Time{}
	for ctx.Err() == nil {
		c, err := p.login(ctx)
		if err != nil {
			if ctx.Err() == nil {
				p.b.count(func(r *FaultsReport) { r.Failed++ })
			}
			_ = hold(ctx, wait/2+rand.N(wait/2)) // the loop looks at ctx
			wait = min(2*wait, backMost)
			continue
		}
		wait = backFirst
		if !lost.IsZero() {
			p.b.mu.Lock()
			p.b.r.Reconnects++
			p.b.away.add(time.Since(lost))
			p.b.mu.Unlock()
		}
		p.b.in.Add(1)
		p.refill(ctx, c)
		p.mu.Lock()
		p.c, p.id = c, c.ID()
		close(p.came)
		p.mu.Unlock()
		select {
		case <-c.Done():
		case <-ctx.Done():
			c.Close()
		}
		lost = time.Now()
		p.b.in.Add(-1)
		p.mu.Lock()
		p.c, p.came = nil, make(chan struct{})
		p.mu.Unlock()
		if _, kicked := errors.AsType[*ttclient.KickedError](c.Err()); kicked {
			p.b.count(func(r *FaultsReport) {
				if r.Dropped++; r.DroppedWhy == "" {
					r.DroppedWhy = fmt.Sprintf("%s: %v", p.account.Name, c.Err())
				}
			})
		}
	}
}

func (p *talker) login(ctx context.Context) (*ttclient.Client, error) {
	select {
	case p.b.logins <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-p.b.logins }()
	last := uint32(0) // of this session's pushes
	return ttclient.Login(ctx, ttclient.Options{
		Addr: p.b.o.Server, Name: p.account.Name, Password: p.account.Password, Device: imbase.ClientType(p.b.o.Device), Version: "godwit-bench",
		Features: uint32(imextension.Feature_FEATURE_NOTICES), Sequence: &p.seq, Timeout: faultsTimeout,
		Push: func(_ uint16, m proto.Message) {
			if d, ok := m.(*immsg.IMMsgData); ok {
				p.pushed(d, &last)
			}
		},
	})
}

// pushed takes a message that came by itself. A session gets each at most once, in order.
func (p *talker) pushed(d *immsg.IMMsgData, last *uint32) {
	st, err := parsePayload(d.GetMsgData(), p.b.run, p.b.c.Size)
	switch {
	case errors.Is(err, errForeign):
		return
	case err != nil:
		p.b.count(func(r *FaultsReport) { r.Corrupt++ })
		return
	case st.sender != d.GetFromUserId() || d.GetToSessionId() != st.receiver:
		p.b.count(func(r *FaultsReport) { r.Misplaced++ })
		return
	case d.GetMsgId() == *last:
		p.b.count(func(r *FaultsReport) { r.Duplicated++ })
		return
	case d.GetMsgId() < *last:
		p.b.count(func(r *FaultsReport) { r.Disorder++ })
	}
	*last = max(*last, d.GetMsgId())
	p.know(d.GetMsgId(), st.number)
}

// know notes a message of the other's, by whichever way it came.
func (p *talker) know(id uint32, number uint64) (news bool) {
	p.mu.Lock()
	was, again := p.known[id]
	at, twice := p.numbers[number]
	p.known[id], p.numbers[number] = number, id
	p.mu.Unlock()
	p.b.count(func(r *FaultsReport) {
		switch {
		case twice && at != id: // one message under two ids
			r.Duplicated++
		case again && was != number:
			r.BadIDs++
		case !again:
			r.Received++
		}
	})
	return !again
}

// missing is how many of the other's acked messages are not known.
func (p *talker) missing() int {
	acked := p.peer.own().acked
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for number := range acked {
		if _, there := p.numbers[number]; !there {
			n++
		}
	}
	return n
}

func (p *talker) own() writes {
	p.mu.Lock()
	defer p.mu.Unlock()
	return writes{sender: p.id, acked: maps.Clone(p.acked), sent: p.sent}
}

// client is the connection, once there is one.
func (p *talker) client(ctx context.Context) (*ttclient.Client, error) {
	for {
		p.mu.Lock()
		c, came := p.c, p.came
		p.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// write sends messages until writing ends, and what has no ack then until drained does.
func (p *talker) write(writing, drained context.Context) {
	every := time.Duration(float64(time.Second) / p.b.c.Rate)
	if hold(writing, rand.N(every)) != nil {
		return
	}
	for next := time.Now(); writing.Err() == nil; {
		p.mu.Lock()
		p.sent++
		number := p.sent
		p.mu.Unlock()
		p.b.count(func(r *FaultsReport) { r.Sent++ })
		if !p.send(drained, number) {
			p.b.count(func(r *FaultsReport) { r.Unacked++ })
			return
		}
		// Whoever was held up does not make up for it.
		if next = next.Add(every); time.Until(next) < 0 {
			next = time.Now()
		}
		_ = hold(writing, time.Until(next)) // the loop looks at writing
	}
}

// send sends one message until it has an ack; false if it never had.
func (p *talker) send(ctx context.Context, number uint64) bool {
	began, id, seq := time.Now(), ttclient.NewMessageID(), p.seq.Next()
	for attempt := 0; ; attempt++ {
		c, err := p.client(ctx)
		if err != nil {
			return false
		}
		if attempt > 0 {
			p.b.count(func(r *FaultsReport) { r.Repeated++ })
		}
		to := p.peer.number()
		data := p.b.filler.appendPayload(nil, stamp{run: p.b.run, sender: c.ID(), receiver: to, number: number, sent: sinceEpoch(began)}, p.b.c.Size)
		at, err := c.SendMessage(ctx, ttclient.Conversation{ID: to}, ttclient.Message{Data: data, Seq: seq, ID: id})
		if err == nil {
			p.mu.Lock()
			p.acked[number] = at
			p.mu.Unlock()
			p.b.mu.Lock()
			p.b.r.Acked++
			p.b.ack.add(time.Since(began))
			p.b.mu.Unlock()
			return true
		}
		if refused, ok := errors.AsType[*ttclient.RefusedError](err); ok && refused.Why != imextension.Refusal_REFUSAL_UNKNOWN {
			p.b.o.Log.Error("a message was refused", "from", p.account.Name, "err", err)
			return false
		}
		if hold(ctx, backFirst) != nil {
			return false
		}
	}
}

func (p *talker) number() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.id
}

// refill reads what came while there was no session. It is tried again for as long as the
// connection lasts.
func (p *talker) refill(ctx context.Context, c *ttclient.Client) {
	peer := p.peer.number()
	if peer == 0 {
		return // nobody has written yet
	}
	p.mu.Lock()
	full := p.full
	p.mu.Unlock()
	for {
		all, err := p.read(ctx, c, peer, full)
		if err == nil {
			for _, e := range all {
				if e.sender == peer && p.know(e.id, e.number) {
					p.b.count(func(r *FaultsReport) { r.Refilled++ })
				}
				full = max(full, e.id)
			}
			p.mu.Lock()
			p.full = full
			p.mu.Unlock()
			return
		}
		select {
		case <-c.Done():
			return
		default:
		}
		if hold(ctx, backFirst) != nil {
			return
		}
	}
}

// history is the whole conversation of this run, the oldest first.
func (p *talker) history(ctx context.Context) ([]entry, error) {
	ctx, cancel := context.WithTimeout(ctx, p.b.c.Drain)
	defer cancel()
	for {
		c, err := p.client(ctx)
		if err != nil {
			return nil, err
		}
		all, err := p.read(ctx, c, p.peer.number(), 0)
		if err == nil {
			return all, nil
		}
		if e := hold(ctx, backFirst); e != nil {
			return nil, errors.Join(err, e)
		}
	}
}

// read gives the messages of this run above an id, the oldest first.
func (p *talker) read(ctx context.Context, c *ttclient.Client, peer, above uint32) ([]entry, error) {
	var all []entry
	for begin, more := uint32(0), true; more; {
		page, err := c.Messages(ctx, ttclient.Conversation{ID: peer}, begin, historyPage)
		if err != nil {
			return nil, err
		}
		more = len(page) == historyPage
		for _, m := range page {
			st, err := parsePayload(m.GetMsgData(), p.b.run, p.b.c.Size)
			if errors.Is(err, errForeign) || m.GetMsgId() <= above {
				more = false
				break
			}
			if err != nil || st.sender != m.GetFromSessionId() {
				p.b.count(func(r *FaultsReport) { r.Corrupt++ })
				continue
			}
			all = append(all, entry{id: m.GetMsgId(), sender: st.sender, number: st.number})
			begin = m.GetMsgId() - 1
		}
		if begin == 0 {
			more = false
		}
	}
	slices.Reverse(all)
	return all, nil
}
