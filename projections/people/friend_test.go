package people

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/query"
)

func sessionOf(n byte) []byte { id := projectiontest.ID(n); return id[:] }

func requested(from, to uint32, text string) *event.Event {
	return &event.Event{At: second(7), Body: &event.Event_FriendRequested{FriendRequested: &event.FriendRequested{
		From: from, To: to, Text: text, Session: sessionOf(byte(from)),
	}}}
}

func answered(from, to uint32, accept bool) *event.Event {
	return &event.Event{At: second(8), Body: &event.Event_FriendAnswered{FriendAnswered: &event.FriendAnswered{
		From: from, To: to, Accept: accept, Session: sessionOf(byte(to)),
	}}}
}

func withdrawn(from, to uint32) *event.Event {
	return &event.Event{At: second(8), Body: &event.Event_FriendAnswered{FriendAnswered: &event.FriendAnswered{
		From: from, To: to, Withdrawn: true, Session: sessionOf(byte(from)),
	}}}
}

func remarked(user, friend uint32, remark string) *event.Event {
	return &event.Event{At: second(9), Body: &event.Event_FriendRemarked{FriendRemarked: &event.FriendRemarked{
		User: user, Friend: friend, Remark: remark, Session: sessionOf(byte(user)),
	}}}
}

func left(user, other uint32) *event.Event {
	ev := unfriended(min(user, other), max(user, other))
	ev.GetFriendRemoved().User, ev.GetFriendRemoved().Session = user, sessionOf(byte(user))
	return ev
}

// three registers people 1 to 3.
func three() []*event.Event {
	return []*event.Event{registered(second(0), "ann", 0), registered(second(0), "ben", 0), registered(second(0), "cleo", 0)}
}

func TestWhatFriendsHearOfEachOther(t *testing.T) {
	type step struct {
		ev   *event.Event
		want string
	}
	cases := []struct {
		name  string
		steps []step
	}{
		{"accepted", []step{
			{answered(1, 2, true), "no_such_request"},
			{requested(1, 2, "hello"), "tells 1 requested 2 own asked hello by 1, 2 requested 1 hello"},
			{requested(1, 2, "hello again"), "no_effect"},
			{answered(2, 1, true), "no_such_request"},
			{answered(1, 2, true), "tells 2 friends friends 1 own by 2, 1 friends friends 2 asked"},
			{answered(1, 2, true), "no_such_request"},
			{requested(2, 1, ""), "no_effect"},
			{left(2, 1), "tells 2 friends removed 1 own by 2, 1 friends removed 2"},
		}},
		{"refused, and asked again", []step{
			{requested(2, 1, ""), "tells 2 requested 1 own asked by 2, 1 requested 2"},
			{answered(2, 1, false), "tells 1 refused 2 own by 1, 2 refused 1 asked"},
			{answered(2, 1, true), "no_such_request"},
			{requested(2, 1, ""), "tells 2 requested 1 own asked by 2, 1 requested 2"},
		}},
		{"taken back", []step{
			{requested(1, 2, "x"), "tells 1 requested 2 own asked x by 1, 2 requested 1 x"},
			{withdrawn(2, 1), "no_such_request"},
			{withdrawn(1, 2), "tells 1 withdrawn 2 own asked by 1, 2 withdrawn 1"},
			{answered(1, 2, true), "no_such_request"},
		}},
		{"each asks the other", []step{
			{requested(1, 2, ""), "tells 1 requested 2 own asked by 1, 2 requested 1"},
			{requested(2, 1, "me too"), "tells 2 friends friends 1 own by 2, 1 friends friends 2 asked"},
			{answered(1, 2, true), "no_such_request"},
			{answered(2, 1, true), "no_such_request"},
		}},
		{"an operator settles an open request", []step{
			{requested(1, 2, ""), "tells 1 requested 2 own asked by 1, 2 requested 1"},
			{befriended(1, 2), "tells 1 friends friends 2, 2 friends friends 1"},
			{answered(1, 2, false), "no_such_request"},
		}},
		{"a name for a friend", []step{
			{remarked(1, 2, "Benny"), "no_effect"},
			{befriended(1, 2), "tells 1 friends friends 2, 2 friends friends 1"},
			{remarked(1, 2, "Benny"), "tells 1 remarked 2 own Benny by 1"},
			{remarked(1, 2, "Benny"), "no_effect"},
			{remarked(1, 2, ""), "tells 1 remarked 2 own by 1"},
			{remarked(1, 2, strings.Repeat("x", MaxRemark+1)), "malformed"},
		}},
		{"nonsense", []step{
			{requested(1, 1, ""), "malformed"},
			{requested(0, 1, ""), "malformed"},
			{requested(1, 9, ""), "no_such_person"},
			{requested(9, 1, ""), "no_such_person"},
			{requested(1, 2, strings.Repeat("x", MaxText+1)), "malformed"},
			{answered(1, 1, true), "malformed"},
			{answered(1, 9, true), "no_such_person"},
			{remarked(1, 9, "x"), "no_such_person"},
			{remarked(1, 1, "x"), "malformed"},
			{&event.Event{Body: &event.Event_FriendRemoved{FriendRemoved: &event.FriendRemoved{Lower: 1, Higher: 2, User: 3}}}, "malformed"},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := new(projectiontest.Log)
			l.Append(writer, three()...)
			for _, s := range c.steps {
				l.Append(writer, s.ev)
			}
			_, applied := projectiontest.Fold(t, New(), l.Records)
			for i, a := range applied[1:] {
				if got := text(a.Effects[0]); got != c.steps[i].want {
					t.Errorf("step %d: %s, want %s", i+1, got, c.steps[i].want)
				}
			}
		})
	}
}

