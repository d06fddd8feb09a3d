package owner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/projections/people"
	"godwit/projections/presence"
	"godwit/projections/timeline"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// Limits of answers.
const (
	// maxWait bounds how long a question waits for its position, whatever it says.
	maxWait = 30 * time.Second
	// recoverWait bounds how long changes and resyncs wait for theirs.
	recoverWait = 4 * time.Second
	// pageRows is how many records one page of changes walks at most.
	pageRows = 50_000
	// pageLooks is after how many rows of groups' members it ends, also inside a record.
	pageLooks = 500_000
	// fewUsers are looked up in a group one by one, more are sought among its members.
	fewUsers = 32
	// answerLimit bounds what the timelines of this process answer together, so that it
	// fits into a NATS message; above answerSoftLimit no further one is asked.
	answerLimit     = 960 << 10
	answerSoftLimit = 512 << 10
	// unknownLimit is how many unknown sessions one answer names.
	unknownLimit = 8_000
)

// errNotAttached: a refill's users are not known (any more); the node attaches anew.
var errNotAttached = errors.New("node is not attached")

// attach registers a node's users at the fold's position of each stream.
func (p *Process) attach(_ context.Context, data []byte) []byte {
	var req frame.AttachRequest
	if err := proto.Unmarshal(data, &req); err != nil {
		return nil
	}
	life := event.ToID(req.Life)
	p.met(life)
	var ans frame.AttachAnswer
	for _, part := range req.Streams {
		if st := p.stream(event.Stream(part.Stream)); st != nil {
			ans.Streams = append(ans.Streams, st.attach(life, req.Counter, part))
		} else {
			ans.Streams = append(ans.Streams, &frame.AttachedStream{Stream: part.Stream, Refused: true})
		}
	}
	return p.encode(&ans)
}

func (st *stream) attach(life event.ID, counter uint64, part *frame.AttachStream) *frame.AttachedStream {
	st.mu.Lock()
	defer st.mu.Unlock()
	ans := &frame.AttachedStream{Stream: part.Stream}
	n := st.nodes[life]
	// Users may be added only to what a refill of this term has begun, else the
	// node would take frames without a beginning.
	if st.term == nil || n == nil && !part.Refill {
		ans.Refused = true
		return ans
	}
	if part.Refill {
		if n != nil && n.counter > counter {
			ans.Refused = true
			return ans
		}
		n = st.register(life, len(part.Users))
	}
	for _, u := range part.Gone {
		st.remove(n, u, counter)
	}
	for _, u := range part.Users {
		st.add(n, u, counter)
	}
	n.counter = max(n.counter, counter)
	epoch := st.view.Epoch()
	ans.Term, ans.Epoch, ans.At = st.term, epoch[:], st.folded
	return ans
}

// changes reads one page of what lies in (since, to].
func (p *Process) changes(ctx context.Context, data []byte) []byte {
	var req frame.ChangesRequest
	if err := proto.Unmarshal(data, &req); err != nil {
		return nil
	}
	st := p.stream(event.Stream(req.Stream))
	if st == nil {
		return nil
	}
	ans, err := st.changes(ctx, &req)
	if err != nil {
		p.log.Warn("changes not read", "view", st.fold.Name(), "err", err)
		return nil // the node asks again
	}
	return p.encode(ans)
}

