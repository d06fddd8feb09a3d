package presence

import (
	"slices"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// Format is the version of the rows.
const Format = 1

const (
	// EndedKept is how many ended sessions are remembered.
	EndedKept = 100_000
	// MaxSessions is the most live sessions of one user. Policies allow far fewer.
	MaxSessions = 64
	// maxText bounds a node's name and its address.
	maxText = 1024
)

// Presence is the fold.
type Presence struct {
	endedKept uint64
}

var _ view.Fold = (*Presence)(nil)

// New is the fold of PRESENCE.
func New() *Presence { return &Presence{endedKept: EndedKept} }

// Name of its view.
func (*Presence) Name() string { return "presence" }

// Format of its rows.
func (*Presence) Format() uint32 { return Format }

// Stream it folds.
func (*Presence) Stream() event.Stream { return event.Presence }

// Buckets of its view.
func (*Presence) Buckets() []string {
	return []string{lifeBucket, userBucket, heldBucket, statusBucket, changesBucket, endedBucket, endedAtBucket, stateBucket}
}

// Apply folds one record.
func (p *Presence) Apply(tx *view.Tx, sequence uint64, rec *event.Record) []view.Effect {
	f := folding{tx: tx, sequence: sequence, endedKept: p.endedKept}
	f.totals = parseTotals(tx.Get(stateBucket, keyTotals))
	d := view.Decode(tx.Get(stateBucket, keyEnded))
	f.endedFirst, f.endedNext = d.Uint64(), d.Uint64()
	totals, endedNext := f.totals, f.endedNext

	effects := make([]view.Effect, len(rec.Events))
	for i, ev := range rec.Events {
		f.index, f.at, f.e = uint32(i), max(ev.GetAt(), 0), &effects[i]
		f.event(ev)
	}
	if f.totals != totals {
		tx.Put(stateBucket, keyTotals, be.AppendUint32(user4(f.totals.sessions), f.totals.online))
	}
	if f.endedNext != endedNext {
		tx.Put(stateBucket, keyEnded, be.AppendUint64(be.AppendUint64(nil, f.endedFirst), f.endedNext))
	}
	return effects
}

// folding is the work on one record.
type folding struct {
	tx                    *view.Tx
	sequence              uint64
	totals                totals
	endedKept             uint64
	endedFirst, endedNext uint64

	// of the event at hand
	index uint32
	at    int64
	e     *view.Effect
}

func (f *folding) event(ev *event.Event) {
	switch b := ev.Body.(type) {
	case *event.Event_NodeStarted:
		f.nodeStarted(b.NodeStarted)
	case *event.Event_NodeStopped:
		f.nodeOver(b.NodeStopped.GetLife(), event.EndReason_END_REASON_NODE_STOPPED, nil)
	case *event.Event_NodeLost:
		f.nodeOver(b.NodeLost.GetLife(), event.EndReason_END_REASON_NODE_LOST, nil)
	case *event.Event_SessionOpened:
		f.sessionOpened(b.SessionOpened)
	case *event.Event_SessionEnded:
		f.sessionEnded(b.SessionEnded)
	case *event.Event_DeviceClassKicked:
		f.kicked(b.DeviceClassKicked)
	}
}

func (f *folding) nodeStarted(n *event.NodeStarted) {
	id := event.ToID(n.Life)
	switch {
	case id == event.ID{} || len(n.Node) > maxText || len(n.Advertise) > maxText:
		f.e.Void = frame.Void_VOID_MALFORMED
	case f.tx.Get(lifeBucket, id[:]) != nil:
		f.e.Void = frame.Void_VOID_NO_EFFECT
	default:
		l := life{sequence: f.sequence, started: f.at, node: n.Node, advertise: n.Advertise}
		f.tx.Put(lifeBucket, id[:], l.append(nil))
	}
}

// nodeOver ends a life and its sessions, user by user.
func (f *folding) nodeOver(lifeID []byte, reason event.EndReason, by []byte) {
	id := event.ToID(lifeID)
	if id == (event.ID{}) || f.tx.Get(lifeBucket, id[:]) == nil {
		f.e.Void = frame.Void_VOID_NODE_NOT_LIVE
		return
	}
	var users []uint32
	for _, user := range f.tx.Scan(heldBucket, id[:]) {
		users = append(users, be.Uint32(user))
	}
	slices.Sort(users)
	// The life goes first: nothing is counted on it or told to it as a mobile's.
	f.tx.Delete(lifeBucket, id[:])
	for _, user := range slices.Compact(users) {
		c := f.begin(user)
		c.end(reason, by, func(s *session) bool { return s.life == id })
		c.finish(nil)
	}
}

func (f *folding) sessionOpened(o *event.SessionOpened) {
	s := session{
		id: event.ToID(o.Session), life: event.ToID(o.Life), clientType: o.ClientType, class: o.DeviceClass,
		peopleSequence: o.PeopleSequence, opened: f.at, sequence: f.sequence,
	}
	if s.id == (event.ID{}) || s.life == (event.ID{}) || o.User == 0 {
		f.e.Void = frame.Void_VOID_MALFORMED
		return
	}
	if f.tx.Get(lifeBucket, s.life[:]) == nil {
		f.e.Void = frame.Void_VOID_NODE_NOT_LIVE
		return
	}
	c := f.begin(o.User)
	staying := 0
	for i := range c.sessions {
		if !slices.Contains(o.Replaces, c.sessions[i].class) {
			staying++
		}
	}
	if f.tx.Get(heldBucket, heldKey(s.life, s.id)) != nil || c.find(s.id) >= 0 || staying >= MaxSessions {
		f.e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	c.end(event.EndReason_END_REASON_REPLACED, o.Session, func(old *session) bool {
		return slices.Contains(o.Replaces, old.class)
	})
	c.sessions = append(c.sessions, s)
	f.tx.Put(heldBucket, heldKey(s.life, s.id), user4(o.User))
	f.count(s.life, +1)
	c.finish(&s)
}

func (f *folding) sessionEnded(o *event.SessionEnded) {
	id := event.ToID(o.Session)
	c := f.begin(o.User)
	if c.find(id) < 0 {
		f.e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	c.end(o.Reason, nil, func(s *session) bool { return s.id == id })
	c.finish(nil)
}

func (f *folding) kicked(k *event.DeviceClassKicked) {
	c := f.begin(k.User)
	meant := func(s *session) bool { return s.class == k.DeviceClass || slices.Contains(k.Also, s.class) }
	if !slices.ContainsFunc(c.sessions, func(s session) bool { return meant(&s) }) {
		f.e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	c.end(k.Reason, k.BySession, meant)
	c.finish(nil)
}

// count keeps the number of sessions of a life that is still there, and of all.
func (f *folding) count(id event.ID, by int) {
	f.totals.sessions += uint32(by)
	row := f.tx.Get(lifeBucket, id[:])
	if row == nil {
		return
	}
	l := parseLife(row)
	l.sessions += uint32(by)
	f.tx.Put(lifeBucket, id[:], l.append(nil))
}

// change is what one event does to the sessions of one user.
type change struct {
	f        *folding
	user     uint32
	online   bool // before
	sessions []session
}

func (f *folding) begin(user uint32) *change {
	c := &change{f: f, user: user, sessions: parseSessions(f.tx.Get(userBucket, user4(user)))}
	c.online = online(c.sessions)
	return c
}

func (c *change) find(id event.ID) int {
	return slices.IndexFunc(c.sessions, func(s session) bool { return s.id == id })
}

// end takes the matching sessions out and tells the lives that hold them.
func (c *change) end(reason event.EndReason, by []byte, match func(*session) bool) {
	stays := c.sessions[:0]
	for i := range c.sessions {
		s := c.sessions[i]
		if !match(&s) {
			stays = append(stays, s)
			continue
		}
		c.f.tx.Delete(heldBucket, heldKey(s.life, s.id))
		c.f.count(s.life, -1)
		c.f.rememberEnd(&s, &ended{user: c.user, reason: reason, by: by})
		if reason != event.EndReason_END_REASON_NODE_STOPPED {
			c.f.tell(view.Route{Lives: []event.ID{s.life}}, &frame.Delivery{
				Body: &frame.Delivery_SessionOver{SessionOver: &frame.SessionOver{
					Session: s.id[:], User: c.user, Reason: reason, BySession: by,
				}},
			})
		}
	}
	c.sessions = stays
}

// finish writes the user's row and tells what changed for others. opened is the
// session that the event began, if any.
func (c *change) finish(opened *session) {
	f := c.f
	if len(c.sessions) == 0 {
		f.tx.Delete(userBucket, user4(c.user))
	} else {
		f.tx.Put(userBucket, user4(c.user), appendSessions(nil, c.sessions))
	}
	online := online(c.sessions)
	switch {
	case online != c.online:
		f.transition(c.user, online)
		f.tell(view.Route{All: true}, &frame.Delivery{
			Body: &frame.Delivery_UserStatus{UserStatus: &frame.UserStatus{User: c.user, Online: online}},
		})
		f.tellMobiles(c.user, online, c.sessions)
	case online && opened != nil && opened.class == event.DeviceClass_DEVICE_CLASS_MOBILE:
		f.tellMobiles(c.user, true, []session{*opened})
	}
}

// tellMobiles tells the lives that hold the mobile ones among the sessions.
func (f *folding) tellMobiles(user uint32, online bool, all []session) {
	var lives []event.ID
	for i := range all {
		if all[i].class == event.DeviceClass_DEVICE_CLASS_MOBILE && !slices.Contains(lives, all[i].life) {
			lives = append(lives, all[i].life)
		}
	}
	if len(lives) > 0 {
		f.tell(view.Route{Lives: lives}, &frame.Delivery{
			Body: &frame.Delivery_DesktopStatus{DesktopStatus: &frame.DesktopStatus{User: user, Online: online}},
		})
	}
}

func (f *folding) tell(to view.Route, d *frame.Delivery) {
	d.Sequence, d.Index = f.sequence, f.index
	f.e.Deliveries = append(f.e.Deliveries, d)
	f.e.Routes = append(f.e.Routes, to)
}

// transition notes that a user has come online or gone.
func (f *folding) transition(user uint32, online bool) {
	if old := f.tx.Get(statusBucket, user4(user)); old != nil {
		f.tx.Delete(changesBucket, changeKey(be.Uint64(old), user))
	}
	row := append(be.AppendUint64(nil, f.sequence), 0)
	if online {
		row[8] = 1
		f.totals.online++
	} else {
		f.totals.online--
	}
	f.tx.Put(statusBucket, user4(user), row)
	f.tx.Put(changesBucket, changeKey(f.sequence, user), nil)
}

// rememberEnd keeps why a session ended and forgets the oldest.
func (f *folding) rememberEnd(s *session, e *ended) {
	e.serial = f.endedNext
	f.endedNext++
	f.tx.Put(endedBucket, s.id[:], e.append(nil))
	f.tx.Put(endedAtBucket, be.AppendUint64(nil, e.serial), s.id[:])
	for f.endedNext-f.endedFirst > f.endedKept {
		at := be.AppendUint64(nil, f.endedFirst)
		id := slices.Clone(f.tx.Get(endedAtBucket, at))
		// An id that was used twice is kept for its second end.
		if parseEnded(f.tx.Get(endedBucket, id)).serial == f.endedFirst {
			f.tx.Delete(endedBucket, id)
		}
		f.tx.Delete(endedAtBucket, at)
		f.endedFirst++
	}
}
