package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imfile "godwit/schema/client/file"
	"godwit/schema/pdu"
)

// Piece is how much of a file the server asks for, and gives, at once: what the original
// does.
const Piece = 32 << 10

// maxPiece is how much a receiver may ask his sender for at once.
const maxPiece = 64 << 10

// maxFrame is the largest PDU of a client that is logged in.
const maxFrame = maxPiece + 4<<10

// askTime bounds what a connection waits for the store, and removeTime the end of a task,
// which a server that stops waits for.
const (
	askTime    = 20 * time.Second
	removeTime = 5 * time.Second
)

type role = imbase.ClientFileRole

const (
	onlineSender    = imbase.ClientFileRole_CLIENT_REALTIME_SENDER
	onlineReceiver  = imbase.ClientFileRole_CLIENT_REALTIME_RECVER
	offlineUpload   = imbase.ClientFileRole_CLIENT_OFFLINE_UPLOAD
	offlineDownload = imbase.ClientFileRole_CLIENT_OFFLINE_DOWNLOAD

	online  = imbase.TransferFileType_FILE_TYPE_ONLINE
	offline = imbase.TransferFileType_FILE_TYPE_OFFLINE

	peerReady = imbase.ClientFileState_CLIENT_FILE_PEER_READY
	cancelled = imbase.ClientFileState_CLIENT_FILE_CANCEL
	refused   = imbase.ClientFileState_CLIENT_FILE_REFUSE
	done      = imbase.ClientFileState_CLIENT_FILE_DONE
)

// Ends of a connection that are no failures of the network.
var (
	errOver     = errors.New("the transfer is over")
	errProtocol = errors.New("not what the transfer is waiting for")
)

// conn is one client's connection. All of it but write belongs to one goroutine.
type conn struct {
	srv  *Server
	ctx  context.Context
	nc   net.Conn
	addr netip.Addr
	done chan struct{} // closed when it has ended
	side side          // set before it is entered in the server's table

	loginBy time.Time
	task    Task // as of the login; of an upload as it grows
	ends    time.Time
	open    bool
	user    uint32

	buf []byte // received; consumed up to pos
	pos int

	finished atomic.Bool // by the other side; nothing more is read
	deadline sync.Mutex  // so that finish does not cut a goodbye short

	mu sync.Mutex // one PDU at a time is written
}

// next reads a PDU. Its bytes live until the next call.
func (c *conn) next() (pdu.Frame, error) {
	limit := pdu.MaxBeforeLogin
	if c.open {
		limit = maxFrame
	}
	for {
		if c.finished.Load() {
			return pdu.Frame{}, errOver
		}
		f, n, err := pdu.Next(c.buf[c.pos:], limit)
		if err != nil {
			return f, fmt.Errorf("%w: %w", errProtocol, err)
		}
		if n > 0 {
			c.pos += n
			return f, nil
		}
		if c.pos > 0 {
			c.buf = c.buf[:copy(c.buf, c.buf[c.pos:])]
			c.pos = 0
		}
		if len(c.buf) == cap(c.buf) {
			// Only what has come takes room.
			c.buf = append(make([]byte, 0, min(max(1<<10, 2*cap(c.buf)), limit)), c.buf...)
		}
		until := c.loginBy
		if c.open {
			until = time.Now().Add(c.srv.limits.Idle)
			if c.ends.Before(until) {
				until = c.ends
			}
		}
		if err := c.nc.SetReadDeadline(until); err != nil {
			return f, err
		}
		if c.finished.Load() {
			return f, errOver
		}
		got, err := c.nc.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+got]
		switch {
		case c.finished.Load():
			return f, errOver
		case got == 0 && err != nil:
			return f, err
		}
	}
}

// write sends bytes that are whole PDUs, and closes a client that does not take them.
func (c *conn) write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.nc.SetWriteDeadline(time.Now().Add(c.srv.limits.Write))
	if err == nil {
		_, err = c.nc.Write(b)
	}
	if err != nil {
		c.nc.Close()
	}
	return err
}

func (c *conn) send(command, seq uint16, m proto.Message) error {
	b, err := pdu.AppendMessage(nil, command, seq, m)
	if err != nil {
		return err
	}
	return c.write(b)
}

func (c *conn) state(st imbase.ClientFileState, user uint32) error {
	return c.send(client.CmdFileState, 0, &imfile.IMFileState{State: &st, TaskId: &c.task.ID, UserId: &user})
}

