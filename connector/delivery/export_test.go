package delivery

import "godwit/schema/event"

// WithLimits makes the limits of what waits small: of frames behind a refill, and of
// deliveries behind a user's attach.
func (c *Config) WithLimits(frames, user int) { c.waitingLimit, c.userWaitLimit = frames, user }

// WithMute loses the node's beats while mute is true.
func (c *Config) WithMute(mute func() bool) {
	c.sendBeat = func(data []byte) error {
		if mute() {
			return nil
		}
		return c.Bus.SendBeat(data)
	}
}

// SeenLocked is Seen for a Member, whose methods are called under the node's lock.
func (n *Node) SeenLocked(s event.Stream) uint64 { return n.streams[s].seen }
