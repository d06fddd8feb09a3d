package e2e

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Commands of the TeamTalk protocol, by hand.
const (
	cmdLogin        = 0x0103
	cmdLoginRes     = 0x0104
	cmdLogout       = 0x0105
	cmdKicked       = 0x0107
	cmdStatus       = 0x0203
	cmdDesktop      = 0x020e
	cmdMessage      = 0x0301
	cmdAck          = 0x0302
	cmdRead         = 0x0303
	cmdReadNotice   = 0x0304
	cmdUnread       = 0x0307
	cmdUnreadRes    = 0x0308
	cmdHistory      = 0x0309
	cmdHistoryRes   = 0x030a
	cmdLatest       = 0x030b
	cmdHeartbeat    = 0x0701
	deviceWindows   = 0x01
	deviceMac       = 0x02
	deviceAndroid   = 0x12
	headerLength    = 16
	largestIncoming = 8 << 20
)

// packet is one PDU as it came.
type packet struct {
	command, seq uint16
	body         fields
}

// fields are the fields of a protobuf message by number, each with all its values.
type fields map[protowire.Number][]value

type value struct {
	number uint64
	bytes  []byte
}

func (f fields) u32(n protowire.Number) uint32 {
	if v := f[n]; len(v) > 0 {
		return uint32(v[len(v)-1].number)
	}
	return 0
}

func (f fields) text(n protowire.Number) string {
	if v := f[n]; len(v) > 0 {
		return string(v[len(v)-1].bytes)
	}
	return ""
}

func parse(b []byte) (fields, error) {
	f := fields{}
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		b = b[size:]
		var v value
		switch kind {
		case protowire.VarintType:
			v.number, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v.bytes, size = protowire.ConsumeBytes(b)
		default:
			return nil, fmt.Errorf("field %d is of wire type %d", n, kind)
		}
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		f[n] = append(f[n], v)
		b = b[size:]
	}
	return f, nil
}

// body writes fields 1, 2, 3, …: uint32, int constants and strings.
func body(values ...any) []byte {
	var b []byte
	for i, v := range values {
		n := protowire.Number(i + 1)
		switch v := v.(type) {
		case uint32:
			b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v))
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
		default:
			panic(fmt.Sprintf("%T in a body", v))
		}
	}
	return b
}

// pdu is a whole PDU.
func pdu(command, seq uint16, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(headerLength+len(body)))
	b = append(b, 0, 1, 0, 0)
	b = binary.BigEndian.AppendUint16(b, command>>8)
	b = binary.BigEndian.AppendUint16(b, command)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = append(b, 0, 0)
	return append(b, body...)
}

// conn is a client's socket.
type conn struct {
	net.Conn
	in *bufio.Reader
}

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReader(c)}, nil
}

func (c *conn) send(command, seq uint16, body []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.Write(pdu(command, seq, body))
	return err
}

// next reads a PDU. A header that no server writes is an error.
func (c *conn) next() (packet, error) {
	var h [headerLength]byte
	if _, err := io.ReadFull(c.in, h[:]); err != nil {
		return packet{}, err
	}
	p := packet{command: binary.BigEndian.Uint16(h[10:]), seq: binary.BigEndian.Uint16(h[12:])}
	length := binary.BigEndian.Uint32(h[:])
	switch {
	case length < headerLength || length > largestIncoming:
		return p, fmt.Errorf("PDU of length %d", length)
	case binary.BigEndian.Uint16(h[8:]) != p.command>>8:
		return p, fmt.Errorf("command %#04x with service %d", p.command, binary.BigEndian.Uint16(h[8:]))
	}
	b := make([]byte, length-headerLength)
	if _, err := io.ReadFull(c.in, b); err != nil {
		return p, err
	}
	f, err := parse(b)
	if err != nil {
		return p, fmt.Errorf("body of %#04x: %w", p.command, err)
	}
	p.body = f
	return p, nil
}

// errRefused is a login that was answered with another result than 0.
var errRefused = errors.New("login refused")

// login logs in as a device, and returns the user number. The password is the name.
func (c *conn) login(name string, device int) (uint32, error) {
	return c.loginAs(name, device, "e2e")
}

// loginAs is login with a client version, which the log keeps.
func (c *conn) loginAs(name string, device int, version string) (uint32, error) {
	if err := c.send(cmdLogin, 1, body(name, md5Hex(name), 1, device, version)); err != nil {
		return 0, err
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	p, err := c.next()
	switch {
	case err != nil:
		return 0, fmt.Errorf("login of %s: %w", name, err)
	case p.command != cmdLoginRes || p.seq != 1:
		return 0, fmt.Errorf("login of %s: first PDU is %#04x with seq %d", name, p.command, p.seq)
	case p.body.u32(2) != 0:
		return 0, fmt.Errorf("%w: %s: result %d %s", errRefused, name, p.body.u32(2), p.body.text(3))
	}
	info, err := parse([]byte(p.body.text(5)))
	if err != nil || info.u32(1) == 0 {
		return 0, fmt.Errorf("login of %s: no user info: %w", name, err)
	}
	return info.u32(1), c.SetReadDeadline(time.Time{})
}

// session is a logged-in connection whose packets are handled in the order they came.
type session struct {
	*conn
	user uint32
	hear func(packet) // for what is no answer to ask

	mu      sync.Mutex
	seq     uint16
	waiting map[uint16]func(packet)

	done chan struct{}
	err  error // why it ended, once done is closed
}

// open logs in and begins to read. hear is called on the reading goroutine.
func open(addr, name string, device int, hear func(packet)) (*session, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	s := &session{conn: c, hear: hear, seq: 0xf000, waiting: map[uint16]func(packet){}, done: make(chan struct{})}
	if s.user, err = c.login(name, device); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	go s.run()
	return s, nil
}

func (s *session) run() {
	defer close(s.done)
	for {
		p, err := s.next()
		if err != nil {
			s.err = err
			return
		}
		s.mu.Lock()
		answer := s.waiting[p.seq]
		delete(s.waiting, p.seq)
		s.mu.Unlock()
		if answer != nil {
			answer(p)
		} else {
			s.hear(p)
		}
	}
}

// close ends the connection and waits for the end of its reading goroutine.
func (s *session) close() {
	_ = s.Close() // the other side may have been first
	<-s.done
}

// ask sends a request. answer is called on the reading goroutine, so in order with
// what hear is told; ask returns after it, or with the connection's end.
func (s *session) ask(command uint16, b []byte, answer func(packet)) error {
	through := make(chan struct{})
	s.mu.Lock()
	s.seq++ // 0xf001 and up: sends take theirs below
	if s.seq == 0 {
		s.seq = 0xf001
	}
	seq := s.seq
	s.waiting[seq] = func(p packet) { answer(p); close(through) }
	s.mu.Unlock()
	if err := s.send(command, seq, b); err != nil {
		return err
	}
	select {
	case <-through:
		return nil
	case <-s.done:
		return fmt.Errorf("request %#04x: %w", command, s.err)
	case <-time.After(patience):
		return fmt.Errorf("request %#04x: no answer in %v", command, patience)
	}
}
