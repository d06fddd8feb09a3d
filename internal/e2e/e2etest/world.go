package e2etest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/connector/connectortest"
	"godwit/schema/event"
)

// World is all that the test knows of who wrote what: the model that the server is
// held against. Everything in it is under mu, the people's own parts included.
type World struct {
	t      *testing.T
	Mu     sync.Mutex
	rnd    *rand.Rand
	talks  map[event.ConversationKey]*talk
	People []*Person

	Acked   int // sends acked, each once
	Repeats int // sends that went out again after their first way was cut
	Late    int // acks of messages that the history had shown before: the first was lost
	Reads   int
	Pushes  int
	Returns int // logins of people who had lost their connection
	goal    int
	reached chan struct{} // closed at acked == goal
	quieted bool          // who comes back begins nothing new
	faults  []string      // what broke a promise
}

// talk is what the log must hold of a direct conversation.
type talk struct {
	acked map[uint32]string // id -> body
	ids   map[string]uint32 // body -> id
	read  map[uint32]*cursor
}

// cursor is what is known of a read cursor: it is at least sure, and may be at one of
// the ids of reads whose fate is unknown.
type cursor struct {
	sure  uint32
	maybe []uint32
}

func NewWorld(t *testing.T, seed uint64) *World {
	return &World{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), talks: map[event.ConversationKey]*talk{}}
}

func (w *World) talk(a, b uint32) *talk {
	k := event.Direct(a, b)
	if w.talks[k] == nil {
		w.talks[k] = &talk{
			acked: map[uint32]string{}, ids: map[string]uint32{},
			read: map[uint32]*cursor{a: {}, b: {}},
		}
	}
	return w.talks[k]
}

// fault notes a broken promise. The first few are enough.
func (w *World) fault(format string, args ...any) {
	if len(w.faults) < 20 {
		w.faults = append(w.faults, fmt.Sprintf(format, args...))
	}
}

// Check fails the test with what has been noted.
func (w *World) Check() {
	w.t.Helper()
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if len(w.faults) > 0 {
		w.t.Fatal("promises broken:\n", strings.Join(w.faults, "\n"))
	}
}

// Person is a client that remembers, as clients do, what it has shown.
type Person struct {
	w      *World
	Name   string
	device int
	At     string // where it connects to
	id     uint32
	peers  []uint32

	Session *Session
	writes  bool
	window  int
	made    int     // messages made, for their bodies
	seq     uint16  // of the last send
	pending []*sent // unacked, in the order they were made
	held    map[uint32]*held
	ended   bool // the test ended the session
}

// sent is a message on its way.
type sent struct {
	to   uint32
	seq  uint16
	body string
}

// held is what a client holds of its talk with one peer.
type held struct {
	got    map[uint32]string // id -> body, by ack, push or history
	whole  uint32            // 1..whole are all in got
	pushed uint32            // the highest id pushed in this session
	head   uint32            // where the history ended that was answered in this session,
	synced bool              // if it was,
	joined bool              // down to what was held before
}

// Populate makes the people of the world out of registered numbers.
func (w *World) Populate(ids []uint32, window int) {
	for i := range ids {
		w.add(ids, i, DeviceWindows, window)
	}
}

// Phones adds second devices to the first few people: they only listen.
func (w *World) Phones(ids []uint32, n int) {
	for i := range n {
		w.add(ids, i, DeviceAndroid, 0)
	}
}

func (w *World) add(ids []uint32, i, device, window int) {
	p := &Person{w: w, Name: Name(i), device: device, id: ids[i], window: window, held: map[uint32]*held{}}
	for _, peer := range ids {
		if peer != p.id {
			p.peers = append(p.peers, peer)
			p.held[peer] = &held{got: map[uint32]string{}}
		}
	}
	w.People = append(w.People, p)
}

// Each runs f for everybody at once.
func (w *World) Each(f func(p *Person) error) {
	w.t.Helper()
	errs := make([]error, len(w.People))
	var all sync.WaitGroup
	for i, p := range w.People {
		all.Go(func() { errs[i] = f(p) })
	}
	all.Wait()
	w.Check()
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
}

// Connect logs in, trying again while the server says that it can't. Nothing is sent
// but the login.
func (p *Person) Connect(addr string) error {
	err := p.connectOnce(addr)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for limit := time.After(Patience); errors.Is(err, ErrUnavailable); err = p.connectOnce(addr) {
		select { // clients try again, so does this one
		case <-again.C:
		case <-limit:
			return err
		}
	}
	return err
}

