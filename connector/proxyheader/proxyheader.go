// Package proxyheader reads what a load balancer says, in front of a client's own bytes,
// of where the client comes from: the PROXY protocol, versions 1 and 2. Only a balancer
// that is trusted may be believed; that is its callers' to see to.
package proxyheader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	proxyproto "github.com/pires/go-proxyproto"
)

// MaxSize bounds a header, in bytes. One of version 1 has at most 107; of version 2 there is
// room for what balancers add, TLS certificates' names among it.
const MaxSize = 2048

const (
	maxLine   = 107 // of version 1, its end included
	fixedPart = 16  // of version 2
)

// ErrNone: the bytes are no header, or one that breaks the protocol's rules.
var ErrNone = errors.New("no PROXY header")

// Header is what the balancer says.
type Header struct {
	// From is the client. It is not valid where the connection is the balancer's own, for
	// a health check, or where it does not know.
	From netip.AddrPort
}

// Parse takes the header at the start of b. n is its size; 0 without an error: it is not
// there whole yet.
func Parse(b []byte) (h Header, n int, err error) {
	if n, err = size(b); n == 0 || err != nil {
		return Header{}, 0, err
	}
	p, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b[:n]), max(n, fixedPart)))
	if err != nil {
		return Header{}, 0, fmt.Errorf("%w: %w", ErrNone, err)
	}
	if p.Command.IsLocal() || p.TransportProtocol.IsUnspec() {
		return Header{}, n, nil
	}
	from, _, ok := p.TCPAddrs()
	if !ok {
		return Header{}, 0, fmt.Errorf("%w: not of TCP", ErrNone)
	}
	h.From = from.AddrPort()
	h.From = netip.AddrPortFrom(h.From.Addr().Unmap(), h.From.Port())
	if !h.From.Addr().IsValid() {
		return Header{}, 0, fmt.Errorf("%w: no address", ErrNone)
	}
	return h, n, nil
}

// size is how many bytes the header at the start of b has, 0 while that is not known or it
// is not there whole.
func size(b []byte) (int, error) {
	switch {
	case begins(b, proxyproto.SIGV1):
		line := b[:min(len(b), maxLine)]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			return end + 1, nil
		}
		if len(line) == maxLine {
			return 0, fmt.Errorf("%w: a line without end", ErrNone)
		}
		return 0, nil
	case begins(b, proxyproto.SIGV2):
		if len(b) < fixedPart {
			return 0, nil
		}
		n := fixedPart + int(binary.BigEndian.Uint16(b[fixedPart-2:]))
		switch {
		case n > MaxSize:
			return 0, fmt.Errorf("%w: %d bytes", ErrNone, n)
		case len(b) < n:
			return 0, nil
		}
		return n, nil
	}
	return 0, ErrNone
}

// begins tells whether b is the start of a header with this signature, as far as it goes.
func begins(b, signature []byte) bool {
	n := min(len(b), len(signature))
	return bytes.Equal(b[:n], signature[:n])
}
