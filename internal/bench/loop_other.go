//go:build !linux

package bench

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"godwit/schema/pdu"
)

type loop struct{}

type conn struct {
	out    []byte
	closed bool
}

type handler interface {
	connected(c *conn)
	frame(c *conn, f pdu.Frame)
	lost(c *conn, err error)
}

func newLoop([]netip.AddrPort, Transport, string) (*loop, error) {
	return nil, errors.New("the bench runs on Linux only")
}

func (*loop) close()                      {}
func (*loop) dial(handler) (*conn, error) { return nil, errors.ErrUnsupported }
func (*loop) run(context.Context, func(time.Time) (time.Duration, bool)) error {
	return errors.ErrUnsupported
}
func (*conn) queue()     {}
func (*conn) close()     {}
func (*conn) fail(error) {}
