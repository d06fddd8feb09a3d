package webhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/schema/event"
	"godwit/schema/query"
)

// Bounds of what a feed holds at a time. A record holds at most 512 messages.
const (
	windowItems = 64     // messages that are read ahead of the sending; the last record is read whole
	pushesAsked = 64     // in one question
	usersAsked  = 500    // in one question
	recipients  = 20_000 // of messages that are sent after one look at people, at least one message
	staleAfter  = 5 * time.Second
)

// feed sends what one stream holds to one target. All is done on one goroutine.
type feed struct {
	s      *Sender
	t      *target
	stream event.Stream
	name   string // of its cursor
	label  pendingKey

	cursor bus.Cursor
	loaded bool
	saved  time.Time
	at     uint64            // place of what comes next; everything before is sent, or needs no sending
	took   bool              // something was taken since the last failure
	done   map[string]uint64 // event ids that were sent beyond the cursor, with their places

	trouble string // what it was told to be, "" while all is well
}

func newFeed(s *Sender, t *target, st event.Stream) *feed {
	return &feed{
		s: s, t: t, stream: st, name: cursorName(t.hook.GetId(), st),
		label: pendingKey{t.hook.GetId(), st.String()}, done: map[string]uint64{},
	}
}

// behind is the place right behind a record.
func behind(sequence uint64) uint64 { return (sequence + 1) << indexBits }

// next is the record to go on with.
func (f *feed) next() uint64 { return f.at >> indexBits }

