package timeline

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/query"
)

// syncing is a client that keeps what it was told, and asks for what has changed.
type syncing struct {
	user    uint32
	token   []*query.AtLeast
	entries map[string]*query.SyncEntry
	bodies  map[string]map[uint32]string // of messages, by conversation and id
	pages   int
}

func newSyncing(user uint32) *syncing {
	return &syncing{user: user, entries: make(map[string]*query.SyncEntry), bodies: make(map[string]map[uint32]string)}
}

// page asks for one page of about so many bytes and changes, and for the messages it does not have.
func (s *syncing) page(t projectiontest.TB, v *view.View, maxBytes, maxChanges int) (more bool) {
	t.Helper()
	a := reading(t, v, func(r *view.Reader) *query.SyncAnswer {
		return New(0).sync(r, &query.Sync{User: s.user, Since: s.token}, maxBytes, maxChanges)
	})
	s.pages++
	if len(s.token) == 0 || len(a.Whole) > 0 {
		clear(s.entries)
		clear(s.bodies)
	}
	for _, e := range a.Entries {
		k := string(e.Conversation)
		if e.Left {
			delete(s.entries, k)
			delete(s.bodies, k)
			continue
		}
		if s.bodies[k] == nil {
			s.bodies[k] = make(map[uint32]string)
		}
		if !slices.IsSorted(e.Changed) {
			t.Fatalf("changed %v", e.Changed)
		}
		wanted := slices.Clone(e.Changed)
		for id := s.entries[k].GetHead() + 1; id <= e.Head; id++ {
			wanted = append(wanted, id)
		}
		maps.Copy(s.bodies[k], bodiesOf(t, v, e.Conversation, s.user, wanted))
		e.Changed = nil
		if e.Latest != nil {
			e.Latest.Body = nil // may be left out
		}
		s.entries[k] = e
	}
	s.token = a.Next
	return a.More
}

func bodiesOf(t projectiontest.TB, v *view.View, conversation []byte, user uint32, ids []uint32) map[uint32]string {
	t.Helper()
	out := make(map[uint32]string)
	for chunk := range slices.Chunk(ids, MaxIds) {
		a := asking(t, v, &query.Request{Body: &query.Request_ByIds{ByIds: &query.ByIds{Conversation: conversation, User: user, Ids: chunk}}})
		for _, m := range a.GetMessages().GetMessages() {
			out[m.Id] = fmt.Sprintf("%s, recalled %v, edits %d", m.Body, m.Recalled, m.Edits)
		}
	}
	return out
}

// TestWhoSyncsKnowsWhatIsThere has clients sync now and then, in pages of any size, while
// the log goes on; in the end they know what one knows who asks for everything.
func TestWhoSyncsKnowsWhatIsThere(t *testing.T) {
	root := t.TempDir()
	syncs, pages := 0, 0
	for seed := range 30 {
		r := rand.New(rand.NewPCG(uint64(seed), 3))
		l := randomLog(r, 120)
		v, err := view.Open(view.Config{Dir: root, Fold: New(seed), Log: projectiontest.LogID})
		if err != nil {
			t.Fatal(err)
		}
		clients := []*syncing{newSyncing(1), newSyncing(2), newSyncing(3), newSyncing(4)}
		for rest := l.Records; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(12))
			projectiontest.Apply(t, v, rest[:n])
			projectiontest.Commit(t, v)
			rest = rest[n:]
			for _, c := range clients {
				for r.IntN(2) == 0 {
					syncs++
					if !c.page(t, v, 40+r.IntN(400), 1+r.IntN(8)) {
						break
					}
				}
			}
		}
		for _, c := range clients {
			for c.page(t, v, 40+r.IntN(400), 1+r.IntN(8)) {
			}
			pages += c.pages
			fresh := newSyncing(c.user)
			if fresh.page(t, v, MaxBytes, maxSyncChanges) {
				t.Fatal("more than one page")
			}
			for _, k := range slices.Sorted(maps.Keys(fresh.entries)) {
				key, _ := event.ParseConversation([]byte(k))
				if got, want := c.entries[k], fresh.entries[k]; !proto.Equal(got, want) {
					t.Fatalf("seed %d: %s of %d is %v, must be %v", seed, key, c.user, got, want)
				}
				for id, want := range fresh.bodies[k] {
					if got := c.bodies[k][id]; got != want {
						t.Fatalf("seed %d: message %d of %s for %d: %q, must be %q", seed, id, key, c.user, got, want)
					}
				}
			}
			if len(c.entries) != len(fresh.entries) {
				t.Fatalf("seed %d: %d has %d entries, must have %d", seed, c.user, len(c.entries), len(fresh.entries))
			}
			if c.page(t, v, 1, 1) || len(c.entries) != len(fresh.entries) {
				t.Fatalf("seed %d: %d is told more when nothing has changed", seed, c.user)
			}
		}
		if err := v.Abandon(); err != nil {
			t.Fatal(err)
		}
	}
	if pages < syncs || syncs < 1000 {
		t.Fatalf("%d syncs, %d pages", syncs, pages)
	}
}

