package delivery

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// relayLimit is how many relays of a node are under way at once; what is over it is
// dropped.
const relayLimit = 256

// Relay asks the owner of a conversation to pass something on to the other sessions of its
// parties. It is sent once: it may be lost, and what nobody is there to get is forgotten,
// as is what is put to a group with more than 100 members online. It returns once the
// owner has passed it on, in no order with what is told of the conversation. The error is
// ErrUnavailable where no owner answers, or too much is under way already.
func (n *Node) Relay(ctx context.Context, r *frame.Relay) error {
	key, ok := event.ParseConversation(r.GetConversation())
	if !ok {
		return errors.New("relay: no such conversation key")
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.AskTimeout)
	defer cancel()
	owner, err := n.beginRelay(key)
	if err != nil {
		return err
	}
	err = n.askRelay(ctx, owner, r)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.relaying--
	if err != nil {
		n.stats.RelaysDropped++
		return fmt.Errorf("relay: %w: %w", ErrUnavailable, err)
	}
	n.stats.Relays++
	return nil
}

// beginRelay finds the owner and counts.
func (n *Node) beginRelay(key event.ConversationKey) (owner string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := key.Stream(n.bus.Partitions())
	if int(s) >= len(n.streams) || n.streams[s].term == nil || n.relaying >= relayLimit {
		n.stats.RelaysDropped++
		return "", fmt.Errorf("relay: %w", ErrUnavailable)
	}
	n.relaying++
	return n.streams[s].owner, nil
}

func (n *Node) askRelay(ctx context.Context, owner string, r *frame.Relay) error {
	b, err := proto.Marshal(&frame.RelayRequest{Relay: r})
	if err != nil {
		return err
	}
	b, err = n.bus.Ask(ctx, bus.OwnerSubject(owner, "relay"), b)
	if err != nil {
		return err
	}
	// An answer without anything in it: nobody is there, or nobody may get it.
	var ans frame.RelayAnswer
	if err := proto.Unmarshal(b, &ans); err != nil {
		return err
	}
	if ans.Refused {
		return errRefused
	}
	return nil
}
