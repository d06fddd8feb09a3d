package reactor

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// streamRead is the buffer of a stream's reader. It lives as long as the connection,
// so it is small.
const streamRead = 2 << 10

// Stream drives a [Peer] over a connection of the standard library, with one
// goroutine that reads and another only while there is something to write. It is for
// TLS, which can't be read without a goroutine of its own.
type Stream struct {
	conn   net.Conn
	queued atomic.Bool
	wg     sync.WaitGroup // grows outside of its own goroutines only through Wake

	ending sync.Mutex
	ended  bool // Wake starts nothing any more

	mu      sync.Mutex // held during every call of the peer
	changed sync.Cond  // reading or closed changed
	peer    Peer
	reading bool
	writing bool
	linger  bool
	closed  bool
}

var _ Waker = (*Stream)(nil)

// NewStream makes a stream over conn, which it closes in the end. open makes its peer;
// nil refuses the connection.
func NewStream(conn net.Conn, open func(w Waker) Peer) *Stream {
	s := &Stream{conn: conn}
	s.changed.L = &s.mu
	s.queued.Store(true) // until Run there are no turns
	s.peer = open(s)
	return s
}

// Run serves the connection and returns when it has ended and the peer was told.
func (s *Stream) Run() {
	if s.peer == nil {
		s.conn.Close()
		return
	}
	s.queued.Store(false)
	s.Wake()
	s.read()
	s.ending.Lock()
	s.ended = true
	s.ending.Unlock()
	s.wg.Wait()
}

// Wake starts a turn on a goroutine of its own: the caller may hold locks that the
// peer waits for.
func (s *Stream) Wake() {
	if !s.queued.CompareAndSwap(false, true) {
		return
	}
	s.ending.Lock()
	defer s.ending.Unlock()
	if !s.ended {
		s.wg.Go(s.turn)
	}
}

func (s *Stream) turn() {
	s.queued.Store(false)
	s.mu.Lock()
	b := s.advance()
	s.mu.Unlock()
	s.write(b)
}

// advance gives the peer a turn, with mu held, and returns what is to be written by
// the caller once it has let go of mu.
func (s *Stream) advance() []byte {
	if s.closed {
		return nil
	}
	next := s.peer.Turn(!s.writing)
	if next.Close == CloseNow {
		s.shut(nil)
		return nil
	}
	if s.reading != next.Read {
		s.reading = next.Read
		s.changed.Broadcast()
	}
	if !s.writing && len(next.Write) > 0 {
		s.writing = true
		return next.Write
	}
	if next.Close == CloseGently && !s.writing && !s.linger {
		s.linger = true
		s.changed.Broadcast()
		s.wg.Go(s.closeWrite)
	}
	return nil
}

func (s *Stream) closeWrite() {
	half, ok := s.conn.(interface{ CloseWrite() error })
	if ok && half.CloseWrite() == nil {
		return // the reader sees the client's end
	}
	s.mu.Lock()
	s.shut(nil)
	s.mu.Unlock()
}

// write writes b and what the peer wants written after it. A client that does not
// read blocks it until the peer closes the connection.
func (s *Stream) write(b []byte) {
	for len(b) > 0 {
		_, err := s.conn.Write(b)
		s.mu.Lock()
		if err != nil {
			s.shut(err)
		}
		if s.closed {
			s.mu.Unlock()
			return
		}
		s.writing = false
		s.peer.Sent(b)
		b = s.advance()
		s.mu.Unlock()
	}
}

func (s *Stream) read() {
	buf := make([]byte, streamRead)
	drained := 0
	for {
		s.mu.Lock()
		for !s.reading && !s.linger && !s.closed {
			s.changed.Wait()
		}
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return
		}
		n, err := s.conn.Read(buf)
		s.mu.Lock()
		switch {
		case s.closed:
		case s.linger:
			if drained += n; err != nil || drained > lingerBytes {
				s.shut(nil)
			}
		default:
			if n > 0 {
				s.peer.Input(buf[:n])
			}
			if err != nil {
				s.shut(err)
			}
		}
		b := s.advance()
		s.mu.Unlock()
		if len(b) > 0 {
			// Not on this goroutine: a client may wait for us to read before it reads.
			s.wg.Go(func() { s.write(b) })
		}
	}
}

// shut closes the connection, with mu held.
func (s *Stream) shut(err error) {
	if s.closed {
		return
	}
	s.closed = true
	s.changed.Broadcast()
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		err = ErrReset
	}
	s.wg.Go(func() { s.conn.Close() }) // TLS says goodbye to a client that may not listen
	s.peer.Closed(err)
}