// syncSays is one sync in short.
func syncSays(t projectiontest.TB, v *view.View, user uint32, since uint64) (out []string) {
	t.Helper()
	a := asking(t, v, &query.Request{Body: &query.Request_Sync{Sync: &query.Sync{
		User: user, Since: []*query.AtLeast{{Stream: uint32(event.Conversation0), Sequence: since, Epoch: make([]byte, 16)}},
	}}}).GetSync()
	for _, e := range a.Entries {
		key, _ := event.ParseConversation(e.Conversation)
		s := fmt.Sprintf("%s head %d cursor %d", key, e.Head, e.Cursor)
		if e.Left {
			s = key.String() + " left"
		}
		for _, f := range []struct {
			set  bool
			name string
		}{{e.Removed, " removed"}, {e.Shielded, " shielded"}, {e.Blocked, " blocked"}} {
			if f.set {
				s += f.name
			}
		}
		if e.Version > 0 {
			s += fmt.Sprintf(" v%d", e.Version)
		}
		if e.PeerRead+e.PeerDelivered > 0 {
			s += fmt.Sprintf(" peer %d/%d", e.PeerRead, e.PeerDelivered)
		}
		if e.Latest != nil {
			s += fmt.Sprintf(" latest %d", e.Latest.Id)
		}
		if len(e.Changed) > 0 {
			s += fmt.Sprintf(" changed %v", e.Changed)
		}
		out = append(out, s)
	}
	if len(a.Whole) > 0 {
		out = append(out, "whole")
	}
	return append(out, fmt.Sprintf("at %d", a.Next[0].Sequence))
}

func TestASyncTellsWhatHasChanged(t *testing.T) {
	l := new(projectiontest.Log)
	v, _ := projectiontest.Fold(t, New(0), nil)
	then := func(events ...*event.Event) {
		t.Helper()
		at := len(l.Records)
		for _, ev := range events {
			l.Append(writer, ev)
		}
		projectiontest.Apply(t, v, l.Records[at:])
		projectiontest.Commit(t, v)
	}
	at := func() uint64 { return uint64(len(l.Records)) }
	then(sent(second(0), annBen, ann), sent(second(1), annCleo, cleo), created(temporary, ann, ben, cleo))
	same(t, "all", syncSays(t, v, ann, 0), []string{
		"d-1-2 head 1 cursor 1 latest 1", "d-1-3 head 1 cursor 0 peer 1/1 latest 1", "g-7 head 0 cursor 0 v1", "at 3",
	})
	same(t, "nothing", syncSays(t, v, ann, at()), []string{"at 3"})
	then(delivered(annBen, ben, 1))
	same(t, "the peer has it", syncSays(t, v, ann, 3), []string{"d-1-2 head 1 cursor 1 peer 0/1 latest 1", "at 4"})
	then(read(annBen, ben, 1), remove(annBen, ben), block(annBen, ben, true))
	same(t, "the peer has read it", syncSays(t, v, ann, 4), []string{"d-1-2 head 1 cursor 1 peer 1/1 latest 1", "at 7"})
	same(t, "ben's own doing", syncSays(t, v, ben, 4), []string{"d-1-2 head 1 cursor 1 removed blocked peer 1/1 latest 1", "at 7"})
	same(t, "none of cleo's business", syncSays(t, v, cleo, 4), []string{"at 7"})
	then(sent(second(2), team, ann), sent(second(2), team, ben), sent(second(2), team, cleo), delivered(team, ann, 3))
	since := at()
	then(read(team, ben, 2), shield(cleo, true), edited(annCleo, cleo, 1, "b"), edited(team, ann, 1, "x"), recalled(team, cleo, 3), edited(team, ann, 1, "y"))
	same(t, "of ann", syncSays(t, v, ann, since), []string{
		"d-1-3 head 1 cursor 0 peer 1/1 latest 1 changed [1]", "g-7 head 3 cursor 1 v1 latest 3 changed [1 3]", "at 17",
	})
	same(t, "of ben", syncSays(t, v, ben, since), []string{"g-7 head 3 cursor 2 v1 latest 3 changed [1 3]", "at 17"})
	same(t, "of ben, later", syncSays(t, v, ben, 15), []string{"g-7 head 3 cursor 2 v1 latest 3 changed [1 3]", "at 17"})
	same(t, "of ben, yet later", syncSays(t, v, ben, 16), []string{"g-7 head 3 cursor 2 v1 latest 3 changed [1]", "at 17"})
	then(del(ben, ben))
	same(t, "ben has left", syncSays(t, v, ben, 17), []string{"g-7 left", "at 18"})
	then(add(ann, ben))
	same(t, "and is back, where nothing is his to read yet", syncSays(t, v, ben, 17), []string{"g-7 head 3 cursor 3 v3", "at 19"})
	then(recalled(team, ann, 1), dissolved(0))
	same(t, "it is gone", syncSays(t, v, ben, 19), []string{"g-7 left", "at 21"})
	same(t, "for who asks for everything it never was", syncSays(t, v, dora, 0), []string{"at 21"})

	other := []*query.AtLeast{{Stream: uint32(event.Conversation0), Sequence: 20, Epoch: []byte("another epoch...")}, {Stream: 99, Sequence: 1}}
	a := asking(t, v, &query.Request{Body: &query.Request_Sync{Sync: &query.Sync{User: ann, Since: other}}}).GetSync()
	if !slices.Equal(a.Whole, []uint32{uint32(event.Conversation0)}) || len(a.Entries) != 2 || len(a.Next) != 1 {
		t.Errorf("of another epoch: %v", a)
	}
}

