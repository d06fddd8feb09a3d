package bus_test

import (
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
)

// The leader of the leases lives and the quorum does not: it answers a renewal with a refusal,
// because the one before is still under way. Nobody else can have the lease, so it stays.
func TestALeaseOutlivesTheQuorum(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	c := bustest.NewCluster(t)
	k := bustest.New(t, bustest.At(c.URLs()), bustest.Partitions(1))
	lease, err := k.AcquireLease(t.Context(), "people")
	if err != nil {
		t.Fatal(err)
	}
	c.AwaitCurrent()
	leader := c.AwaitLeader("KV_leases")
	bustest.Eventually(t, "everybody can be heard", k.HearsAll)
	for i := range 3 {
		if i != leader {
			c.Stop(i)
		}
	}
	away := time.NewTimer(3 * bus.LeaseTTL) // the time itself is the subject
	defer away.Stop()
	select {
	case <-lease.Lost():
		t.Fatal("lost without anybody having taken it")
	case <-away.C:
	}
	// A server that is left alone tells its clients of each other, and of nobody else.
	bustest.Eventually(t, "the silence of others says nothing", func() bool { return !k.HearsAll() })
	for i := range 3 {
		if i != leader {
			c.Start(i)
		}
	}
	c.Await()
	renewed := func() time.Time {
		all, err := k.Leases(t.Context())
		if err != nil || len(all) != 1 || all[0].Process != k.Process() {
			t.Fatalf("%+v, %v", all, err)
		}
		return all[0].Renewed
	}
	was := renewed()
	bustest.Eventually(t, "renewed again", func() bool { return renewed().After(was) })
	select {
	case <-lease.Lost():
		t.Error("lost to nobody")
	default:
	}
	bustest.Eventually(t, "everybody can be heard again", k.HearsAll)
}
