// Package ttclient is a client of the TeamTalk protocol: one connection, logged in,
// with requests that wait for their answers and pushes as they come. The chat
// program stands on it; it knows nothing of terminals.
package ttclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/internal/wsclient"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	immsg "godwit/schema/client/message"
	"godwit/schema/pdu"
)

// Defaults of Options.
const (
	DefaultTimeout   = 20 * time.Second
	DefaultHeartbeat = 20 * time.Second
	// deadAfter so many heartbeats of silence the connection counts as lost: the
	// server answers each of them.
	deadAfter = 3
)

var (
	// ErrClosed: the connection ended, or is ended by Close.
	ErrClosed = errors.New("connection closed")
	// ErrSilent: nothing came from the server for several heartbeats.
	ErrSilent = errors.New("server is silent")
	// ErrBusy: the sequence number waits for an answer already.
	ErrBusy = errors.New("sequence number is in use")
)

// LoginError is a login that the server refused.
type LoginError struct {
	Code imbase.ResultType
	Text string // the server's own words, may be empty
}

func (e *LoginError) Error() string {
	switch e.Code {
	case imbase.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED:
		if e.Text == "" {
			return "login refused: wrong name or password"
		}
		return "login refused: wrong name or password (" + e.Text + ")"
	default:
		return fmt.Sprintf("login refused: %s %s", e.Code, e.Text)
	}
}

// KickedError ends a connection that the server sent away.
type KickedError struct {
	Reason imbase.KickReasonType
}

func (e *KickedError) Error() string {
	switch e.Reason {
	case imbase.KickReasonType_KICK_REASON_DUPLICATE_USER:
		return "kicked: you logged in on another device of this kind"
	case imbase.KickReasonType_KICK_REASON_MOBILE_KICK:
		return "kicked: your phone sent this device away"
	}
	return fmt.Sprintf("kicked: reason %d", e.Reason)
}

// Sequence gives out sequence numbers. Connections of one client share one, so that a
// message sent again after a reconnect keeps a number that nothing else has.
type Sequence struct{ n atomic.Uint32 }

// Next is 1 to 0xfeff and then 1 again: 0 belongs to pushes, the numbers above to
// clients that tell answers apart by them.
func (s *Sequence) Next() uint16 { return uint16((s.n.Add(1)-1)%0xfeff + 1) }

// Options of a connection. Addr, Name and Password are needed.
type Options struct {
	Addr     string      // HOST:PORT, or the ws:// or wss:// address of a WebSocket
	TLS      *tls.Config // nil: plain TCP; of wss:// the certificates to trust instead of the system's
	JSON     bool        // of a WebSocket: PDUs travel in JSON
	Name     string
	Password string            // as it travels: the md5 of the plain one in lower-case hex
	Device   imbase.ClientType // default Windows
	Version  string

	// Extensions, see docs/protocol.md. Features are bits of imextension.Feature. With a
	// ResumeToken or an Identity (a JWT) Name and Password may be empty. A SyncToken that is
	// not nil asks for what has changed since, together with the login.
	Features    uint32
	ResumeToken []byte
	Identity    string
	SyncToken   []byte

	// Push is called for everything that the client did not ask for, on the
	// connection's reading goroutine, in order with the answers. It must not wait
	// for an answer. A kick is told as well, before the connection ends.
	Push func(command uint16, m proto.Message)

	Sequence  *Sequence     // default: one of its own
	Timeout   time.Duration // of a login and of an answer; default DefaultTimeout
	Heartbeat time.Duration // default DefaultHeartbeat
}

// Client is one logged-in connection. Its methods may be called from any goroutine.
type Client struct {
	o    Options
	conn net.Conn
	self *imbase.UserInfo

	// From the login's answer.
	features uint32
	resume   []byte
	expires  time.Time
	synced   *Synced

	writing sync.Mutex // one PDU at a time
	heard   atomic.Int64

	done    chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	waiting map[uint16]*waiter
	err     error // why it ended, set before done closes
}

// waiter waits for the answers to one request.
type waiter struct {
	last func(m proto.Message) bool // tells the last of several
	got  []proto.Message            // until done is closed, under Client.mu
	part chan struct{}              // one has come
	done chan struct{}              // closed after the last
}

