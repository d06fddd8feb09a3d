//go:build !linux

package connector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"godwit/connector/reactor"
)

// loops serves plain TCP on the standard library's connections, where there is no epoll.
type loops struct{ streams sync.WaitGroup }

func newLoops() (*loops, error) { return &loops{}, nil }

func (l *loops) Serve(ctx context.Context, ln *net.TCPListener, open func(reactor.Waker, netip.AddrPort) reactor.Peer) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		conn, err := ln.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		case err != nil:
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		l.streams.Go(reactor.NewStream(conn, func(w reactor.Waker) reactor.Peer { return open(w, from) }).Run)
	}
}

// Adopt takes no connection: whoever has one serves it.
func (l *loops) Adopt(*net.TCPConn, []byte, func(reactor.Waker) reactor.Peer) bool { return false }

// Close waits for the connections, which their sessions have ended.
func (l *loops) Close() error {
	l.streams.Wait()
	return nil
}
