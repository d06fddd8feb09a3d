package timeline

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"godwit/projections/projectiontest"
	"godwit/schema/event"
	"godwit/schema/query"
)

func recalled(key event.ConversationKey, user, id uint32) *event.Event {
	return &event.Event{At: second(60), Body: &event.Event_MessageRecalled{MessageRecalled: &event.MessageRecalled{
		Conversation: key[:], MsgId: id, User: user, Session: phone[:],
	}}}
}

func edited(key event.ConversationKey, user, id uint32, body string) *event.Event {
	return &event.Event{At: second(60), Body: &event.Event_MessageEdited{MessageEdited: &event.MessageEdited{
		Conversation: key[:], MsgId: id, User: user, Body: []byte(body), Session: phone[:],
	}}}
}

// atMost gives a recall or edit so many seconds.
func atMost(ev *event.Event, within uint32, at int64) *event.Event {
	switch b := ev.Body.(type) {
	case *event.Event_MessageRecalled:
		b.MessageRecalled.Within = within
	case *event.Event_MessageEdited:
		b.MessageEdited.Within = within
	}
	ev.At = at
	return ev
}

func delivered(key event.ConversationKey, user, id uint32) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_DeliveredAdvanced{DeliveredAdvanced: &event.DeliveredAdvanced{
		Conversation: key[:], User: user, MsgId: id, Session: phone[:],
	}}}
}

func brought(key event.ConversationKey, id, from uint32, body string) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_MessageImported{MessageImported: &event.MessageImported{
		Conversation: key[:], MsgId: id, From: from, Type: 1, Body: []byte(body), Missing: body == "",
	}}}
}

func offered(from, to uint32, task string) *event.Event {
	key := event.Direct(from, to)
	return &event.Event{At: second(0), Body: &event.Event_FileOffered{FileOffered: &event.FileOffered{
		Conversation: key[:], From: from, To: to, Task: task, Name: task + ".txt", Size: 5, Session: phone[:],
	}}}
}

func fetched(key event.ConversationKey, user uint32, task string) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_FileRemoved{FileRemoved: &event.FileRemoved{
		Conversation: key[:], User: user, Task: task, Session: phone[:],
	}}}
}

func voice(m *event.MessageSent) { m.Type = kindVoice }

