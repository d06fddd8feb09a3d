package delivery

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"godwit/schema/event"
	"godwit/schema/frame"
)

// listener is a session that counts what it is handed.
type listener struct {
	Member
	user  uint32
	heard int
}

func (l *listener) User() uint32      { return l.user }
func (l *listener) Deliver(*Delivery) { l.heard++ }

// One frame may bring a group whose like have become too many, and somebody into another group that nobody here was in any
// more: forgetting must not come between.
func TestNobodyIsForgottenInTheMiddleOfAFrame(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel() // no refill gets anywhere
	n := &Node{users: map[uint32]*user{}, cfg: Config{Clock: time.Now, waitingLimit: waitingLimit}, log: slog.New(slog.DiscardHandler), lifeCtx: over}
	defer n.wg.Wait()
	const newcomer, stranger = 7, 99
	ears := &listener{user: newcomer}
	u := &user{}
	u.seats = []*seat{{Member: ears, of: u, attached: true}}
	n.users[newcomer] = u
	term := &frame.Term{Revision: 1, Start: 1}
	st := &stream{n: n, s: event.ConversationStream(0), seen: 10, state: following, term: term, audiences: map[uint32]*audience{}}
	n.streams = []*stream{st}
	for group := range uint32(sweepFrom) {
		st.audiences[group+1] = &audience{number: uint64(group) + 1, users: []uint32{stranger}}
	}
	message := func(index, group uint32, a *frame.Audience) *frame.Delivery {
		k := event.Group(group)
		a.Group = group
		return &frame.Delivery{Sequence: 11, Index: index, Audience: a, Body: &frame.Delivery_Message{Message: &frame.Message{Conversation: k[:]}}}
	}
	n.mu.Lock()
	st.onFrame(&frame.Frame{Stream: uint32(st.s), Term: term, From: 10, To: 11, Deliveries: []*frame.Delivery{
		message(0, sweepFrom+1, &frame.Audience{Number: 5000, Full: true, Added: []uint32{stranger}}),
		message(1, 1, &frame.Audience{Number: 5001, Base: 1, Added: []uint32{newcomer}}),
	}}, 100)
	n.mu.Unlock()
	if ears.heard != 1 {
		t.Errorf("the newcomer has heard %d messages; %d holes were found", ears.heard, n.stats.Holes)
	}
	if len(st.audiences) != 1 || st.audiences[1] == nil {
		t.Errorf("%d groups are kept", len(st.audiences))
	}
}

// A node with more users than one request holds attaches the rest of them later, also where it stands in the middle of a
// record, of which they have the beginning.
func TestWhoIsAttachedLaterHearsTheBeginningOfARecordOnce(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	n := &Node{users: map[uint32]*user{}, cfg: Config{Clock: time.Now}, log: slog.New(slog.DiscardHandler), lifeCtx: over}
	st := &stream{n: n, s: event.ConversationStream(0), seen: 10, index: 2, state: refilling, gen: 1,
		pending: map[uint32]pend{}, queue: map[uint32]struct{}{}, from: map[uint32]uint64{}}
	n.streams = []*stream{{s: event.People}, {s: event.Presence}, st}
	ears := map[uint32]*listener{}
	for id := uint32(1); id <= attachLimit+1; id++ {
		u := &user{}
		ears[id] = &listener{user: id}
		u.seats = []*seat{{Member: ears[id], of: u, attached: true}}
		n.users[id] = u
	}
	if part := st.refillRequest(); len(part.Users) != attachLimit || len(st.pending) != 1 || len(st.queue) != 1 {
		t.Fatalf("%d users at once, %d later", len(part.Users), len(st.pending))
	}
	for late := range st.pending {
		for index := range uint32(4) {
			st.deliverChange(&frame.Delivery{Sequence: 11, Index: index, Audience: &frame.Audience{List: 1}}, []*frame.UserList{{Users: []uint32{late}}}, 0)
		}
		if ears[late].heard != 2 {
			t.Errorf("of the last two events of a record %d were heard", ears[late].heard)
		}
	}
}
