package delivery

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// register has the node's numbers collected, all named godwit_node_*.
func (n *Node) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	const namespace, subsystem = "godwit", "node"
	var errs []error
	counter := func(name, help string, get func(s Stats) uint64) {
		errs = append(errs, reg.Register(prometheus.NewCounterFunc(
			prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help},
			func() float64 { return float64(get(n.Stats())) })))
	}
	gauge := func(name, help string, get func() float64) {
		errs = append(errs, reg.Register(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, get)))
	}
	counter("frames_total", "Frames of owners worked off.", func(s Stats) uint64 { return s.Frames })
	counter("deliveries_total", "Deliveries handed to sessions.", func(s Stats) uint64 { return s.Deliveries })
	counter("holes_total", "Gaps found in what owners sent.", func(s Stats) uint64 { return s.Holes })
	counter("refills_total", "Times that what was missed was asked for, for a gap or a new term.", func(s Stats) uint64 { return s.Refills })
	counter("frames_dropped_total", "Frames dropped while a refill was under way, which are asked for again.", func(s Stats) uint64 { return s.FramesDropped })
	counter("attach_mismatches_total", "Times that an owner knew other users than are here.", func(s Stats) uint64 { return s.Mismatches })
	counter("terms_total", "Terms of owners gone over to.", func(s Stats) uint64 { return s.Terms })
	counter("epochs_total", "Streams that were rolled back.", func(s Stats) uint64 { return s.Epochs })
	counter("restarts_total", "Node lives begun anew.", func(s Stats) uint64 { return s.Restarts })
	counter("relays_total", "Relays handed to owners.", func(s Stats) uint64 { return s.Relays })
	counter("relays_dropped_total", "Relays that no owner took.", func(s Stats) uint64 { return s.RelaysDropped })
	gauge("users", "Users with sessions here.", func() float64 { return float64(n.Stats().Users) })
	gauge("sessions", "Sessions that take deliveries.", func() float64 { return float64(n.Stats().Sessions) })
	gauge("waiting_bytes", "Bytes of frames that wait behind refills.", func() float64 {
		n.mu.Lock()
		defer n.mu.Unlock()
		bytes := 0
		for _, st := range n.streams {
			bytes += st.waitingBytes
		}
		return float64(bytes)
	})
	gauge("heard", "Nodes heard, this one among them.", func() float64 { return float64(len(n.Lives())) })
	gauge("suspended", "1 while the node does not hear itself and its sockets rest.", func() float64 {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.suspended {
			return 1
		}
		return 0
	})
	gauge("clock_skew_seconds", "How far this clock is ahead of the others'.", func() float64 { return n.Skew().Seconds() })
	return errors.Join(errs...)
}