func TestWhatChangesComeTo(t *testing.T) {
	system := origin(event.Origin_ORIGIN_SYSTEM)
	hold(t, []steps{
		{"a message is recalled once, by its sender", []step{
			{sent(second(0), annBen, ann), "id 1"},
			{recalled(annBen, ann, 0), "malformed"},
			{recalled(event.Direct(ann, ann), ann, 1), "malformed"},
			{recalled(annBen, cleo, 1), "not_party"},
			{recalled(annBen, ben, 1), "not_allowed"},
			{recalled(annBen, ann, 2), "no_such_message"},
			{recalled(annBen, ann, 1), "id 1"},
			{recalled(annBen, ann, 1), "no_such_message"},
			{edited(annBen, ann, 1, "x"), "no_such_message"},
			{sent(second(0), annBen, ann), "id 2"},
			{recalled(annBen, 0, 2), "id 2"},
		}},
		{"within its time, by the second", []step{
			{sent(second(0.9), annBen, ann), "id 1"},
			{atMost(recalled(annBen, ann, 1), 10, second(11)), "too_late"},
			{atMost(edited(annBen, ann, 1, "x"), 10, second(11)), "too_late"},
			{atMost(edited(annBen, ann, 1, "x"), 10, second(10.9)), "id 1"},
			{atMost(edited(annBen, ann, 1, "y"), 10, second(-100)), "id 1"},
			{atMost(edited(annBen, ann, 1, "z"), 0, second(1e6)), "id 1"},
			{atMost(recalled(annBen, 0, 1), 10, second(1e6)), "too_late"},
			{atMost(recalled(annBen, ann, 1), 10, second(10)), "id 1"},
		}},
		{"a message is edited by its sender", []step{
			{sent(second(0), annBen, ann), "id 1"},
			{edited(annBen, ann, 1, ""), "malformed"},
			{edited(annBen, ann, 0, "x"), "malformed"},
			{edited(annBen, cleo, 1, "x"), "not_party"},
			{edited(annBen, ben, 1, "x"), "not_allowed"},
			{edited(annBen, ann, 2, "x"), "no_such_message"},
			{edited(annBen, ann, 1, "from 1"), "no_effect"},
			{edited(annBen, ann, 1, "x"), "id 1"},
			{edited(annBen, ann, 1, "x"), "no_effect"},
			{edited(annBen, 0, 1, "from 1"), "id 1"},
			{sent(second(0), annBen, ann, voice), "id 2"},
			{edited(annBen, ann, 2, "x"), "not_allowed"},
			{edited(annBen, 0, 2, "x"), "not_allowed"},
			{recalled(annBen, ann, 2), "id 2"},
			{sent(second(0), annBen, 0, system), "id 3"},
			{recalled(annBen, ann, 3), "not_allowed"},
			{recalled(annBen, 0, 3), "id 3"},
		}},
		{"also where one blocks the other", []step{
			{sent(second(0), annBen, ann), "id 1"},
			{block(annBen, ben, true), "done"},
			{edited(annBen, ann, 1, "x"), "id 1"},
			{recalled(annBen, ann, 1), "id 1"},
		}},
		{"in a group by members", []step{
			{recalled(team, ben, 1), "not_party"},
			{recalled(team, 0, 1), "no_such_message"},
			{created(temporary, ann, ben), "id 1"},
			{sent(second(0), team, ben), "id 1"},
			{sent(second(0), team, ben), "id 2"},
			{edited(team, ann, 1, "x"), "not_allowed"},
			{edited(team, ben, 1, "x"), "id 1"},
			{del(ben, ben), "id 2"},
			{edited(team, ben, 1, "y"), "not_party"},
			{recalled(team, ben, 1), "not_party"},
			{recalled(team, 0, 1), "id 1"},
			{add(ann, ben), "id 3"},
			{recalled(team, ben, 2), "id 2"},
		}},
		{"what was received is no more than there is, and no less than was read", []step{
			{delivered(annBen, ben, 1), "no_effect"},
			{delivered(annBen, cleo, 1), "not_party"},
			{delivered(annBen, 0, 1), "malformed"},
			{sent(second(0), annBen, ann), "id 1"},
			{sent(second(0), annBen, ann), "id 2"},
			{sent(second(0), annBen, ann), "id 3"},
			{delivered(annBen, ben, 1), "id 1"},
			{delivered(annBen, ben, 1), "no_effect"},
			{read(annBen, ben, 2), "id 2"},
			{delivered(annBen, ben, 2), "no_effect"},
			{delivered(annBen, ben, 9), "id 3"},
			{delivered(annBen, ann, 3), "no_effect"},
			{delivered(team, ann, 1), "not_party"},
		}},
		{"an import goes on where it is", []step{
			{brought(annBen, 0, ann, "a"), "malformed"},
			{brought(event.Direct(ann, ann), 1, ann, "a"), "malformed"},
			{brought(annBen, 1, 0, "a"), "malformed"},
			{brought(annBen, 2, ann, "a"), "no_effect"},
			{brought(annBen, 1, ann, "a"), "id 1"},
			{brought(annBen, 1, ann, "a"), "no_effect"},
			{brought(annBen, 2, 0, ""), "id 2"},
			{sent(second(0), annBen, ben), "id 3"},
			{brought(annBen, 3, ann, "a"), "no_effect"},
			{brought(annBen, 4, cleo, "a"), "id 4"},
			{edited(annBen, ann, 1, "b"), "id 1"},
			{recalled(annBen, 0, 2), "no_such_message"},
			{edited(annBen, 0, 2, "b"), "no_such_message"},
			{brought(team, 1, ann, "a"), "malformed"},
			{created(normal, 0, ann, ben), "id 1"},
			{brought(team, 1, dora, "a"), "id 1"},
			{dissolved(0), "id 2"},
			{brought(team, 2, dora, "a"), "malformed"},
		}},
		{"a file waits until it is fetched", []step{
			{offered(ann, ben, ""), "malformed"},
			{offered(ann, ben, strings.Repeat("x", 129)), "malformed"},
			{in(offered(ann, ben, "a"), team[:]), "malformed"},
			{in(offered(ann, ben, "a"), annCleo[:]), "not_party"},
			{in(offered(ann, ann, "a"), annBen[:]), "not_party"},
			{in(offered(cleo, ben, "a"), annBen[:]), "not_party"},
			{offered(ann, ben, strings.Repeat("x", 128)), "done"},
			{offered(ann, ben, "a"), "done"},
			{offered(ann, ben, "a"), "no_effect"},
			{offered(cleo, ben, "a"), "no_effect"},
			{fetched(annBen, cleo, "a"), "not_allowed"},
			{fetched(annCleo, cleo, "a"), "no_effect"},
			{fetched(annBen, ben, "b"), "no_effect"},
			{fetched(annBen, ben, ""), "malformed"},
			{fetched(team, ben, "a"), "malformed"},
			{fetched(annBen, ben, "a"), "done"},
			{fetched(annBen, ben, "a"), "no_effect"},
			{offered(ben, ann, "a"), "done"},
			{fetched(annBen, ben, "a"), "done"},
			{offered(ben, ann, "b"), "done"},
			{block(annBen, ann, true), "done"},
			{offered(ben, ann, "c"), "blocked"},
			{offered(ann, ben, "c"), "blocked"},
			{fetched(annBen, 0, "b"), "done"},
		}},
	})
}