// run sends until ctx ends, whatever fails.
func (f *feed) run(ctx context.Context) {
	f.s.metrics.waits(f.label, time.Time{})
	defer f.s.metrics.drop(f.label)
	defer f.leave(ctx)
	tick := time.NewTicker(seenEvery)
	defer tick.Stop()
	pause := f.s.cfg.least
	for {
		worked, err := f.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, bus.ErrClosed):
			return
		case err != nil:
			f.fails(err)
			// A receiver that takes some is not away: it is not left alone for longer and longer.
			if f.took {
				f.took, pause = false, f.s.cfg.least
			}
			if sleep(ctx, jitter(pause)) != nil {
				return
			}
			pause = min(2*pause, f.s.cfg.most)
			continue
		}
		f.works()
		pause = f.s.cfg.least
		if worked {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// jitter is between half of d and d, so that feeds that failed together do not come back
// together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// kinds of trouble, which are told once each.
var (
	errReceiver = errors.New("the receiver of pushes does not take them")
	errInside   = errors.New("pushes are held up")
)

func (f *feed) fails(err error) {
	kind := errInside
	if errors.Is(err, errReceiver) {
		kind = errReceiver
	}
	if f.trouble != kind.Error() {
		f.trouble = kind.Error()
		f.s.log.Warn(f.trouble, "target", f.t.hook.GetId(), "host", hostOf(f.t.hook.GetUrl()), "stream", f.stream.String(), "at", f.next(), "err", err)
	}
}

func (f *feed) works() {
	if f.trouble != "" {
		f.trouble = ""
		f.s.log.Info("pushes go out again", "target", f.t.hook.GetId(), "host", hostOf(f.t.hook.GetUrl()), "stream", f.stream.String(), "at", f.next())
	}
}

// step sends the next window of the stream, if there is one.
func (f *feed) step(ctx context.Context) (worked bool, err error) {
	if !f.loaded {
		if err := f.load(ctx); err != nil {
			return false, err
		}
	}
	seen := f.s.cfg.Node.Seen(f.stream)
	if seen < f.next() {
		if seen < f.next()-1 {
			if err := f.rolledBack(ctx); err != nil {
				return false, err
			}
		}
		f.s.metrics.waits(f.label, time.Time{})
		return false, f.save(ctx, false)
	}
	w, err := f.read(ctx, seen)
	if err != nil {
		return false, err
	}
	f.s.metrics.waits(f.label, w.oldest)
	if err := f.work(ctx, w); err != nil {
		return false, err
	}
	return true, f.save(ctx, false)
}

// load reads the cursor. A target without one begins at the present end.
func (f *feed) load(ctx context.Context) error {
	c, err := f.s.cfg.Bus.Cursor(ctx, f.name)
	if err != nil {
		return err
	}
	if !c.Set {
		end, err := f.s.cfg.Bus.LastSequence(ctx, f.stream)
		if err != nil {
			return err
		}
		if c, err = f.s.cfg.setCursor(ctx, f.name, c, behind(end)); err != nil {
			return err
		}
	}
	f.cursor, f.at, f.loaded, f.saved = c, c.Value, true, time.Now()
	return nil
}

// rolledBack looks whether the log has lost what was sent already. Then sending goes on at
// its present end, and the ids of what was lost are used again.
func (f *feed) rolledBack(ctx context.Context) error {
	end, err := f.s.cfg.Bus.LastSequence(ctx, f.stream)
	if err != nil || end >= f.next()-1 {
		return err
	}
	f.s.log.Error("the log was rolled back behind what was pushed; pushes go on at its end", "target", f.t.hook.GetId(),
		"stream", f.stream.String(), "at", f.next(), "end", end)
	f.at = behind(end)
	clear(f.done)
	return f.save(ctx, true)
}

// save moves the cursor to where the feed is: at once, or if it has not been moved for a
// while. It forgets what it knew of the cursor when it can't be sure of it.
func (f *feed) save(ctx context.Context, now bool) error {
	if !f.loaded || f.at == f.cursor.Value || !now && time.Since(f.saved) < saveEvery {
		return nil
	}
	// One that has begun is seen through, within the second that the log takes at most.
	c, err := f.s.cfg.setCursor(context.WithoutCancel(ctx), f.name, f.cursor, f.at)
	if err != nil {
		f.loaded = false
		return err
	}
	f.cursor, f.saved = c, time.Now()
	maps.DeleteFunc(f.done, func(_ string, at uint64) bool { return at < f.at })
	return nil
}

// sent tells whether something was sent that the cursor does not cover and now may.
func (f *feed) sent() bool {
	for _, at := range f.done {
		if at < f.at {
			return true
		}
	}
	return false
}

// leave saves how far the feed has come.
func (f *feed) leave(ctx context.Context) {
	if err := f.save(ctx, true); err != nil && !errors.Is(err, bus.ErrConflict) {
		f.s.log.Warn("how far pushes have come was not saved; some may go out again", "target", f.t.hook.GetId(),
			"stream", f.stream.String(), "err", err)
	}
}

// window is a stretch of whole records behind where the feed is.
type window struct {
	items  []item
	end    uint64    // position of its last record
	oldest time.Time // when its first record was stored
}

// read reads records up to a position, until there is enough to send. They are read one by
// one, so that a target that is far behind takes no room.
func (f *feed) read(ctx context.Context, to uint64) (w window, err error) {
	began := time.Now()
	for w.end = f.next() - 1; w.end < to && len(w.items) < windowItems; {
		r, err := f.s.cfg.Bus.ReadRecord(ctx, f.stream, w.end+1)
		switch {
		case errors.Is(err, bus.ErrNoRecord): // lost for good
			r = bus.Recorded{Sequence: w.end + 1}
		case err != nil:
			return w, err
		}
		if w.oldest.IsZero() {
			w.oldest = r.Time
		}
		var rec event.Record
		if err := proto.Unmarshal(r.Data, &rec); err != nil {
			return w, fmt.Errorf("record %d of %s: %w", r.Sequence, f.stream, err)
		}
		for i, ev := range rec.GetEvents() {
			if m := ev.GetMessageSent(); m != nil {
				key, ok := event.ParseConversation(m.GetConversation())
				if it := (item{f.stream, r.Sequence, uint32(i), key}); ok && it.place() >= f.at {
					w.items = append(w.items, it)
				}
			}
		}
		w.end = r.Sequence
		// A long stretch without messages is no reason to say nothing of how far it went.
		if len(w.items) == 0 && time.Since(began) > saveEvery {
			break
		}
	}
	return w, nil
}

// work sends a window, record by record.
func (f *feed) work(ctx context.Context, w window) error {
	for items := w.items; len(items) > 0; {
		n, err := f.some(ctx, items)
		if err != nil {
			return err
		}
		items = items[n:]
	}
	f.at = behind(w.end)
	return f.save(ctx, f.sent())
}

// some sends the first few messages, and tells how many. The cursor is moved behind each
// record of which something was sent; within a record it follows when there is time.
func (f *feed) some(ctx context.Context, items []item) (int, error) {
	items = items[:min(len(items), pushesAsked)]
	pushes, err := f.pushes(ctx, items)
	if err != nil {
		return 0, err
	}
	items = items[:len(pushes)]
	facts, err := f.look(ctx, pushes)
	if err != nil {
		return 0, err
	}
	looked := time.Now()
	for n, i := range items {
		if ctx.Err() != nil {
			return n, ctx.Err()
		}
		// What holds is looked up anew where sending takes long.
		if n > 0 && time.Since(looked) > staleAfter {
			return n, nil
		}
		through := i.sequence > f.next() // all records before this one
		f.at = max(f.at, i.place())
		if err := f.save(ctx, through && f.sent()); err != nil {
			return n, err
		}
		if err := f.message(ctx, i, pushes[n], facts); err != nil {
			return n, err
		}
		f.at = i.place() + 1
	}
	return len(items), nil
}

// message sends the documents of one message that have not been sent yet.
func (f *feed) message(ctx context.Context, i item, p *query.PushMessage, facts *facts) error {
	m := p.GetMessage()
	if m == nil || m.GetRecalled() || m.GetMissing() {
		return nil
	}
	first := 0
	for block, end := range append(slices.Clone(p.GetBlocks()), uint32(len(p.GetRecipients()))) {
		who := p.GetRecipients()[first:end]
		first = int(end)
		id := i.eventID(block)
		if _, sent := f.done[id]; sent {
			continue
		}
		d := facts.document(i, block, m, who, !f.s.cfg.NoText)
		if d == nil {
			continue
		}
		body, err := d.encode()
		if err != nil {
			return fmt.Errorf("document %s: %w", id, err)
		}
		if err := f.send(ctx, id, body); err != nil {
			if ctx.Err() == nil {
				f.s.metrics.failed.WithLabelValues(f.t.hook.GetId()).Inc()
			}
			return fmt.Errorf("%w: %w", errReceiver, err)
		}
		f.took, f.done[id] = true, i.place()
		f.s.metrics.sent.WithLabelValues(f.t.hook.GetId()).Inc()
	}
	return nil
}

// send posts a document. One that is under way when ctx ends is given a moment to be
// answered: it would have to go out again else.
func (f *feed) send(ctx context.Context, id string, body []byte) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	posting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		_ = sleep(posting, stopLimit)
		cancel()
	})()
	return f.t.send(posting, id, body, f.s.cfg.Clock())
}