func (p *Person) connectOnce(addr string) error {
	p.w.Mu.Lock()
	p.ended, p.writes = false, false
	for _, h := range p.held {
		h.pushed, h.head, h.synced, h.joined = 0, 0, false, false
	}
	p.w.Mu.Unlock()
	s, err := Open(addr, p.Name, p.device, p.hear)
	if err != nil {
		return err
	}
	if s.User != p.id {
		return fmt.Errorf("%s is user %d, was %d", p.Name, s.User, p.id)
	}
	p.w.Mu.Lock()
	defer p.w.Mu.Unlock()
	p.Session = s
	return nil
}

// Leave closes the socket without a word.
func (p *Person) Leave() {
	p.w.Mu.Lock()
	p.ended, p.writes = true, false
	s := p.Session
	p.w.Mu.Unlock()
	s.End()
}

// Sync asks for what was missed, as a client does at its return: unread, then each
// history down to what it holds whole. quiet: nobody writes, so each history ends
// where the unread count did.
func (p *Person) Sync(quiet bool) error {
	known := map[uint32]cursor{}
	p.w.Mu.Lock()
	for _, peer := range p.peers {
		c := p.w.talk(p.id, peer).read[p.id]
		known[peer] = cursor{c.sure, slices.Clone(c.maybe)}
	}
	p.w.Mu.Unlock()
	unread := map[uint32]connectortest.Message{}
	err := p.Session.ask(cmdUnread, Body(p.id), func(a Packet) {
		if a.Command != cmdUnreadRes {
			p.w.fault("%s: unread answered with %#04x", p.Name, a.Command)
		}
		for _, f := range a.Body.Subs(3) {
			unread[f.Num(1)] = f
		}
	})
	if err != nil {
		return err
	}
	for _, peer := range p.peers {
		if err := p.fetch(peer, p.held[peer]); err != nil {
			return err
		}
		if f := unread[peer]; f != nil || quiet {
			p.w.Mu.Lock()
			p.checkUnread(peer, f, known[peer], quiet || p.alone())
			p.w.Mu.Unlock()
		}
	}
	return nil
}

// alone tells whether the person has no second device.
func (p *Person) alone() bool {
	return !slices.ContainsFunc(p.w.People, func(q *Person) bool { return q != p && q.id == p.id })
}

// checkUnread holds an unread entry (nil: all is read) against unread = head -
// cursor. known is what was known of the cursor before the question; the history
// since has told of the person's own messages that were stored and their acks lost.
// alone: no other device of the person has moved the cursor meanwhile.
func (p *Person) checkUnread(peer uint32, f connectortest.Message, known cursor, alone bool) {
	h := p.held[peer]
	head, n := h.head, uint32(0)
	if f != nil {
		if head, n = f.Num(4), f.Num(3); n == 0 || n > head {
			p.w.fault("%s: %d unread of %d with %d", p.Name, n, head, peer)
			return
		}
	}
	for id := head; id > known.sure; id-- {
		if p.own(peer, id) {
			known.reach(id)
		}
	}
	if at := head - n; at != known.sure && !slices.Contains(known.maybe, at) && (alone || at < known.sure) {
		p.w.fault("%s: unread with %d is %d of %d, so the cursor is at %d; it must be at %d or one of %v",
			p.Name, peer, n, head, at, known.sure, known.maybe)
	} else {
		p.w.talk(p.id, peer).read[p.id].reach(at)
	}
}

const Page = 100

// fetch reads the history with a peer from its newest message down to what is held
// without a hole.
func (p *Person) fetch(peer uint32, h *held) error {
	for begin, through := uint32(0), false; !through; {
		err := p.Session.ask(CmdHistory, Body(p.id, 1, peer, begin, Page), func(a Packet) {
			p.w.Mu.Lock()
			defer p.w.Mu.Unlock()
			begin, through = p.page(peer, h, begin, a)
		})
		if err != nil {
			return err
		}
	}
	p.w.Mu.Lock()
	defer p.w.Mu.Unlock()
	if h.joined = true; h.whole < max(h.head, h.pushed) {
		p.w.fault("%s: the history with %d ends at %d, %d was pushed, and %d never came", p.Name, peer, h.head, h.pushed, h.whole+1)
	}
	return nil
}