func friendListOf(t *testing.T, v *view.View, user uint32) *query.FriendListAnswer {
	t.Helper()
	return ask(t, v, &query.Request{Body: &query.Request_FriendList{FriendList: &query.FriendList{User: user}}}).GetFriendList()
}

func TestTheFriendListSaysWhoIsWhat(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, append(three(), registered(second(0), "dan", 0))...)
	l.Append(writer, requested(1, 2, "hi"), befriended(1, 3), requested(4, 1, "let me"), remarked(1, 3, "C"))
	v, _ := projectiontest.Fold(t, New(), l.Records)
	want := []*query.Friend{
		{User: 3, Friends: true, Since: fold(0), Remark: "C"},
		{User: 4, Since: fold(7), Text: "let me"},
		{User: 2, Outgoing: true, Since: fold(7), Text: "hi"},
	}
	got := friendListOf(t, v, 1)
	if !slices.EqualFunc(got.Friends, want, func(a, b *query.Friend) bool { return proto.Equal(a, b) }) {
		t.Errorf("list %v", got)
	}
	if got.Latest != fold(7) {
		t.Errorf("latest %d, want %d", got.Latest, fold(7))
	}
	if got := friendListOf(t, v, 3).Friends; len(got) != 1 || got[0].Remark != "" || got[0].User != 1 {
		t.Errorf("of the one with a name: %v", got)
	}
	short := ask(t, v, &query.Request{Body: &query.Request_FriendList{FriendList: &query.FriendList{User: 1, LatestOnly: true}}}).GetFriendList()
	if len(short.Friends) != 0 || short.Latest != got.Latest {
		t.Errorf("only the latest: %v", short)
	}
	rel := ask(t, v, &query.Request{Body: &query.Request_Relations{Relations: &query.Relations{User: 1, Others: []uint32{2, 9, 3, 4}}}}).GetRelations()
	wantRel := []*query.Relation{{Other: 2, Exists: true, Outgoing: true}, {Other: 9}, {Other: 3, Exists: true, Friends: true}, {Other: 4, Exists: true, Incoming: true}}
	if !slices.EqualFunc(rel.Relations, wantRel, func(a, b *query.Relation) bool { return proto.Equal(a, b) }) {
		t.Errorf("relations %v", rel)
	}
	rel = ask(t, v, &query.Request{Body: &query.Request_Relations{Relations: &query.Relations{
		Users: []uint32{1, 3, 2}, Others: []uint32{3, 1, 1}}}}).GetRelations()
	wantRel = []*query.Relation{{Other: 3, Exists: true, Friends: true}, {Other: 1, Exists: true, Friends: true}, {Other: 1, Exists: true, Incoming: true}}
	if !slices.EqualFunc(rel.Relations, wantRel, func(a, b *query.Relation) bool { return proto.Equal(a, b) }) {
		t.Errorf("relations of pairs %v", rel)
	}
}

