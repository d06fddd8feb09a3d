package bench

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
)

const receiptsEvery = 10 * time.Millisecond

// receiptLoads are both kinds of load, with receipts.
var receiptLoads = map[string]func(t *testing.T, o Options, duration, drain time.Duration) *ReceiptReport{
	"oneone": func(t *testing.T, o Options, duration, drain time.Duration) *ReceiptReport {
		return receiptsOf(t, o, duration, drain, false)
	},
	"both": func(t *testing.T, o Options, duration, drain time.Duration) *ReceiptReport {
		return receiptsOf(t, o, duration, drain, true)
	},
	"group": func(t *testing.T, o Options, duration, drain time.Duration) *ReceiptReport {
		t.Helper()
		r, err := Group{Members: 5, Senders: 2, Size: 100, Window: 2, Rate: 200, Duration: duration,
			Drain: drain, Receipts: true, Every: receiptsEvery}.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		r.Write(io.Discard)
		agree(t, r.Receipts, r.Err())
		return r.Receipts
	},
}

func receiptsOf(t *testing.T, o Options, duration, drain time.Duration, both bool) *ReceiptReport {
	t.Helper()
	r, err := OneOne{Pairs: 3, Size: 100, Window: 2, Rate: 200, Both: both, Duration: duration,
		Drain: drain, Receipts: true, Every: receiptsEvery}.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r.Write(io.Discard)
	agree(t, r.Receipts, r.Err())
	return r.Receipts
}

// agree: a load is content with its server exactly where nothing is wrong with receipts.
func agree(t *testing.T, r *ReceiptReport, err error) {
	t.Helper()
	if right := r.Foreign+r.Beyond+r.Back+r.Missing == 0; right != (err == nil) {
		t.Errorf("%+v: %v", r, err)
	}
}

func TestRightReceiptsAreFoundRight(t *testing.T) {
	for name, load := range receiptLoads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s *fakeServer
			var r *ReceiptReport
			longer(func(d time.Duration) bool {
				s = startServer(t)
				r = load(t, s.options(), d, time.Minute)
				s.mu.Lock()
				defer s.mu.Unlock()
				return r.Sent >= 20 && s.receipts >= 20
			})
			s.mu.Lock()
			defer s.mu.Unlock()
			if r.Foreign+r.Beyond+r.Back+r.Missing > 0 || r.Sent < 20 || s.receipts < 20 || r.Told*10 < uint64(s.receipts)*9 || r.Took.Count == 0 {
				t.Errorf("%+v, the server moved %d marks", r, s.receipts)
			}
		})
	}
}

func TestEveryWrongReceiptIsFound(t *testing.T) {
	// changed has the ninth receipt told otherwise.
	changed := func(change func(n *notice)) func(int, []notice) []notice {
		return func(n int, all []notice) []notice {
			if n == 9 {
				change(&all[0])
			}
			return all
		}
	}
	for _, c := range []struct {
		name  string
		fault func(int, []notice) []notice
		found func(r *ReceiptReport) uint64
	}{
		{"of nobody", changed(func(n *notice) { n.user = 77 }), func(r *ReceiptReport) uint64 { return r.Foreign }},
		{"of oneself", changed(func(n *notice) { n.user = n.to }), func(r *ReceiptReport) uint64 { return r.Foreign }},
		{"of another conversation", changed(func(n *notice) { n.at += 7 }), func(r *ReceiptReport) uint64 { return r.Foreign }},
		{"of another kind", changed(func(n *notice) {
			n.kind = imbase.SessionType_SESSION_TYPE_SINGLE + imbase.SessionType_SESSION_TYPE_GROUP - n.kind
		}), func(r *ReceiptReport) uint64 { return r.Foreign }},
		{"too far", changed(func(n *notice) { n.id += 1000 }), func(r *ReceiptReport) uint64 { return r.Beyond }},
		{"back", func(n int, all []notice) []notice {
			if n > 8 && len(all) > 0 {
				again := all[0]
				again.id--
				all = append(all, again)
			}
			return all
		}, func(r *ReceiptReport) uint64 { return r.Back }},
		{"none any more", func(n int, all []notice) []notice {
			if n > 8 {
				return nil
			}
			return all
		}, func(r *ReceiptReport) uint64 { return r.Missing }},
		{"read none any more", func(n int, all []notice) []notice {
			if n > 8 && all[0].read {
				return nil
			}
			return all
		}, func(r *ReceiptReport) uint64 { return r.Missing }},
		{"received none any more", func(n int, all []notice) []notice {
			if n > 8 && !all[0].read {
				return nil
			}
			return all
		}, func(r *ReceiptReport) uint64 { return r.Missing }},
		{"of one none any more", func(n int, all []notice) []notice {
			if n > 8 && all[0].user == 4 {
				return nil
			}
			return all
		}, func(r *ReceiptReport) uint64 { return r.Missing }},
	} {
		for name, load := range receiptLoads {
			if name == "both" && strings.HasPrefix(c.name, "of one") {
				continue // who wrote last has read all before, and has nothing to say at the end
			}
			t.Run(name+" "+c.name, func(t *testing.T) {
				t.Parallel()
				var r *ReceiptReport
				longer(func(d time.Duration) bool {
					s := startServer(t)
					s.mu.Lock()
					s.receiptFault = c.fault
					s.mu.Unlock()
					r = load(t, s.options(), d, 300*time.Millisecond)
					return c.found(r) > 0
				})
				if c.found(r) == 0 {
					t.Errorf("not found: %+v", r)
				}
			})
		}
	}
}

