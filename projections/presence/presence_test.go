package presence

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

const (
	desktop = event.DeviceClass_DEVICE_CLASS_DESKTOP
	mobile  = event.DeviceClass_DEVICE_CLASS_MOBILE
	web     = event.DeviceClass_DEVICE_CLASS_WEB
	ann     = uint32(1)
	ben     = uint32(2)
)

var writer = projectiontest.ID(1)

func lifeID(n byte) []byte { id := projectiontest.ID(n); return id[:] }

func started(n byte) *event.Event {
	return &event.Event{At: projectiontest.Epoch, Body: &event.Event_NodeStarted{NodeStarted: &event.NodeStarted{
		Life: lifeID(n), Node: fmt.Sprint("node", n), Advertise: fmt.Sprint("host", n),
	}}}
}

func stopped(n byte) *event.Event {
	return &event.Event{Body: &event.Event_NodeStopped{NodeStopped: &event.NodeStopped{Life: lifeID(n)}}}
}

func lost(n byte) *event.Event {
	return &event.Event{Body: &event.Event_NodeLost{NodeLost: &event.NodeLost{Life: lifeID(n)}}}
}

// opened is a login of session s, on a life, that replaces its own class.
func opened(s byte, user uint32, class event.DeviceClass, on byte) *event.Event {
	return &event.Event{At: projectiontest.Epoch, Body: &event.Event_SessionOpened{SessionOpened: &event.SessionOpened{
		Session: lifeID(s), User: user, ClientType: 1, DeviceClass: class, Life: lifeID(on), Replaces: []event.DeviceClass{class}, PeopleSequence: 4,
	}}}
}

func over(s byte, user uint32) *event.Event {
	return &event.Event{Body: &event.Event_SessionEnded{SessionEnded: &event.SessionEnded{
		Session: lifeID(s), User: user, Reason: event.EndReason_END_REASON_LOGOUT,
	}}}
}

func kicked(user uint32, by byte, also ...event.DeviceClass) *event.Event {
	return &event.Event{Body: &event.Event_DeviceClassKicked{DeviceClassKicked: &event.DeviceClassKicked{
		User: user, DeviceClass: desktop, Reason: event.EndReason_END_REASON_KICKED, BySession: lifeID(by), Also: also,
	}}}
}

// text is an effect in short: what is told, to which lives.
func text(e view.Effect) string {
	if e.Void != 0 {
		return strings.ToLower(strings.TrimPrefix(e.Void.String(), "VOID_"))
	}
	var out []string
	for i, d := range e.Deliveries {
		to := "all"
		if r := e.Routes[i]; !r.All {
			to = ""
			for _, l := range r.Lives {
				to += fmt.Sprint(l[15])
			}
		}
		var what string
		switch b := d.Body.(type) {
		case *frame.Delivery_SessionOver:
			s := b.SessionOver
			what = fmt.Sprintf("over %d %s", s.Session[15], strings.ToLower(strings.TrimPrefix(s.Reason.String(), "END_REASON_")))
			if len(s.BySession) == 16 {
				what += fmt.Sprintf(" by %d", s.BySession[15])
			}
		case *frame.Delivery_UserStatus:
			what = fmt.Sprintf("status %d %v", b.UserStatus.User, b.UserStatus.Online)
		case *frame.Delivery_DesktopStatus:
			what = fmt.Sprintf("desktop %d %v", b.DesktopStatus.User, b.DesktopStatus.Online)
		}
		out = append(out, what+" to "+to)
	}
	return strings.Join(out, ", ")
}

