package up

import (
	"context"
	"iter"
	"time"

	"godwit/bus"
	"godwit/internal/admin"
	"godwit/internal/observe"
)

// liveWait is how long a sample waits for other processes to say how they do.
const liveWait = 500 * time.Millisecond

// answerLive tells the gateways of a cluster how this process does.
func (p *process) answerLive(context.Context) error {
	p.reader = observe.NewReader(p.bus.Process(), p.registry)
	if p.bus.Alone() {
		return nil // nobody else can ask
	}
	stop, err := p.bus.ServeAll(bus.EveryNode(bus.LiveQuestion), func(context.Context, []byte) []byte { return p.reader.Answer() })
	if err != nil {
		return err
	}
	p.closers = append(p.closers, func() error {
		stop()
		return nil
	})
	return nil
}

// makeLive makes the memory of how the cluster does.
func (p *process) makeLive(context.Context) error {
	var others func(context.Context) iter.Seq2[[]byte, error]
	if !p.bus.Alone() {
		others = p.askLive
	}
	p.live = observe.NewLive(p.reader, others, p.log.With("part", "live"))
	return nil
}

// askLive asks all processes how they do, until as many have answered as are heard.
func (p *process) askLive(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		heard := len(p.node.Lives()) + len(p.projectors.Live())
		for answer, err := range p.bus.AskAll(ctx, bus.EveryNode(bus.LiveQuestion), nil, liveWait) {
			if heard--; !yield(answer, err) || heard <= 0 {
				return
			}
		}
	}
}

func (p *process) startLive(context.Context) error {
	p.stages.start("live", p.live.Run)
	return nil
}

// liveStatus is what the API tells of how the cluster does.
type liveStatus struct {
	*observe.Live
	p *process
}

// Nodes implements api.Live.
func (l liveStatus) Nodes() []admin.NodeStatus { return l.p.nodes(l.p.projectors.Live()) }
