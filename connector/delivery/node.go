package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/commands"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// Intervals and limits of the node's side (design section 6).
const (
	beatEvery       = time.Second
	gatherFor       = 5 * time.Millisecond
	termSilence     = 2 * time.Second
	reattachSpread  = 500 * time.Millisecond
	waitingLimit    = 8 << 20 // bytes of frames that wait behind a refill
	userWaitLimit   = 1 << 20 // bytes of deliveries that wait behind one user's attach
	attachLimit     = 100_000 // users in one attach request, so that it fits into a push
	trimFrom        = 1024    // sessions with positions of their own that are kept without a look
	resyncLimit     = 8_000   // sessions or users in one page of a resync
	attachTimeout   = 2 * time.Second
	attachRetry     = 250 * time.Millisecond
	changesTimeout  = 5 * time.Second
	stopTimeout     = 5 * time.Second
	retryEvery      = 50 * time.Millisecond
	defaultAskLimit = 10 * time.Second
	defaultSilence  = 5 * time.Second
)

// Node is one node life after the other: it beats, appends, and keeps what its
// sessions see in step with the log. All its state is behind one lock, taken once
// per frame.
type Node struct {
	cfg     Config
	bus     *bus.Bus
	handler Handler
	log     *slog.Logger
	wg      sync.WaitGroup

	started     chan struct{}
	startedOnce sync.Once

	mu        sync.Mutex
	ctx       context.Context // of Run; nil before
	life      event.ID
	starting  bool // the outcome of this life's NodeStarted is not known yet
	live      bool // NodeStarted of this life has its outcome
	stopped   bool
	suspended bool
	writer    *bus.Writer
	stopPush  func()
	lifeCtx   context.Context
	endLife   context.CancelFunc
	streams   []*stream
	users     map[uint32]*user
	sessions  int    // of all users
	digest    uint64 // of users
	dirty     []*seat
	ahead     []*seat  // with had
	trimAt    int      // number of them at which each is looked at
	late      []*seat  // with begin
	loose     []Member // to be flushed, and not joined
	counter   uint64   // of attach requests
	kick      chan struct{}
	heardOwn  time.Time
	made      time.Time
	lives     map[event.ID]heard // by their beats
	clock     clockGuard
	checking  bool // whether the life still counts
	again     bool // and once more, for what was heard meanwhile
	relaying  int  // relays under way
	stats     Stats

	fmu      sync.Mutex
	failures []failure // appends whose failure has to be told
	failing  bool      // and a goroutine does so
}

// user is a user with sessions on this node.
type user struct {
	seats   []*seat
	pending int         // streams whose attach is not through
	waiting []*Delivery // deliveries behind them
	bytes   int
}

// seat is one session of a user.
type seat struct {
	Member
	attached bool // and told so
	live     bool // its SessionOpened has been worked off
	dirty    bool // in n.dirty
	gone     bool // it has left
	of       *user
	// had says by stream up to where it has everything, or needs nothing. Nil where
	// that is what the node has seen, as for nearly all sessions nearly always.
	had []uint64
	// begin says where it begins, where that is beyond what the node had seen.
	begin map[event.Stream]uint64
}

func (u *user) seat(m Member) *seat {
	for _, s := range u.seats {
		if s.Member == m {
			return s
		}
	}
	return nil
}

type failure struct {
	t   *ticket
	err error
}

// New makes a node; Run gives it life.
func New(cfg Config) (*Node, error) {
	if cfg.Bus == nil || cfg.Handler == nil {
		return nil, errors.New("delivery: Bus and Handler are needed")
	}
	if cfg.Name == "" {
		cfg.Name, _ = os.Hostname()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	cfg.AskTimeout = cmp.Or(cfg.AskTimeout, defaultAskLimit)
	cfg.SilenceLimit = cmp.Or(cfg.SilenceLimit, defaultSilence)
	if cfg.sendBeat == nil {
		cfg.sendBeat = cfg.Bus.SendBeat
	}
	cfg.waitingLimit = cmp.Or(cfg.waitingLimit, waitingLimit)
	cfg.userWaitLimit = cmp.Or(cfg.userWaitLimit, userWaitLimit)
	n := &Node{
		cfg: cfg, bus: cfg.Bus, handler: cfg.Handler, log: cfg.Logger,
		trimAt: trimFrom, started: make(chan struct{}), users: map[uint32]*user{}, kick: make(chan struct{}, 1),
		made: time.Now(), lives: map[event.ID]heard{},
	}
	if err := n.register(cfg.Registerer); err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	return n, nil
}

// Started is closed once the first life is live and every stream has a term:
// clients may connect.
func (n *Node) Started() <-chan struct{} { return n.started }

// Life is the present node life; zero before Run.
func (n *Node) Life() event.ID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life
}

