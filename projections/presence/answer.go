package presence

import (
	"slices"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// Limits of answers, so that one fits into a NATS message of 1 MiB.
const (
	// MaxUsers is the most users that one Statuses may name.
	MaxUsers = 100_000
	// MaxOutcomes and MaxStatuses are the most that one Resync gives: of more
	// outcomes it says too far; of the statuses it gives the newest, and clients
	// learn the others when they ask.
	MaxOutcomes = 16_384
	MaxStatuses = 8_192
)

// Answer answers the questions about presence from one committed state; any other
// is a bad request.
func (*Presence) Answer(r *view.Reader, q *query.Request) *query.Answer {
	a := &query.Answer{At: []*query.AtLeast{r.At(event.Presence)}}
	switch b := q.GetBody().(type) {
	case *query.Request_Statuses:
		if len(b.Statuses.GetUsers()) > MaxUsers {
			a.Code, a.Error = query.Code_CODE_BAD_REQUEST, "too many users"
			return a
		}
		a.Body = &query.Answer_Statuses{Statuses: statuses(r, b.Statuses.GetUsers())}
	case *query.Request_SessionLive:
		live := sessionLive(r, b.SessionLive.GetUser(), event.ToID(b.SessionLive.GetSession()))
		a.Body = &query.Answer_SessionLive{SessionLive: &query.SessionLiveAnswer{Live: live}}
	case *query.Request_Lives:
		a.Body = &query.Answer_Lives{Lives: lives(r)}
	case *query.Request_SessionsOf:
		a.Body = &query.Answer_SessionsOf{SessionsOf: sessionsOf(r, b.SessionsOf.GetUser())}
	case *query.Request_PresenceTotals:
		a.Body = &query.Answer_PresenceTotals{PresenceTotals: presenceTotals(r)}
	default:
		a.Code, a.Error = query.Code_CODE_BAD_REQUEST, "not a question about presence"
	}
	return a
}

func sessionsRow(r *view.Reader, user uint32) []session {
	return parseSessions(r.Get(userBucket, user4(user)))
}

func statuses(r *view.Reader, users []uint32) *query.StatusesAnswer {
	out := &query.StatusesAnswer{DesktopOnline: make([]bool, len(users)), AnyOnline: make([]bool, len(users)), Online: make([]bool, len(users))}
	for i, user := range users {
		all := sessionsRow(r, user)
		out.AnyOnline[i] = len(all) > 0
		out.DesktopOnline[i] = slices.ContainsFunc(all, func(s session) bool { return s.class == event.DeviceClass_DEVICE_CLASS_DESKTOP })
		out.Online[i] = online(all)
	}
	return out
}

func sessionLive(r *view.Reader, user uint32, id event.ID) bool {
	return slices.ContainsFunc(sessionsRow(r, user), func(s session) bool { return s.id == id })
}

func lives(r *view.Reader) *query.LivesAnswer {
	out := new(query.LivesAnswer)
	for id, row := range r.Scan(lifeBucket, nil) {
		l := parseLife(row)
		out.Lives = append(out.Lives, &query.Life{
			Life: slices.Clone(id), Node: l.node, Sessions: l.sessions, Advertise: l.advertise, Started: l.started,
		})
	}
	return out
}

func sessionsOf(r *view.Reader, user uint32) *query.SessionsOfAnswer {
	out := new(query.SessionsOfAnswer)
	for _, s := range sessionsRow(r, user) {
		out.Sessions = append(out.Sessions, &query.SessionRow{
			Session: s.id[:], User: user, ClientType: s.clientType, DeviceClass: s.class, Life: s.life[:],
			PeopleSequence: s.peopleSequence, Opened: s.opened, Sequence: s.sequence,
		})
	}
	return out
}

func presenceTotals(r *view.Reader) *query.PresenceTotalsAnswer {
	t := parseTotals(r.Get(stateBucket, keyTotals))
	out := &query.PresenceTotalsAnswer{Sessions: t.sessions, DesktopOnlineUsers: t.online}
	for range r.Scan(lifeBucket, nil) {
		out.Lives++
	}
	return out
}

// Resync tells a node after a hole which of its sessions have ended, which live
// sessions of its life it did not list, whose status changed since, and what its
// own events have come to. The node lists the sessions that were shown live to it:
// one that is neither live nor remembered has ended long ago, for a reason that is
// not known any more. Term is left to the owner.
func Resync(r *view.Reader, req *frame.ResyncRequest) *frame.ResyncAnswer {
	epoch := r.Epoch()
	out := &frame.ResyncAnswer{Epoch: epoch[:], At: r.Sequence()}
	id := event.ToID(req.GetLife())
	var ok bool
	var err error
	out.Outcomes, ok, err = r.Outcomes(id, req.GetSince(), r.Sequence(), MaxOutcomes)
	out.TooFar = !ok || err != nil

	listed := make(map[event.ID]bool, len(req.GetSessions()))
	for _, s := range req.GetSessions() {
		sid := event.ToID(s.GetSession())
		listed[sid] = true
		if r.Get(heldBucket, heldKey(id, sid)) != nil {
			continue
		}
		e := parseEnded(r.Get(endedBucket, sid[:]))
		out.Over = append(out.Over, &frame.SessionOver{Session: sid[:], User: s.GetUser(), Reason: e.reason, BySession: e.by})
	}
	for k, user := range r.Scan(heldBucket, id[:]) {
		if sid := event.ToID(k[16:]); !listed[sid] {
			out.Unknown = append(out.Unknown, &frame.ResyncSession{Session: sid[:], User: be.Uint32(user)})
		}
	}
	out.Statuses = statusesSince(r, req.GetSince())
	return out
}

// statusesSince is the newest transition of each user who had one after since,
// oldest first.
func statusesSince(r *view.Reader, since uint64) (out []*frame.UserStatus) {
	top := changeKey(^uint64(0), ^uint32(0))
	for k := range r.ScanBack(changesBucket, top) {
		if be.Uint64(k) <= since || len(out) == MaxStatuses {
			break
		}
		row := r.Get(statusBucket, k[8:])
		out = append(out, &frame.UserStatus{User: be.Uint32(k[8:]), Online: len(row) == 9 && row[8] == 1})
	}
	slices.Reverse(out)
	return out
}
