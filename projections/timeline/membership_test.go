package timeline

import (
	"testing"

	"pgregory.net/rapid"
)

// Who is a member now is read from a row without taking it apart.
func TestPresentByTheRow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := member{
			cursor: rapid.Uint32().Draw(t, "cursor"), removed: rapid.Bool().Draw(t, "removed"), shielded: rapid.Bool().Draw(t, "shielded"),
			base: rapid.Uint32().Draw(t, "base"), delivered: rapid.Uint32().Draw(t, "delivered"), changed: rapid.Uint64().Draw(t, "changed"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "memberships") {
			m.join(rapid.Uint64().Draw(t, "joined"), 1)
			if rapid.Bool().Draw(t, "leaves") {
				m.leave(rapid.Uint64Min(1).Draw(t, "left"))
			}
		}
		if got := presentIn(m.append(nil)); got != m.present() {
			t.Fatalf("present %v, by the row %v", m.present(), got)
		}
	})
}
