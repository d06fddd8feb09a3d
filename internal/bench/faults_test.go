package bench

import "testing"

func TestConversationsAreHeldAgainstTheirAcks(t *testing.T) {
	const a, z = 7, 9
	right := func() ([]entry, writes, writes) {
		return []entry{{11, a, 1}, {12, z, 1}, {13, a, 2}, {14, a, 3}},
			writes{sender: a, sent: 3, acked: map[uint64]uint32{1: 11, 2: 13}}, // the third was stored, and its ack lost
			writes{sender: z, sent: 2, acked: map[uint64]uint32{1: 12}}
	}
	for name, c := range map[string]struct {
		spoil func(all []entry, x, y *writes) []entry
		want  tally
	}{
		"right":             {func(all []entry, _, _ *writes) []entry { return all }, tally{}},
		"lost":              {func(all []entry, _, y *writes) []entry { y.acked[2] = 15; return all }, tally{Lost: 1}},
		"lost in between":   {func(all []entry, _, _ *writes) []entry { return append(all[:1], all[2:]...) }, tally{Lost: 1, BadIDs: 1}},
		"twice":             {func(all []entry, _, _ *writes) []entry { return append(all, entry{15, a, 2}) }, tally{Duplicated: 1}},
		"another id":        {func(all []entry, x, _ *writes) []entry { x.acked[2] = 12; return all }, tally{BadIDs: 1}},
		"a hole":            {func(all []entry, _, _ *writes) []entry { all[3].id = 15; return all }, tally{BadIDs: 1}},
		"out of order":      {func(all []entry, _, _ *writes) []entry { return append(all[:2], entry{13, a, 3}, entry{14, a, 2}) }, tally{Disorder: 1, BadIDs: 1}},
		"never sent":        {func(all []entry, _, _ *writes) []entry { return append(all, entry{15, z, 3}) }, tally{Misplaced: 1}},
		"of somebody else":  {func(all []entry, _, _ *writes) []entry { return append(all, entry{15, 8, 1}) }, tally{Misplaced: 1}},
		"nothing was there": {func([]entry, *writes, *writes) []entry { return nil }, tally{Lost: 3}},
	} {
		all, x, y := right()
		all = c.spoil(all, &x, &y)
		var got tally
		checkHistory(all, x, y, &got)
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