// finish ends the connection's reading, from another goroutine.
func (c *conn) finish() {
	c.deadline.Lock()
	defer c.deadline.Unlock()
	c.finished.Store(true)
	_ = c.nc.SetReadDeadline(time.Now()) // it is closed where this fails
}

// goodbye lets the client read what was written last, and waits a little until it has
// closed: what it has sent and nobody reads would otherwise destroy it.
func (c *conn) goodbye() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.deadline.Lock()
	err := c.nc.SetReadDeadline(time.Now().Add(c.srv.limits.Goodbye))
	c.deadline.Unlock()
	if err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.nc, 16*maxFrame)
}

func (c *conn) ask() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.ctx, askTime)
}

// serve is the life of a connection.
func (c *conn) serve() {
	err := c.login()
	if err == nil {
		switch c.side.role {
		case onlineSender, onlineReceiver:
			err = c.relay()
		case offlineUpload:
			err = c.upload()
		case offlineDownload:
			err = c.download()
		}
	}
	c.srv.log.Debug("file connection ended", "user", c.user, "task", short(c.side.task), "err", err)
	if errors.Is(err, errOver) {
		c.goodbye()
	}
}

// login waits for 0x0501 and answers it.
func (c *conn) login() error {
	for {
		f, err := c.next()
		switch {
		case err != nil:
			return err
		case f.Command == client.CmdHeartBeat:
			if err := c.write(f.Raw); err != nil {
				return err
			}
			continue
		case f.Command != client.CmdFileLoginReq:
			return fmt.Errorf("%w: %s before the login", errProtocol, client.Name(f.Command))
		}
		m, seq := new(imfile.IMFileLoginReq), f.Seq
		if err := client.Unmarshal(f.Body, m); err != nil {
			return fmt.Errorf("%w: %w", errProtocol, err)
		}
		why := c.check(m)
		if why == nil {
			c.side = side{m.GetTaskId(), m.GetFileRole()}
			c.user = m.GetUserId()
			if err := c.srv.enter(c); err != nil {
				return err
			}
			why = c.check(m) // as it is now that nobody else is there
		}
		code := uint32(0)
		switch {
		case why == nil:
			c.open, c.ends = true, c.srv.store.ends(&c.task)
		case errors.Is(why, ErrNoTask), errors.Is(why, errProtocol):
			c.srv.count.refused.WithLabelValues("login").Inc()
			code = 1
		default:
			return why // the client may try again
		}
		// A task that nobody has is named as the client named it.
		if err := c.send(client.CmdFileLoginRsp, seq, &imfile.IMFileLoginRsp{ResultCode: &code, TaskId: m.TaskId}); err != nil {
			return err
		}
		if why != nil {
			return errors.Join(errOver, why)
		}
		return nil
	}
}

// check tells whether the one who logs in has a place in the task, and learns the task.
func (c *conn) check(m *imfile.IMFileLoginReq) error {
	ctx, cancel := c.ask()
	defer cancel()
	t, err := c.srv.store.Find(ctx, m.GetTaskId())
	if err != nil {
		return err
	}
	ok := false
	switch m.GetFileRole() {
	case onlineSender:
		ok = t.Online && m.GetUserId() == t.From
	case onlineReceiver:
		ok = t.Online && m.GetUserId() == t.To
	case offlineUpload:
		ok = !t.Online && m.GetUserId() == t.From
	case offlineDownload:
		ok = !t.Online && m.GetUserId() == t.To && !t.Complete.IsZero()
	}
	if !ok {
		return fmt.Errorf("%w: user %d as %s", errProtocol, m.GetUserId(), m.GetFileRole())
	}
	// Whose account was closed meanwhile has lost his transfers as well.
	open, err := c.srv.may(ctx, m.GetUserId())
	if err != nil {
		return fmt.Errorf("account of user %d: %w", m.GetUserId(), err)
	}
	if !open {
		return fmt.Errorf("%w: the account of user %d lets nobody in", errProtocol, m.GetUserId())
	}
	c.task = t
	return nil
}

// common serves what may come at any time. It is false if f is something else.
func (c *conn) common(f *pdu.Frame) (served bool, err error) {
	if f.Command == client.CmdHeartBeat {
		return true, c.write(f.Raw)
	}
	return false, nil
}

// readState reads a state that a client may tell, of its own task.
func (c *conn) readState(body []byte) (*imfile.IMFileState, error) {
	m := new(imfile.IMFileState)
	if err := client.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	if m.GetTaskId() != c.task.ID || m.GetState() == peerReady {
		return nil, fmt.Errorf("%w: state %s", errProtocol, m.GetState())
	}
	return m, nil
}
