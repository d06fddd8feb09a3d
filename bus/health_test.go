package bus_test

import (
	"testing"

	"godwit/bus"
	"godwit/bus/bustest"
)

// While a server of three is away a stream has two replicas that are current, and three again
// once it is back.
func TestHealthOfAStream(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	c := bustest.NewCluster(t)
	k := bustest.New(t, bustest.At(c.URLs()), bustest.WithConfig(func(c *bus.Config) { c.Partitions = 1 }))
	health := func(want int) func() bool {
		return func() bool {
			h, err := k.StreamHealth(t.Context(), conv)
			return err == nil && h.Stream == conv && h.Leader != "" && h.Last >= 1 && h.Replicas == 3 && h.Current == want
		}
	}
	bustest.Eventually(t, "all replicas are current", health(3))
	away := (c.Leader(conv.String()) + 1) % 3
	c.Stop(away)
	bustest.Eventually(t, "one is missed", health(2))
	c.Start(away)
	bustest.Eventually(t, "it is back", health(3))
	if _, known := k.DiskFree(); known {
		t.Error("the disks of other servers are known")
	}
}

// The embedded log has one replica, and a disk.
func TestHealthOfAnEmbeddedStream(t *testing.T) {
	k := bustest.New(t)
	h, err := k.StreamHealth(t.Context(), conv)
	if err != nil || h.Replicas != 1 || h.Current != 1 || h.Last != 1 {
		t.Errorf("%+v, %v", h, err)
	}
	if free, known := k.DiskFree(); !known || free == 0 {
		t.Errorf("%d bytes are free, known: %v", free, known)
	}
}
