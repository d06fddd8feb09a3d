package connector

import (
	"bytes"
	"context"
	"iter"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// survey is a bus that connects servers with who asks them.
type survey struct {
	handlers []func(context.Context, []byte) []byte
	asked    int
	err      error
}

func (s *survey) AskAll(ctx context.Context, _ string, data []byte, _ time.Duration) iter.Seq2[[]byte, error] {
	s.asked++
	return func(yield func([]byte, error) bool) {
		if s.err != nil {
			yield(nil, s.err)
			return
		}
		for _, h := range s.handlers {
			if !yield(h(ctx, data), nil) {
				return
			}
		}
	}
}

func (s *survey) ServeAll(_ string, h func(context.Context, []byte) []byte) (func(), error) {
	s.handlers = append(s.handlers, h)
	return func() {}, nil
}

// Somebody is logged in from an address if any connector says so.
func TestAddressesOfAllConnectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &survey{}
		as := NewAddresses(b, nil)
		four, six, near := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		if as.Has(four) {
			t.Error("no connector, and somebody is there")
		}
		one, two := &Server{present: presentAt{count: map[netip.Addr]int32{}}}, &Server{present: presentAt{count: map[netip.Addr]int32{}}}
		for _, srv := range []*Server{one, two} {
			if _, err := srv.AnswerAddresses(b); err != nil {
				t.Fatal(err)
			}
		}
		one.present.add(four, 1)
		two.present.add(six, 1)
		if !as.Has(four) || !as.Has(six) || !as.Has(near) || as.Has(netip.MustParseAddr("192.0.2.2")) {
			t.Error("not who is there")
		}
		asked := b.asked
		one.present.add(four, -1)
		if !as.Has(four) || b.asked != asked {
			t.Error("what was said lately is asked for again")
		}
		time.Sleep(addressFor)
		if as.Has(four) {
			t.Error("it is believed for ever")
		}
		b.err = errAway
		if as.Has(near) {
			t.Error("an answer without a bus")
		}
		for range 2 * maxAddresses {
			as.until[netip.AddrFrom4([4]byte{1, byte(len(as.until) >> 16), byte(len(as.until) >> 8), byte(len(as.until))})] = time.Now()
			if len(as.until) > maxAddresses {
				break
			}
		}
		b.err = nil
		if as.Has(six); len(as.until) > 1 {
			t.Errorf("%d addresses are kept", len(as.until))
		}
		for _, h := range b.handlers {
			for _, q := range []string{"", "no address"} {
				if bytes.Equal(h(t.Context(), []byte(q)), isHere) {
					t.Errorf("somebody is at %q", q)
				}
			}
		}
	})
}
