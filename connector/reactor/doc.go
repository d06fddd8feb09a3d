// Package reactor moves bytes between many TCP sockets and their sessions with a
// few goroutines: one per loop, each over an epoll set of its own.
//
// It exists because a flooding client must be held by TCP. The server stops reading
// its socket for a while, and the client's own send buffer fills up; nothing is
// dropped and nothing piles up here. The ready-made reactors that were looked at
// read a socket whenever it is readable and keep what is not consumed in a growing
// buffer of their own, with no way to pause one connection, so a pause would
// only move the flood into memory. Here the event mask of each socket follows what its
// session wants (see [Next]), and an idle connection holds no buffer at all.
//
// A loop's epoll set is itself watched by Go's network poller, so that an idle
// loop is a parked goroutine and not a blocked thread, and waking one from another
// goroutine takes no system call.
package reactor
