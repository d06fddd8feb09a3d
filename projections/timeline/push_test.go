package timeline

import (
	"slices"
	"testing"

	"godwit/projections/projectiontest"
	"godwit/schema/query"
)

// Blocks of recipients are cut by who was a member when the message was sent: nobody
// comes into another one because somebody has read it, has left, or has come back.
func TestWhoIsOfWhichBlockOfRecipientsNeverChanges(t *testing.T) {
	const size = 2*PushBlock + 100
	var users []uint32
	for u := range uint32(size) {
		users = append(users, u+1)
	}
	l := new(projectiontest.Log)
	l.Append(writer, created(normal, 1, users...))
	at := l.Append(writer, sent(second(1), team, 2))
	ask := func() (blocks [][]uint32) {
		v, _ := projectiontest.Fold(t, New(0), l.Records)
		a := asking(t, v, &query.Request{Body: &query.Request_Pushes{Pushes: &query.Pushes{
			Asked: []*query.PushAsked{{Conversation: team[:], Sequence: at}}}}})
		m := a.GetPushes().GetMessages()[0]
		if m.GetMessage().GetId() != 1 {
			t.Fatalf("the message is %v", m.GetMessage())
		}
		last := 0
		for _, b := range append(m.Blocks, uint32(len(m.Recipients))) {
			blocks = append(blocks, m.Recipients[last:b])
			last = int(b)
		}
		return blocks
	}
	without := func(users []uint32, gone ...uint32) []uint32 {
		return slices.DeleteFunc(slices.Clone(users), func(u uint32) bool { return slices.Contains(gone, u) })
	}
	check := func(what string, gone ...uint32) {
		t.Helper()
		got := ask()
		if len(got) != 3 {
			t.Fatalf("%s: %d blocks", what, len(got))
		}
		for i, b := range got {
			want := without(users[i*PushBlock:min((i+1)*PushBlock, size)], gone...)
			if !slices.Equal(b, want) {
				t.Errorf("%s: block %d begins with %d and has %d, want %d and %d", what, i, b[0], len(b), want[0], len(want))
			}
		}
	}
	check("at first", 2)
	l.Append(writer, read(team, 1, 1), read(team, PushBlock+1, 1), shield(7, true))
	check("read and muted", 1, 2, 7, PushBlock+1)
	l.Append(writer, del(0, 3, 4, 5), add(0, 3), add(0, 5000))
	l.Append(writer, sent(second(2), team, 9))
	check("gone, come back, and written (who has written has read)", 1, 2, 3, 4, 5, 7, 9, PushBlock+1)
}