func TestWhatEventsComeTo(t *testing.T) {
	type step struct {
		ev   *event.Event
		want string
	}
	cases := []struct {
		name  string
		steps []step
	}{
		{"a session counts only while its node lives", []step{
			{opened(10, ann, desktop, 1), "node_not_live"},
			{started(1), ""},
			{started(1), "no_effect"},
			{opened(10, ann, desktop, 1), "status 1 true to all"},
			{opened(10, ann, desktop, 1), "no_effect"},
			{opened(11, ben, desktop, 2), "node_not_live"},
			{stopped(1), "status 1 false to all"},
			{stopped(1), "node_not_live"},
			{lost(1), "node_not_live"},
			{opened(12, ann, desktop, 1), "node_not_live"},
			{over(10, ann), "no_effect"},
		}},
		{"ids of an impossible form", []step{
			{started(1), ""},
			{opened(10, 0, desktop, 1), "malformed"},
			{&event.Event{Body: &event.Event_NodeStarted{NodeStarted: &event.NodeStarted{Life: []byte("short")}}}, "malformed"},
			{&event.Event{Body: &event.Event_SessionOpened{SessionOpened: &event.SessionOpened{User: 1, Life: lifeID(1)}}}, "malformed"},
			{&event.Event{Body: &event.Event_NodeLost{NodeLost: &event.NodeLost{}}}, "node_not_live"},
		}},
		{"of a class the last login survives, and it is no transition", []step{
			{started(1), ""},
			{started(2), ""},
			{opened(10, ann, desktop, 1), "status 1 true to all"},
			{opened(11, ann, desktop, 2), "over 10 replaced by 11 to 1"},
			{opened(12, ann, desktop, 1), "over 11 replaced by 12 to 2"},
			{over(11, ann), "no_effect"},
			{over(12, ben), "no_effect"},
			{over(12, ann), "over 12 logout to 1, status 1 false to all"},
		}},
		{"a phone is left alone by a desktop and told of it", []step{
			{started(1), ""},
			{started(2), ""},
			{opened(10, ann, mobile, 2), ""},
			{opened(11, ann, desktop, 1), "status 1 true to all, desktop 1 true to 2"},
			{opened(12, ann, desktop, 1), "over 11 replaced by 12 to 1"},
			{opened(13, ann, mobile, 1), "over 10 replaced by 13 to 2, desktop 1 true to 1"},
			{kicked(ann, 13), "over 12 kicked by 13 to 1, status 1 false to all, desktop 1 false to 1"},
			{kicked(ann, 13), "no_effect"},
			{over(13, ann), "over 13 logout to 1"},
		}},
		{"a browser is seen as a desktop is, and neither minds the other", []step{
			{started(1), ""},
			{started(2), ""},
			{opened(10, ann, mobile, 2), ""},
			{opened(11, ann, web, 1), "status 1 true to all, desktop 1 true to 2"},
			{opened(12, ann, desktop, 2), ""},
			{over(11, ann), "over 11 logout to 1"},
			{opened(13, ann, web, 1), ""},
			{opened(14, ann, web, 1), "over 13 replaced by 14 to 1"},
			{over(12, ann), "over 12 logout to 2"},
			{opened(15, ann, mobile, 1), "over 10 replaced by 15 to 2, desktop 1 true to 1"},
			{over(14, ann), "over 14 logout to 1, status 1 false to all, desktop 1 false to 1"},
		}},
		{"a phone sends all away that are seen, or the desktop alone where the event says no more", []step{
			{started(1), ""},
			{started(2), ""},
			{opened(10, ann, desktop, 1), "status 1 true to all"},
			{opened(11, ann, web, 2), ""},
			{opened(12, ann, mobile, 2), "desktop 1 true to 2"},
			{kicked(ann, 12), "over 10 kicked by 12 to 1"},
			{kicked(ann, 12), "no_effect"},
			{kicked(ann, 12, web), "over 11 kicked by 12 to 2, status 1 false to all, desktop 1 false to 2"},
			{kicked(ann, 12, web), "no_effect"},
			{opened(13, ann, web, 1), "status 1 true to all, desktop 1 true to 2"},
			{opened(14, ann, desktop, 1), ""},
			{kicked(ann, 12, web), "over 13 kicked by 12 to 1, over 14 kicked by 12 to 1, status 1 false to all, desktop 1 false to 2"},
		}},
		{"a lost node ends what it held", []step{
			{started(1), ""},
			{started(2), ""},
			{opened(10, ben, desktop, 1), "status 2 true to all"},
			{opened(11, ann, desktop, 1), "status 1 true to all"},
			{opened(12, ann, mobile, 2), "desktop 1 true to 2"},
			{lost(1), "over 11 node_lost to 1, status 1 false to all, desktop 1 false to 2, over 10 node_lost to 1, status 2 false to all"},
			{opened(13, ann, desktop, 2), "status 1 true to all, desktop 1 true to 2"},
		}},
		{"a policy may replace nothing or everything", []step{
			{started(1), ""},
			{opened(10, ann, desktop, 1), "status 1 true to all"},
			{func() *event.Event {
				ev := opened(11, ann, desktop, 1)
				ev.GetSessionOpened().Replaces = nil
				return ev
			}(), ""},
			{over(10, ann), "over 10 logout to 1"},
			{func() *event.Event {
				ev := opened(12, ann, mobile, 1)
				ev.GetSessionOpened().Replaces = []event.DeviceClass{desktop, mobile}
				return ev
			}(), "over 11 replaced by 12 to 1, status 1 false to all, desktop 1 false to 1"},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := new(projectiontest.Log)
			for _, s := range c.steps {
				l.Append(writer, s.ev)
			}
			_, applied := projectiontest.Fold(t, New(), l.Records)
			for i, a := range applied {
				if got := text(a.Effects[0]); got != c.steps[i].want {
					t.Errorf("step %d: %q, want %q", i+1, got, c.steps[i].want)
				}
			}
		})
	}
}