func TestAMessageIsEditedAThousandTimes(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, sent(second(0), annBen, ann))
	for n := range MaxEdits {
		l.Append(writer, edited(annBen, ann, 1, fmt.Sprint(n)))
	}
	last := l.Append(writer, edited(annBen, ann, 1, "one more"))
	v, applied := projectiontest.Fold(t, New(0), l.Records)
	if got := []string{text(applied[last-2].Effects[0]), text(applied[last-1].Effects[0])}; got[0] != "id 1" || got[1] != "full" {
		t.Errorf("the last ones: %v", got)
	}
	edits := func() []*query.Edit {
		return asking(t, v, &query.Request{Body: &query.Request_Edits{Edits: &query.Edits{Conversation: annBen[:], User: ben, MsgId: 1}}}).GetEdits().GetEdits()
	}
	e := edits()
	if len(e) != MaxEdits+1 || string(e[0].Body) != "from 1" || e[0].At != second(0) || string(e[MaxEdits].Body) != "999" || e[MaxEdits].At != second(60) {
		t.Errorf("%d edits", len(e))
	}
	// A recall leaves nothing of any of them.
	l.Append(writer, recalled(annBen, ann, 1))
	projectiontest.Apply(t, v, l.Records[last:])
	projectiontest.Commit(t, v)
	if e := edits(); len(e) != 0 {
		t.Errorf("after the recall: %v", e)
	}
	for _, row := range projectiontest.Rows(t, v) {
		if row.Bucket == editBucket || strings.Contains(row.Value, "from 1") || strings.Contains(row.Value, "999") {
			t.Errorf("%s still has %q: %q", row.Bucket, row.Key, row.Value)
		}
	}
}

func TestLongEditsComeWithoutTheOldestBodies(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, sent(second(0), annBen, ann, body(strings.Repeat("a", 200_000))))
	for _, b := range "bcd" {
		l.Append(writer, edited(annBen, ann, 1, strings.Repeat(string(b), 200_000)))
	}
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	var got []int
	for _, e := range asking(t, v, &query.Request{Body: &query.Request_Edits{Edits: &query.Edits{Conversation: annBen[:], User: ann, MsgId: 1}}}).GetEdits().GetEdits() {
		got = append(got, len(e.Body))
	}
	same(t, "bodies", got, []int{0, 0, 200_000, 200_000})
}

