package bench

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// tally is what a load found of its messages, counted over the whole run. Of a group,
// what is received, lost or wrong is deliveries: one message has many.
type tally struct {
	Sent       uint64 `json:"sent"`
	Acked      uint64 `json:"acked"`
	Received   uint64 `json:"received"`
	Unacked    uint64 `json:"unacked"`      // sent, no ack by the end of the drain
	Lost       uint64 `json:"lost"`         // acked, not received
	Duplicated uint64 `json:"duplicated"`   // received again
	Disorder   uint64 `json:"out_of_order"` // received after a later one of the same sender
	BadIDs     uint64 `json:"bad_ids"`      // id did not grow, was not the ack's, or left a hole
	Corrupt    uint64 `json:"corrupt"`      // changed on the way
	Misplaced  uint64 `json:"misplaced"`    // brought to somebody else, or under a false sender
	StrayAcks  uint64 `json:"stray_acks"`   // for nothing that was sent
	Dropped    uint64 `json:"disconnected"` // sessions that ended early
	DroppedWhy string `json:"disconnected_why,omitempty"`

	Receipts *ReceiptReport `json:"receipts,omitempty"`
}

// Err is nil where every message came exactly once to everybody it is for, in order,
// unchanged, under the id of its ack, and where every receipt came as it should.
func (t *tally) Err() error {
	var wrong []string
	for _, c := range []struct {
		name string
		n    uint64
	}{
		{"lost", t.Lost}, {"duplicated", t.Duplicated}, {"out of order", t.Disorder}, {"with bad ids", t.BadIDs},
		{"corrupt", t.Corrupt}, {"misplaced", t.Misplaced}, {"without ack", t.Unacked}, {"stray acks", t.StrayAcks},
		{"sessions disconnected", t.Dropped},
	} {
		if c.n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", c.n, c.name))
		}
	}
	if t.Received == 0 {
		wrong = append(wrong, "nothing received")
	}
	if t.Receipts != nil {
		wrong = append(wrong, t.Receipts.wrong()...)
	}
	if len(wrong) > 0 {
		return errors.New("the load was not served right: " + strings.Join(wrong, ", "))
	}
	return nil
}

func (t *tally) write(w io.Writer) {
	line(w, "sent %d, acked %d, received %d", t.Sent, t.Acked, t.Received)
	line(w, "lost %d, duplicated %d, out of order %d, bad ids %d, corrupt %d, misplaced %d, unacked %d, stray acks %d, disconnected %d",
		t.Lost, t.Duplicated, t.Disorder, t.BadIDs, t.Corrupt, t.Misplaced, t.Unacked, t.StrayAcks, t.Dropped)
	if t.DroppedWhy != "" {
		line(w, "first disconnection: %s", t.DroppedWhy)
	}
	if t.Receipts != nil {
		t.Receipts.write(w)
	}
}

// dropped counts a session that ended early.
func (t *tally) dropped(s *session, err error) {
	if t.Dropped++; t.DroppedWhy == "" {
		t.DroppedWhy = fmt.Sprintf("%s: %v", s.account.Name, err)
	}
}
