package delivery

import "godwit/schema/event"

// Epoch is that of a stream as this node knows it: positions of another one are of a
// history that was lost. It is zero before the node has started.
func (n *Node) Epoch(s event.Stream) event.ID {
	n.mu.Lock()
	defer n.mu.Unlock()
	if int(s) >= len(n.streams) {
		return event.ID{}
	}
	return n.streams[s].epoch
}
