package connector

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	imswitch "godwit/schema/client/switchservice"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/pdu"
	"godwit/schema/query"
)

// changeHandlers serve what passes or changes messages: commands from client to client, recalls, edits, receipts, typing.
func changeHandlers() map[uint16]handler {
	return map[uint16]handler{
		client.CmdRecallReq:   body((*session).onRecall),
		client.CmdEditReq:     body((*session).onEdit),
		client.CmdReceivedReq: body((*session).onReceived),
		client.CmdReceiptsReq: timeline[imextension.ReceiptsReq](receipts),
		client.CmdTypingReq:   body((*session).onTyping),
		client.CmdP2PCmdMsg:   other[imswitch.IMP2PCmdMsg](passCommand),
	}
}

// errSwitchedOff: messages are not changed on this server.
var errSwitchedOff = errors.New("switched off")

// change appends an event that changes a message, unless it was refused, and tells answer
// what came of it. within is the time there is for it.
func (s *session) change(kind imbase.SessionType, id uint32, within time.Duration, ev *event.Event, err error, answer func(imextension.Refusal)) bool {
	if within == 0 {
		s.mu.Lock()
		answer(imextension.Refusal_REFUSAL_NOT_ALLOWED)
		s.mu.Unlock()
		s.srv.refuse("switched_off", s, errSwitchedOff)
		return true
	}
	if err != nil {
		s.mu.Lock()
		answer(refusalOf(err))
		s.mu.Unlock()
		return s.refused(err)
	}
	return s.append(conversationOf(s.user, kind, id).Stream(s.srv.cfg.Partitions), ev, func(r delivery.Result) {
		if r.Err != nil {
			answer(imextension.Refusal_REFUSAL_UNKNOWN)
			return
		}
		answer(refusalOfVoid(r.Void, kind == group))
	})
}

func (s *session) place(kind imbase.SessionType, id, message uint32, within time.Duration) commands.Place {
	return commands.Place{At: time.Now(), From: s.who(), Kind: kind, Peer: id, MsgID: message, Within: within}
}

// onRecall is 0x2005.
func (s *session) onRecall(seq uint16, m *imextension.RecallReq) bool {
	within := s.srv.cfg.RecallTime
	ev, err := commands.RecallMessage{Place: s.place(m.GetSessionType(), m.GetSessionId(), m.GetMsgId(), within)}.Decide()
	return s.change(m.GetSessionType(), m.GetSessionId(), within, ev, err, func(why imextension.Refusal) {
		s.sendLocked(client.CmdRecallRsp, seq, &imextension.RecallRsp{
			Refusal: &why, SessionId: m.SessionId, SessionType: m.SessionType, MsgId: m.MsgId})
	})
}

// onEdit is 0x2007.
func (s *session) onEdit(seq uint16, m *imextension.EditReq) bool {
	within := s.srv.cfg.EditTime
	ev, err := commands.EditMessage{
		Place: s.place(m.GetSessionType(), m.GetSessionId(), m.GetMsgId(), within), Body: m.GetMsgData(),
	}.Decide()
	m.MsgData = nil // the event has it
	return s.change(m.GetSessionType(), m.GetSessionId(), within, ev, err, func(why imextension.Refusal) {
		s.sendLocked(client.CmdEditRsp, seq, &imextension.EditRsp{
			Refusal: &why, SessionId: m.SessionId, SessionType: m.SessionType, MsgId: m.MsgId})
	})
}

// onReceived is 0x200a. It has no answer; the others are told.
func (s *session) onReceived(_ uint16, m *imextension.ReceivedReq) bool {
	c := commands.AdvanceDelivered{At: time.Now(), From: s.who(), Kind: m.GetSessionType(), Peer: m.GetSessionId(), MsgID: m.GetMsgId()}
	ev, err := c.Decide(commands.DeliveredState{})
	if err != nil {
		return s.refused(err)
	}
	stream := conversationOf(s.user, m.GetSessionType(), m.GetSessionId()).Stream(s.srv.cfg.Partitions)
	return s.append(stream, ev, func(delivery.Result) {})
}

// receipts is 0x200c.
func receipts(a *asking, m *imextension.ReceiptsReq) error {
	rsp := &imextension.ReceiptsRsp{SessionId: m.SessionId, SessionType: m.SessionType, MsgId: m.MsgId}
	if k, ok := a.readable(m.GetSessionType(), m.GetSessionId()); ok && m.GetMsgId() > 0 {
		ans, err := a.timeline(k, &query.Request{Body: &query.Request_Receipts{Receipts: &query.Receipts{
			Conversation: k[:], User: a.s.user, MsgId: m.GetMsgId()}}})
		if err != nil {
			return err
		}
		rsp.Read, rsp.Delivered = ans.GetReceipts().GetRead(), ans.GetReceipts().GetDelivered()
	}
	return a.answer(client.CmdReceiptsRsp, rsp)
}

const (
	// maxCommand is the longest cmd_msg_data that is passed on, in bytes.
	maxCommand = 64 << 10
	// relayWait is how long the owner of a conversation may take to pass something on.
	relayWait = 2 * time.Second
	// relayRoom is the share of a session's output that what is passed on may fill: whoever
	// floods another one with it must not end his session.
	relayRoom = 4
)

// typingFor is how long it is of interest that somebody has begun or ended to type.
const typingFor = 5 * time.Second