// page takes one answer of a history, and tells where the next begins.
func (p *Person) page(peer uint32, h *held, begin uint32, a Packet) (next uint32, through bool) {
	if a.Command != cmdHistoryRes || a.Body.Num(4) != begin {
		p.w.fault("%s: history from %d answered with %#04x from %d", p.Name, begin, a.Command, a.Body.Num(4))
		return 0, true
	}
	highest, lowest := uint32(0), uint32(0)
	list := a.Body.Subs(5)
	for _, m := range list {
		id := m.Num(1)
		if highest == 0 {
			highest = id
		} else if id != lowest-1 {
			p.w.fault("%s: history with %d goes from %d to %d", p.Name, peer, lowest, id)
		}
		lowest = id
		p.hold(peer, h, id, m.Text(5), "history")
		if m.Num(2) == p.id {
			p.w.talk(p.id, peer).read[p.id].reach(id)
		}
	}
	if begin == 0 {
		if h.pushed > highest {
			p.w.fault("%s: history with %d ends at %d after %d was pushed", p.Name, peer, highest, h.pushed)
		}
		h.synced, h.head = true, highest
	}
	return lowest - 1, len(list) < Page || lowest <= h.whole+1
}

// hold takes a message that came; another body under its id is a fault.
func (p *Person) hold(peer uint32, h *held, id uint32, body, how string) {
	if id == 0 {
		p.w.fault("%s: %s of id 0 with %d", p.Name, how, peer)
		return
	}
	if before, ok := h.got[id]; ok && before != body {
		p.w.fault("%s: %s with %d: id %d is %q and was %q", p.Name, how, peer, id, body, before)
	}
	if acked, ok := p.w.talk(p.id, peer).acked[id]; ok && acked != body {
		p.w.fault("%s: %s with %d: id %d is %q and was acked as %q", p.Name, how, peer, id, body, acked)
	}
	h.got[id] = body
	h.fill()
}

func (h *held) fill() {
	for {
		if _, ok := h.got[h.whole+1]; !ok {
			return
		}
		h.whole++
	}
}

// reach moves the sure part of a cursor.
func (c *cursor) reach(id uint32) {
	c.sure = max(c.sure, id)
	c.maybe = slices.DeleteFunc(c.maybe, func(m uint32) bool { return m <= c.sure })
}

// own tells whether a message that the client holds was written by its person.
func (p *Person) own(peer, id uint32) bool {
	return strings.HasPrefix(p.held[peer].got[id], p.Name+">")
}

// TalkOn sends what is pending again, the same bytes under the same numbers, and
// keeps the window full from then on.
func (p *Person) TalkOn() error {
	p.w.Mu.Lock()
	defer p.w.Mu.Unlock()
	if err := p.again(); err != nil {
		return err
	}
	p.writes = true
	return p.top()
}

// again sends what is pending again.
func (p *Person) again() error {
	for _, m := range p.pending {
		p.w.Repeats++
		if err := p.write(m); err != nil {
			return err
		}
	}
	return nil
}

// top fills the window.
func (p *Person) top() error {
	for p.writes && len(p.pending) < p.window {
		p.made++
		p.seq = p.seq%0xefff + 1
		m := &sent{to: p.peers[p.w.rnd.IntN(len(p.peers))], seq: p.seq}
		m.body = fmt.Sprintf("%s>%d #%d %s", p.Name, m.to, p.made, strings.Repeat("x", p.w.rnd.IntN(200)))
		p.pending = append(p.pending, m)
		if err := p.write(m); err != nil {
			return err
		}
	}
	return nil
}

func (p *Person) write(m *sent) error {
	return p.Session.Send(CmdMessage, m.seq, Body(p.id, m.to, 0, 0, 1, m.body))
}

// hear takes what the server sends unasked, in order.
func (p *Person) hear(a Packet) {
	p.w.Mu.Lock()
	defer p.w.Mu.Unlock()
	switch a.Command {
	case CmdAck:
		p.ack(a)
	case CmdMessage:
		p.push(a)
	case CmdKicked:
		p.w.fault("%s was kicked, reason %d", p.Name, a.Body.Num(2))
	case CmdStatus, CmdDesktop, cmdReadNotice, CmdHeartbeat:
	default:
		p.w.fault("%s: unasked %#04x", p.Name, a.Command)
	}
}

