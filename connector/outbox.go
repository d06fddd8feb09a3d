package connector

import (
	"sync"
	"sync/atomic"

	"godwit/schema/event"
)

const (
	// lendFrom is how large a push to many sessions has to be, in bytes, to be handed to
	// their connections as it is. What is smaller is copied, so that much leaves in one
	// write.
	lendFrom = 4 << 10
	// gatherUpTo is how many bytes of small pushes that had to wait leave in one write.
	gatherUpTo = 64 << 10
)

// shared is a push that many sessions get. Its bytes are there once, however many wait to
// write them, and may still have to be made.
type shared struct {
	pdus  atomic.Pointer[[]byte] // whole PDUs, never changed; nil while they are being made
	guess int                    // about how many bytes they will be

	mu      sync.Mutex
	waiting []*session // to be told when they are made
	failed  bool       // they could not be
}

// ready is a shared push of bytes that are there.
func ready(pdus []byte) *shared {
	sh := &shared{}
	sh.pdus.Store(&pdus)
	return sh
}

// size is how many bytes it counts for.
func (sh *shared) size() int {
	if b := sh.pdus.Load(); b != nil {
		return len(*b)
	}
	return sh.guess
}

// await has the session told when the push is made, if it is not yet; it is false if it
// can't be made. The session's lock is held.
func (sh *shared) await(s *session) bool {
	if sh.pdus.Load() != nil {
		return true
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.pdus.Load() == nil && !sh.failed {
		sh.waiting = append(sh.waiting, s)
	}
	return !sh.failed
}

// made gives the push its bytes and lets the sessions write it; nil says that it can't be
// made. No lock is held.
func (sh *shared) made(pdus []byte) {
	sh.mu.Lock()
	if pdus != nil {
		sh.pdus.Store(&pdus)
	}
	sh.failed = pdus == nil
	waiting := sh.waiting
	sh.waiting = nil
	sh.mu.Unlock()
	for _, s := range waiting {
		s.mu.Lock()
		if pdus == nil {
			// It would stay half blind; one that has to come back asks for everything again.
			s.closeLocked(event.EndReason_END_REASON_CLOSED, false)
		} else if s.box != nil {
			s.box.recount(sh)
			s.bound(0)
		}
		s.mu.Unlock()
		s.wire.Wake()
	}
}

// outbox is pushes that a session writes later, in order: behind one that is being made, or
// large shared ones, which are taken as the connection drains. A session has one only while
// something is in it.
type outbox struct {
	items []outgoing
	bytes int // what they count for
}

// outgoing is bytes of the session's own or a shared push.
type outgoing struct {
	own    *buffer
	shared *shared
	size   int // what it counts for
}

// recount counts a shared push anew.
func (o *outbox) recount(sh *shared) {
	for i := range o.items {
		if it := &o.items[i]; it.shared == sh {
			o.bytes += sh.size() - it.size
			it.size = sh.size()
		}
	}
}

// follow appends to the output what f appends, behind what is in the outbox. mu is held.
func (s *session) follow(f func(b []byte) []byte) {
	if s.box == nil {
		s.write(f)
		return
	}
	if s.state == closing {
		return
	}
	o := s.box
	if last := &o.items[len(o.items)-1]; last.own != nil {
		last.own.b = f(last.own.b)
		o.bytes += len(last.own.b) - last.size
		last.size = len(last.own.b)
	} else {
		own := buffers.Get().(*buffer)
		if own.b = f(own.b); len(own.b) == 0 {
			own.free()
			return
		}
		o.items = append(o.items, outgoing{own: own, size: len(own.b)})
		o.bytes += len(own.b)
	}
	s.bound(0)
}

// share puts a shared push into the outbox. mu is held.
func (s *session) share(sh *shared) {
	if s.state == closing {
		return
	}
	if !sh.await(s) {
		s.closeLocked(event.EndReason_END_REASON_CLOSED, false)
		return
	}
	if s.box == nil {
		s.box = &outbox{}
	}
	it := outgoing{shared: sh, size: sh.size()}
	s.box.items = append(s.box.items, it)
	s.box.bytes += it.size
	s.bound(0)
}

// nextWrite takes what the connection is to write next, nil if there is nothing: what was
// written past the outbox, and then from the outbox, up to a push that is being made. mu is
// held.
func (s *session) nextWrite() *buffer {
	for s.box != nil {
		it := &s.box.items[0]
		var b []byte
		if it.own != nil {
			b = it.own.b
		} else if pdus := it.shared.pdus.Load(); pdus == nil {
			break
		} else if b = *pdus; len(b) >= lendFrom {
			if s.out == nil || len(s.out.b) == 0 {
				s.shift()
				return &buffer{b: b, lent: true}
			}
			break
		}
		if s.out == nil {
			s.out = buffers.Get().(*buffer)
		}
		if len(s.out.b) >= gatherUpTo {
			break
		}
		s.out.b = append(s.out.b, b...)
		s.shift()
	}
	if s.out == nil || len(s.out.b) == 0 {
		return nil
	}
	b := s.out
	s.out = nil
	return b
}

// shift drops the first of the outbox. mu is held.
func (s *session) shift() {
	o := s.box
	o.items[0].own.free()
	o.bytes -= o.items[0].size
	o.items[0] = outgoing{}
	if o.items = o.items[1:]; len(o.items) == 0 {
		s.box = nil
	}
}
