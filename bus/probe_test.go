package bus_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
)

// unwritable waits until the bus says that appends are held.
func unwritable(t *testing.T, k *bustest.Kit) *bus.UnwritableError {
	t.Helper()
	var e *bus.UnwritableError
	bustest.Eventually(t, "said to be unwritable", func() bool { return errors.As(k.Writable(), &e) })
	return e
}

// Two of three servers go, and nothing is being appended.
func TestALostQuorumIsNoticed(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	c := bustest.NewCluster(t)
	k := bustest.New(t, bustest.At(c.URLs()))
	write(t, k.NewWriter(life()), 0, 1)
	if err := k.Writable(); err != nil {
		t.Fatal(err)
	}
	gone, leader := time.Now(), c.Leader(conv.String())
	if leader < 0 {
		leader = 0 // there is an election: any two will do
	}
	c.Stop((leader + 1) % 3)
	c.Stop((leader + 2) % 3)
	e := unwritable(t, k)
	if e.Since.Before(gone.Add(-4*time.Second)) || e.Reason == nil || !strings.Contains(e.Error(), "taken no records since") {
		t.Errorf("%v", e)
	}
	t.Logf("%v after the stop: %v", time.Since(gone), e)
	if err := k.Healthy(); err == nil {
		t.Error("healthy without a quorum")
	}
	c.Start((leader + 1) % 3)
	c.Start((leader + 2) % 3)
	bustest.Eventually(t, "writable", func() bool { return k.Writable() == nil && k.Healthy() == nil })
	write(t, k.NewWriter(life()), 1, 1)
}

// The network to the servers is cut: nothing is closed, and nothing comes.
func TestACutIsNoticed(t *testing.T) {
	way := bustest.NewProxy(t, bustest.Server(t))
	k := bustest.New(t, bustest.At(way.URL()))
	if err := k.Writable(); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	way.Cut()
	e := unwritable(t, k)
	t.Logf("%v after the cut: %v", time.Since(gone), e)
	if k.Healthy() == nil {
		t.Error("healthy behind a cut")
	}
	way.Mend()
	bustest.Eventually(t, "writable", func() bool { return k.Writable() == nil && k.Healthy() == nil })
}

// A disk without room is known at once.
func TestHeldAppendsAreUnwritable(t *testing.T) {
	k := bustest.New(t)
	k.SetFree(func() (uint64, error) { return 0, nil })
	if e := unwritable(t, k); !errors.Is(e, bus.ErrLowSpace) {
		t.Error(e)
	}
	k.SetFree(nil)
	bustest.Eventually(t, "writable", func() bool { return k.Writable() == nil })
}
