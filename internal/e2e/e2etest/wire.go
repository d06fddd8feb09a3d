package e2etest

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
	CmdLogin      = 0x0103
	cmdLoginRes   = 0x0104
	cmdLogout     = 0x0105
	CmdKicked     = 0x0107
	CmdStatus     = 0x0203
	CmdDesktop    = 0x020e
	CmdMessage    = 0x0301
	CmdAck        = 0x0302
	cmdRead       = 0x0303
	cmdReadNotice = 0x0304
	cmdUnread     = 0x0307
	cmdUnreadRes  = 0x0308
	CmdHistory    = 0x0309
	cmdHistoryRes = 0x030a
	cmdLatest     = 0x030b
	CmdHeartbeat  = 0x0701
	DeviceWindows = 0x01
	DeviceMac     = 0x02
	DeviceAndroid = 0x12

	largestIncoming = 400 << 10 // what Android takes
)

// Packet is one PDU as it came.
type Packet struct {
	Command, Seq uint16
	Body         connectortest.Message
	Raw          []byte
}

// Body writes fields 1, 2, 3, …: numbers and texts.
func Body(values ...any) (b connectortest.Body) {
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

// Pdu is a whole PDU.
func Pdu(command, seq uint16, body []byte) []byte {
	return connectortest.Request(command>>8, command, seq, body).Bytes()
}

// Conn is a client's socket.
type Conn struct {
	net.Conn
	in    *bufio.Reader
	Newer bool // its client understands what old ones do not
}

func Dial(addr string) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, in: bufio.NewReader(c)}, nil
}

func (c *Conn) Send(command, seq uint16, body []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	_, err := c.Write(Pdu(command, seq, body))
	return err
}

// Next reads a PDU. One that an old client could not use is an error.
func (c *Conn) Next() (Packet, error) {
	head, err := c.in.Peek(connectortest.HeaderLen)
	if err != nil {
		return Packet{}, err
	}
	length := binary.BigEndian.Uint32(head)
	if length < connectortest.HeaderLen || length > largestIncoming {
		return Packet{}, fmt.Errorf("PDU of length %d", length)
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(c.in, b); err != nil {
		return Packet{}, err
	}
	p, err := connectortest.ParsePDU(b)
	if err != nil {
		return Packet{}, err
	}
	m, err := connectortest.ParseMessage(p.Body)
	check := connectortest.Check
	if c.Newer {
		check = connectortest.CheckNewer
	}
	return Packet{p.Command, p.Seq, m, p.Body}, errors.Join(err, check(p))
}

// What a login may come to besides success.
var (
	ErrUnavailable = errors.New("server cannot log anybody in just now") // result 3
	ErrRefused     = errors.New("login refused")
)

// Login logs in as a device, and returns the user number. The password is the name.
func (c *Conn) Login(name string, device int) (uint32, error) {
	return c.LoginAs(name, device, "e2e")
}

// LoginAs is login with a client version, which the log keeps.
func (c *Conn) LoginAs(name string, device int, version string) (uint32, error) {
	if err := c.Send(CmdLogin, 1, Body(name, connectortest.MD5(name), 1, device, version)); err != nil {
		return 0, err
	}
	if err := c.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return 0, err
	}
	p, err := c.Next()
	switch {
	case err != nil:
		return 0, fmt.Errorf("login of %s: %w", name, err)
	case p.Command != cmdLoginRes || p.Seq != 1:
		return 0, fmt.Errorf("login of %s: first PDU is %#04x with seq %d", name, p.Command, p.Seq)
	case p.Body.Num(2) == 3:
		return 0, fmt.Errorf("%w: %s", ErrUnavailable, name)
	case p.Body.Num(2) != 0:
		return 0, fmt.Errorf("%w: %s: result %d %s", ErrRefused, name, p.Body.Num(2), p.Body.Text(3))
	}
	user := p.Body.Sub(5).Num(1)
	if user == 0 {
		return 0, fmt.Errorf("login of %s: no user info", name)
	}
	return user, c.SetReadDeadline(time.Time{})
}

// Session is a logged-in connection whose packets are handled in the order they came.
type Session struct {
	*Conn
	User uint32
	hear func(Packet) // for what is no answer to ask

	mu      sync.Mutex
	seq     uint16
	waiting map[uint16]func(Packet)

	Done chan struct{}
	Err  error // why it ended, once done is closed
}

// Open logs in and begins to read. hear is called on the reading goroutine.
func Open(addr, name string, device int, hear func(Packet)) (*Session, error) {
	c, err := Dial(addr)
	if err != nil {
		return nil, err
	}
	s := &Session{Conn: c, hear: hear, seq: 0xf000, waiting: map[uint16]func(Packet){}, Done: make(chan struct{})}
	if s.User, err = c.Login(name, device); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	go s.run()
	return s, nil
}

func (s *Session) run() {
	defer close(s.Done)
	defer s.Close() // as clients do; a server that stops waits for it
	for {
		p, err := s.Next()
		if err != nil {
			s.Err = err
			return
		}
		s.mu.Lock()
		answer := s.waiting[p.Seq]
		delete(s.waiting, p.Seq)
		s.mu.Unlock()
		if answer != nil {
			answer(p)
		} else {
			s.hear(p)
		}
	}
}

// End ends the connection and waits for the end of its reading goroutine.
func (s *Session) End() {
	_ = s.Close() // the other side may have been first
	<-s.Done
}

// ask sends a request. answer is called on the reading goroutine, so in order with
// what hear is told; ask returns after it, or with the connection's end.
func (s *Session) ask(command uint16, b []byte, answer func(Packet)) error {
	through := make(chan struct{})
	s.mu.Lock()
	s.seq++ // 0xf001 and up: sends take theirs below
	if s.seq == 0 {
		s.seq = 0xf001
	}
	seq := s.seq
	s.waiting[seq] = func(p Packet) { answer(p); close(through) }
	s.mu.Unlock()
	if err := s.Send(command, seq, b); err != nil {
		return err
	}
	select {
	case <-through:
		return nil
	case <-s.Done:
		return fmt.Errorf("request %#04x: %w", command, s.Err)
	case <-time.After(Patience):
		return fmt.Errorf("request %#04x: no answer in %v", command, Patience)
	}
}