// TestFriendsAreTheModels holds the fold against a model of plain maps, whatever happens.
func TestFriendsAreTheModels(t *testing.T) {
	type two struct{ a, b uint32 }
	rapid.Check(t, func(rt *rapid.T) {
		const people = 4
		friends, asks, remarks := map[two]bool{}, map[two]string{}, map[two]string{}
		become := func(a, b uint32) {
			friends[two{a, b}], friends[two{b, a}] = true, true
			delete(asks, two{a, b})
			delete(asks, two{b, a})
		}
		l := new(projectiontest.Log)
		for i := range people {
			l.Append(writer, registered(second(0), fmt.Sprint("name", i), 0))
		}
		var want []bool // whether each event counts
		for range rapid.IntRange(1, 40).Draw(rt, "events") {
			a := uint32(rapid.IntRange(1, people).Draw(rt, "a"))
			b := uint32(rapid.IntRange(1, people).Draw(rt, "b"))
			there, back := two{a, b}, two{b, a}
			ok := a != b
			var ev *event.Event
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				word := rapid.SampledFrom([]string{"", "x"}).Draw(rt, "text")
				ev = requested(a, b, word)
				_, asked := asks[there]
				_, other := asks[back]
				if ok = ok && !friends[there] && !asked; ok && other {
					become(a, b)
				} else if ok {
					asks[there] = word
				}
			case 1:
				yes := rapid.Bool().Draw(rt, "yes")
				ev = answered(a, b, yes)
				_, asked := asks[there]
				if ok = ok && asked; ok {
					delete(asks, there)
					if yes {
						become(a, b)
					}
				}
			case 2:
				ev = withdrawn(a, b)
				_, asked := asks[there]
				if ok = ok && asked; ok {
					delete(asks, there)
				}
			case 3:
				ev = befriended(min(a, b), max(a, b))
				if ok = ok && !friends[there]; ok {
					become(a, b)
				}
			case 4:
				ev = left(a, b)
				if ok = ok && friends[there]; ok {
					for _, k := range []two{there, back} {
						delete(friends, k)
						delete(remarks, k)
					}
				}
			default:
				word := rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "remark")
				ev = remarked(a, b, word)
				if ok = ok && friends[there] && remarks[there] != word; ok {
					remarks[there] = word
				}
			}
			l.Append(writer, ev)
			want = append(want, ok)
		}
		v, applied := projectiontest.Fold(t, New(), l.Records)
		for i, ok := range want {
			if e := applied[people+i].Effects[0]; ok != (e.Void == 0) {
				rt.Fatalf("event %d: void %s, want it to count: %v", i, e.Void, ok)
			}
		}
		for user := uint32(1); user <= people; user++ {
			var expect []string
			for other := uint32(1); other <= people; other++ {
				k, back := two{user, other}, two{other, user}
				if friends[k] {
					expect = append(expect, fmt.Sprint("friend ", other, " ", remarks[k]))
				}
				if text, ok := asks[back]; ok {
					expect = append(expect, fmt.Sprint("in ", other, " ", text))
				}
				if text, ok := asks[k]; ok {
					expect = append(expect, fmt.Sprint("out ", other, " ", text))
				}
			}
			var got []string
			for _, f := range friendListOf(t, v, user).Friends {
				switch {
				case f.Friends:
					got = append(got, fmt.Sprint("friend ", f.User, " ", f.Remark))
				case f.Outgoing:
					got = append(got, fmt.Sprint("out ", f.User, " ", f.Text))
				default:
					got = append(got, fmt.Sprint("in ", f.User, " ", f.Text))
				}
			}
			slices.Sort(got)
			slices.Sort(expect)
			if !slices.Equal(got, expect) {
				rt.Fatalf("of %d: %v, want %v", user, got, expect)
			}
			// What the limits count is what there is.
			var c circle
			err := v.Read(func(r *view.Reader) error {
				c = parseCircle(r.Get(circleBucket, be.AppendUint32(nil, user)))
				return nil
			})
			count := func(kind string) (n uint32) {
				for _, s := range got {
					if strings.HasPrefix(s, kind+" ") {
						n++
					}
				}
				return n
			}
			if err != nil || c.friends != count("friend") || c.incoming != count("in") || c.outgoing != count("out") {
				rt.Fatalf("of %d: %v counted as %+v (%v)", user, got, c, err)
			}
		}
	})
}