// onTyping is 0x200e. It stands in the session's line, so that what a client says of itself
// arrives in order, and has no answer. Behind a long answer it may come too late.
func (s *session) onTyping(seq uint16, m *imextension.TypingReq) bool {
	asked := s.srv.tick()
	s.question(question{seq: seq, size: 64, run: func(a *asking) error {
		if s.srv.tick() <= asked+ticks(typingFor) {
			a.relay(m.GetSessionType(), m.GetSessionId(), &frame.Relay{Typing: m.GetTyping()})
		}
		return nil
	}})
	return true
}

// passCommand is 0x0601, a text that clients agree on among themselves. It has no answer.
func passCommand(a *asking, m *imswitch.IMP2PCmdMsg) error {
	if text := m.GetCmdMsgData(); text != "" && len(text) <= maxCommand && utf8.ValidString(text) {
		a.relay(single, m.GetToUserId(), &frame.Relay{Command: text})
	}
	return nil
}

// relay passes something on to the other sessions of a conversation, if its owner can do so
// at once. What can't be is forgotten: nobody waits for it.
func (a *asking) relay(kind imbase.SessionType, id uint32, r *frame.Relay) {
	s := a.s
	k, ok := a.readable(kind, id)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(s.srv.ctx, relayWait)
	defer cancel()
	if kind == single && s.srv.cfg.Contacts == Friends {
		if friends, err := s.srv.statuses.friendsOf(ctx, s.user); err != nil || !slices.Contains(friends, id) {
			return
		}
	}
	r.Conversation, r.From, r.Session = k[:], s.user, s.id.Bytes()
	if err := s.srv.node.Relay(ctx, r); err != nil {
		s.srv.log.LogAttrs(ctx, slog.LevelDebug, "not passed on", slog.Any("user", s.user), slog.Any("err", err))
	}
}

// relayed writes what is passed on to the sessions here that it is for: a command to all
// sessions of both, typing to those of the others that understand it.
func (srv *Server) relayed(r *frame.Relay) {
	k, ok := event.ParseConversation(r.GetConversation())
	if !ok {
		return
	}
	command, from := client.CmdTypingNotify, event.ToID(r.GetSession())
	var m proto.Message
	if r.GetCommand() != "" {
		command = client.CmdP2PCmdMsg
		m = &imswitch.IMP2PCmdMsg{FromUserId: &r.From, ToUserId: new(k.Peer(r.GetFrom())), CmdMsgData: &r.Command}
	} else {
		id, kind := k.GroupID(), group
		if k.IsDirect() {
			id, kind = r.GetFrom(), single // as the other one names it
		}
		m = &imextension.TypingNotify{SessionId: &id, SessionType: &kind, UserId: &r.From, Typing: &r.Typing}
	}
	b, err := pdu.AppendMessage(nil, command, 0, m)
	if err != nil {
		srv.log.Error("what is passed on can't be encoded", "command", client.Name(command), "err", err)
		return
	}
	for _, user := range r.GetTo() {
		if command == client.CmdTypingNotify && user == r.GetFrom() {
			continue
		}
		srv.each(user, func(s *session) {
			s.mu.Lock()
			defer s.mu.Unlock()
			switch {
			case s.state != open || s.id == from:
			case command == client.CmdTypingNotify && !s.has(imextension.Feature_FEATURE_TYPING):
			case s.backlog()+len(b) > srv.limits.Output/relayRoom:
			default:
				s.follow(func(out []byte) []byte { return append(out, b...) })
				s.wire.Wake()
			}
		})
	}
}

// appendMessageChange appends 0x2009: a message was recalled or edited.
func (s *session) appendMessageChange(b []byte, d *delivery.Delivery, c *frame.MessageChange) []byte {
	id, kind, ok := s.conversation(c.GetConversation(), s.user)
	if !ok || !s.has(imextension.Feature_FEATURE_NOTICES) || event.ToID(c.GetSession()) == s.id || !client.KnownMsgType(int32(c.GetType())) {
		return b
	}
	notify := func(b []byte) []byte {
		info := s.srv.msgInfo(&query.Message{Id: c.GetId(), From: c.GetFrom(), Created: c.GetCreated(), Type: c.GetType(),
			Body: c.GetBody(), Recalled: c.GetRecalled(), Edits: c.GetEdits()})
		if kind == group && !c.GetRecalled() {
			// The notice is one for all members, also for those who came after the message and may
			// not read it: who may asks for it.
			info.MsgData = []byte{}
		}
		b, err := pdu.AppendMessage(b, client.CmdMessageChangedNotify, 0, &imextension.MessageChangedNotify{
			SessionId: &id, SessionType: &kind, Message: info,
		})
		if err != nil {
			s.srv.log.Error("changed message can't be encoded", "err", err)
		}
		return b
	}
	if kind != group {
		return notify(b)
	}
	if d.PDU == nil {
		d.PDU = notify(nil) // the same for all members
	}
	return append(b, d.PDU...)
}

// appendReceipt appends 0x200b: somebody else has received or read everything up to a message.
func (s *session) appendReceipt(b []byte, conversation []byte, user uint32, delivered, read *uint32) []byte {
	id, kind, ok := s.conversation(conversation, s.user)
	if !ok || user == s.user || !s.has(imextension.Feature_FEATURE_RECEIPTS) {
		return b
	}
	b, _ = pdu.AppendMessage(b, client.CmdReceiptNotify, 0, &imextension.ReceiptNotify{
		SessionId: &id, SessionType: &kind, UserId: &user, DeliveredMsgId: delivered, ReadMsgId: read})
	return b
}
