package e2etest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"godwit/schema/event"
)

// Returning has everybody come back whenever he loses his connection, to any of the
// addresses that there are then, sync and talk on, as clients do. After the end of it
// nobody does any more. A kick is a fault: nobody here logs in twice.
func (w *World) Returning(addrs func() []string) (end func()) {
	over := make(chan struct{})
	var all sync.WaitGroup
	for _, p := range w.People {
		all.Go(func() {
			for p.lost(over) {
				if err := p.comeBack(addrs, over); err != nil {
					w.Mu.Lock()
					w.fault("%s does not come back: %v", p.Name, err)
					w.Mu.Unlock()
					return
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		close(over)
		all.Wait()
	})
}

// lost waits for the end of the person's session; false when there is no need to any more.
func (p *Person) lost(over <-chan struct{}) bool {
	p.w.Mu.Lock()
	s := p.Session
	p.w.Mu.Unlock()
	select {
	case <-s.Done:
		return true
	case <-over:
		return false
	}
}

// comeBack logs in where that is possible. What fails by the connection is tried again.
func (p *Person) comeBack(addrs func() []string, over <-chan struct{}) error {
	var err error
	for limit := time.Now().Add(2 * Patience); time.Now().Before(limit); {
		all := addrs()
		p.w.Mu.Lock()
		at := AnyOf(p.w.rnd, all)
		p.w.Returns++
		p.w.Mu.Unlock()
		if err = p.comeBackTo(at); err == nil {
			return nil
		}
		p.w.Mu.Lock()
		s := p.Session
		p.w.Mu.Unlock()
		s.End()
		if errors.Is(err, ErrRefused) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func (p *Person) comeBackTo(at string) error {
	if err := p.connectOnce(at); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	if err := p.Sync(false); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	p.w.Mu.Lock()
	quieted := p.w.quieted
	p.w.Mu.Unlock()
	if !quieted {
		return p.TalkOn()
	}
	p.w.Mu.Lock()
	defer p.w.Mu.Unlock()
	return p.again()
}

// Twins are users whose desktops log in on several edges at once, again and again, so
// that each ends another. Nobody knows which of them survives but the log.
type Twins struct {
	w     *World
	names []string
	Ids   []uint32
	addrs func() []string
	over  chan struct{}
	all   sync.WaitGroup

	mu     sync.Mutex
	rnd    *rand.Rand
	open   map[*Session]bool
	Logins int
	Kicks  int
}

// Twins starts two logins of each user, which go on until end.
func (w *World) Twins(names []string, ids []uint32, seed uint64, addrs func() []string) *Twins {
	x := &Twins{w: w, names: names, Ids: ids, addrs: addrs, over: make(chan struct{}), rnd: rand.New(rand.NewPCG(seed, 2)), open: map[*Session]bool{}}
	for i := range names {
		for range 2 {
			x.all.Go(func() { x.live(i) })
		}
	}
	return x
}

func (x *Twins) live(i int) {
	for {
		s := x.login(i)
		wait := time.Duration(x.choice(1500)+50) * time.Millisecond
		var done <-chan struct{}
		if s != nil {
			done = s.Done
		}
		select {
		case <-x.over:
			return // and the session stays
		case <-done:
		case <-time.After(wait):
			if s != nil && x.choice(2) == 0 {
				s.End()
				continue
			}
		}
		if s == nil {
			continue
		}
		select {
		case <-x.over:
			return
		case <-s.Done:
		}
	}
}

func (x *Twins) choice(n int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rnd.IntN(n)
}

// login is one login at any of the edges, nil if it came to nothing.
func (x *Twins) login(i int) *Session {
	at := x.addrs()
	s, err := Open(at[x.choice(len(at))], x.names[i], DeviceWindows, func(p Packet) {
		if p.Command == CmdKicked {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.Kicks++
		}
	})
	if errors.Is(err, ErrRefused) {
		x.w.Mu.Lock()
		x.w.fault("a twin %s: %v", x.names[i], err)
		x.w.Mu.Unlock()
	}
	if err != nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.Logins++
	x.open[s] = true
	return s
}

// End has each log in a last time on two edges at once, and leaves those sessions.
func (x *Twins) End() {
	close(x.over)
	x.all.Wait()
	for i := range x.names {
		for range 2 {
			x.all.Go(func() {
				for limit := time.Now().Add(Patience); x.login(i) == nil && time.Now().Before(limit); {
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
	}
	x.all.Wait()
}

// Sockets counts the sessions that are open, by user.
func (x *Twins) Sockets() map[uint32]int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := map[uint32]int{}
	for s := range x.open {
		select {
		case <-s.Done:
		default:
			n[s.User]++
		}
	}
	return n
}

func (x *Twins) Leave() {
	x.mu.Lock()
	all := x.open
	x.open = map[*Session]bool{}
	x.mu.Unlock()
	for s := range all {
		s.End()
	}
}

// Sockets are the open sessions of the people by user and class.
func (w *World) Sockets() map[Online]int {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	n := map[Online]int{}
	for _, p := range w.People {
		select {
		case <-p.Session.Done:
		default:
			n[Online{p.id, event.ClassOf(uint32(p.device))}]++
		}
	}
	return n
}

// Online is what presence tells of: a user in a class of devices.
type Online struct {
	User  uint32
	Class event.DeviceClass
}

// Users lists everybody of whom sockets tells.
func Users(of map[Online]int) (list []uint32) {
	for o := range of {
		if !slices.Contains(list, o.User) {
			list = append(list, o.User)
		}
	}
	return list
}