func TestEditsThatAreNotGivenAreNotCopied(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, sent(second(0), annBen, ann))
	const edits, size = 60, 300_000
	for n := range edits {
		l.Append(writer, edited(annBen, ann, 1, strings.Repeat(string(rune('a'+n)), size)))
	}
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	q := &query.Request{Body: &query.Request_Edits{Edits: &query.Edits{Conversation: annBen[:], User: ann, MsgId: 1}}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := len(asking(t, v, q).GetEdits().GetEdits())
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; n != edits+1 || took > 10*size {
		t.Errorf("%d edits took %d bytes", n, took)
	}
}

func TestBodiesThatAListLeavesOutAreNotCopied(t *testing.T) {
	l := new(projectiontest.Log)
	const peers, size = 60, 300_000
	for n := range uint32(peers) {
		l.Append(writer, sent(second(0), event.Direct(ann, 100+n), ann, body(strings.Repeat("a", size))))
	}
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	q := &query.Request{Body: &query.Request_Lists{Lists: &query.Lists{User: ann}}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := len(asking(t, v, q).GetLists().GetEntries())
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; n != peers || took > 10*size {
		t.Errorf("%d conversations took %d bytes", n, took)
	}
}

func TestARecalledMessageKeepsItsPlaceAndNothingElse(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, sent(second(0), annBen, ann, body("secret"), newKey(1)), sent(second(1), annBen, ann))
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	before := askLists(t, v, &query.Lists{User: ben})
	l.Append(writer, edited(annBen, ann, 1, "secret too"), recalled(annBen, ann, 1), sent(second(2), annBen, ann, body("secret"), newKey(1)))
	projectiontest.Apply(t, v, l.Records[1:])
	projectiontest.Commit(t, v)
	same(t, "lists do not move", askLists(t, v, &query.Lists{User: ben}), before)
	a := asking(t, v, &query.Request{Body: &query.Request_History{History: &query.History{Conversation: annBen[:], User: ben, Count: 9}}}).GetMessages().GetMessages()
	if len(a) != 2 || a[1].Id != 1 || !a[1].Recalled || len(a[1].Body) > 0 || a[1].From != ann || a[1].Created != uint32(second(0)/1000) || a[1].Type != 1 || !bytes.Equal(a[1].ClientMessageId, bytes.Repeat([]byte{1}, 16)) {
		t.Errorf("history %v", a)
	}
	for _, row := range projectiontest.Rows(t, v) {
		if strings.Contains(row.Value, "secret") {
			t.Errorf("%s still has %q", row.Bucket, row.Value)
		}
	}
}

func TestImportsMoveNothingButTheHead(t *testing.T) {
	l := new(projectiontest.Log)
	old := brought(annBen, 1, ann, "old")
	old.At = day(-100)
	l.Append(writer, old, brought(annBen, 2, 0, ""))
	v, applied := projectiontest.Fold(t, New(0), l.Records)
	for _, e := range applied[0].Effects {
		if len(e.Deliveries) > 0 || e.Stored != nil {
			t.Errorf("told %v", e)
		}
	}
	same(t, "unread by both", askLists(t, v, &query.Lists{User: ann}), []string{`d-1-2 head 2 cursor 0: 2 ""`})
	a := asking(t, v, &query.Request{Body: &query.Request_History{History: &query.History{Conversation: annBen[:], User: ben, Count: 9}}}).GetMessages().GetMessages()
	if len(a) != 2 || a[0].Missing != true || a[1].Created != uint32(day(-100)/1000) || string(a[1].Body) != "old" {
		t.Errorf("history %v", a)
	}
	l.Append(writer, sent(second(9), annCleo, cleo))
	l.Append(writer, brought(event.Direct(ann, dora), 1, dora, "older"))
	l.Records[2].Data = func() []byte {
		ev := brought(event.Direct(ann, dora), 1, dora, "older")
		ev.At = day(-200)
		one := new(projectiontest.Log)
		one.Append(projectiontest.ID(2), ev)
		return one.Records[0].Data
	}()
	projectiontest.Apply(t, v, l.Records[1:])
	projectiontest.Commit(t, v)
	same(t, "in the order of their own times", askLists(t, v, &query.Lists{User: ann}), []string{
		`d-1-3 head 1 cursor 0: 1 "from 3"`, `d-1-2 head 2 cursor 0: 2 ""`, `d-1-4 head 1 cursor 0: 1 "older"`,
	})
}

