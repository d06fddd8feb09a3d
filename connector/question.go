package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"godwit/schema/event"
	"godwit/schema/pdu"
	"godwit/schema/query"

	"google.golang.org/protobuf/proto"
)

// question is a request that needs a view. A session's questions are asked one at a
// time, in order.
type question struct {
	run      func(a *asking) error
	ordinal  uint32 // of the session's last append before it
	waits    uint16 // appends before it that have no outcome yet
	seq      uint16
	timeline bool
	after    bool  // waits for what was appended before it, as those of timelines do
	size     int32 // of the request
}

var (
	// errGone: the session has ended meanwhile.
	errGone = errors.New("session ended")
	// errSlow: the client does not take its answer.
	errSlow = errors.New("client is slow")
)

// maxAnswer is how large the body of one answer may grow, in bytes; what a client
// takes is [pdu.MaxAfterLogin].
const maxAnswer = pdu.MaxAfterLogin - 2<<10

// An answer of several PDUs goes on when less than roomBelow waits to be written, and
// is given up when that takes longer than roomWait.
const (
	roomBelow = 64 << 10
	roomWait  = 60 * time.Second
)

// asking is one question while it is asked.
type asking struct {
	s    *session
	seq  uint16
	at   []*query.AtLeast // positions of the answer
	last []*query.AtLeast // of the last of several that it is made of
	pdus []byte           // the answer
}

// maxWaiting bounds the requests that wait in a session's line, in bytes: each is kept
// until its turn comes, and a client that does not read its answers chooses when that is.
const maxWaiting = 64 << 10

// lined tells whether no more questions must be taken. mu is held.
func (s *session) lined() bool {
	if len(s.questions) < 2 {
		return len(s.questions) >= s.srv.limits.Questions
	}
	size := 0
	for _, q := range s.questions[1:] {
		size += int(q.size)
	}
	return len(s.questions) >= s.srv.limits.Questions || size >= maxWaiting
}

// question puts a question in line.
func (s *session) question(q question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line(q)
}

// line is question; mu is held.
func (s *session) line(q question) {
	if s.state != open {
		return
	}
	q.ordinal, q.waits = s.ordinal, s.pending
	if len(s.questions) == 0 {
		s.asked = s.srv.tick()
	}
	s.questions = append(s.questions, q)
	s.askNext()
}

// askNext asks the first question if nothing is in its way. mu is held.
func (s *session) askNext() {
	if s.asking || s.state != open || len(s.questions) == 0 {
		return
	}
	q := &s.questions[0]
	if q.waits > 0 && (q.timeline || q.after) {
		return
	}
	if q.timeline {
		if !s.attached {
			return
		}
		s.gate = &gate{}
	}
	s.asking = s.srv.asks.put(s)
}

// ask asks the first question; it runs on the pool of questions.
func (s *session) ask() {
	s.mu.Lock()
	if s.state != open {
		s.mu.Unlock()
		return
	}
	q := s.questions[0]
	s.mu.Unlock()

	a := &asking{s: s, seq: q.seq}
	err := q.run(a)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking = false
	if s.state != open {
		return
	}
	if err != nil {
		// A client that waits for a list in vain would stay half blind; one that has to
		// come back asks for all of them again.
		s.srv.metrics.unanswered.Inc()
		s.srv.log.LogAttrs(s.srv.ctx, slog.LevelDebug, "question not answered", slog.Any("user", s.user), slog.Any("err", err))
		s.closeLocked(event.EndReason_END_REASON_CLOSED, false)
		return
	}
	s.release(a.at, a.pdus)
	if s.state != open {
		return // it was more than the client's output may hold
	}
	s.questions = s.questions[1:]
	if len(s.questions) == 0 {
		s.questions = nil
	}
	s.asked = s.srv.tick()
	s.askNext()
	s.wire.Wake()
}

// answer adds a PDU to the answer.
func (a *asking) answer(command uint16, m proto.Message) error {
	b, err := pdu.AppendMessage(a.pdus, command, a.seq, m)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	a.pdus = b
	return nil
}

// flush writes what the answer has so far, and waits until the client has taken most
// of it: a long answer goes at the client's pace.
func (a *asking) flush() error {
	s := a.s
	s.mu.Lock()
	if s.state != open {
		s.mu.Unlock()
		return errGone
	}
	s.part(a.at, a.pdus)
	a.pdus = a.pdus[:0]
	var room chan struct{}
	if s.state == open && s.backlog() >= roomBelow {
		room = make(chan struct{})
		s.room = room
	}
	s.mu.Unlock()
	s.wire.Wake()
	if room == nil {
		return nil
	}
	wait := time.NewTimer(roomWait)
	defer wait.Stop()
	var err error
	s.srv.asks.idle(func() {
		select {
		case <-room:
		case <-wait.C:
			err = errSlow
		case <-s.srv.ctx.Done():
			err = context.Cause(s.srv.ctx)
		}
	})
	return err
}

// part writes a part of an answer behind the pushes held back that are at or below its
// positions; those that are later stay held. mu is held.
func (s *session) part(at []*query.AtLeast, answer []byte) {
	var later *gate
	if s.gate != nil {
		s.gate, later = s.gate.split(at)
	}
	s.release(nil, answer)
	if s.state == open { // it was not too much for the client
		s.gate = later
	}
}

// split parts what is held at the positions.
func (g *gate) split(at []*query.AtLeast) (upTo, later *gate) {
	upTo, later = &gate{}, &gate{}
	start := uint32(0)
	for _, h := range g.held {
		to := upTo
		if i := slices.IndexFunc(at, func(a *query.AtLeast) bool { return a.GetStream() == h.stream }); i >= 0 && h.sequence > at[i].GetSequence() {
			to = later
		}
		to.bytes = append(to.bytes, g.bytes[start:h.end]...)
		start, h.end = h.end, uint32(len(to.bytes))
		if h.shared != nil {
			to.shared += h.shared.size()
		}
		to.held = append(to.held, h)
	}
	return upTo, later
}

func (a *asking) timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(a.s.srv.ctx, a.s.srv.limits.Ask)
}

// view asks people or presence.
func (a *asking) view(q *query.Request) (*query.Answer, error) {
	ctx, cancel := a.timeout()
	defer cancel()
	return checked(a.s.srv.node.Ask(ctx, q))
}

// timeline asks the owner of a conversation.
func (a *asking) timeline(k event.ConversationKey, q *query.Request) (*query.Answer, error) {
	ctx, cancel := a.timeout()
	defer cancel()
	ans, err := checked(a.s.srv.node.AskTimeline(ctx, k, q))
	a.stands(ans.GetAt())
	return ans, err
}

// lists asks all owners.
func (a *asking) lists(q *query.Lists) (*query.Answer, error) {
	ctx, cancel := a.timeout()
	defer cancel()
	ans, err := checked(a.s.srv.node.AskLists(ctx, &query.Request{Body: &query.Request_Lists{Lists: q}}))
	a.at = ans.GetAt()
	return ans, err
}

// checked makes an error of an answer that is none.
func checked(ans *query.Answer, err error) (*query.Answer, error) {
	if err != nil {
		return nil, err
	}
	if ans.GetCode() != query.Code_CODE_OK {
		return nil, fmt.Errorf("view: %s: %s", ans.GetCode(), ans.GetError())
	}
	return ans, nil
}