func TestFriendsAndRequestsHaveALimit(t *testing.T) {
	l := new(projectiontest.Log)
	many := func(n int, f func(i uint32) *event.Event) {
		var events []*event.Event
		for i := range n {
			if events = append(events, f(uint32(i))); len(events) == 500 || i == n-1 {
				l.Append(writer, events...)
				events = nil
			}
		}
	}
	many(MaxFriends+MaxRequests+4, func(i uint32) *event.Event { return registered(second(0), fmt.Sprint("n", i), 0) })
	const a, b, c = 1, 2, 3 // the others follow
	many(MaxFriends, func(i uint32) *event.Event { return befriended(a, 4+i) })
	many(MaxRequests, func(i uint32) *event.Event { return requested(b, 4+i, "") }) // b asks as many as one may
	many(MaxRequests, func(i uint32) *event.Event { return requested(4+i, c, "") }) // c is asked by as many
	after := len(l.Records)
	steps := []struct {
		ev   *event.Event
		full bool
	}{
		{befriended(a, b), true},
		{requested(a, c, ""), true},  // c's requests are full
		{requested(b, c, ""), true},  // and b's
		{requested(c, a, ""), false}, // asking is free
		{answered(c, a, true), true}, // being friends is not: the request stays
		{requested(a, c, ""), true},  // nor by asking back
		{answered(c, a, false), false},
		{withdrawn(b, 4), false},
		{requested(b, a, ""), false}, // room again
		{unfriended(a, 4), false},
		{answered(b, a, true), false},
		{answered(4, c, true), false},
	}
	for _, s := range steps {
		l.Append(writer, s.ev)
	}
	v, applied := projectiontest.Fold(t, New(), l.Records)
	for i, s := range steps {
		if got := text(applied[after+i].Effects[0]); (got == "full") != s.full || !s.full && !strings.HasPrefix(got, "tells") {
			t.Errorf("step %d: %s", i+1, got)
		}
	}
	got := friendListOf(t, v, a)
	if len(got.Friends) != MaxFriends {
		t.Errorf("%d friends", len(got.Friends))
	}
}

// TestTheLongestFriendListFitsIntoAnAnswer: NATS carries 1 MiB.
func TestTheLongestFriendListFitsIntoAnAnswer(t *testing.T) {
	a := &query.FriendListAnswer{}
	for i := range MaxFriends {
		a.Friends = append(a.Friends, &query.Friend{User: 1<<32 - 1 - uint32(i), Friends: true, Since: 1 << 31, Remark: strings.Repeat("x", MaxRemark)})
	}
	for i := range 2 * MaxRequests {
		a.Friends = append(a.Friends, &query.Friend{User: 1<<32 - 1 - uint32(i), Outgoing: true, Since: 1 << 31, Text: strings.Repeat("x", MaxText)})
	}
	if n := proto.Size(a); n > 1000<<10 {
		t.Errorf("%d bytes", n)
	}
}

func TestTheDirectoryOfFriends(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, append(three(), registered(second(0), "dan", 0))...) // updated 0
	l.Append(writer, befriended(1, 2))                                    // 1
	l.Append(writer, befriended(1, 3))                                    // 2
	l.Append(writer, password(second(3), 4))                              // 3: a stranger
	l.Append(writer, password(second(4), 2))                              // 4
	l.Append(writer, unfriended(1, 3))                                    // 5
	l.Append(writer, password(second(6), 3))                              // 6: none of his business any more
	v, _ := projectiontest.Fold(t, New(), l.Records)
	page := func(since, limit uint32) (out []string, latest uint32, more bool) {
		a := ask(t, v, &query.Request{Body: &query.Request_AccountsChanged{
			AccountsChanged: &query.AccountsChanged{Since: since, Limit: limit, Of: 1}}}).GetAccounts()
		for _, p := range a.Accounts {
			if p.PasswordHash != "" {
				t.Error("a password hash in a list")
			}
			out = append(out, fmt.Sprint(p.Name, " ", p.Updated-fold(0), " ", p.Employment))
		}
		return out, a.Latest, a.More
	}
	all := []string{"ann 0 0", "ben 4 0", "cleo 5 3"}
	if got, latest, more := page(0, 0); !slices.Equal(got, all) || latest != fold(5) || more {
		t.Errorf("all: %v, %d, %v", got, latest, more)
	}
	if got, latest, _ := page(fold(4), 0); !slices.Equal(got, all[2:]) || latest != fold(5) {
		t.Errorf("later: %v, %d", got, latest)
	}
	if got, latest, _ := page(fold(5), 0); got != nil || latest != fold(5) {
		t.Errorf("nothing new: %v, %d", got, latest)
	}
	var got []string
	for since, more := uint32(0), true; more; {
		var part []string
		part, since, more = page(since, 1)
		got = append(got, part...)
	}
	if !slices.Equal(got, all) {
		t.Errorf("in pages: %v", got)
	}
	l.Append(writer, befriended(1, 3))
	v, _ = projectiontest.Fold(t, New(), l.Records)
	if got, _, _ := page(fold(5), 0); !slices.Equal(got, []string{"cleo 7 0"}) {
		t.Errorf("friends again: %v", got)
	}
}