// Login connects and logs in. A refusal is a LoginError.
func Login(ctx context.Context, o Options) (*Client, error) {
	if o.Device == 0 {
		o.Device = imbase.ClientType_CLIENT_TYPE_WINDOWS
	}
	if o.Sequence == nil {
		o.Sequence = new(Sequence)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = DefaultHeartbeat
	}
	if o.Push == nil {
		o.Push = func(uint16, proto.Message) {}
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	conn, err := dial(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.Addr, err)
	}
	c := &Client{o: o, conn: conn, done: make(chan struct{}), waiting: map[uint16]*waiter{}}
	c.heard.Store(time.Now().UnixNano())
	c.running.Go(c.read)
	c.running.Go(c.beat)
	if err := c.login(ctx); err != nil {
		c.end(err)
		c.running.Wait()
		return nil, err
	}
	return c, nil
}

func dial(ctx context.Context, o Options) (net.Conn, error) {
	if IsWebSocket(o.Addr) {
		return wsclient.Dial(ctx, o.Addr, wsclient.Options{JSON: o.JSON, TLS: o.TLS})
	}
	if o.TLS != nil {
		return (&tls.Dialer{Config: o.TLS}).DialContext(ctx, "tcp", o.Addr)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", o.Addr)
}

// IsWebSocket tells whether an address is that of a WebSocket.
func IsWebSocket(addr string) bool {
	return strings.HasPrefix(addr, "ws://") || strings.HasPrefix(addr, "wss://")
}

func (c *Client) login(ctx context.Context) error {
	req := &imlogin.IMLoginReq{
		UserName:      new(c.o.Name),
		Password:      new(c.o.Password),
		OnlineStatus:  imbase.UserStatType_USER_STATUS_ONLINE.Enum(),
		ClientType:    c.o.Device.Enum(),
		ClientVersion: new(c.o.Version),
		ResumeToken:   c.o.ResumeToken,
		SyncToken:     c.o.SyncToken,
	}
	if c.o.Features != 0 {
		req.Features = &c.o.Features
	}
	if c.o.Identity != "" {
		req.IdentityToken = &c.o.Identity
	}
	all, err := c.call(ctx, client.CmdLoginReq, c.o.Sequence.Next(), req, func(m proto.Message) bool {
		switch m := m.(type) {
		case *imlogin.IMLoginRes:
			return m.GetResultCode() != imbase.ResultType_REFUSE_REASON_NONE || c.o.SyncToken == nil
		case *imextension.SyncRsp:
			return !m.GetMore()
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	res, ok := all[0].(*imlogin.IMLoginRes)
	switch {
	case !ok:
		return fmt.Errorf("log in: the server answered with %s", nameOf(all[0]))
	case res.GetResultCode() != imbase.ResultType_REFUSE_REASON_NONE:
		return &LoginError{Code: res.GetResultCode(), Text: res.GetResultString()}
	case res.GetUserInfo() == nil:
		return errors.New("log in: the answer lacks user_info")
	}
	c.self = res.GetUserInfo()
	c.features, c.resume = res.GetFeatures(), res.GetResumeToken()
	c.expires = time.Unix(int64(res.GetResumeExpires()), 0)
	if c.o.SyncToken != nil {
		c.synced, err = synced(all[1:])
	}
	return err
}

func nameOf(m proto.Message) string { return string(m.ProtoReflect().Descriptor().FullName()) }

// Self is the own user record as of the login.
func (c *Client) Self() *imbase.UserInfo { return c.self }

// ID is the own user number.
func (c *Client) ID() uint32 { return c.self.GetUserId() }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended: a KickedError, ErrSilent, or what the network
// said. It is nil before.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and waits for its goroutines. It must not be called from
// Push.
func (c *Client) Close() {
	c.end(ErrClosed)
	c.running.Wait()
}

// Logout says goodbye, and closes.
func (c *Client) Logout(ctx context.Context) error {
	_, err := c.Call(ctx, client.CmdLogoutReq, &imlogin.IMLogoutReq{})
	c.Close()
	return err
}

func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	_ = c.conn.Close() // the reason is in err
}

// Send sends a PDU that has no answer.
func (c *Client) Send(command uint16, m proto.Message) error {
	return c.write(command, c.o.Sequence.Next(), m)
}

func (c *Client) write(command, seq uint16, m proto.Message) error {
	b, err := pdu.AppendMessage(nil, command, seq, m)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.o.Timeout))
	if _, err := c.conn.Write(b); err != nil {
		c.end(fmt.Errorf("write: %w", err))
		return c.Err()
	}
	return nil
}

// Call sends a request and waits for the answer with its sequence number.
func (c *Client) Call(ctx context.Context, command uint16, m proto.Message) (proto.Message, error) {
	return c.CallSeq(ctx, command, c.o.Sequence.Next(), m)
}

// CallSeq is Call with a sequence number of the caller's. On an error other than the
// server's own refusal it is not known whether the server had the request.
func (c *Client) CallSeq(ctx context.Context, command, seq uint16, m proto.Message) (proto.Message, error) {
	all, err := c.call(ctx, command, seq, m, func(proto.Message) bool { return true })
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// call is CallSeq for an answer of several PDUs, up to the one that is the last. The time
// for it begins anew with each of them.
func (c *Client) call(ctx context.Context, command, seq uint16, m proto.Message, last func(proto.Message) bool) ([]proto.Message, error) {
	w := &waiter{last: last, part: make(chan struct{}, 1), done: make(chan struct{})}
	c.mu.Lock()
	if _, busy := c.waiting[seq]; busy {
		c.mu.Unlock()
		return nil, fmt.Errorf("%w: %d", ErrBusy, seq)
	}
	c.waiting[seq] = w
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, seq)
		c.mu.Unlock()
	}()
	if err := c.write(command, seq, m); err != nil {
		return nil, fmt.Errorf("%s: %w", client.Name(command), err)
	}
	patience := time.NewTimer(c.o.Timeout)
	defer patience.Stop()
	for {
		select {
		case <-w.done:
			return w.got, nil
		case <-w.part:
			patience.Reset(c.o.Timeout)
		case <-c.done:
			select { // the answer may have been the last thing that came
			case <-w.done:
				return w.got, nil
			default:
				return nil, fmt.Errorf("%s: %w", client.Name(command), c.Err())
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: no answer: %w", client.Name(command), context.Cause(ctx))
		case <-patience.C:
			return nil, fmt.Errorf("%s: no answer: %w", client.Name(command), context.DeadlineExceeded)
		}
	}
}

// read is the connection's reading goroutine.
func (c *Client) read() {
	var buf []byte
	chunk := make([]byte, 32<<10)
	for {
		n, err := c.conn.Read(chunk)
		if n > 0 {
			c.heard.Store(time.Now().UnixNano())
			buf = append(buf, chunk[:n]...)
			if buf, err = c.frames(buf, err); err != nil {
				c.end(err)
				return
			}
			continue
		}
		if err != nil {
			c.end(fmt.Errorf("read: %w", err))
			return
		}
	}
}

// frames handles the whole PDUs in buf and keeps the rest. before is an error that
// came with the last bytes.
func (c *Client) frames(buf []byte, before error) ([]byte, error) {
	rest := buf
	for {
		f, n, err := pdu.Next(rest, pdu.MaxAfterLogin)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			break
		}
		rest = rest[n:]
		if err := c.handle(f); err != nil {
			return nil, err
		}
	}
	return append(buf[:0], rest...), before
}

