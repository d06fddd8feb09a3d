package up

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// stages run the parts of the process. They start in order, each when the one
// before can serve it, and stop in the opposite order, each before what it needs.
type stages struct {
	failed chan error // the first stage that ended by itself
	once   sync.Once
	list   []*stage
}

type stage struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func newStages() *stages { return &stages{failed: make(chan error, 1)} }

// start runs a stage until stop; one that ends before that fails the process.
func (s *stages) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	st := &stage{name: name, cancel: cancel, done: make(chan struct{})}
	s.list = append(s.list, st)
	go func() {
		defer close(st.done)
		err := run(ctx)
		switch {
		case err == nil, errors.Is(err, context.Canceled):
		case strings.HasPrefix(err.Error(), name+": "):
			st.err = err
		default:
			st.err = fmt.Errorf("%s: %w", name, err)
		}
		if ctx.Err() == nil {
			s.once.Do(func() {
				s.failed <- cmp.Or(st.err, errors.New(name+" ended"))
				st.err = nil // it is told once
			})
		}
	}()
}

// stop ends all stages, the last one first, and waits for each.
func (s *stages) stop() error {
	var errs []error
	for i := len(s.list) - 1; i >= 0; i-- {
		st := s.list[i]
		st.cancel()
		<-st.done
		errs = append(errs, st.err)
	}
	return errors.Join(errs...)
}
