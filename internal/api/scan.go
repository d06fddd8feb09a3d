package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/projections/explain"
	"godwit/schema/event"
)

// The log is read backward for people who look at it: record by record, some of them at a time, for so long. A server has
// other things to do, and what a person looks for is mostly near the end.
const (
	scanLimit   = 5 * time.Second
	scanAtOnce  = 16 // reads under way of one scan
	scanChunk   = 8  // records of a stream that are read ahead at first; it doubles
	scanChunks  = 128
	scanBytes   = 16 << 20        // of records that one scan holds, about: it shares them among its streams
	maxScans    = 4               // at once; further ones wait for their turn
	scanTurn    = 3 * time.Second // so long, then they are told to come again
	wholeRecord = -1              // index of a place before which all of the record is still to be looked at
)

// place is where a scan of a stream goes on: at an event of a record, towards older ones. Sequence 0 is the end.
type place struct {
	sequence uint64
	index    int // wholeRecord: at the last event
}

// record is one that was read.
type record struct {
	sequence uint64
	stored   time.Time
	bytes    int
	events   []*event.Event
}

// reader reads one stream backward.
type reader struct {
	stream event.Stream
	at     place
	ahead  []record // newest first; the first is that of at
	chunk  int
	bytes  int // that it may hold, about
}

// scan is what came of reading the log backward.
type scan struct {
	places  map[event.Stream]place // where to go on; what is not there was read to its beginning
	reached time.Time              // all newer records have been looked at; zero before the first
}

// complete tells whether the beginning of all streams was reached.
func (s scan) complete() bool { return len(s.places) == 0 }

// searchedTo is how far back the log was looked at, nil: to its beginning.
func (s scan) searchedTo() *time.Time {
	if s.complete() || s.reached.IsZero() {
		return nil
	}
	return &s.reached
}

// turn waits until the log may be read backward once more; done is to be called when it has been.
func (a *API) turn(ctx context.Context) (done func(), err error) {
	done = func() { <-a.scans }
	select {
	case a.scans <- struct{}{}: // free, however late it is
		return done, nil
	default:
	}
	wait := time.NewTimer(cmp.Or(a.cfg.ScanTurn, scanTurn))
	defer wait.Stop()
	select {
	case a.scans <- struct{}{}:
		return done, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-wait.C:
		p := newProblem(http.StatusServiceUnavailable, nameScans, "Others read the log now", fmt.Sprintf("%d others read the log now: this waits for its turn", maxScans))
		p.again = 1
		return nil, p
	}
}

// backward shows the events of some streams, the newest first by when the log took them, until see has seen enough, the
// streams end or the time is over. The caller has the [API.turn]. from is where to begin, for those streams that it names; nil: all at their ends.
func (a *API) backward(ctx context.Context, streams []event.Stream, from map[event.Stream]place, see func(explain.Entry) (more bool)) (scan, error) {
	// Once the time is over nothing more is read; what is under way is waited for, so that every scan gets on.
	over := time.Now().Add(cmp.Or(a.cfg.ScanTime, scanLimit))
	var readers []*reader
	for _, s := range streams {
		at, ok := from[s]
		if from == nil {
			last, err := a.cfg.Log.LastSequence(ctx, s)
			if err != nil {
				return scan{}, err
			}
			at, ok = place{last, wholeRecord}, true
		}
		if ok && at.sequence > 0 {
			readers = append(readers, &reader{stream: s, at: at, chunk: scanChunk})
		}
	}
	for _, r := range readers {
		r.bytes = scanBytes / len(readers)
	}
	var out scan
	for first := true; ; first = false {
		if slices.ContainsFunc(readers, (*reader).hungry) {
			if !first && time.Now().After(over) {
				break
			}
			if err := a.readAhead(ctx, readers); err != nil {
				return scan{}, err
			}
		}
		r := newest(readers)
		if r == nil || !r.show(see, &out.reached) {
			break
		}
	}
	out.places = map[event.Stream]place{}
	for _, r := range readers {
		if r.at.sequence > 0 {
			out.places[r.stream] = r.at
		}
	}
	return out, nil
}

// newest is the reader whose next record the log took last, nil if none has any.
func newest(readers []*reader) (best *reader) {
	for _, r := range readers {
		switch {
		case r.at.sequence == 0:
		case r.ahead[0].stored.IsZero():
			return r // the log has lost it: there is nothing to be put in order
		case best == nil || r.ahead[0].stored.After(best.ahead[0].stored):
			best = r
		}
	}
	return best
}