// Ready is nil while the node can do its work, else why it can't.
func (n *Node) Ready() error {
	if err := n.bus.Healthy(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.stopped:
		return ErrStopped
	case n.suspended:
		return errDeaf
	case !n.live:
		return errors.New("node life not live yet")
	case n.clock.wrong:
		return n.clock.err()
	}
	now := n.cfg.Clock()
	for _, st := range n.streams {
		switch {
		case st.state == silent || now.Sub(st.heard) > termSilence:
			return fmt.Errorf("%s: no owner is heard", st.s)
		case st.state == refilling:
			return fmt.Errorf("%s: reading what was missed", st.s)
		}
	}
	return nil
}

// Run keeps the node alive until ctx ends; then it says so in the log and waits
// for its own goroutines.
func (n *Node) Run(ctx context.Context) error {
	defer n.wg.Wait()
	stopBeats, err := n.bus.ReceiveBeats(n.onBeat)
	if err != nil {
		return fmt.Errorf("receive beats: %w", err)
	}
	defer stopBeats()
	stopProjectors, err := n.bus.ReceiveProjectorBeats(n.onProjectorBeat)
	if err != nil {
		return fmt.Errorf("receive beats: %w", err)
	}
	defer stopProjectors()
	// Goroutines outlive ctx until NodeStopped is through.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	n.mu.Lock()
	n.ctx = inner
	n.mu.Unlock()
	if err := n.begin(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(inner)
	g.Go(func() error { return n.attachLoop(gctx) })
	g.Go(func() error { return n.beatLoop(gctx) })
	select {
	case <-ctx.Done():
	case <-gctx.Done():
	}
	n.stop(context.WithoutCancel(ctx))
	cancel()
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// begin starts a life: positions first, then frames, then the beat and NodeStarted.
func (n *Node) begin(ctx context.Context) (err error) {
	life := ulid.Make()
	streams := make([]*stream, 0, len(n.bus.Streams()))
	for _, s := range n.bus.Streams() {
		// The epoch first: a position of an older epoch than told would never be reached.
		epoch, err := n.bus.Epoch(ctx, s)
		if err != nil {
			return fmt.Errorf("epoch of %s: %w", s, err)
		}
		seq, err := n.bus.LastSequence(ctx, s)
		if err != nil {
			return fmt.Errorf("last sequence of %s: %w", s, err)
		}
		streams = append(streams, &stream{
			n: n, s: s, seen: seq, epoch: epoch, pending: map[uint32]pend{}, from: map[uint32]uint64{}, queue: map[uint32]struct{}{}, records: map[uint64][]*ticket{}})
	}
	n.mu.Lock()
	if n.stopped {
		n.mu.Unlock()
		return ErrStopped
	}
	n.life, n.streams, n.starting, n.live = life, streams, true, false
	writer := n.bus.NewWriter(life)
	n.writer = writer
	n.lifeCtx, n.endLife = context.WithCancel(n.ctx)
	endLife := n.endLife
	n.heardOwn = n.cfg.Clock()
	if len(n.users) > 0 {
		// They came while there was no life, and have no position to begin at.
		n.dropUsers(ErrLifeLost)
	}
	n.mu.Unlock()
	stop, err := n.bus.ReceivePushes(life, func(b []byte) { n.onPush(life, b) })
	if err == nil {
		n.mu.Lock()
		n.stopPush = stop
		n.mu.Unlock()
		n.sendBeat(false)
		var ev *event.Event
		ev, err = commands.StartNode{At: n.cfg.Clock(), Life: life, Node: n.cfg.Name, Advertise: n.cfg.Advertise}.Decide(commands.LifeState{})
		if err == nil {
			err = n.append(event.Presence, "", 0, ev, func(r Result) {
				if n.life != life {
					return
				}
				n.starting = false
				if r.Err == nil && r.Void == frame.Void_VOID_NONE {
					n.live = true
					n.checkStarted()
				} else {
					n.suspectLife()
				}
			}, true)
		}
		if err != nil {
			stop()
		}
	}
	if err != nil {
		endLife()
		return fmt.Errorf("begin a node life: %w", errors.Join(err, writer.Close(ctx)))
	}
	return nil
}

// dropUsers closes every session and forgets it; n.mu is held.
func (n *Node) dropUsers(why error) {
	n.handler.CloseAll(why)
	clear(n.users)
	n.digest, n.sessions, n.ahead, n.late = 0, 0, nil, nil
}

// checkStarted closes started once everything is there; n.mu is held.
func (n *Node) checkStarted() {
	if !n.live {
		return
	}
	for _, st := range n.streams {
		if st.state != following {
			return
		}
	}
	n.startedOnce.Do(func() { close(n.started) })
}

// stop writes NodeStopped and lets what is in flight become known.
func (n *Node) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	ev, err := commands.StopNode{At: n.cfg.Clock(), Life: n.Life()}.Decide(commands.LifeState{Begun: true, Live: true})
	if err == nil {
		_, err = n.AppendWait(ctx, event.Presence, ev)
	}
	if err != nil {
		n.log.Warn("NodeStopped not logged; the watch will declare the node lost", "err", err)
	}
	n.mu.Lock()
	n.stopped = true
	writer, stopPush := n.writer, n.stopPush
	n.mu.Unlock()
	n.sendBeat(true)
	if err := writer.Close(ctx); err != nil {
		n.log.Warn("appends left in flight", "err", err)
	}
	n.mu.Lock()
	n.failPending(ErrStopped)
	n.endLife()
	n.mu.Unlock()
	if stopPush != nil {
		stopPush()
	}
}

// restartLife drops every session and starts anew: the log says this life is over.
func (n *Node) restartLife() {
	n.mu.Lock()
	if n.stopped {
		n.mu.Unlock()
		return
	}
	old, stopPush, writer := n.life, n.stopPush, n.writer
	n.log.Warn("node life is over, starting a new one", "life", old)
	n.stats.Restarts++
	n.live, n.starting = false, false
	n.endLife()
	n.failPending(ErrLifeLost)
	n.dropUsers(ErrLifeLost)
	ctx := n.ctx
	n.mu.Unlock()
	if stopPush != nil {
		stopPush()
	}
	n.wg.Go(func() {
		c, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_ = writer.Close(c) // its events are of no use any more, however this ends
	})
	for {
		err := n.begin(ctx)
		if err == nil {
			break
		}
		if errors.Is(err, ErrStopped) || ctx.Err() != nil {
			return
		}
		n.log.Warn("new life not started yet", "err", err)
		sleep(ctx, time.Second)
	}
	n.mu.Lock()
	n.setSuspended(false)
	n.mu.Unlock()
}

// failPending resolves every append whose outcome will not come, and every wait
// for a position; n.mu is held.
func (n *Node) failPending(why error) {
	for _, st := range n.streams {
		for _, t := range st.takeAll(why) {
			t.done(Result{Err: why})
		}
		st.failWaiters(why)
	}
	n.flush()
}

// tellFailure tells an append's failure from a goroutine that may take the node's
// lock, in the order in which they came.
func (n *Node) tellFailure(t *ticket, err error) {
	n.fmu.Lock()
	defer n.fmu.Unlock()
	n.failures = append(n.failures, failure{t, err})
	if n.failing {
		return
	}
	n.failing = true
	n.wg.Go(func() {
		for {
			n.fmu.Lock()
			all := n.failures
			n.failures = nil
			n.failing = len(all) > 0
			n.fmu.Unlock()
			if len(all) == 0 {
				return
			}
			n.mu.Lock()
			for _, f := range all {
				f.t.done(Result{Err: f.err})
			}
			n.flush()
			n.mu.Unlock()
		}
	})
}

func (n *Node) setSuspended(s bool) {
	if n.suspended != s {
		n.suspended = s
		n.handler.Suspend(s)
	}
}

// Append hands an event to the log. done is called exactly once, under the node's
// lock and before any delivery of the same frame, with what it came to. When Append
// itself returns an error (bus.ErrFull, bus.ErrTooLarge, ErrStopped) nothing was
// taken and done is not called.
func (n *Node) Append(s event.Stream, ev *event.Event, done func(Result)) error {
	return n.append(s, "", 0, ev, done, false)
}

// AppendCAS is Append by compare and set: stored only if expect is the last
// sequence of the subject, else done gets bus.ErrConflict.
func (n *Node) AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(Result)) error {
	return n.append(s, subject, expect, ev, done, false)
}

