package owner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
		if st := p.streams[event.Stream(part.Stream)]; st != nil {
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
		n.remove(u, counter)
	}
	for _, u := range part.Users {
		n.add(u, counter)
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
	st := p.streams[event.Stream(req.Stream)]
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
		size, rows := 0, 0
		for row, err := range r.Effects(req.Since, req.To) {
			if err != nil {
				return err
			}
			if rows++; size > pageSoftLimit || rows > pageRows {
				ans.More = true
				return nil
			}
			ans.NextSequence = row.Sequence
			own := req.Refill && row.Writer == life
			for i, e := range row.Events {
				if own {
					ans.Outcomes = append(ans.Outcomes, outcome(row, i, e))
					size += 32
				}
				if !st.s.IsConversation() || len(e.Stored) == 0 {
					continue
				}
				lower, higher := timeline.StoredConcerns(e)
				if _, ok := users[lower]; !ok {
					if _, ok := users[higher]; !ok {
						continue
					}
				}
				d := timeline.Recall(r, row.Sequence, i, e)
				if d == nil {
					continue
				}
				ans.Deliveries = append(ans.Deliveries, d)
				size += 96 + len(d.GetMessage().GetBody())
			}
		}
		return nil
	})
	return ans, err
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
	st := p.streams[event.Stream(req.Stream)]
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
	page(ans, req)
	return ans, nil
}

// page cuts an answer down to the users that its request is about. What is told of
// the stream as a whole goes with the first page.
func page(ans *frame.ResyncAnswer, req *frame.ResyncRequest) {
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
	switch body := req.Body.(type) {
	case *query.Request_Lists:
		for _, s := range body.Lists.Streams {
			asked = append(asked, p.streams[event.Stream(s)])
		}
		if len(body.Lists.Streams) == 0 {
			for s, st := range p.streams {
				if s.IsConversation() {
					asked = append(asked, st)
				}
			}
		}
	default:
		key, ok := event.ParseConversation(conversationOf(&req))
		if !ok {
			return p.encode(&query.Answer{Code: query.Code_CODE_BAD_REQUEST, Error: "no such conversation key"})
		}
		asked = append(asked, p.streams[key.Stream(p.bus.Partitions())])
	}
	life := event.ToID(req.Life)
	all := &query.Answer{}
	for _, st := range asked {
		if st == nil || !st.fansOut() {
			return p.encode(&query.Answer{Code: query.Code_CODE_NOT_OWNER})
		}
		ans := st.answer(ctx, &req)
		if ans.Code != query.Code_CODE_OK {
			return p.encode(ans)
		}
		st.upTo(life)
		if lists := all.GetLists(); lists != nil {
			lists.Entries = append(lists.Entries, ans.GetLists().GetEntries()...)
			all.At = append(all.At, ans.At...)
		} else {
			all = ans
		}
	}
	if lists := all.GetLists(); lists != nil && len(asked) > 1 {
		query.NewestFirst(lists, req.GetLists().GetLimit())
	}
	return p.encode(all)
}

func (st *stream) fansOut() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.term != nil
}

func conversationOf(req *query.Request) []byte {
	switch body := req.Body.(type) {
	case *query.Request_History:
		return body.History.Conversation
	case *query.Request_ByIds:
		return body.ByIds.Conversation
	case *query.Request_Head:
		return body.Head.Conversation
	}
	return nil
}

func (p *Process) encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		p.log.Error("encode answer", "err", err)
		return nil
	}
	return b
}