func TestALongSyncComesInPages(t *testing.T) {
	l := new(projectiontest.Log)
	for n := range uint32(30) {
		l.Append(writer, sent(second(float64(n)), event.Direct(ann, 10+n), 10+n, body(string(make([]byte, 100_000)))))
	}
	// All of these by one record, and more than fits.
	var events []*event.Event
	for n := range uint32(30) {
		events = append(events, read(event.Direct(ann, 10+n), ann, 1))
	}
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	var token []*query.AtLeast
	count := func(wantMore bool) (entries, bodies int) {
		a := asking(t, v, &query.Request{Body: &query.Request_Sync{Sync: &query.Sync{User: ann, Since: token}}})
		if n := proto.Size(a); n > MaxBytes+10_000 {
			t.Errorf("%d bytes", n)
		}
		if a.GetSync().More != wantMore {
			t.Errorf("more %v", a.GetSync().More)
		}
		token = a.GetSync().Next
		for _, e := range a.GetSync().Entries {
			if entries++; len(e.Latest.Body) > 0 {
				bodies++
			}
		}
		return entries, bodies
	}
	for page := range 6 {
		if e, b := count(page < 5); e != 5 || b != 5 {
			t.Errorf("page %d: %d entries, %d bodies", page, e, b)
		}
	}
	l.Append(writer, events...)
	projectiontest.Apply(t, v, l.Records[30:])
	projectiontest.Commit(t, v)
	if e, b := count(false); e != 30 || b != 5 {
		t.Errorf("%d entries, %d bodies", e, b)
	}
}

func TestManyChangedMessagesComeInPages(t *testing.T) {
	l := new(projectiontest.Log)
	const messages = 450
	for range messages {
		l.Append(writer, sent(second(0), annBen, ann))
	}
	for id := range uint32(messages) {
		l.Append(writer, edited(annBen, ann, messages-id, "x"))
	}
	l.Append(writer, sent(second(0), annBen, ann))
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	token := []*query.AtLeast{{Stream: uint32(event.Conversation0), Sequence: messages, Epoch: make([]byte, 16)}}
	seen := make(map[uint32]int)
	pages := 0
	for more := true; more; pages++ {
		a := reading(t, v, func(r *view.Reader) *query.SyncAnswer {
			return New(0).sync(r, &query.Sync{User: ben, Since: token}, 700, maxSyncChanges)
		})
		if len(a.Entries) != 1 || a.Entries[0].Head != messages+1 {
			t.Fatalf("page %d: %v", pages, a)
		}
		for _, id := range a.Entries[0].Changed {
			seen[id]++
		}
		token, more = a.Next, a.More
	}
	if len(seen) != messages || pages != 4 {
		t.Errorf("%d ids in %d pages", len(seen), pages)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%d came %d times", id, n)
		}
	}
}