func (c *Client) handle(f pdu.Frame) error {
	if f.Command == client.CmdHeartBeat {
		return nil
	}
	m, err := client.Decode(f.Command, f.Body)
	if err != nil {
		return nil // as old clients do: what can't be read is passed over
	}
	if f.Seq != 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		if w := c.waiting[f.Seq]; w != nil {
			w.got = append(w.got, m)
			select {
			case w.part <- struct{}{}:
			default:
			}
			if w.last(m) {
				delete(c.waiting, f.Seq)
				close(w.done)
			}
		}
		return nil
	}
	c.o.Push(f.Command, m)
	if k, ok := m.(*imlogin.IMKickUser); ok {
		return &KickedError{Reason: k.GetKickReason()}
	}
	return nil
}

// beat sends heartbeats, and ends a connection whose server has gone silent.
func (c *Client) beat() {
	every := time.NewTicker(c.o.Heartbeat)
	defer every.Stop()
	heartbeat := pdu.Append(nil, client.Service(client.CmdHeartBeat), client.CmdHeartBeat, 0, nil)
	for {
		select {
		case <-c.done:
			return
		case now := <-every.C:
			if now.Sub(time.Unix(0, c.heard.Load())) > deadAfter*c.o.Heartbeat {
				c.end(ErrSilent)
				return
			}
			c.writing.Lock()
			_ = c.conn.SetWriteDeadline(now.Add(c.o.Timeout))
			_, err := c.conn.Write(heartbeat)
			c.writing.Unlock()
			if err != nil {
				c.end(fmt.Errorf("write: %w", err))
				return
			}
		}
	}
}

