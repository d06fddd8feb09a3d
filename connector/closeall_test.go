package connector

import (
	"slices"
	"testing"
	"testing/synctest"

	"godwit/connector/delivery"
)

// A node that has lost its positions still lives: what it closes then has to be ended
// in the log, where nobody else would.
func TestSessionsClosedForLostPositionsAreEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		r.step(ann, bob)
		r.srv.Handler().CloseAll(delivery.ErrPositionsLost)
		r.settle(ann, bob)
		if !ann.over || !bob.over {
			t.Error("not closed")
		}
		r.step()
		ends := slices.DeleteFunc(r.node.kinds(), func(k string) bool { return k != "SessionEnded" })
		if len(ends) != 2 {
			t.Errorf("appended %v, want an end of each session", r.node.kinds())
		}
	})
}
