// Package wsclient is the client's end of a WebSocket that carries PDUs: a net.Conn to which PDUs are written, and from
// which they are read, as on TCP. Each travels in a frame of its own, as it is or as JSON.
//
// Its JSON is protobuf's own encoder's and not package pdujson's, so that a test that speaks through it holds the server's
// against another.
package wsclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"godwit/schema/pdu"
)

// Options of a connection; the zero value is a binary one.
type Options struct {
	JSON   bool
	TLS    *tls.Config // for wss://; nil: the system's certificates
	Header http.Header // more of the request's, such as Origin
	// Dial makes the connection below; nil: as the system does.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// CloseError is the server's last word on a connection.
type CloseError struct {
	Code   uint16 // of the close frame, 1005 if it had none
	Reason string
}

func (e *CloseError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("the server closed the connection: %d %s", e.Code, e.Reason), " ")
}

// maxFrame bounds what a server sends at a time: the largest PDU in JSON, all of its bytes escaped, and some more.
const maxFrame = 8 * pdu.MaxAfterLogin

// Conn is a connection. As with every net.Conn, one may read while another writes.
type Conn struct {
	net.Conn
	json bool

	// The reader's.
	in      []byte    // from the network, not yet understood
	message []byte    // the payload of frames whose last is still missing
	kind    ws.OpCode // its
	out     []byte    // PDUs that nobody has read yet
	ended   error     // nothing more is read

	mu      sync.Mutex // one frame at a time, of the writer or of the reader's answers
	partial []byte     // the beginning of a PDU

	refused struct {
		sync.Mutex
		all []Refusal
	}
}

// Dial connects to a server's ws:// or wss:// address. ctx holds for the connecting alone.
func Dial(ctx context.Context, url string, o Options) (*Conn, error) {
	d := ws.Dialer{TLSConfig: o.TLS, NetDial: o.Dial}
	if o.Header != nil {
		d.Header = ws.HandshakeHeaderHTTP(o.Header)
	}
	conn, early, _, err := d.Dial(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("open a WebSocket: %w", err)
	}
	c := &Conn{Conn: conn, json: o.JSON}
	if early != nil { // frames that came with the server's answer
		c.in, _ = early.Peek(early.Buffered())
		c.in = bytes.Clone(c.in)
		ws.PutReader(early)
	}
	return c, nil
}

// Read reads PDUs. Its error at the end is a *CloseError if the server said why.
func (c *Conn) Read(b []byte) (int, error) {
	for len(c.out) == 0 {
		if c.ended != nil {
			return 0, c.ended
		}
		if err := c.frames(); err != nil {
			c.ended = err
			continue // what came before it is still to be read
		}
		if len(c.out) > 0 {
			break
		}
		chunk := make([]byte, 16<<10)
		n, err := c.Conn.Read(chunk)
		c.in = append(c.in, chunk[:n]...)
		if n == 0 && err != nil {
			return 0, err
		}
	}
	n := copy(b, c.out)
	c.out = c.out[n:]
	return n, nil
}

// frames takes the whole frames out of what came.
func (c *Conn) frames() error {
	for {
		h, payload, n, err := Next(c.in)
		if err != nil || n == 0 {
			return err
		}
		c.in = c.in[n:]
		switch {
		case h.OpCode == ws.OpPing:
			if err := c.send(ws.OpPong, payload); err != nil {
				return err
			}
			continue
		case h.OpCode == ws.OpPong:
			continue
		case h.OpCode == ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			_ = c.send(ws.OpClose, payload[:min(len(payload), 2)]) // it may have gone already
			return &CloseError{Code: uint16(code), Reason: reason}
		case (h.OpCode == ws.OpContinuation) != (c.message != nil):
			return errors.New("a frame of the server is out of order")
		case h.OpCode != ws.OpContinuation:
			c.kind, c.message = h.OpCode, []byte{}
		}
		c.message = append(c.message, payload...)
		if len(c.message) > maxFrame {
			return fmt.Errorf("a message of the server is longer than %d bytes", maxFrame)
		}
		if !h.Fin {
			continue
		}
		message := c.message
		c.message = nil
		if err := c.arrived(message); err != nil {
			return err
		}
	}
}

// arrived takes in a whole message.
func (c *Conn) arrived(message []byte) (err error) {
	switch {
	case c.json != (c.kind == ws.OpText):
		return fmt.Errorf("the server sent opcode %d", c.kind)
	case c.json:
		c.out, err = c.fromJSON(c.out, message)
		return err
	}
	if _, n, err := pdu.Next(message, pdu.MaxAfterLogin); err != nil || n == 0 || n != len(message) {
		return fmt.Errorf("a frame of %d bytes is not one PDU", len(message))
	}
	c.out = append(c.out, message...)
	return nil
}

// Next cuts the first frame off what came from a server. n is 0 while it is incomplete.
func Next(in []byte) (h ws.Header, payload []byte, n int, err error) {
	r := bytes.NewReader(in)
	h, err = ws.ReadHeader(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ws.Header{}, nil, 0, nil
	}
	if err == nil {
		state := ws.StateClientSide
		if h.OpCode == ws.OpContinuation {
			state = state.Set(ws.StateFragmented) // whether it may come is for the caller to know
		}
		err = ws.CheckHeader(h, state)
	}
	if err == nil && h.Masked {
		err = ws.ErrProtocolMaskUnexpected
	}
	if err == nil && h.Length > maxFrame {
		err = fmt.Errorf("a frame of the server has %d bytes", h.Length)
	}
	if err != nil {
		return ws.Header{}, nil, 0, err
	}
	n = len(in) - r.Len()
	if int64(r.Len()) < h.Length {
		return ws.Header{}, nil, 0, nil
	}
	payload = in[n : n+int(h.Length)]
	return h, payload, n + int(h.Length), nil
}

// AppendFrame appends a client's frame: masked, as the protocol wants it.
func AppendFrame(dst []byte, code ws.OpCode, payload []byte) []byte {
	const last, masked = 0x80, 0x80
	dst = append(dst, last|byte(code))
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, masked|byte(n))
	case n <= math.MaxUint16:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(n))
	}
	mask := ws.NewMask()
	dst = append(dst, mask[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[start:], mask, 0)
	return dst
}

func (c *Conn) send(code ws.OpCode, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.Conn.Write(AppendFrame(nil, code, payload))
	return err
}

// Write sends PDUs, each when its last byte is written. What can be no PDU, because its length is shorter than a header,
// goes out as it is.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial = append(c.partial, b...)
	var frames []byte
	for len(c.partial) >= 4 {
		n := int(binary.BigEndian.Uint32(c.partial))
		if n < pdu.HeaderLen {
			n = len(c.partial)
		}
		if n > len(c.partial) {
			break
		}
		one := c.partial[:n]
		c.partial = c.partial[n:]
		if !c.json {
			frames = AppendFrame(frames, ws.OpBinary, one)
			continue
		}
		text, err := toJSON(one)
		if err != nil {
			return 0, err
		}
		frames = AppendFrame(frames, ws.OpText, text)
	}
	if len(frames) > 0 {
		if _, err := c.Conn.Write(frames); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// Close says goodbye as far as that needs no waiting, and ends the connection.
func (c *Conn) Close() error {
	if c.mu.TryLock() {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = c.Conn.Write(AppendFrame(nil, ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
		c.mu.Unlock()
	}
	return c.Conn.Close()
}