func (p *Person) ack(a Packet) {
	i := slices.IndexFunc(p.pending, func(m *sent) bool { return m.seq == a.Seq })
	if i < 0 {
		p.w.fault("%s: ack of seq %d, which is not pending", p.Name, a.Seq)
		return
	}
	m, id := p.pending[i], a.Body.Num(3)
	p.pending = slices.Delete(p.pending, i, i+1)
	if a.Body.Num(1) != p.id || a.Body.Num(2) != m.to || a.Body.Num(4) != 1 {
		p.w.fault("%s: ack to %d of session %d, type %d", p.Name, a.Body.Num(1), a.Body.Num(2), a.Body.Num(4))
	}
	t := p.w.talk(p.id, m.to)
	if other, ok := t.acked[id]; ok {
		p.w.fault("%s: id %d with %d was acked for %q and now for %q", p.Name, id, m.to, other, m.body)
	}
	t.acked[id], t.ids[m.body] = m.body, id
	t.read[p.id].reach(id)
	if h := p.held[m.to]; h.got[id] == m.body {
		p.w.Late++
	}
	p.hold(m.to, p.held[m.to], id, m.body, "ack")
	if p.w.Acked++; p.w.Acked == p.w.goal {
		close(p.w.reached)
	}
	_ = p.top() // a cut connection is met by its reader
}

func (p *Person) push(a Packet) {
	p.w.Pushes++
	from, to, id, text := a.Body.Num(1), a.Body.Num(2), a.Body.Num(3), a.Body.Text(6)
	peer := from
	if from == p.id {
		peer = to // of an earlier session of this person
	}
	h := p.held[peer]
	switch {
	case a.Seq != 0:
		p.w.fault("%s: push with seq %d", p.Name, a.Seq)
	case h == nil || from != p.id && to != p.id:
		p.w.fault("%s: push of a message from %d to %d", p.Name, from, to)
		return
	case id <= h.pushed:
		p.w.fault("%s: push of id %d from %d after %d", p.Name, id, from, h.pushed)
	case h.joined && h.whole < id-1:
		p.w.fault("%s: push of id %d from %d, but %d never came", p.Name, id, from, h.whole+1)
	case h.synced && h.got[id] != "" && !p.own(peer, id):
		p.w.fault("%s: push of id %d from %d, which was in an answer", p.Name, id, from)
	}
	h.pushed = id
	p.hold(peer, h, id, text, "push")
	if from != p.id && h.synced && p.writes && p.w.rnd.IntN(8) == 0 {
		p.w.Reads++
		c := p.w.talk(p.id, peer).read[p.id]
		if id > c.sure {
			c.maybe = append(c.maybe, id)
		}
		_ = p.Session.Send(cmdRead, 0, Body(p.id, peer, id, 1)) // as above
	}
}

// InFlight is how many sends wait for their ack.
func (w *World) InFlight() int {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	n := 0
	for _, p := range w.People {
		n += len(p.pending)
	}
	return n
}

// process is what a test has started, and that may end before its time.
type process interface{ Over() <-chan struct{} }

// Await waits until so many more sends have been acked.
func (w *World) Await(acks int, s process) {
	w.t.Helper()
	w.Mu.Lock()
	w.goal, w.reached = w.Acked+acks, make(chan struct{})
	reached := w.reached
	w.Mu.Unlock()
	w.wait(reached, s, fmt.Sprintf("%d acks", acks))
}

func (w *World) wait(reached <-chan struct{}, s process, what string) {
	w.t.Helper()
	var over <-chan struct{}
	if s != nil {
		over = s.Over()
	}
	select {
	case <-reached:
	case <-over:
		w.t.Fatalf("no %s: the server ended", what)
	case <-time.After(Patience):
		w.Check()
		w.t.Fatalf("no %s in %v; %d in flight", what, Patience, w.InFlight())
	}
	w.Check()
}

// Quiet stops the writing and waits until every send is acked.
func (w *World) Quiet(s process) {
	w.t.Helper()
	w.Mu.Lock()
	w.quieted = true
	left := 0
	for _, p := range w.People {
		p.writes = false
		left += len(p.pending)
	}
	w.goal, w.reached = w.Acked+left, make(chan struct{})
	reached := w.reached
	if left == 0 {
		close(w.reached)
		w.goal = -1
	}
	w.Mu.Unlock()
	w.wait(reached, s, fmt.Sprintf("last %d acks", left))
}