func TestFilesAreListedOldestFirst(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, offered(ann, ben, "z"), offered(cleo, ben, "a"))
	l.Append(writer, offered(ann, ben, "m"), offered(ben, ann, "q"))
	l.Append(writer, fetched(event.Direct(ben, cleo), ben, "a"))
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	files := func(user uint32, task string) (out []string) {
		a := asking(t, v, &query.Request{Body: &query.Request_Files{Files: &query.Files{User: user, Task: task}}})
		for _, f := range a.GetFiles().GetFiles() {
			out = append(out, fmt.Sprintf("%s from %d to %d: %s, %d, %d", f.Task, f.From, f.To, f.Name, f.Size, (f.Offered-second(0))/1000))
		}
		return out
	}
	same(t, "of ben", files(ben, ""), []string{"z from 1 to 2: z.txt, 5, 0", "m from 1 to 2: m.txt, 5, 0"})
	same(t, "of ann", files(ann, ""), []string{"q from 2 to 1: q.txt, 5, 0"})
	same(t, "one for its sender", files(ann, "z"), []string{"z from 1 to 2: z.txt, 5, 0"})
	same(t, "one that is gone", files(ben, "a"), nil)
	same(t, "one of others", files(cleo, "z"), nil)
	for n := range MaxFiles {
		l.Append(writer, offered(ann, dora, fmt.Sprint(n)))
	}
	l.Append(writer, offered(ann, dora, "last"))
	projectiontest.Apply(t, v, l.Records[3:])
	projectiontest.Commit(t, v)
	if f := files(dora, ""); len(f) != MaxFiles || !strings.HasPrefix(f[0], "1 ") || !strings.HasPrefix(f[MaxFiles-1], "last ") {
		t.Errorf("%d files, first %q, last %q: what is oldest may be gone from the store", len(f), f[0], f[len(f)-1])
	}
}

