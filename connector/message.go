package connector

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imextension "godwit/schema/client/extension"
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
		Body: m.Data, Seq: f.Seq, Received: f.Body, ClientMessageID: m.ClientMessageID, // all only until the event is encoded
	}
	kind := sessionType(c.Type)
	var permit commands.Permit
	var known bool
	switch {
	case m.To == 0:
	case kind == group:
		if permit.Group, known = s.srv.members.get(s.user, m.To); !known {
			s.srv.members.ask(s, m.To)
			return false
		}
	case m.To != s.user:
		if permit, known = s.srv.permits.between(s.user, m.To); !known {
			s.srv.permits.ask(m.To, s)
			return false
		}
	}
	// What is left to be told of it once the body is gone.
	sent := sending{seq: f.Seq, to: m.To, kind: kind, created: uint32(c.At.Unix())}
	if n := len(m.ClientMessageID); n > 0 && n <= len(event.ID{}) {
		sent.id = bytes.Clone(m.ClientMessageID)
	}
	ev, err := c.Decide(permit)
	if err != nil {
		s.mu.Lock()
		s.sendRefused(sent, refusalOf(err))
		s.mu.Unlock()
		return s.refused(err)
	}
	s.srv.metrics.messages.Inc()
	stream := conversationOf(s.user, kind, m.To).Stream(s.srv.cfg.Partitions)
	return s.append(stream, ev, func(r delivery.Result) {
		if s.srv.log.Enabled(s.srv.ctx, slog.LevelDebug) && r.Err == nil && r.Void == frame.Void_VOID_NONE {
			s.srv.log.Debug("message stored", "trace", trace(stream, r.Sequence, r.Index), "session", s.id, "seq_num", sent.seq,
				"conversation", conversationOf(s.user, kind, sent.to), "id", r.ID)
		}
		s.sent(sent, r)
	})
}

// trace is the id by which a message is followed through the parts: its position.
func trace(stream event.Stream, sequence uint64, index uint32) string {
	return fmt.Sprintf("%s/%d/%d", stream, sequence, index)
}

// pushed tells, for whoever follows a message, that it is written to the session.
func (s *session) pushed(d *delivery.Delivery, m *frame.Message) {
	s.srv.metrics.deliveries.Inc()
	if s.srv.log.Enabled(s.srv.ctx, slog.LevelDebug) {
		s.srv.log.Debug("message pushed", "trace", trace(d.Stream, d.Sequence, d.Index), "session", s.id, "user", s.user, "id", m.GetId())
	}
}

// sending is what a message's ack says of it.
type sending struct {
	id      []byte // its client's
	seq     uint16
	kind    imbase.SessionType
	to      uint32
	created uint32
}

// sent tells the client what became of its message. mu is held.
func (s *session) sent(m sending, r delivery.Result) {
	id := r.ID
	switch {
	case r.Err != nil:
		// Its fate is found in the history.
		s.srv.metrics.unknown.Inc()
		s.sendRefused(m, imextension.Refusal_REFUSAL_UNKNOWN)
		return
	case r.Void == frame.Void_VOID_REPEAT:
		id, m.created = r.FirstID, 0
	case r.Void != frame.Void_VOID_NONE:
		s.srv.void(s, r.Void)
		s.sendRefused(m, refusalOfVoid(r.Void, m.kind == group))
		return
	}
	s.srv.metrics.acked.Inc()
	s.write(func(b []byte) []byte {
		return pdu.Append(b, service(client.CmdMsgDataAck), client.CmdMsgDataAck, m.seq, func(b []byte) []byte {
			return client.AppendExtendedMsgDataAck(b, s.user, m.to, id, int32(m.kind), m.id, m.created)
		})
	})
}

// sendRefused tells a client that understands it why a message was refused. Others run into
// their own timeout, as the protocol has it. mu is held.
func (s *session) sendRefused(m sending, why imextension.Refusal) {
	if !s.has(imextension.Feature_FEATURE_NOTICES) {
		return
	}
	s.sendLocked(client.CmdSendRefused, m.seq, &imextension.SendRefused{
		SessionId: &m.to, SessionType: &m.kind, Refusal: &why, ClientMessageId: m.id})
	s.wire.Wake()
}

// sessionType is the kind of conversation that messages of a type go to.
func sessionType(t imbase.MsgType) imbase.SessionType {
	switch t {
	case imbase.MsgType_MSG_TYPE_GROUP_TEXT, imbase.MsgType_MSG_TYPE_GROUP_AUDIO:
		return group
	}
	return single
}