// What a view tells later is where the mark is by then: at a message that its reader wrote.
func TestAMarkAtAnOwnMessageIsRight(t *testing.T) {
	x := newReceipts(imbase.SessionType_SESSION_TYPE_SINGLE, receiptsEvery)
	a, z := &session{id: 1, open: true}, &session{id: 2, open: true}
	x.join(0, a, z)
	x.by[2].wrote, x.by[2].read = new(uint64(3)), mark{id: 3, after: 1}
	tell := func(id uint32) {
		t.Helper()
		b, err := proto.Marshal(&imextension.ReceiptNotify{SessionId: new(uint32(2)), SessionType: &x.kind, UserId: new(uint32(2)), ReadMsgId: &id})
		if err != nil {
			t.Fatal(err)
		}
		x.notice(a, b)
	}
	tell(3)
	tell(5) // before the ack of it
	x.acked(z, 2, 5)
	x.acked(z, 3, 7)
	tell(7)
	if r := x.report(); r.Beyond+r.Back+r.Foreign+r.Missing > 0 || r.Told != 3 {
		t.Errorf("%+v", r)
	}
	tell(9) // never written
	if r := x.report(); r.Beyond != 1 {
		t.Errorf("%+v", r)
	}
}

func TestAServerWithoutReceiptsIsTold(t *testing.T) {
	s := startServer(t)
	s.features.Store(0)
	c := OneOne{Pairs: 1, Window: 1, Size: 50, Duration: time.Second, Receipts: true}
	if _, err := c.Run(t.Context(), s.options()); err == nil || !strings.Contains(err.Error(), "receipts") {
		t.Errorf("error %v", err)
	}
	g := Group{Members: MaxReceipts + 1, Senders: 1, Window: 1, Size: 50, Duration: time.Second, Receipts: true}
	if _, err := g.Run(t.Context(), s.options()); err == nil || !strings.Contains(err.Error(), "100 members") {
		t.Errorf("error %v", err)
	}
}

// Where only friends may write to each other, a load of people who are none can't be served.
func TestFriendsAreMadeFirst(t *testing.T) {
	for name, load := range map[string]func(t *testing.T, o Options, drain time.Duration) error{
		"oneone": func(t *testing.T, o Options, drain time.Duration) error {
			r, err := OneOne{Pairs: 3, Size: 100, Window: 2, Duration: 100 * time.Millisecond, Drain: drain}.Run(t.Context(), o)
			if err != nil {
				return err
			}
			return r.Err()
		},
		"group": func(t *testing.T, o Options, drain time.Duration) error {
			r, err := Group{Members: 5, Senders: 2, Size: 100, Window: 2, Duration: 100 * time.Millisecond, Drain: drain}.Run(t.Context(), o)
			if err != nil {
				return err
			}
			return r.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			s.mu.Lock()
			s.friends = map[[2]string]bool{}
			s.mu.Unlock()
			o := s.options()
			if err := load(t, o, 100*time.Millisecond); err == nil {
				t.Error("strangers were served")
			}
			o.Befriend = s.befriend
			if err := load(t, o, time.Minute); err != nil {
				t.Error(err)
			}
			o.Befriend = func(context.Context, [][2]Account) error { return io.ErrUnexpectedEOF }
			if err := load(t, o, time.Minute); err == nil || !strings.Contains(err.Error(), "make friends") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Of a mark nothing has to be told where something newer was written before it.
func TestAMarkBehindAnOwnMessageIsNotMissed(t *testing.T) {
	for _, c := range []struct {
		number  uint64 // of the own message with id 9; 2 were sent before the mark at 4
		missing uint64
	}{{2, 0}, {3, 1}} {
		x := newReceipts(imbase.SessionType_SESSION_TYPE_SINGLE, receiptsEvery)
		a, z := &session{id: 1, open: true}, &session{id: 2, open: true}
		x.join(0, a, z)
		x.by[2].wrote, x.by[2].read = new(uint64(3)), mark{id: 4, after: 2}
		x.acked(z, c.number, 9)
		if r := x.report(); r.Missing != c.missing {
			t.Errorf("own message %d: %+v", c.number, r)
		}
	}
}