func (n *Node) append(s event.Stream, subject string, expect uint64, ev *event.Event, done func(Result), starting bool) error {
	n.mu.Lock()
	if n.stopped || n.writer == nil {
		n.mu.Unlock()
		return ErrStopped
	}
	if !n.live && !starting {
		n.mu.Unlock()
		return ErrUnavailable
	}
	if n.clock.wrong {
		err := n.clock.err()
		n.mu.Unlock()
		return err
	}
	if int(s) >= len(n.streams) {
		n.mu.Unlock()
		return fmt.Errorf("%w: %d", bus.ErrNoStream, s)
	}
	w, st := n.writer, n.streams[s]
	n.mu.Unlock()
	t := &ticket{st: st, done: done}
	if opened := ev.GetSessionOpened(); opened != nil {
		t.session, t.user = event.ToID(opened.Session), opened.User
	}
	if subject != "" {
		return w.AppendCAS(s, subject, expect, ev, t)
	}
	return w.Append(s, ev, t)
}

// AppendWait appends and waits for the outcome.
func (n *Node) AppendWait(ctx context.Context, s event.Stream, ev *event.Event) (Result, error) {
	got := make(chan Result, 1)
	if err := n.Append(s, ev, func(r Result) { got <- r }); err != nil {
		return Result{}, err
	}
	select {
	case r := <-got:
		return r, r.Err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// Join registers a session for the deliveries of its user. It begins at the
// positions this node has seen; m.Attached is called later, once nothing can slip
// between its lists and its deliveries.
func (n *Node) Join(m Member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.users[m.User()]
	fresh := u == nil
	if fresh {
		u = &user{}
		n.users[m.User()] = u
		n.digest ^= frame.UserDigest(m.User())
	}
	s := &seat{Member: m, of: u}
	u.seats = append(u.seats, s)
	n.sessions++
	for _, st := range n.streams {
		if !st.s.IsConversation() {
			continue
		}
		if fresh {
			st.attachLater(m.User(), u, mark{sequence: st.seen})
			continue
		}
		// His other sessions may have been brought what lies beyond seen, and no frame
		// will bring it again: this one begins there, and waits until the node has
		// come that far before it asks for anything.
		// What is in the middle of a record is for those who were there at its beginning.
		seen := mark{st.seen, st.index}.whole()
		if begin := max(st.from[m.User()], st.pending[m.User()].since.whole(), seen); begin > st.seen {
			n.begins(s)
			s.had[st.s] = begin
			if s.begin == nil {
				s.begin = map[event.Stream]uint64{}
				n.late = append(n.late, s)
			}
			s.begin[st.s] = begin
		}
	}
	if u.pending > 0 {
		n.begins(s)
	} else if !n.stopped {
		n.wg.Go(func() { // never from within Join: the caller may hold its own lock
			n.mu.Lock()
			defer n.mu.Unlock()
			n.attached(u)
			n.flush()
		})
	}
	n.wake()
}

// attachLater has the user attached on a stream, from what his sessions have seen on;
// n.mu is held.
func (st *stream) attachLater(id uint32, u *user, since mark) {
	st.pending[id] = pend{since: since}
	st.queue[id] = struct{}{}
	delete(st.from, id)
	u.pending++
	for _, s := range u.seats {
		st.n.begins(s)
	}
}

// attached tells a user's sessions that they are attached on all streams, each once;
// n.mu is held.
func (n *Node) attached(u *user) {
	if u.pending > 0 {
		return
	}
	for _, s := range u.seats {
		if !s.attached && n.reached(s) {
			s.attached = true
			s.Attached()
			n.mark(s)
		}
	}
}

// reached tells whether the node has come to where the session begins.
func (n *Node) reached(s *seat) bool {
	for stream, begin := range s.begin {
		if n.streams[stream].seen < begin {
			return false
		}
	}
	return true
}

// Leave takes a session out; a session that never joined is passed over.
func (n *Node) Leave(m Member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.users[m.User()]
	if u == nil {
		return
	}
	i := slices.IndexFunc(u.seats, func(s *seat) bool { return s.Member == m })
	if i < 0 {
		return
	}
	u.seats[i].gone = true
	u.seats = slices.Delete(u.seats, i, i+1)
	n.sessions--
	if len(u.seats) > 0 {
		return
	}
	delete(n.users, m.User())
	n.digest ^= frame.UserDigest(m.User())
	for _, st := range n.streams {
		if st.s.IsConversation() {
			delete(st.pending, m.User())
			delete(st.from, m.User())
			st.queue[m.User()] = struct{}{}
		}
	}
	n.wake()
}

// NotifyFlush has m.Flush called at the end of the frame that is being worked on.
// For use within done and Handler methods, that is under the node's lock.
func (n *Node) NotifyFlush(m Member) {
	if u := n.users[m.User()]; u != nil {
		if s := u.seat(m); s != nil {
			n.mark(s)
			return
		}
	}
	n.loose = append(n.loose, m)
}

// mark has a session flushed once at the end of the frame; n.mu is held.
func (n *Node) mark(s *seat) {
	if !s.dirty {
		s.dirty = true
		n.dirty = append(n.dirty, s)
	}
}

// flush ends a frame; n.mu is held.
func (n *Node) flush() {
	for _, s := range n.dirty {
		s.dirty = false
		s.Flush()
	}
	clear(n.dirty)
	n.dirty = n.dirty[:0]
	for _, m := range n.loose {
		m.Flush()
	}
	clear(n.loose)
	n.loose = n.loose[:0]
	if cap(n.dirty) > 1<<14 {
		n.dirty = nil
	}
}

// Seen is the position up to which this node has worked stream s off.
func (n *Node) Seen(s event.Stream) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if int(s) >= len(n.streams) {
		return 0
	}
	return n.streams[s].seen
}

// PeopleSeen is Seen of PEOPLE: the position a login decides at.
func (n *Node) PeopleSeen() uint64 { return n.Seen(event.People) }

// Stats are counts since the node was made, but for Users and Sessions.
func (n *Node) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.stats
	s.Users, s.Sessions = len(n.users), n.sessions
	return s
}

