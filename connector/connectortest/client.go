package connectortest

import (
	"crypto/aes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// Client types of the protocol.
const (
	Windows uint32 = 1
	Mac     uint32 = 2
	IOS     uint32 = 17
	Android uint32 = 18
)

// Patience is how long a client waits for what must come. It is no measure of speed.
const Patience = time.Minute

// Client is one connection. It belongs to one goroutine. What goes wrong fails the test.
type Client struct {
	t    testing.TB
	conn net.Conn
	seq  uint16
	late []PDU // came while something else was awaited

	// ID is the own user number after a login.
	ID uint32

	// Newer clients understand what godwit has beyond the protocol; what others are sent may
	// have nothing of it.
	Newer bool
}

// New makes a client of a connection, and closes it when the test ends.
func New(t testing.TB, conn net.Conn) *Client {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() }) // the server or the test may have been faster
	return &Client{t: t, conn: conn}
}

// Dial connects to a server.
func Dial(t testing.TB, addr string) *Client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return New(t, conn)
}

// Conn is the connection itself.
func (c *Client) Conn() net.Conn { return c.conn }

// Close ends the connection without a word.
func (c *Client) Close() { _ = c.conn.Close() }

// NextSeq is the sequence number of the next request.
func (c *Client) NextSeq() uint16 {
	if c.seq++; c.seq == 0 {
		c.seq = 1
	}
	return c.seq
}

// Write sends bytes as they are.
func (c *Client) Write(b []byte) {
	c.t.Helper()
	_ = c.conn.SetWriteDeadline(time.Now().Add(Patience))
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// Send sends a request and returns its sequence number.
func (c *Client) Send(service, command uint16, body Body) uint16 {
	c.t.Helper()
	seq := c.NextSeq()
	c.Write(Request(service, command, seq, body).Bytes())
	return seq
}

// read is the next PDU from the wire, checked.
func (c *Client) read(until time.Time) (PDU, error) {
	_ = c.conn.SetReadDeadline(until)
	head := make([]byte, HeaderLen)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return PDU{}, err
	}
	length := binary.BigEndian.Uint32(head)
	if length < HeaderLen || length > 400<<10 {
		return PDU{}, fmt.Errorf("length %d from the server", length)
	}
	b := append(head, make([]byte, length-HeaderLen)...)
	if _, err := io.ReadFull(c.conn, b[HeaderLen:]); err != nil {
		return PDU{}, fmt.Errorf("in a PDU: %w", err)
	}
	p, err := ParsePDU(b)
	if err == nil {
		err = check(p, c.Newer)
	}
	return p, err
}

// Next is the next PDU, whatever it is.
func (c *Client) Next() PDU {
	c.t.Helper()
	if len(c.late) > 0 {
		p := c.late[0]
		c.late = c.late[1:]
		return p
	}
	p, err := c.read(time.Now().Add(Patience))
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return p
}

// Await is the next PDU that matches. What comes before it is kept for later calls, in
// order.
func (c *Client) Await(what string, match func(PDU) bool) PDU {
	c.t.Helper()
	for i, p := range c.late {
		if match(p) {
			c.late = append(c.late[:i:i], c.late[i+1:]...)
			return p
		}
	}
	until := time.Now().Add(Patience)
	for {
		p, err := c.read(until)
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", what, err)
		}
		if match(p) {
			return p
		}
		c.late = append(c.late, p)
	}
}

// AwaitCommand is the next PDU of a command, as a message.
func (c *Client) AwaitCommand(command uint16) Message {
	c.t.Helper()
	return c.parse(c.Await(fmt.Sprintf("0x%04x", command), func(p PDU) bool { return p.Command == command }))
}

// Answer is the answer to a request: right command, same sequence number.
func (c *Client) Answer(command, seq uint16) Message {
	c.t.Helper()
	return c.parse(c.Await(fmt.Sprintf("answer 0x%04x to %d", command, seq), func(p PDU) bool {
		return p.Command == command && p.Seq == seq
	}))
}

func (c *Client) parse(p PDU) Message {
	c.t.Helper()
	m, err := ParseMessage(p.Body)
	if err != nil {
		c.t.Fatalf("0x%04x: %v", p.Command, err)
	}
	return m
}