func TestPushesGoToWhoHasNotRead(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, created(temporary, ann, ben, cleo, dora))
	for range 5 {
		l.Append(writer, sent(second(0), annCleo, ann), sent(second(0), team, ann), sent(second(0), annBen, dora))
	}
	system := l.Append(writer, sent(second(0), annBen, 0, origin(event.Origin_ORIGIN_SYSTEM)))
	l.Append(writer, read(team, ben, 2), shield(cleo, true), read(annCleo, cleo, 3), block(annBen, ben, true))
	l.Append(writer, add(ann, emil))
	later := l.Append(writer, sent(second(0), team, emil), recalled(team, ann, 2))
	l.Append(writer, del(0, dora))
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	ask := func(asked ...*query.PushAsked) (out []string) {
		for _, p := range asking(t, v, &query.Request{Body: &query.Request_Pushes{Pushes: &query.Pushes{Asked: asked}}}).GetPushes().GetMessages() {
			s := "void"
			if m := p.Message; m != nil {
				s = fmt.Sprintf("%d %q from %d to %v", m.Id, m.Body, m.From, p.Recipients)
			}
			out = append(out, s)
		}
		return out
	}
	at := func(key event.ConversationKey, sequence uint64, index uint32) *query.PushAsked {
		return &query.PushAsked{Conversation: key[:], Sequence: sequence, Index: index}
	}
	same(t, "of two", ask(at(annCleo, 2, 0), at(annCleo, 4, 0), at(annCleo, 5, 0), at(annCleo, 6, 0)), []string{
		`1 "from 1" from 1 to []`, `3 "from 1" from 1 to []`, `4 "from 1" from 1 to [3]`, `5 "from 1" from 1 to [3]`,
	})
	same(t, "of a group", ask(at(team, 2, 1), at(team, 3, 1), at(team, 4, 1), at(team, later, 0)), []string{
		`1 "from 1" from 1 to []`, `2 "" from 1 to []`, `3 "from 1" from 1 to [2]`, `6 "from 5" from 5 to [1 2]`,
	})
	same(t, "by the system, and ben blocks", ask(at(annBen, system, 0)), []string{`1 "from 0" from 0 to [1]`})
	same(t, "that came to nothing", ask(at(annBen, 2, 2), at(annCleo, 2, 1), at(annCleo, 1, 0), at(annCleo, 999, 0), at(event.Direct(8, 9), 2, 0), &query.PushAsked{}), []string{
		"void", "void", "void", "void", "void", "void",
	})
	many := make([]*query.PushAsked, MaxPushes+1)
	for i := range many {
		many[i] = at(annCleo, 5, 0)
	}
	if n := len(ask(many...)); n != MaxPushes {
		t.Errorf("%d of %d", n, len(many))
	}
	long := sent(second(0), annCleo, ann, body(strings.Repeat("x", 300_000)))
	seq := l.Append(writer, long)
	projectiontest.Apply(t, v, l.Records[seq-1:])
	projectiontest.Commit(t, v)
	if n := len(ask(at(annCleo, seq, 0), at(annCleo, seq, 0), at(annCleo, 5, 0))); n != 1 {
		t.Errorf("%d long ones at once", n)
	}
}

func TestWhatChangesTell(t *testing.T) {
	l := new(projectiontest.Log)
	big := make([]uint32, receiptMembers-1)
	for i := range big {
		big[i] = 100 + uint32(i)
	}
	crowd := event.Group(8)
	for _, ev := range []*event.Event{
		created(temporary, ann, ben), in(created(temporary, ann, big...), crowd[:]),
		sent(second(0), annBen, ann), sent(second(0), team, ann), sent(second(0), crowd, ann), sent(second(0), crowd, ann),
		delivered(annBen, ben, 1), read(annBen, ben, 1), delivered(team, ben, 1), read(team, ben, 1),
		delivered(crowd, 100, 1), read(crowd, 100, 1),
		in(add(ann, ben), crowd[:]),
		delivered(crowd, 100, 2), read(crowd, 100, 2),
		edited(annBen, ann, 1, "x"), recalled(team, ann, 1),
		block(annBen, ben, true), block(annBen, ben, false), offered(ann, ben, "a"), fetched(annBen, ben, "a"),
	} {
		l.Append(writer, ev)
	}
	_, applied := projectiontest.Fold(t, New(0), l.Records)
	var got []string
	for _, a := range applied[6:] {
		if a.Effects[0].Members != nil {
			continue
		}
		got = append(got, strings.Join(tells(a.Effects[0]), "; "))
	}
	same(t, "told", got, []string{
		"Receipt to 1 2", "Read to 1 2", "Receipt to g-7", "Read to g-7", "Receipt to g-8", "Read to g-8",
		"", "Read to 100 0", // of a hundred and one
		"MessageChange to 1 2", "MessageChange to g-7", "BlockChange to 2 0", "BlockChange to 2 0", "FileOffer to 2 0", "",
	})
	m := applied[15].Effects[0].Deliveries[0].GetMessageChange()
	if string(m.Body) != "x" || m.Edits != 1 || m.Recalled || m.From != ann || m.Id != 1 || m.Type != 1 || !bytes.Equal(m.Session, phone[:]) {
		t.Errorf("edit tells %v", m)
	}
	m = applied[16].Effects[0].Deliveries[0].GetMessageChange()
	if len(m.Body) > 0 || m.Edits != 0 || !m.Recalled {
		t.Errorf("recall tells %v", m)
	}
}
