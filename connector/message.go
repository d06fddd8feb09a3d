package connector

import (
	"errors"
	"time"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/pdu"
)

// fullPause is how long a session waits before it tries an append again that the log
// had no room for.
const fullPause = 50 * time.Millisecond

func (s *session) who() commands.Session {
	return commands.Session{ID: s.id, User: s.user, Class: event.DeviceClass(s.class)}
}

// refusedByLog judges the error of an append. It is false if it must be tried again.
func (s *session) refusedByLog(err error) bool {
	switch {
	case errors.Is(err, bus.ErrTooLarge):
		s.srv.refuse("too_large", s, err)
		return true
	case errors.Is(err, delivery.ErrStopped), errors.Is(err, bus.ErrClosed):
		s.holdFor(holdFull, time.Second) // the drain closes it
		return false
	}
	// The log takes nothing more just now. What a client sends is never dropped.
	s.srv.metrics.held.WithLabelValues("full").Inc()
	s.holdFor(holdFull, fullPause)
	return false
}

// refused tells of a request that a rule says no to; the client gets no answer.
func (s *session) refused(err error) bool {
	name := "failure"
	if r, ok := commands.AsRefusal(err); ok {
		name = r.Name()
	}
	s.srv.refuse(name, s, err)
	return true
}

// onMessage is 0x0301. The ack comes with the outcome of the event, before any copy
// that leaves this node.
func (s *session) onMessage(f *pdu.Frame) bool {
	m, err := client.ParseMsgData(f.Body)
	if err != nil {
		return true
	}
	c := commands.SendMessage{
		At: time.Now(), From: s.who(), To: m.To, Type: imbase.MsgType(m.Type),
		Body: m.Data, Seq: f.Seq, Received: f.Body, // both only until the event is encoded
	}
	var permit commands.Permit
	if m.To != s.user && (m.Type == int32(imbase.MsgType_MSG_TYPE_SINGLE_TEXT) || m.Type == int32(imbase.MsgType_MSG_TYPE_SINGLE_AUDIO)) {
		var known bool
		if permit.Peer, known = s.srv.permits.get(m.To); !known {
			s.srv.permits.ask(m.To, s)
			return false
		}
	}
	ev, err := c.Decide(permit)
	if err != nil {
		return s.refused(err)
	}
	s.srv.metrics.messages.Inc()
	seq, to := f.Seq, m.To
	return s.append(event.Direct(s.user, to).Stream(s.srv.cfg.Partitions), ev, func(r delivery.Result) {
		id := r.ID
		switch {
		case r.Err != nil:
			s.srv.metrics.unknown.Inc()
			return // its fate is found in the history
		case r.Void == frame.Void_VOID_REPEAT:
			id = r.FirstID
		case r.Void != frame.Void_VOID_NONE:
			s.srv.void(s, r.Void)
			return
		}
		s.srv.metrics.acked.Inc()
		s.write(func(b []byte) []byte {
			return pdu.Append(b, service(client.CmdMsgDataAck), client.CmdMsgDataAck, seq, func(b []byte) []byte {
				return client.AppendMsgDataAck(b, s.user, to, id, int32(single))
			})
		})
	})
}

const (
	single = imbase.SessionType_SESSION_TYPE_SINGLE
	group  = imbase.SessionType_SESSION_TYPE_GROUP
)

// service is the service id of a command, without a table.
func service(command uint16) uint16 { return command >> 8 }

// onRead is 0x0303. It has no answer; the user's other sessions are told.
func (s *session) onRead(_ uint16, m *immessage.IMMsgDataReadAck) bool {
	c := commands.AdvanceRead{At: time.Now(), From: s.who(), Kind: m.GetSessionType(), Peer: m.GetSessionId(), MsgID: m.GetMsgId()}
	ev, err := c.Decide(commands.ReadState{})
	if err != nil {
		return s.refused(err)
	}
	stream := event.Direct(s.user, m.GetSessionId()).Stream(s.srv.cfg.Partitions)
	return s.append(stream, ev, func(delivery.Result) {})
}

