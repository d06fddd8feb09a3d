package owner

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"godwit/projections/timeline"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

const (
	// relayWorkers work relays off; what waits for them is bounded by the bus, and what is
	// over that is dropped.
	relayWorkers = 2
	// relayMembers is how many attached members a group may have for anything to be passed
	// on in it: what nobody keeps must not cost as much as a message.
	relayMembers = 100
)

// passTo is what is passed on to one node.
type passTo struct {
	life  event.ID
	users []uint32
}

// relay passes something on to the sessions of a conversation's parties.
func (p *Process) relay(_ context.Context, data []byte) []byte {
	var req frame.RelayRequest
	if err := proto.Unmarshal(data, &req); err != nil {
		return nil
	}
	key, ok := event.ParseConversation(req.GetRelay().GetConversation())
	if !ok {
		return p.encode(&frame.RelayAnswer{})
	}
	st := p.stream(key.Stream(p.bus.Partitions()))
	if st == nil || !st.fansOut() {
		return p.encode(&frame.RelayAnswer{Refused: true})
	}
	to, err := st.parties(key, req.Relay.From)
	if err != nil {
		p.log.Warn("relay: parties not read", "view", st.fold.Name(), "err", err)
		return nil
	}
	passed := false
	for _, n := range to {
		r := &frame.Relay{Conversation: req.Relay.Conversation, From: req.Relay.From, Session: req.Relay.Session, To: n.users,
			Command: req.Relay.Command, Typing: req.Relay.Typing, File: req.Relay.File}
		b, err := proto.Marshal(&frame.Push{Body: &frame.Push_Relay{Relay: r}})
		if err == nil {
			err = p.bus.Push(n.life, b)
		}
		if err != nil {
			p.log.Debug("relay not sent", "life", n.life, "err", err)
			continue
		}
		passed = true
	}
	return p.encode(&frame.RelayAnswer{Passed: passed})
}

// parties are the attached users of a conversation by their nodes; nobody where from is no
// party of it (any more), one of two blocks the other, or a group has too many.
func (st *stream) parties(key event.ConversationKey, from uint32) (to []passTo, err error) {
	var two [2]uint32
	if key.IsDirect() {
		if key.Peer(from) == 0 {
			return nil, nil
		}
		blocked := false
		err := st.view.Read(func(r *view.Reader) error {
			blocked = timeline.Blocked(r, key)
			return nil
		})
		if err != nil || blocked {
			return nil, err
		}
		two[0], two[1] = key.Parties()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !key.IsDirect() && !slices.Contains(st.groups[from], key.GroupID()) {
		return nil, nil
	}
	count := 0
	for _, n := range st.order {
		var users []uint32
		if key.IsDirect() {
			users = slices.DeleteFunc(slices.Clone(two[:]), func(user uint32) bool { return !n.has(user) })
		} else if a := n.audiences[key.GroupID()]; a != nil {
			if count += len(a.users); count > relayMembers {
				return nil, nil
			}
			users = sortedUsers(a.users)
		}
		if len(users) > 0 {
			to = append(to, passTo{n.life, users})
		}
	}
	return to, nil
}