// conversationOf is the conversation that a user means by its kind and number.
func conversationOf(user uint32, kind imbase.SessionType, id uint32) event.ConversationKey {
	if kind == group {
		return event.Group(id)
	}
	return event.Direct(user, id)
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
	stream := conversationOf(s.user, m.GetSessionType(), m.GetSessionId()).Stream(s.srv.cfg.Partitions)
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
	stream := conversationOf(s.user, m.GetSessionType(), m.GetSessionId()).Stream(s.srv.cfg.Partitions)
	return s.append(stream, ev, func(r delivery.Result) {
		code := uint32(0)
		if r.Err != nil || r.Void != frame.Void_VOID_NONE {
			code = failed
		}
		s.sendLocked(client.CmdRemoveSessionRsp, seq, answer(code))
	})
}

// onKickPC is 0x010a, by which the phone sends PC and browser away. The result is always 0.
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
		return s.appendMessage(b, d, x.Message)
	case *frame.Delivery_GroupChange:
		return s.appendGroupNotice(b, x.GroupChange)
	case *frame.Delivery_FileOffer:
		if n := s.fileNotice(x.FileOffer, s.srv.addresses(), true); n != nil {
			b, _ = pdu.AppendMessage(b, client.CmdFileNotify, 0, n)
		}
		return b
	case *frame.Delivery_MessageChange:
		return s.appendMessageChange(b, d, x.MessageChange)
	case *frame.Delivery_Receipt:
		return s.appendReceipt(b, x.Receipt.GetConversation(), x.Receipt.GetUser(), &x.Receipt.MsgId, nil)
	case *frame.Delivery_Read:
		r := x.Read
		if r.GetUser() != s.user {
			return s.appendReceipt(b, r.GetConversation(), r.GetUser(), nil, &r.MsgId)
		}
		to, kind, ok := s.conversation(r.GetConversation(), r.GetUser())
		if !ok || event.ToID(r.GetSession()) == s.id {
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
	case *frame.Delivery_BlockChange:
		if m := s.blockNotify(x.BlockChange); m != nil {
			b, _ = pdu.AppendMessage(b, client.CmdFriendNotify, 0, m)
		}
		return b
	}
	return b
}

// concerns tells whether the session is told of a message, and as what.
func (s *session) concerns(m *frame.Message) (to uint32, kind imbase.SessionType, ok bool) {
	to, kind, ok = s.conversation(m.GetConversation(), m.GetFrom())
	ok = ok && to != 0 && event.ToID(m.GetSession()) != s.id && client.KnownMsgType(int32(m.GetType()))
	return to, kind, ok
}

// appendMessage appends a message's PDU, which is the same for all who get it. That of a
// group's is made once, and a large one is not copied here, but shared. mu is held.
func (s *session) appendMessage(b []byte, d *delivery.Delivery, m *frame.Message) []byte {
	to, kind, ok := s.concerns(m)
	if !ok || d.Shared != nil {
		return b
	}
	s.pushed(d, m)
	if kind != group {
		return s.srv.appendMessage(b, to, m)
	}
	if d.PDU == nil {
		d.PDU = s.srv.appendMessage(nil, to, m)
	}
	return append(b, d.PDU...)
}

// sharedPush is the push that a delivery means to many sessions, if it is one that is
// shared. mu is held.
func (s *session) sharedPush(d *delivery.Delivery) *shared {
	switch x := d.Delivery.GetBody().(type) {
	case *frame.Delivery_Message:
		m := x.Message
		if len(m.GetBody()) < lendFrom {
			return nil
		}
		to, kind, ok := s.concerns(m)
		if !ok || kind != group {
			return nil
		}
		if d.Shared == nil {
			d.Shared = ready(s.srv.appendMessage(nil, to, m))
		}
		s.pushed(d, m)
		return d.Shared.(*shared)
	case *frame.Delivery_GroupChange:
		return s.memberNotice(d, x.GroupChange)
	}
	return nil
}

// appendMessage appends 0x0301 as clients are given it.
func (srv *Server) appendMessage(b []byte, to uint32, m *frame.Message) []byte {
	data := client.MsgData{From: m.GetFrom(), To: to, ID: m.GetId(), Created: m.GetCreated(), Type: int32(m.GetType()), Data: m.GetBody(),
		ClientMessageID: m.GetClientMessageId(), Recalled: m.GetRecalled(), Edits: m.GetEdits()}
	if data.Recalled {
		data.Type, data.Data = int32(textOf(imbase.MsgType(data.Type))), srv.recalled
	}
	return pdu.Append(b, service(client.CmdMsgData), client.CmdMsgData, 0, func(b []byte) []byte {
		return client.AppendExtendedMsgData(b, data)
	})
}

// textOf is the type of a text that stands for a message of a type.
func textOf(t imbase.MsgType) imbase.MsgType {
	if sessionType(t) == group {
		return imbase.MsgType_MSG_TYPE_GROUP_TEXT
	}
	return imbase.MsgType_MSG_TYPE_SINGLE_TEXT
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
