package delivery

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/schema/event"
	"godwit/schema/frame"
)

const (
	// liveFor is how long a node counts as there after its last beat.
	liveFor = 3500 * time.Millisecond
	// maxLives bounds the lives that are known at once; those beyond are not noted.
	maxLives = 10_000
)

// Serving is what a node with sockets says of them in its beats.
type Serving struct {
	Serves   bool // it takes clients now
	Clients  int  // connected, logged in or not
	Capacity int  // clients that it would hold; 0: it has no sockets
	Port     int  // it listens on, for a Config.Advertise that names none; 0: none yet
}

// Live is a node life as its beats tell of it.
type Live struct {
	Life      event.ID
	Node      string // host, for people
	Process   string // on the bus
	Advertise string // HOST:PORT at which clients reach it; without a host: at this port of its machine
	Serves    bool
	Stopping  bool // it has ended, or is about to
	Clients   int
	Capacity  int           // 0: it has no sockets
	Heard     time.Time     // its last beat, by the clock of who heard it
	Ahead     time.Duration // how far its clock was ahead of that of who heard it
}

// heard is a life and the arrival of its last beat on a clock that never jumps.
type heard struct {
	Live
	since time.Duration
}

// Lives are the nodes that this one hears, itself among them, by name and life. One that
// has been silent for a few beats is not among them, nor is anybody while this node hears
// nothing.
func (n *Node) Lives() []Live {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]Live, 0, len(n.lives))
	for _, l := range n.lives {
		if n.up()-l.since <= liveFor {
			all = append(all, l.Live)
		}
	}
	slices.SortFunc(all, func(a, b Live) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), slices.Compare(a.Life[:], b.Life[:]))
	})
	return all
}

// up is the time since the node was made; clocks that are set don't move it.
func (n *Node) up() time.Duration { return time.Since(n.made) }

// hear notes a beat; n.mu is held.
func (n *Node) hear(b *frame.Beat, now time.Time) {
	life := event.ToID(b.Life)
	if life.Compare(event.ID{}) == 0 {
		return
	}
	if _, known := n.lives[life]; !known && len(n.lives) >= maxLives {
		n.forgetSilent()
		if len(n.lives) >= maxLives {
			return
		}
	}
	l := Live{
		Life: life, Node: b.Node, Process: b.Process, Advertise: b.Advertise, Serves: b.Serves && !b.Stopping, Stopping: b.Stopping,
		Clients: int(b.Sessions), Capacity: int(b.Capacity), Heard: now,
	}
	if b.At != 0 {
		l.Ahead = time.UnixMilli(b.At).Sub(now.Round(0))
		if b.Process != n.bus.Process() && b.Process != "" {
			n.clock.hear(b.Process, l.Ahead, n.up())
		}
	}
	n.lives[life] = heard{l, n.up()}
}

// forgetSilent drops who is not heard any more; n.mu is held.
func (n *Node) forgetSilent() {
	for life, l := range n.lives {
		if n.up()-l.since > liveFor {
			delete(n.lives, life)
		}
	}
}

// beat is what the node says of itself.
func (n *Node) beat(stopping bool) *frame.Beat {
	var s Serving
	if n.cfg.Serving != nil {
		s = n.cfg.Serving()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	life := n.life
	if n.cfg.Serving == nil {
		s.Clients = n.sessions
	}
	return &frame.Beat{
		Life: life[:], Node: n.cfg.Name, Process: n.bus.Process(), Advertise: advertised(n.cfg.Advertise, s.Port), Sessions: uint32(s.Clients),
		Stopping: stopping, Serves: s.Serves && n.live && !n.suspended && !stopping, Capacity: uint32(s.Capacity), At: n.cfg.Clock().UnixMilli(),
	}
}

// advertised is HOST[:PORT] with the port that it leaves out.
func advertised(advertise string, port int) string {
	host, given, err := net.SplitHostPort(advertise)
	switch {
	case err != nil:
		host, given = strings.Trim(advertise, "[]"), ""
	case given != "":
		return advertise
	}
	if port == 0 {
		return advertise
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// Announce beats at once: what Config.Serving says has changed. It takes the node's lock.
func (n *Node) Announce() {
	n.mu.Lock()
	begun := n.life.Compare(event.ID{}) != 0 && !n.stopped
	n.mu.Unlock()
	if begun {
		n.sendBeat(false)
	}
}