// show shows what is left of the next record, and moves on.
func (r *reader) show(see func(explain.Entry) bool, reached *time.Time) (more bool) {
	rec := r.ahead[0]
	if !rec.stored.IsZero() {
		*reached = rec.stored
	}
	i := len(rec.events) - 1
	if r.at.index != wholeRecord {
		i = min(i, r.at.index)
	}
	for ; i >= 0; i-- {
		if !see(explain.Entry{Stream: r.stream, Sequence: rec.sequence, Index: i, Stored: rec.stored, Event: rec.events[i]}) {
			if i > 0 {
				r.at.index = i - 1
				return false
			}
			r.next()
			return false
		}
	}
	r.next()
	return true
}

// hungry tells whether more of the stream has to be read.
func (r *reader) hungry() bool { return r.at.sequence > 0 && len(r.ahead) == 0 }

func (r *reader) next() {
	r.ahead = r.ahead[1:]
	r.at = place{r.at.sequence - 1, wholeRecord}
}

// grow says how much is read ahead the next time: twice as much, unless that would be too many bytes.
func (r *reader) grow() {
	bytes := 0
	for _, rec := range r.ahead {
		bytes += rec.bytes
	}
	fit := scanChunks
	if bytes > 0 {
		fit = r.bytes * len(r.ahead) / bytes
	}
	r.chunk = max(1, min(2*r.chunk, scanChunks, fit))
}

// readAhead reads more of all streams that have come to the end of what was read.
func (a *API) readAhead(ctx context.Context, readers []*reader) error {
	var (
		wg     sync.WaitGroup
		places = make(chan struct{}, scanAtOnce)
		mu     sync.Mutex
		failed error
	)
	hungry := slices.DeleteFunc(slices.Clone(readers), func(r *reader) bool { return !r.hungry() })
	for _, r := range hungry {
		r.ahead = make([]record, min(uint64(r.chunk), r.at.sequence))
		all, got := r.ahead, new(atomic.Int64)
		for i := range r.ahead {
			places <- struct{}{}
			if i > 0 && got.Load() >= int64(r.bytes) {
				<-places
				r.ahead = r.ahead[:i]
				break
			}
			wg.Go(func() {
				defer func() { <-places }()
				rec, err := a.record(ctx, r.stream, r.at.sequence-uint64(i))
				got.Add(int64(rec.bytes))
				if all[i] = rec; err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed = errors.Join(failed, err)
				}
			})
		}
	}
	wg.Wait()
	for _, r := range hungry {
		r.grow()
	}
	return failed
}

// record reads a record; one that the log has lost, or that can't be read, is one without events.
func (a *API) record(ctx context.Context, s event.Stream, sequence uint64) (record, error) {
	rec := record{sequence: sequence}
	m, err := a.cfg.Log.ReadRecord(ctx, s, sequence)
	if errors.Is(err, bus.ErrNoRecord) {
		return rec, nil
	}
	if err != nil {
		return rec, err
	}
	var decoded event.Record
	if err := proto.Unmarshal(m.Data, &decoded); err != nil {
		a.log.Warn("a record of the log can't be read", "stream", s.String(), "sequence", sequence, "err", err)
	}
	rec.stored, rec.bytes, rec.events = m.Time, len(m.Data), decoded.Events
	return rec, nil
}

// places in the text of a cursor: stream:sequence:index, separated by commas.
func placesText(places map[event.Stream]place) string {
	var all []string
	for s := range event.Stream(event.MaxPartitions + 2) {
		if p, ok := places[s]; ok {
			all = append(all, fmt.Sprintf("%d:%d:%d", s, p.sequence, p.index))
		}
	}
	return strings.Join(all, ",")
}

func parsePlaces(text string) (map[event.Stream]place, error) {
	places := map[event.Stream]place{}
	for part := range strings.SplitSeq(text, ",") {
		f := strings.Split(part, ":")
		if len(f) != 3 {
			return nil, invalid("the cursor is none of this list")
		}
		s, err1 := strconv.ParseUint(f[0], 10, 16)
		sequence, err2 := strconv.ParseUint(f[1], 10, 63)
		index, err3 := strconv.ParseInt(f[2], 10, 16)
		if errors.Join(err1, err2, err3) != nil || index < wholeRecord {
			return nil, invalid("the cursor is none of this list")
		}
		places[event.Stream(s)] = place{sequence, int(index)}
	}
	return places, nil
}