// pushes asks the owner what came of messages: of the first ones, as many as are sent
// together.
func (f *feed) pushes(ctx context.Context, items []item) ([]*query.PushMessage, error) {
	q := &query.Pushes{}
	for _, i := range items {
		q.Asked = append(q.Asked, &query.PushAsked{Conversation: i.key[:], Sequence: i.sequence, Index: i.index})
	}
	last := items[len(items)-1].sequence
	ans, err := f.s.cfg.Node.AskTimeline(ctx, items[0].key, &query.Request{
		AtLeast: []*query.AtLeast{{Stream: uint32(f.stream), Sequence: last}},
		Body:    &query.Request_Pushes{Pushes: q},
	})
	if err != nil {
		return nil, err
	}
	all := ans.GetPushes().GetMessages()
	if len(all) == 0 || len(all) > len(items) {
		return nil, fmt.Errorf("%d answers about %d messages", len(all), len(items))
	}
	total := 0
	for n, p := range all {
		if total += len(p.GetRecipients()); total > recipients && n > 0 {
			return all[:n], nil
		}
	}
	return all, nil
}

// look gathers what is known of the senders and recipients of messages.
func (f *feed) look(ctx context.Context, pushes []*query.PushMessage) (*facts, error) {
	now := f.s.cfg.Clock()
	facts := &facts{
		now: now, quiet: f.s.cfg.Quiet.At(now),
		devices: map[uint32]*query.Device{}, online: map[uint32]presence{},
		accounts: map[uint32]*query.Account{}, badges: map[uint32]uint32{},
	}
	var users, senders []uint32
	for _, p := range pushes {
		if m := p.GetMessage(); m != nil && !m.GetRecalled() && len(p.GetRecipients()) > 0 {
			users = append(users, p.GetRecipients()...)
			senders = append(senders, m.GetFrom())
		}
	}
	users = unique(users)
	if err := f.presence(ctx, facts, users); err != nil {
		return nil, err
	}
	told := slices.DeleteFunc(users, func(u uint32) bool { return !facts.told(u) })
	if len(told) == 0 {
		return facts, nil
	}
	node := f.s.cfg.Node
	for part := range slices.Chunk(unique(append(senders, told...)), usersAsked) {
		ans, err := node.Ask(ctx, &query.Request{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: part}}})
		if err != nil {
			return nil, err
		}
		for _, a := range ans.GetAccounts().GetAccounts() {
			facts.accounts[a.GetUser()] = a
		}
	}
	told = slices.DeleteFunc(told, func(u uint32) bool { return !facts.lets(u) })
	for part := range slices.Chunk(told, usersAsked) {
		ans, err := node.AskLists(ctx, &query.Request{Body: &query.Request_UnreadTotals{UnreadTotals: &query.UnreadTotals{Users: part}}})
		if err != nil {
			return nil, err
		}
		totals := ans.GetUnreadTotals().GetTotals()
		if len(totals) != len(part) {
			return nil, fmt.Errorf("%d unread totals of %d users", len(totals), len(part))
		}
		for i, u := range part {
			facts.badges[u] = totals[i]
		}
	}
	return facts, nil
}

// presence looks up where users are, and their phones.
func (f *feed) presence(ctx context.Context, facts *facts, users []uint32) error {
	node := f.s.cfg.Node
	for part := range slices.Chunk(users, usersAsked) {
		ans, err := node.Ask(ctx, &query.Request{Body: &query.Request_Statuses{Statuses: &query.Statuses{Users: part}}})
		if err != nil {
			return err
		}
		seated, anyone := ans.GetStatuses().GetOnline(), ans.GetStatuses().GetAnyOnline()
		if len(seated) != len(part) || len(anyone) != len(part) {
			return fmt.Errorf("%d statuses of %d users", len(seated), len(part))
		}
		for i, u := range part {
			facts.online[u] = presence{seated[i], anyone[i]}
		}
		if ans, err = node.Ask(ctx, &query.Request{Body: &query.Request_Devices{Devices: &query.Devices{Users: part}}}); err != nil {
			return err
		}
		for _, d := range ans.GetDevices().GetDevices() {
			facts.devices[d.GetUser()] = d
		}
	}
	return nil
}

func unique(users []uint32) []uint32 {
	slices.Sort(users)
	return slices.Compact(users)
}

// sleep waits d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