// Settle demands, in a quiet world, that everybody holds each message of his talks,
// without asking for it: what the history of this session's beginning did not bring
// must be pushed.
func (w *World) Settle() {
	w.t.Helper()
	// A request answered after all pushes up to its position flushes them.
	w.Each(func(p *Person) error {
		for _, peer := range p.peers {
			var latest uint32
			if err := p.Session.ask(cmdLatest, Body(p.id, 1, peer), func(a Packet) { latest = a.Body.Num(4) }); err != nil {
				return err
			}
			w.Mu.Lock()
			if h := p.held[peer]; h.whole != latest {
				w.fault("%s: the talk with %d has %d messages, and %d never came", p.Name, peer, latest, h.whole+1)
			}
			if n := uint32(len(w.talk(p.id, peer).acked)); latest != n {
				w.fault("the talk of %d and %d has %d messages, %d were acked", p.id, peer, latest, n)
			}
			w.Mu.Unlock()
		}
		return nil
	})
}

// Audit reads everything from the beginning, and holds it against the model: in a
// quiet world every acked message is in the history exactly once under its id, ids
// are 1..n, and unread = head - cursor.
func (w *World) Audit() {
	w.t.Helper()
	w.Each(func(p *Person) error {
		for _, peer := range p.peers {
			fresh := &held{got: map[uint32]string{}, synced: true}
			if err := p.fetch(peer, fresh); err != nil {
				return err
			}
			w.Mu.Lock()
			if t := w.talk(p.id, peer); !maps.Equal(fresh.got, t.acked) {
				w.fault("%s: history with %d: %s", p.Name, peer, difference(fresh.got, t.acked))
			} else if int(fresh.whole) != len(t.acked) || len(t.ids) != len(t.acked) {
				w.fault("%s: history with %d: %d messages, %d bodies, ids without a hole up to %d", p.Name, peer, len(t.acked), len(t.ids), fresh.whole)
			}
			w.Mu.Unlock()
			if p.device != DeviceWindows {
				continue // one cursor, so only one of the devices may move it here
			}
			if err := p.auditUnread(peer); err != nil {
				return err
			}
		}
		return nil
	})
}

// auditUnread reads up to a random id and asks for the count, on one connection.
func (p *Person) auditUnread(peer uint32) error {
	p.w.Mu.Lock()
	t := p.w.talk(p.id, peer)
	head := uint32(len(t.acked))
	at := uint32(p.w.rnd.IntN(int(head) + 2)) // one beyond the head, at times
	p.w.Mu.Unlock()
	if err := p.Session.Send(cmdRead, 0, Body(p.id, peer, at, 1)); err != nil {
		return err
	}
	return p.Session.ask(cmdUnread, Body(p.id), func(a Packet) {
		p.w.Mu.Lock()
		defer p.w.Mu.Unlock()
		total, n, sum := a.Body.Num(2), uint32(0), uint32(0)
		for _, f := range a.Body.Subs(3) {
			if sum += f.Num(3); f.Num(1) == peer {
				n = f.Num(3)
			}
		}
		if sum != total {
			p.w.fault("%s: unread total is %d, its parts are %d", p.Name, total, sum)
		}
		c := t.read[p.id]
		got := head - n
		switch want := max(c.sure, min(at, head)); {
		case n > head:
			p.w.fault("%s: %d unread of %d with %d", p.Name, n, head, peer)
		case got != want && !slices.Contains(c.maybe, got):
			p.w.fault("%s: unread with %d is %d of %d after reading up to %d; cursor was %d or one of %v", p.Name, peer, n, head, at, c.sure, c.maybe)
		case got < want:
			p.w.fault("%s: cursor with %d moved back to %d from %d", p.Name, peer, got, want)
		}
		c.reach(got)
	})
}

func difference(got, want map[uint32]string) string {
	var lines []string
	for id, b := range got {
		if want[id] != b {
			lines = append(lines, fmt.Sprintf("id %d is %.20q, acked was %.20q", id, b, want[id]))
		}
	}
	for id, b := range want {
		if _, ok := got[id]; !ok {
			lines = append(lines, fmt.Sprintf("id %d, acked as %.20q, is missing", id, b))
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("%d differences: %s", len(lines), strings.Join(lines[:min(5, len(lines))], "; "))
}