// wake has the attach loop look at its queues.
func (n *Node) wake() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// onBeat hears all nodes' beats, its own among them.
func (n *Node) onBeat(data []byte) {
	var b frame.Beat
	if err := proto.Unmarshal(data, &b); err != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.cfg.Clock()
	if event.ToID(b.Life) == n.life {
		n.heardOwn = now
	}
	n.hear(&b, now)
}

func (n *Node) sendBeat(stopping bool) {
	data, err := proto.Marshal(n.beat(stopping))
	if err == nil {
		err = n.cfg.sendBeat(data)
	}
	if err != nil {
		n.log.Debug("beat not sent", "err", err)
	}
}

// beatLoop beats, and notices when the node does not hear itself: then sockets rest
// until the log says whether this life still counts.
func (n *Node) beatLoop(ctx context.Context) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		n.mu.Lock()
		n.forgetSilent()
		n.judgeClock()
		silent := n.cfg.Clock().Sub(n.heardOwn) > n.cfg.SilenceLimit
		if silent && !n.suspended {
			n.log.Warn("node does not hear itself, sockets rest")
			n.setSuspended(true)
		}
		check := n.suspended && !silent && !n.checking
		n.checking = n.checking || check
		n.mu.Unlock()
		n.sendBeat(false)
		if check {
			n.wg.Go(func() { n.checkLife(ctx) })
		}
	}
}