func TestAUserHasABoundedNumberOfSessions(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, started(1))
	for i := range MaxSessions + 2 {
		ev := opened(byte(10+i), ann, desktop, 1)
		ev.GetSessionOpened().Replaces = nil
		l.Append(writer, ev)
	}
	v, applied := projectiontest.Fold(t, New(), l.Records)
	for i, a := range applied[1:] {
		if full := a.Effects[0].Void == frame.Void_VOID_NO_EFFECT; full != (i >= MaxSessions) {
			t.Errorf("session %d: %s", i, text(a.Effects[0]))
		}
	}
	if got := ask(t, v, &query.Request{Body: &query.Request_PresenceTotals{}}).GetPresenceTotals(); got.Sessions != MaxSessions {
		t.Errorf("%v", got)
	}
}

func ask(t projectiontest.TB, v *view.View, q *query.Request) (a *query.Answer) {
	t.Helper()
	err := v.Read(func(r *view.Reader) error {
		a = New().Answer(r, q)
		return nil
	})
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if a.Code != query.Code_CODE_OK {
		t.Fatalf("answer: %v", a)
	}
	return a
}

func TestAnswersAboutPresence(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, started(1), started(2), started(3), stopped(3))
	l.Append(writer, opened(10, ann, desktop, 1), opened(11, ann, mobile, 2), opened(12, ben, mobile, 2), opened(13, 7, mobile, 1), over(13, 7), opened(14, 8, web, 1))
	v, _ := projectiontest.Fold(t, New(), l.Records)

	st := ask(t, v, &query.Request{Body: &query.Request_Statuses{Statuses: &query.Statuses{Users: []uint32{9, ben, ann, 7, 8}}}}).GetStatuses()
	if fmt.Sprint(st.DesktopOnline, st.AnyOnline, st.Online) != "[false false true false false] [false true true false true] [false false true false true]" {
		t.Errorf("statuses: %v", st)
	}
	for s, want := range map[byte]bool{10: true, 12: false, 13: false} {
		q := &query.Request{Body: &query.Request_SessionLive{SessionLive: &query.SessionLive{Session: lifeID(s), User: ann}}}
		if got := ask(t, v, q).GetSessionLive().Live; got != want {
			t.Errorf("session %d of ann live: %v", s, got)
		}
	}
	ls := ask(t, v, &query.Request{Body: &query.Request_Lives{}}).GetLives().Lives
	var lives []string
	for _, l := range ls {
		lives = append(lives, fmt.Sprintf("%d %s %s %d %v", l.Life[15], l.Node, l.Advertise, l.Sessions, l.Started == projectiontest.Epoch))
	}
	if fmt.Sprint(lives) != "[1 node1 host1 2 true 2 node2 host2 2 true]" {
		t.Errorf("lives: %q", lives)
	}
	ss := ask(t, v, &query.Request{Body: &query.Request_SessionsOf{SessionsOf: &query.SessionsOf{User: ann}}}).GetSessionsOf().Sessions
	if len(ss) != 2 || ss[0].Session[15] != 10 || ss[1].Life[15] != 2 || ss[1].DeviceClass != mobile || ss[0].PeopleSequence != 4 ||
		ss[0].Sequence != 2 || ss[0].Opened != projectiontest.Epoch || ss[0].ClientType != 1 || ss[0].User != ann {
		t.Errorf("sessions: %v", ss)
	}
	if got := ask(t, v, &query.Request{Body: &query.Request_PresenceTotals{}}).GetPresenceTotals(); got.Sessions != 4 || got.DesktopOnlineUsers != 2 || got.Lives != 2 {
		t.Errorf("totals: %v", got)
	}
}