func TestASyncOfVeryMuchIsTheOldestOfIt(t *testing.T) {
	l := randomLog(rand.New(rand.NewPCG(1, 5)), 200)
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	cut := 0
	for since := range uint64(150) {
		reading(t, v, func(r *view.Reader) struct{} {
			all, complete := syncChanges(r, ann, since, false, 1_000_000)
			if complete < r.Sequence() {
				t.Fatalf("complete up to %d", complete)
			}
			some, complete := syncChanges(r, ann, since, false, 2)
			for i, c := range all {
				if c.at <= complete != (i < len(some)) || i < len(some) && some[i].at != c.at {
					t.Fatalf("since %d, complete up to %d: %v of %v", since, complete, some, all)
				}
			}
			if complete < r.Sequence() {
				cut++
				if len(some) == 0 {
					t.Fatalf("since %d: nothing of %v", since, all)
				}
			}
			return struct{}{}
		})
	}
	if cut == 0 {
		t.Error("nothing was cut")
	}
}

// Whom somebody blocks of those he has never written with is told to his other devices as well, and not to the other one.
func TestASyncTellsOfBlockedStrangers(t *testing.T) {
	l := new(projectiontest.Log)
	for range 3 << stripeBits {
		l.Append(writer, projectiontest.Unknown())
	}
	l.Append(writer, block(annBen, ben, true)) // none of ann's business
	since := uint64(len(l.Records))
	l.Append(writer, block(annBen, ann, true), block(annCleo, ann, true))
	l.Append(writer, block(annCleo, ann, false))
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	end := fmt.Sprintf("at %d", since+2)
	both := []string{"d-1-2 head 0 cursor 0 blocked", "d-1-3 head 0 cursor 0", end}
	same(t, "of ann", syncSays(t, v, ann, since), both)
	same(t, "of ann, all", syncSays(t, v, ann, 0), both)
	same(t, "of ann, later", syncSays(t, v, ann, since+1), []string{"d-1-3 head 0 cursor 0", end})
	same(t, "of ben", syncSays(t, v, ben, since), []string{end})
	same(t, "of cleo", syncSays(t, v, cleo, 0), []string{end})
	// When they do write, both hear of it.
	l.Append(writer, sent(second(0), annCleo, cleo))
	projectiontest.Apply(t, v, l.Records[since+2:])
	projectiontest.Commit(t, v)
	end = fmt.Sprintf("at %d", since+3)
	same(t, "of ann, who got a message", syncSays(t, v, ann, since+2), []string{"d-1-3 head 1 cursor 0 peer 1/1 latest 1", end})
	same(t, "of cleo, who sent it", syncSays(t, v, cleo, 0), []string{"d-1-3 head 1 cursor 1 latest 1", end})
}

// A user's row of a conversation is written when it changes in another stripe than before,
// by whomever; without that a sync would pass it over.
func TestASyncFindsWhatChangesInLaterStripes(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, sent(second(0), annBen, ann), sent(second(0), annCleo, ann), sent(second(0), event.Direct(ann, dora), ann))
	since := uint64(3 << stripeBits)
	for uint64(len(l.Records)) < since {
		l.Append(writer, projectiontest.Unknown())
	}
	l.Append(writer, sent(second(1), annBen, ben), read(annCleo, cleo, 1))
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	same(t, "of ann", syncSays(t, v, ann, since), []string{
		"d-1-2 head 2 cursor 1 peer 2/2 latest 2", "d-1-3 head 1 cursor 1 peer 1/1 latest 1", fmt.Sprintf("at %d", since+1),
	})
	same(t, "of ben", syncSays(t, v, ben, since), []string{"d-1-2 head 2 cursor 2 peer 1/1 latest 2", fmt.Sprintf("at %d", since+1)})
	// A row in the stripe of the position is looked at.
	l.Append(writer, edited(annBen, ann, 1, "x"))
	projectiontest.Apply(t, v, l.Records[since+1:])
	projectiontest.Commit(t, v)
	same(t, "in one stripe", syncSays(t, v, ben, since+1), []string{"d-1-2 head 2 cursor 2 peer 1/1 latest 2 changed [1]", fmt.Sprintf("at %d", since+2)})
}
