package bench

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	"godwit/schema/pdu"
)

// session is one connection that logs in and then does what its bench wants.
type session struct {
	e       *entrance
	account Account
	id      uint32 // user number, known from the first login on
	conn    *conn
	began   time.Time
	open    bool

	receipts bool // wants to be told of the others'

	onFrame func(f pdu.Frame) // nil: what comes is not looked at
	onLost  func(err error)   // after the login
}

// errKicked: somebody else logs in as the people of the bench.
var errKicked = errors.New("kicked: another program uses the bench's people")

// entrance logs sessions in, a few at a time.
type entrance struct {
	l        *loop
	device   imbase.ClientType
	parallel int
	waiting  []*session
	active   int
	took     histogram
	// finished hears of every login, in or not.
	finished func(s *session, err error)
}

// enter queues sessions.
func (e *entrance) enter(s ...*session) {
	e.waiting = append(e.waiting, s...)
	e.next()
}

func (e *entrance) next() {
	for e.active < e.parallel && len(e.waiting) > 0 {
		s := e.waiting[0]
		e.waiting = e.waiting[1:]
		s.e, s.open, s.began = e, false, time.Now()
		e.active++
		c, err := e.l.dial(s)
		if err != nil {
			e.active--
			e.finished(s, err)
			continue
		}
		s.conn = c
	}
}

func (e *entrance) end(s *session, err error) {
	e.active--
	if err == nil {
		e.took.add(time.Since(s.began))
	}
	e.finished(s, err)
	e.next()
}

// expire fails logins that the server does not answer.
func (e *entrance) expire(sessions []*session, now time.Time, limit time.Duration) {
	for _, s := range sessions {
		if c := s.conn; c != nil && !c.closed && !s.open && now.Sub(s.began) > limit {
			c.fail(fmt.Errorf("no login answer within %s", limit))
		}
	}
}

func (s *session) connected(c *conn) {
	req := &imlogin.IMLoginReq{
		UserName:      &s.account.Name,
		Password:      &s.account.Password,
		OnlineStatus:  imbase.UserStatType_USER_STATUS_ONLINE.Enum(),
		ClientType:    s.e.device.Enum(),
		ClientVersion: new("godwit-bench"),
	}
	if s.receipts {
		req.Features = new(uint32(imextension.Feature_FEATURE_RECEIPTS))
	}
	var err error
	if c.out, err = pdu.AppendMessage(c.out, client.CmdLoginReq, 1, req); err != nil {
		c.fail(err)
		return
	}
	c.queue()
}

func (s *session) frame(c *conn, f pdu.Frame) {
	switch {
	case s.open && f.Command == client.CmdKickUser:
		c.fail(errKicked)
	case s.open:
		if s.onFrame != nil {
			s.onFrame(f)
		}
	case f.Command == client.CmdLoginRes:
		if err := s.loggedIn(f.Body); err != nil {
			c.fail(err)
			return
		}
		s.open = true
		s.e.end(s, nil)
	}
}

func (s *session) loggedIn(body []byte) error {
	var res imlogin.IMLoginRes
	if err := client.Unmarshal(body, &res); err != nil {
		return fmt.Errorf("login answer: %w", err)
	}
	if res.GetResultCode() != imbase.ResultType_REFUSE_REASON_NONE {
		return fmt.Errorf("login of %s refused: %s %s", s.account.Name, res.GetResultCode(), res.GetResultString())
	}
	if s.receipts && res.GetFeatures()&uint32(imextension.Feature_FEATURE_RECEIPTS) == 0 {
		return errors.New("the server tells no receipts")
	}
	id := res.GetUserInfo().GetUserId()
	if id == 0 || s.id != 0 && s.id != id {
		return fmt.Errorf("login of %s: number %d, was %d", s.account.Name, id, s.id)
	}
	s.id = id
	return nil
}

func (s *session) lost(_ *conn, err error) {
	if !s.open {
		s.e.end(s, err)
		return
	}
	s.open = false
	if s.onLost != nil {
		s.onLost(err)
	}
}

// parseAck reads an IMMsgDataAck without allocation.
func parseAck(body []byte) (session, id uint32, ok bool) {
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 || typ != protowire.VarintType {
			return 0, 0, false
		}
		v, m := protowire.ConsumeVarint(body[n:])
		if m < 0 {
			return 0, 0, false
		}
		body = body[n+m:]
		switch num {
		case 2:
			session = uint32(v)
		case 3:
			id = uint32(v)
		}
	}
	return session, id, id != 0
}