func TestResyncTellsEndedUnknownAndStatuses(t *testing.T) {
	l := new(projectiontest.Log)
	me := projectiontest.ID(1) // the node writes under its life
	l.Append(me, started(1), started(2))
	l.Append(me, opened(10, ann, desktop, 1), opened(11, ben, mobile, 1), opened(12, 3, desktop, 1), opened(13, 4, mobile, 1))
	since := l.Append(me, opened(14, 5, desktop, 1))
	l.Append(projectiontest.ID(2), opened(20, ann, desktop, 2), kicked(3, 9), over(13, 4))
	l.Append(me, opened(15, 6, mobile, 1))
	v, _ := projectiontest.Fold(t, New(), l.Records)
	var a *frame.ResyncAnswer
	err := v.Read(func(r *view.Reader) error {
		a = Resync(r, &frame.ResyncRequest{Life: lifeID(1), Since: since, Sessions: []*frame.ResyncSession{
			{Session: lifeID(10), User: ann}, {Session: lifeID(11), User: ben}, {Session: lifeID(12), User: 3}, {Session: lifeID(99), User: 8},
		}})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var over, unknown, statuses []string
	for _, o := range a.Over {
		by := byte(0)
		if len(o.BySession) == 16 {
			by = o.BySession[15]
		}
		over = append(over, fmt.Sprint(o.Session[15], " of ", o.User, " ", o.Reason, " by ", by))
	}
	for _, u := range a.Unknown {
		unknown = append(unknown, fmt.Sprint(u.Session[15], " of ", u.User))
	}
	for _, s := range a.Statuses {
		statuses = append(statuses, fmt.Sprint(s.User, s.Online))
	}
	for _, c := range []struct {
		what      string
		got, want []string
	}{
		{"over", over, []string{"10 of 1 END_REASON_REPLACED by 20", "12 of 3 END_REASON_KICKED by 9", "99 of 8 END_REASON_UNSPECIFIED by 0"}},
		{"unknown", unknown, []string{"14 of 5", "15 of 6"}},
		{"statuses", statuses, []string{"3 false"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
	if a.At != uint64(len(l.Records)) || a.TooFar || len(a.Outcomes) != 1 || a.Outcomes[0].N != 4 {
		t.Errorf("%v", a)
	}
}

func TestEndsAreForgottenInTheirOrder(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, started(1))
	for s := range byte(8) {
		l.Append(writer, opened(10+s, uint32(s+1), mobile, 1), over(10+s, uint32(s+1)))
	}
	v, _ := projectiontest.Fold(t, &Presence{endedKept: 5}, l.Records)
	err := v.Read(func(r *view.Reader) error {
		for s := range byte(8) {
			if kept := r.Get(endedBucket, lifeID(10+s)) != nil; kept != (s >= 3) {
				t.Errorf("end of session %d kept: %v", s, kept)
			}
		}
		n := 0
		for range r.Scan(endedAtBucket, nil) {
			n++
		}
		if n != 5 {
			t.Errorf("%d in order", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheRowsAgreeWithEachOther folds drawn logs and compares what is kept twice:
// the sessions of a user, the index by life, the counters, the last transitions.
func TestTheRowsAgreeWithEachOther(t *testing.T) {
	root := t.TempDir()
	n := uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		l := projectiontest.Generate(t, drawEvent, 60)
		n++
		v, err := view.Open(view.Config{Dir: root, Fold: &named{fmt.Sprint("presence-", n)}, Log: projectiontest.LogID})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Abandon()
		projectiontest.Apply(t, v, l.Records)
		projectiontest.Commit(t, v)

		// What is live, by the definition: opened on a live life, not ended since.
		type open struct {
			user  uint32
			class event.DeviceClass
			life  string
		}
		live := make(map[string]open)
		lives := make(map[string]bool)
		drop := func(match func(id string, o open) bool) {
			for id, o := range live {
				if match(id, o) {
					delete(live, id)
				}
			}
		}
		l.Known(func(_ uint64, _ int, ev *event.Event) {
			switch b := ev.Body.(type) {
			case *event.Event_NodeStarted:
				lives[string(b.NodeStarted.Life)] = true
			case *event.Event_NodeStopped:
				delete(lives, string(b.NodeStopped.Life))
				drop(func(_ string, o open) bool { return o.life == string(b.NodeStopped.Life) })
			case *event.Event_NodeLost:
				delete(lives, string(b.NodeLost.Life))
				drop(func(_ string, o open) bool { return o.life == string(b.NodeLost.Life) })
			case *event.Event_SessionEnded:
				drop(func(id string, o open) bool {
					return id[:16] == string(b.SessionEnded.Session) && o.user == b.SessionEnded.User
				})
			case *event.Event_DeviceClassKicked:
				drop(func(_ string, o open) bool {
					k := b.DeviceClassKicked
					return o.user == k.User && (o.class == k.DeviceClass || slices.Contains(k.Also, o.class))
				})
			case *event.Event_SessionOpened:
				s := b.SessionOpened
				taken := false
				for id, o := range live {
					taken = taken || id[:16] == string(s.Session) && (o.user == s.User || o.life == string(s.Life))
				}
				if s.User == 0 || !lives[string(s.Life)] || taken {
					return
				}
				drop(func(_ string, o open) bool { return o.user == s.User && slices.Contains(s.Replaces, o.class) })
				// One id may be live for two users on two lives.
				live[string(s.Session)+fmt.Sprint(s.User)] = open{s.User, s.DeviceClass, string(s.Life)}
			}
		})

		seen := make(map[uint32]bool)
		onLife := make(map[string]uint32)
		for id, o := range live {
			onLife[o.life]++
			seen[o.user] = seen[o.user] || o.class == desktop || o.class == web
			q := &query.Request{Body: &query.Request_SessionLive{SessionLive: &query.SessionLive{Session: []byte(id[:16]), User: o.user}}}
			if !ask(t, v, q).GetSessionLive().Live {
				t.Fatalf("session %d of %d is not live", id[15], o.user)
			}
		}
		totals := ask(t, v, &query.Request{Body: &query.Request_PresenceTotals{}}).GetPresenceTotals()
		online := 0
		for _, on := range seen {
			if on {
				online++
			}
		}
		if int(totals.Sessions) != len(live) || int(totals.Lives) != len(lives) || int(totals.DesktopOnlineUsers) != online {
			t.Fatalf("totals %v, want %d sessions, %d lives, %d online", totals, len(live), len(lives), online)
		}
		for _, l := range ask(t, v, &query.Request{Body: &query.Request_Lives{}}).GetLives().Lives {
			if !lives[string(l.Life)] || l.Sessions != onLife[string(l.Life)] {
				t.Fatalf("life %v, want %d sessions", l, onLife[string(l.Life)])
			}
		}
		err = v.Read(func(r *view.Reader) error {
			held := 0
			for k, user := range r.Scan(heldBucket, nil) {
				held++
				if !sessionLive(r, be.Uint32(user), event.ToID(k[16:])) {
					t.Fatalf("held %x is not live", k)
				}
			}
			if held != len(live) {
				t.Fatalf("%d held, want %d", held, len(live))
			}
			for _, s := range statusesSince(r, 0) {
				if s.Online != seen[s.User] {
					t.Fatalf("status %v, want %v", s, seen[s.User])
				}
				delete(seen, s.User)
			}
			for user, on := range seen {
				if on {
					t.Fatalf("user %d is online without a status", user)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// named gives each drawn log a file of its own.
type named struct{ name string }

func (n *named) Name() string         { return n.name }
func (n *named) Format() uint32       { return Format }
func (n *named) Stream() event.Stream { return event.Presence }
func (n *named) Buckets() []string    { return New().Buckets() }
func (n *named) Apply(tx *view.Tx, sequence uint64, rec *event.Record) []view.Effect {
	return New().Apply(tx, sequence, rec)
}

func TestOtherQuestionsAreRefused(t *testing.T) {
	v, _ := projectiontest.Fold(t, New(), nil)
	for _, q := range []*query.Request{
		{Body: &query.Request_Friends{}},
		{Body: &query.Request_Statuses{Statuses: &query.Statuses{Users: make([]uint32, MaxUsers+1)}}},
		{},
	} {
		err := v.Read(func(r *view.Reader) error {
			if a := New().Answer(r, q); a.Code != query.Code_CODE_BAD_REQUEST || a.Body != nil {
				t.Errorf("%v", a.Code)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