func (st *stream) changes(ctx context.Context, req *frame.ChangesRequest) (*frame.ChangesAnswer, error) {
	if st.view.Epoch() != event.ToID(req.Epoch) {
		return &frame.ChangesAnswer{TooFar: true}, nil
	}
	life := event.ToID(req.Life)
	users := make(map[uint32]struct{}, len(req.Users))
	for _, u := range req.Users {
		users[u] = struct{}{}
	}
	if req.Refill {
		st.mu.Lock()
		n := st.nodes[life]
		if n == nil {
			// Its users went with a term, or were forgotten. A page without them would
			// be taken for a range in which nothing happened.
			st.mu.Unlock()
			return nil, errNotAttached
		}
		for u := range n.users {
			users[u] = struct{}{}
		}
		st.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(ctx, recoverWait)
	defer cancel()
	if err := st.view.WaitCommitted(ctx, req.To); err != nil {
		return nil, err
	}
	ans := &frame.ChangesAnswer{}
	err := st.view.Read(func(r *view.Reader) error {
		if r.Epoch() != event.ToID(req.Epoch) || r.Sequence() < req.To {
			return view.ErrReset // in this moment
		}
		if req.Since+1 < r.EffectsHeld() {
			ans.TooFar = true
			return nil
		}
		return st.changesPage(r, req, users, ans)
	})
	return ans, err
}

// changesPage fills one page. It ends between two events, also of one record.
func (st *stream) changesPage(r *view.Reader, req *frame.ChangesRequest, users map[uint32]struct{}, ans *frame.ChangesAnswer) error {
	life := event.ToID(req.Life)
	p := page{r: r, users: users, groups: map[uint32]*pageGroup{}, ans: ans}
	rows := 0
	for row, err := range r.Effects(req.Since, req.To) {
		if err != nil {
			return err
		}
		if rows++; p.size > pageSoftLimit || rows > pageRows || p.looked > pageLooks {
			ans.More = true
			return nil
		}
		own := req.Refill && row.Writer == life
		for i, e := range row.Events {
			if row.Sequence == req.Since+1 && uint32(i) < req.SinceIndex {
				continue
			}
			if st.s.IsConversation() && (p.looked > pageLooks || !p.add(row.Sequence, i, e)) {
				ans.More, ans.NextSequence, ans.NextIndex = true, row.Sequence-1, uint32(i)
				return nil
			}
			if own {
				ans.Outcomes = append(ans.Outcomes, outcome(row, i, e))
				p.size += 32
			}
		}
		ans.NextSequence = row.Sequence
	}
	return nil
}

// page is one page of changes while it is being filled.
type page struct {
	r      *view.Reader
	users  map[uint32]struct{} // who asks
	groups map[uint32]*pageGroup
	ans    *frame.ChangesAnswer
	size   int
	looked int // rows of members read
}

// pageGroup is those who ask that were ever members of a group.
type pageGroup struct {
	members []pageMember
	list    uint32 // newest list of the page that was made for it, as audiences say it
}

type pageMember struct {
	user uint32
	timeline.Membership
}

// add puts what one event has to tell into the page; false if it goes into the next.
func (p *page) add(sequence uint64, index int, e view.StoredEffect) bool {
	if len(e.Stored) == 0 {
		return true
	}
	c := timeline.StoredConcern(e)
	if c.None() || c.Group == 0 && !p.asks(c.First) && !p.asks(c.Second) {
		return true
	}
	var g *pageGroup
	if c.Group != 0 {
		if g = p.group(c.Group); len(g.members) == 0 {
			return true
		}
	}
	deliveries := timeline.Deliveries(p.r, sequence, index, e)
	if g == nil {
		return p.put(deliveries, nil, nil)
	}
	// A group's change has two deliveries at most, that may go to different users.
	var told []*frame.Delivery
	var lists []*frame.UserList
	list := g.list
	for _, d := range deliveries {
		users := g.at(c.Of(d), sequence, index)
		if len(users) == 0 {
			continue
		}
		if list == 0 || !slices.Equal(p.list(list, lists).Users, users) {
			lists = append(lists, &frame.UserList{Users: users})
			list = uint32(len(p.ans.Lists) + len(lists))
		}
		d.Audience = &frame.Audience{Group: c.Group, List: list}
		told = append(told, d)
	}
	return p.put(told, lists, func() { g.list = list })
}

// put takes deliveries with their lists where there is room for them all; what is alone
// on its page always fits.
func (p *page) put(deliveries []*frame.Delivery, lists []*frame.UserList, done func()) bool {
	size := 0
	for _, d := range deliveries {
		size += deliveryBytes(d)
	}
	for _, l := range lists {
		size += 8 + userBytes*len(l.Users)
	}
	if len(p.ans.Deliveries) > 0 && p.size+size > pageLimit {
		return false
	}
	p.ans.Deliveries = append(p.ans.Deliveries, deliveries...)
	p.ans.Lists = append(p.ans.Lists, lists...)
	p.size += size
	if done != nil {
		done()
	}
	return true
}

func (p *page) asks(user uint32) bool {
	_, ok := p.users[user]
	return ok
}

// list is one of the page, or of those that are to follow.
func (p *page) list(number uint32, next []*frame.UserList) *frame.UserList {
	if i := int(number - 1); i < len(p.ans.Lists) {
		return p.ans.Lists[i]
	}
	return next[int(number-1)-len(p.ans.Lists)]
}

// group reads who of those that ask was ever a member.
func (p *page) group(group uint32) *pageGroup {
	g := p.groups[group]
	if g != nil {
		return g
	}
	g = &pageGroup{}
	p.groups[group] = g
	key := event.Group(group)
	if len(p.users) <= fewUsers {
		for _, user := range slices.Sorted(maps.Keys(p.users)) {
			if m := timeline.MembershipOf(p.r, key, user); !m.Never() {
				g.members = append(g.members, pageMember{user, m})
			}
		}
		p.looked += len(p.users)
		return g
	}
	for user, m := range timeline.MembersEver(p.r, key) {
		p.looked++
		if p.asks(user) {
			g.members = append(g.members, pageMember{user, m})
		}
	}
	return g
}

// at is whom something at a position concerns.
func (g *pageGroup) at(c timeline.Concern, sequence uint64, index int) (users []uint32) {
	for _, m := range g.members {
		if m.Hears(c, sequence, index) {
			users = append(users, m.user)
		}
	}
	return users
}

func outcome(row view.EffectRow, i int, e view.StoredEffect) *frame.Outcome {
	return &frame.Outcome{N: row.N, Index: uint32(i), Id: e.ID, Void: e.Void, FirstId: e.FirstID, Sequence: row.Sequence}
}

// resync tells a node what it missed of PRESENCE or PEOPLE, and attaches it.
func (p *Process) resync(ctx context.Context, data []byte) []byte {
	var req frame.ResyncRequest
	if err := proto.Unmarshal(data, &req); err != nil {
		return nil
	}
	st := p.stream(event.Stream(req.Stream))
	if st == nil || st.s.IsConversation() {
		return nil
	}
	p.met(event.ToID(req.Life))
	ans, err := st.resync(ctx, &req)
	if err != nil {
		p.log.Warn("resync not answered", "view", st.fold.Name(), "err", err)
		return nil
	}
	return p.encode(ans)
}

func (st *stream) resync(ctx context.Context, req *frame.ResyncRequest) (*frame.ResyncAnswer, error) {
	life := event.ToID(req.Life)
	st.mu.Lock()
	if st.term == nil {
		st.mu.Unlock()
		return nil, errors.New("no fan-out")
	}
	term, at := st.term, st.folded
	n := st.nodes[life]
	if req.FromUser == 0 {
		n = st.register(life, 0)
	}
	st.mu.Unlock()
	if n == nil {
		return nil, errNotAttached
	}
	ctx, cancel := context.WithTimeout(ctx, recoverWait)
	defer cancel()
	if err := st.view.WaitCommitted(ctx, at); err != nil {
		return nil, err
	}
	var ans *frame.ResyncAnswer
	err := st.view.Read(func(r *view.Reader) error {
		if r.Sequence() < at {
			return view.ErrReset // in this moment
		}
		if st.s == event.Presence {
			ans = presence.Resync(r, req)
		} else {
			ans = people.Resync(r, req)
		}
		epoch := r.Epoch()
		ans.Epoch, ans.At = epoch[:], r.Sequence()
		ans.TooFar = ans.TooFar || epoch != event.ToID(req.Epoch)
		return nil
	})
	if err != nil {
		return nil, err
	}
	ans.Term = term
	cut(ans, req)
	return ans, nil
}

// cut leaves of an answer the users that its request is about. What is told of
// the stream as a whole goes with the first page.
func cut(ans *frame.ResyncAnswer, req *frame.ResyncRequest) {
	ans.Covered = req.ToUser
	if req.FromUser != 0 {
		ans.Outcomes, ans.Statuses, ans.TooFar = nil, nil, false
	}
	ans.Unknown = slices.DeleteFunc(ans.Unknown, func(s *frame.ResyncSession) bool {
		return s.User < req.FromUser || s.User > req.ToUser
	})
	slices.SortFunc(ans.Unknown, func(a, b *frame.ResyncSession) int { return cmp.Compare(a.User, b.User) })
	if len(ans.Unknown) <= unknownLimit {
		return
	}
	// Whole users only. None has as many sessions as that.
	cut := ans.Unknown[unknownLimit].User
	ans.Covered = cut - 1
	ans.Unknown = slices.DeleteFunc(ans.Unknown, func(s *frame.ResyncSession) bool { return s.User >= cut })
}

// queryOne answers for a view that every projector keeps.
func (p *Process) queryOne(st *stream) func(context.Context, []byte) []byte {
	return func(ctx context.Context, data []byte) []byte {
		var req query.Request
		if err := proto.Unmarshal(data, &req); err != nil {
			return p.encode(&query.Answer{Code: query.Code_CODE_BAD_REQUEST, Error: err.Error()})
		}
		ctx, cancel := waitFor(ctx, &req)
		defer cancel()
		return p.encode(st.answer(ctx, &req))
	}
}

// waitFor bounds a question by what its asker still waits, less what the answer
// needs to get back.
func waitFor(ctx context.Context, req *query.Request) (context.Context, context.CancelFunc) {
	wait := min(time.Duration(req.WaitMs)*time.Millisecond*9/10, maxWait)
	if wait <= 0 {
		wait = time.Second
	}
	return context.WithTimeout(ctx, wait)
}

// answer waits for the asked position and answers from the committed state.
func (st *stream) answer(ctx context.Context, req *query.Request) *query.Answer {
	var at *query.AtLeast
	otherEpoch := func(epoch event.ID) *query.Answer {
		if at == nil || len(at.Epoch) == 0 || event.ToID(at.Epoch) == epoch {
			return nil
		}
		return &query.Answer{Code: query.Code_CODE_EPOCH, Error: fmt.Sprintf("%s is of another epoch", st.s)}
	}
	for _, al := range req.AtLeast {
		if event.Stream(al.Stream) == st.s && (at == nil || at.Sequence < al.Sequence) {
			at = al
		}
	}
	if refused := otherEpoch(st.view.Epoch()); refused != nil {
		return refused
	}
	if at != nil {
		if err := st.view.WaitCommitted(ctx, at.Sequence); err != nil {
			return &query.Answer{Code: query.Code_CODE_BEHIND, Error: fmt.Sprintf("%s: %v", st.s, err)}
		}
	}
	var ans *query.Answer
	err := st.view.Read(func(r *view.Reader) error {
		// The view may have been dropped since.
		if ans = otherEpoch(r.Epoch()); ans != nil {
			return nil
		}
		if r.Sequence() < at.GetSequence() {
			ans = &query.Answer{Code: query.Code_CODE_BEHIND, Error: fmt.Sprintf("%s: %v", st.s, view.ErrReset)}
			return nil
		}
		ans = st.fold.Answer(r, req)
		ans.At = []*query.AtLeast{r.At(st.s)}
		return nil
	})
	if err != nil {
		st.p.log.Error("view not read", "view", st.fold.Name(), "err", err)
		return &query.Answer{Code: query.Code_CODE_INTERNAL, Error: err.Error()}
	}
	return ans
}

// queryTimeline answers for the timelines of this process. Frames up to the
// answer's positions leave first, so that the node can order pushes and answer.
func (p *Process) queryTimeline(ctx context.Context, data []byte) []byte {
	var req query.Request
	if err := proto.Unmarshal(data, &req); err != nil {
		return p.encode(&query.Answer{Code: query.Code_CODE_BAD_REQUEST, Error: err.Error()})
	}
	ctx, cancel := waitFor(ctx, &req)
	defer cancel()
	var asked []*stream
	if streams, ok := query.Streams(&req); ok {
		for _, s := range streams {
			asked = append(asked, p.stream(event.Stream(s)))
		}
		if len(streams) == 0 {
			for _, st := range p.all() {
				if st.s.IsConversation() {
					asked = append(asked, st)
				}
			}
		}
	} else {
		s, err := p.streamOf(&req)
		if err != nil {
			return p.encode(&query.Answer{Code: query.Code_CODE_BAD_REQUEST, Error: err.Error()})
		}
		asked = append(asked, p.stream(s))
	}
	life := event.ToID(req.Life)
	parts := make([]*query.Answer, 0, len(asked))
	var rest []uint32
	size := 0
	for _, st := range asked {
		if st == nil || !st.s.IsConversation() || !st.fansOut() {
			return p.encode(&query.Answer{Code: query.Code_CODE_NOT_OWNER})
		}
		if size > answerSoftLimit {
			rest = append(rest, uint32(st.s))
			continue
		}
		ans := st.answer(ctx, &req)
		if ans.Code != query.Code_CODE_OK {
			return p.encode(ans)
		}
		if n := proto.Size(ans); len(parts) > 0 && size+n > answerLimit {
			rest = append(rest, uint32(st.s))
			continue
		} else {
			size += n
		}
		st.upTo(life)
		parts = append(parts, ans)
	}
	if len(parts) == 1 && len(rest) == 0 {
		return p.encode(parts[0])
	}
	all := query.Merge(&req, parts...)
	all.Rest = rest
	return p.encode(all)
}

// streamOf is the one stream that a question about conversations is put to.
func (p *Process) streamOf(req *query.Request) (event.Stream, error) {
	stream := func(conv []byte) (event.Stream, error) {
		key, ok := event.ParseConversation(conv)
		if !ok {
			return 0, errors.New("no such conversation key")
		}
		return key.Stream(p.bus.Partitions()), nil
	}
	s, err := stream(query.Conversation(req))
	if err != nil {
		return 0, err
	}
	for _, asked := range req.GetPushes().GetAsked() {
		if other, err := stream(asked.GetConversation()); err != nil {
			return 0, err
		} else if other != s {
			return 0, errors.New("conversations of several streams")
		}
	}
	return s, nil
}

func (st *stream) fansOut() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.term != nil
}

func (p *Process) encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		p.log.Error("encode answer", "err", err)
		return nil
	}
	return b
}