// suspectLife has the node ask whether its life is still live; to be called when
// the log says something that only fits a life that is over.
func (n *Node) suspectLife() {
	switch {
	case n.stopped:
	case n.checking:
		n.again = true // the log may have been asked before
	default:
		n.checking = true
		ctx := n.ctx
		n.wg.Go(func() { n.checkLife(ctx) })
	}
}

// checkLife asks the log whether this life still counts, and goes on or starts anew.
func (n *Node) checkLife(ctx context.Context) {
	for {
		n.mu.Lock()
		n.again = false
		n.mu.Unlock()
		err := n.checkLifeOnce(ctx)
		if err != nil {
			n.log.Warn("node life not verified", "err", err)
			sleep(ctx, time.Second)
		}
		n.mu.Lock()
		if ctx.Err() != nil || err == nil && !n.again {
			n.checking = false
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
	}
}

func (n *Node) checkLifeOnce(ctx context.Context) error {
	n.mu.Lock()
	starting := n.starting
	if starting || n.stopped {
		n.setSuspended(false) // the log has not told of this life yet
	}
	over := starting || n.stopped
	n.mu.Unlock()
	if over {
		return nil
	}
	live, err := n.lifeIsLive(ctx)
	if err != nil {
		return err
	}
	if !live {
		n.restartLife()
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.live && !n.starting {
		// The outcome of NodeStarted was lost, with a rolled back stream's positions,
		// but the log holds it.
		n.live = true
		n.checkStarted()
	}
	n.setSuspended(false)
	return nil
}

func (n *Node) lifeIsLive(ctx context.Context) (bool, error) {
	last, err := n.bus.LastSequence(ctx, event.Presence)
	if err != nil {
		return false, err
	}
	ans, err := n.Ask(ctx, &query.Request{
		AtLeast: []*query.AtLeast{{Stream: uint32(event.Presence), Sequence: last}},
		Body:    &query.Request_Lives{Lives: &query.Lives{}},
	})
	if err != nil {
		return false, err
	}
	life := n.Life()
	return slices.ContainsFunc(ans.GetLives().GetLives(), func(l *query.Life) bool {
		return event.ToID(l.Life) == life
	}), nil
}

// owners are the owner processes of the conversation streams and what each owns;
// ok is false while a stream has none. n.mu is held.
func (n *Node) owners() (of map[string][]*stream, ok bool) {
	of, ok = map[string][]*stream{}, true
	for _, st := range n.streams {
		if !st.s.IsConversation() {
			continue
		}
		if st.term == nil {
			ok = false
			continue
		}
		of[st.owner] = append(of[st.owner], st)
	}
	return of, ok
}

// attachLoop gathers attaches and detaches for some milliseconds into one request
// per owner process; one request per process is under way at a time, so that an
// owner sees them in order. What fails waits for the next tick.
func (n *Node) attachLoop(ctx context.Context) error {
	var mu sync.Mutex
	busy := map[string]bool{}
	retry := time.NewTicker(attachRetry)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.kick:
			sleep(ctx, gatherFor)
		case <-retry.C:
		}
		n.mu.Lock()
		owners, _ := n.owners()
		n.mu.Unlock()
		for owner := range maps.Keys(owners) {
			mu.Lock()
			skip := busy[owner]
			busy[owner] = true
			mu.Unlock()
			if skip {
				continue
			}
			n.wg.Go(func() {
				more, err := true, error(nil)
				for more && err == nil {
					more, err = n.attachRound(ctx, owner)
				}
				mu.Lock()
				delete(busy, owner)
				mu.Unlock()
				if err != nil {
					n.log.Debug("attach not through, tried again", "owner", owner, "err", err)
					return
				}
				n.mu.Lock()
				defer n.mu.Unlock()
				if n.queued(owner) { // since the last round looked
					n.wake()
				}
			})
		}
	}
}

// queued tells whether a round to the owner would carry something; n.mu is held.
func (n *Node) queued(owner string) bool {
	return slices.ContainsFunc(n.streams, func(st *stream) bool {
		return st.owner == owner && st.state == following && len(st.queue) > 0
	})
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
