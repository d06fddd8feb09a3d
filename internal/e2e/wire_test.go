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

	"godwit/connector/connectortest"
)

// Commands of the TeamTalk protocol, by hand.
const (
	cmdLogin      = 0x0103
	cmdLoginRes   = 0x0104
	cmdLogout     = 0x0105
	cmdKicked     = 0x0107
	cmdStatus     = 0x0203
	cmdDesktop    = 0x020e
	cmdMessage    = 0x0301
	cmdAck        = 0x0302
	cmdRead       = 0x0303
	cmdReadNotice = 0x0304
	cmdUnread     = 0x0307
	cmdUnreadRes  = 0x0308
	cmdHistory    = 0x0309
	cmdHistoryRes = 0x030a
	cmdLatest     = 0x030b
	cmdHeartbeat  = 0x0701
	deviceWindows = 0x01
	deviceMac     = 0x02
	deviceAndroid = 0x12

	largestIncoming = 400 << 10 // what Android takes
)

// packet is one PDU as it came.
type packet struct {
	command, seq uint16
	body         connectortest.Message
	raw          []byte
}

// body writes fields 1, 2, 3, …: numbers and texts.
func body(values ...any) (b connectortest.Body) {
	for i, v := range values {
		switch v := v.(type) {
		case uint32:
			b = b.Num(i+1, v)
		case int:
			b = b.Num(i+1, uint32(v))
		case string:
			b = b.Text(i+1, v)
		default:
			panic(fmt.Sprintf("%T in a body", v))
		}
	}
	return b
}

// pdu is a whole PDU.
func pdu(command, seq uint16, body []byte) []byte {
	return connectortest.Request(command>>8, command, seq, body).Bytes()
}

// conn is a client's socket.
type conn struct {
	net.Conn
	in    *bufio.Reader
	newer bool // its client understands what old ones do not
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

// next reads a PDU. One that an old client could not use is an error.
func (c *conn) next() (packet, error) {
	head, err := c.in.Peek(connectortest.HeaderLen)
	if err != nil {
		return packet{}, err
	}
	length := binary.BigEndian.Uint32(head)
	if length < connectortest.HeaderLen || length > largestIncoming {
		return packet{}, fmt.Errorf("PDU of length %d", length)
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(c.in, b); err != nil {
		return packet{}, err
	}
	p, err := connectortest.ParsePDU(b)
	if err != nil {
		return packet{}, err
	}
	m, err := connectortest.ParseMessage(p.Body)
	check := connectortest.Check
	if c.newer {
		check = connectortest.CheckNewer
	}
	return packet{p.Command, p.Seq, m, p.Body}, errors.Join(err, check(p))
}

// What a login may come to besides success.
var (
	errUnavailable = errors.New("server cannot log anybody in just now") // result 3
	errRefused     = errors.New("login refused")
)

// login logs in as a device, and returns the user number. The password is the name.
func (c *conn) login(name string, device int) (uint32, error) {
	return c.loginAs(name, device, "e2e")
}

// loginAs is login with a client version, which the log keeps.
func (c *conn) loginAs(name string, device int, version string) (uint32, error) {
	if err := c.send(cmdLogin, 1, body(name, connectortest.MD5(name), 1, device, version)); err != nil {
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
	case p.body.Num(2) == 3:
		return 0, fmt.Errorf("%w: %s", errUnavailable, name)
	case p.body.Num(2) != 0:
		return 0, fmt.Errorf("%w: %s: result %d %s", errRefused, name, p.body.Num(2), p.body.Text(3))
	}
	user := p.body.Sub(5).Num(1)
	if user == 0 {
		return 0, fmt.Errorf("login of %s: no user info", name)
	}
	return user, c.SetReadDeadline(time.Time{})
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
	defer s.Close() // as clients do; a server that stops waits for it
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