// onRemoveSession is 0x0206. Result 1 says that there was no such entry.
func (s *session) onRemoveSession(seq uint16, m *imbuddy.IMRemoveSessionReq) bool {
	answer := func(code uint32) *imbuddy.IMRemoveSessionRsp {
		return &imbuddy.IMRemoveSessionRsp{UserId: &s.user, ResultCode: &code, SessionType: m.SessionType, SessionId: m.SessionId}
	}
	c := commands.RemoveEntry{At: time.Now(), From: s.who(), Kind: m.GetSessionType(), Peer: m.GetSessionId()}
	ev, err := c.Decide()
	if err != nil {
		s.refused(err)
		s.send(client.CmdRemoveSessionRsp, seq, answer(failed))
		return true
	}
	stream := event.Direct(s.user, m.GetSessionId()).Stream(s.srv.cfg.Partitions)
	return s.append(stream, ev, func(r delivery.Result) {
		code := uint32(0)
		if r.Err != nil || r.Void != frame.Void_VOID_NONE {
			code = failed
		}
		s.sendLocked(client.CmdRemoveSessionRsp, seq, answer(code))
	})
}

// onKickPC is 0x010a, by which the phone sends the PC away. The result is always 0.
func (s *session) onKickPC(seq uint16, _ *imlogin.IMKickPCClientReq) bool {
	ev, err := commands.KickDesktop{At: time.Now(), From: s.who()}.Decide()
	if err != nil {
		return s.refused(err)
	}
	return s.append(event.Presence, ev, func(r delivery.Result) {
		if r.Err == nil {
			s.sendLocked(client.CmdKickPCClientRsp, seq, &imlogin.IMKickPCClientRsp{UserId: &s.user, ResultCode: new(uint32(0))})
		}
	})
}

// appendPush appends the PDU by which the session learns of d; nothing, if d stems from
// itself or does not concern it.
func (s *session) appendPush(b []byte, d *delivery.Delivery) []byte {
	switch x := d.Delivery.GetBody().(type) {
	case *frame.Delivery_Message:
		m := x.Message
		to, kind, ok := s.conversation(m.GetConversation(), m.GetFrom())
		if !ok || event.ToID(m.GetSession()) == s.id || !client.KnownMsgType(int32(m.GetType())) {
			return b
		}
		if kind == single && to == 0 {
			return b
		}
		s.srv.metrics.deliveries.Inc()
		return pdu.Append(b, service(client.CmdMsgData), client.CmdMsgData, 0, func(b []byte) []byte {
			return client.AppendMsgData(b, m.GetFrom(), to, m.GetId(), m.GetCreated(), int32(m.GetType()), m.GetBody())
		})
	case *frame.Delivery_Read:
		r := x.Read
		to, kind, ok := s.conversation(r.GetConversation(), r.GetUser())
		if !ok || r.GetUser() != s.user || event.ToID(r.GetSession()) == s.id {
			return b
		}
		return pdu.Append(b, service(client.CmdMsgDataReadNotify), client.CmdMsgDataReadNotify, 0, func(b []byte) []byte {
			return client.AppendReadNotify(b, s.user, to, r.GetMsgId(), int32(kind))
		})
	case *frame.Delivery_EntryRemoved:
		r := x.EntryRemoved
		to, kind, ok := s.conversation(r.GetConversation(), r.GetUser())
		// The protocol tells of removed conversations of two only.
		if !ok || kind != single || r.GetUser() != s.user || event.ToID(r.GetSession()) == s.id {
			return b
		}
		b, _ = pdu.AppendMessage(b, client.CmdRemoveSessionNotify, 0,
			&imbuddy.IMRemoveSessionNotify{UserId: &s.user, SessionType: &kind, SessionId: &to})
		return b
	}
	return b
}

// conversation is how a PDU about something that from did names its conversation: by the
// other party of the two, or by the group.
func (s *session) conversation(key []byte, from uint32) (id uint32, kind imbase.SessionType, ok bool) {
	k, ok := event.ParseConversation(key)
	if !ok {
		return 0, 0, false
	}
	if k.IsDirect() {
		return k.Peer(from), single, true
	}
	return k.GroupID(), group, true
}