// ask is Call for an answer of a known kind.
func ask[A proto.Message](ctx context.Context, c *Client, command uint16, m proto.Message) (A, error) {
	var none A
	answer, err := c.Call(ctx, command, m)
	if err != nil {
		return none, err
	}
	a, ok := answer.(A)
	if !ok {
		return none, fmt.Errorf("%s was answered with %s", client.Name(command), nameOf(answer))
	}
	return a, nil
}

// MarkRead tells that everything of peer up to id has been read.
func (c *Client) MarkRead(peer, id uint32) error { return c.Read(Conversation{ID: peer}, id) }

// Users are the people that changed since a time, and the time to ask with next. A
// directory that does not fit in one PDU comes in several; what is behind the first is
// asked for again from where it ended, since nothing says which is the last.
func (c *Client) Users(ctx context.Context, since uint32) (all []*imbase.UserInfo, latest uint32, err error) {
	for {
		a, err := ask[*imbuddy.IMAllUserRsp](ctx, c, client.CmdAllUserReq, &imbuddy.IMAllUserReq{
			UserId: new(c.ID()), LatestUpdateTime: &since,
		})
		if err != nil {
			return nil, 0, err
		}
		all = append(all, a.GetUserList()...)
		latest = a.GetLatestUpdateTime()
		if latest <= since || proto.Size(a) < pdu.MaxAfterLogin/2 {
			return all, latest, nil
		}
		since = latest
	}
}

// statusBatch is how many people original clients ask about at once.
const statusBatch = 300

// Statuses asks who of the people is online on a desktop.
func (c *Client) Statuses(ctx context.Context, users []uint32) (map[uint32]bool, error) {
	online := make(map[uint32]bool, len(users))
	for len(users) > 0 {
		n := min(len(users), statusBatch)
		a, err := ask[*imbuddy.IMUsersStatRsp](ctx, c, client.CmdUsersStatReq, &imbuddy.IMUsersStatReq{
			UserId: new(c.ID()), UserIdList: users[:n],
		})
		if err != nil {
			return nil, err
		}
		for _, s := range a.GetUserStatList() {
			online[s.GetUserId()] = s.GetStatus() == imbase.UserStatType_USER_STATUS_ONLINE
		}
		users = users[n:]
	}
	return online, nil
}

// Recent is the list of conversations that changed since a time.
func (c *Client) Recent(ctx context.Context, since uint32) ([]*imbase.ContactSessionInfo, error) {
	a, err := ask[*imbuddy.IMRecentContactSessionRsp](ctx, c, client.CmdRecentContactSessionReq,
		&imbuddy.IMRecentContactSessionReq{UserId: new(c.ID()), LatestUpdateTime: &since})
	return a.GetContactSessionList(), err
}

// Unread is the conversations with unread messages.
func (c *Client) Unread(ctx context.Context) ([]*imbase.UnreadInfo, error) {
	a, err := ask[*immsg.IMUnreadMsgCntRsp](ctx, c, client.CmdUnreadMsgCntReq, &immsg.IMUnreadMsgCntReq{UserId: new(c.ID())})
	return a.GetUnreadinfoList(), err
}

// History is at most count messages with peer, newest first, from begin downwards; 0
// begins at the newest.
func (c *Client) History(ctx context.Context, peer, begin, count uint32) ([]*imbase.MsgInfo, error) {
	return c.Messages(ctx, Conversation{ID: peer}, begin, count)
}

// KickDesktop has the server send the own desktop away; only a phone may.
func (c *Client) KickDesktop(ctx context.Context) error {
	_, err := ask[*imlogin.IMKickPCClientRsp](ctx, c, client.CmdKickPCClientReq, &imlogin.IMKickPCClientReq{UserId: new(c.ID())})
	return err
}