// ExpectClosed reads until the server closes, and returns what came before.
func (c *Client) ExpectClosed() []PDU {
	c.t.Helper()
	until := time.Now().Add(Patience)
	for {
		p, err := c.read(until)
		switch {
		case err == nil:
			c.late = append(c.late, p)
			continue
		case errors.Is(err, net.ErrClosed), isTimeout(err):
			c.t.Fatalf("the server did not close: %v", err)
		}
		all := c.late
		c.late = nil
		return all
	}
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// Sync sends a heartbeat and waits for its echo: everything that the server did before
// it for this connection alone has come then.
func (c *Client) Sync() {
	c.t.Helper()
	seq := c.Send(7, 0x0701, nil)
	c.Await("heartbeat echo", func(p PDU) bool { return p.Command == 0x0701 && p.Seq == seq })
}

// Late is what came and was not asked for by any wait, and forgets it.
func (c *Client) Late() []PDU {
	all := c.late
	c.late = nil
	return all
}

// MD5 is a password as clients send it.
func MD5(plain string) string {
	sum := md5.Sum([]byte(plain))
	return hex.EncodeToString(sum[:])
}

// LoginBody is an IMLoginReq.
func LoginBody(name, plain string, device uint32) Body {
	return Body(nil).Text(1, name).Text(2, MD5(plain)).Num(3, 1).Num(4, device).Text(5, "test")
}

// TryLogin sends a login request and returns its answer.
func (c *Client) TryLogin(name, plain string, device uint32) Message {
	c.t.Helper()
	seq := c.Send(1, 0x0103, LoginBody(name, plain, device))
	p := c.Next()
	if p.Command != 0x0104 || p.Seq != seq {
		c.t.Fatalf("the first PDU after a login request is 0x%04x with number %d, not 0x0104 with %d", p.Command, p.Seq, seq)
	}
	return c.parse(p)
}

// Login logs in, and fails the test if that is refused.
func (c *Client) Login(name, plain string, device uint32) {
	c.t.Helper()
	m := c.TryLogin(name, plain, device)
	if code := m.Num(2); code != 0 {
		c.t.Fatalf("login of %s refused: %d %s", name, code, m.Text(3))
	}
	if c.ID = m.Sub(5).Num(1); c.ID == 0 {
		c.t.Fatalf("login of %s without user_info", name)
	}
}

// Logout says goodbye and waits for the close.
func (c *Client) Logout() {
	c.t.Helper()
	seq := c.Send(1, 0x0105, nil)
	c.Answer(0x0106, seq)
	c.ExpectClosed()
}

// MessageBody is an IMMsgData of a client: single text to a user.
func MessageBody(to uint32, content []byte) Body {
	return Body(nil).Num(1, 0).Num(2, to).Num(3, 0).Num(4, 0).Num(5, 1).Bytes(6, content)
}

// SendMessage sends a single text message and returns its id from the ack.
func (c *Client) SendMessage(to uint32, content []byte) uint32 {
	c.t.Helper()
	return c.AwaitAck(to, c.Send(3, 0x0301, MessageBody(to, content)))
}

// AwaitAck waits for the ack of a message to a user.
func (c *Client) AwaitAck(to uint32, seq uint16) uint32 {
	c.t.Helper()
	m := c.Answer(0x0302, seq)
	if m.Num(1) != c.ID || m.Num(2) != to || m.Num(3) == 0 || m.Num(4) != 1 {
		c.t.Fatalf("ack of user %d for %d: id %d, session type %d", m.Num(1), m.Num(2), m.Num(3), m.Num(4))
	}
	return m.Num(3)
}

// Received is a message that was pushed.
type Received struct {
	From, To, ID, Created, Type uint32
	Content                     []byte
}

// Receive waits for the next pushed message.
func (c *Client) Receive() Received {
	c.t.Helper()
	m := c.AwaitCommand(0x0301)
	return Received{m.Num(1), m.Num(2), m.Num(3), m.Num(4), m.Num(5), m.Bytes(6)}
}

// MarkRead sends a read ack for a single conversation.
func (c *Client) MarkRead(peer, id uint32) {
	c.t.Helper()
	c.Send(3, 0x0303, Body(nil).Num(1, c.ID).Num(2, peer).Num(3, id).Num(4, 1))
}

// Unread is the unread messages by peer.
func (c *Client) Unread() map[uint32]uint32 {
	c.t.Helper()
	m := c.Answer(0x0308, c.Send(3, 0x0307, Body(nil).Num(1, c.ID)))
	all, total := map[uint32]uint32{}, uint32(0)
	for _, u := range m.Subs(3) {
		all[u.Num(1)] = u.Num(3)
		total += u.Num(3)
	}
	if total != m.Num(2) {
		c.t.Fatalf("total_cnt is %d, the list adds up to %d", m.Num(2), total)
	}
	return all
}

// Stored is a message of a history.
type Stored struct {
	ID, From, Created, Type uint32
	Content                 []byte
}

func stored(list []Message) []Stored {
	all := make([]Stored, len(list))
	for i, m := range list {
		all[i] = Stored{m.Num(1), m.Num(2), m.Num(3), m.Num(4), m.Bytes(5)}
	}
	return all
}

// History is at most count messages with a peer, newest first, from begin downwards; 0
// begins at the newest.
func (c *Client) History(peer, begin, count uint32) []Stored {
	c.t.Helper()
	m := c.Answer(0x030a, c.Send(3, 0x0309, Body(nil).Num(1, c.ID).Num(2, 1).Num(3, peer).Num(4, begin).Num(5, count)))
	if m.Num(1) != c.ID || m.Num(2) != 1 || m.Num(3) != peer || m.Num(4) != begin {
		c.t.Fatalf("history of %d from %d is answered for user %d, session %d, begin %d", peer, begin, m.Num(1), m.Num(3), m.Num(4))
	}
	return stored(m.Subs(5))
}

// ByIDs is messages with a peer by their ids, newest first.
func (c *Client) ByIDs(peer uint32, ids ...uint32) []Stored {
	c.t.Helper()
	return stored(c.Answer(0x030e, c.Send(3, 0x030d, Body(nil).Num(1, c.ID).Num(2, 1).Num(3, peer).Nums(4, ids...))).Subs(4))
}

// Latest is the newest id of the conversation with a peer.
func (c *Client) Latest(peer uint32) uint32 {
	c.t.Helper()
	return c.Answer(0x030c, c.Send(3, 0x030b, Body(nil).Num(1, c.ID).Num(2, 1).Num(3, peer))).Num(4)
}

// Conversation is a line of the recent sessions.
type Conversation struct {
	Peer, Updated, Latest, From uint32
	Preview                     []byte
}

// Recent is the conversations that changed since a time.
func (c *Client) Recent(since uint32) []Conversation {
	c.t.Helper()
	var all []Conversation
	for _, m := range c.Answer(0x0202, c.Send(2, 0x0201, Body(nil).Num(1, c.ID).Num(2, since))).Subs(2) {
		all = append(all, Conversation{m.Num(1), m.Num(4), m.Num(5), m.Num(8), m.Bytes(6)})
	}
	return all
}

// Statuses tells who of the users is online, in their order.
func (c *Client) Statuses(users ...uint32) []bool {
	c.t.Helper()
	list := c.Answer(0x020b, c.Send(2, 0x020a, Body(nil).Num(1, c.ID).Nums(2, users...))).Subs(2)
	if len(list) != len(users) {
		c.t.Fatalf("%d statuses for %d users", len(list), len(users))
	}
	online := make([]bool, len(users))
	for i, s := range list {
		if s.Num(1) != users[i] {
			c.t.Fatalf("status %d is user %d's, asked was %d", i, s.Num(1), users[i])
		}
		online[i] = s.Num(2) == 1
	}
	return online
}

// Time is the server's clock.
func (c *Client) Time() uint32 {
	c.t.Helper()
	return c.Answer(0x0306, c.Send(3, 0x0305, nil)).Num(1)
}

// KickDesktop sends the own desktop away.
func (c *Client) KickDesktop() {
	c.t.Helper()
	if m := c.Answer(0x010b, c.Send(1, 0x010a, Body(nil).Num(1, c.ID))); m.Num(2) != 0 {
		c.t.Fatalf("kicking the desktop: result %d", m.Num(2))
	}
}

// AESKey is the key of all TeamTalk clients and servers.
const AESKey = "12345678901234567890123456789012"

// EncryptText is the content of a text message.
func EncryptText(plain string) []byte {
	n := len(plain)
	blocks := (n + 15) / 16
	if n%16 == 0 || n%16 > 12 {
		blocks++
	}
	b := make([]byte, blocks*16)
	copy(b, plain)
	binary.BigEndian.PutUint32(b[len(b)-4:], uint32(n))
	cipher, err := aes.NewCipher([]byte(AESKey))
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	for i := 0; i < len(b); i += 16 {
		cipher.Encrypt(b[i:], b[i:i+16])
	}
	return []byte(base64.StdEncoding.EncodeToString(b))
}
