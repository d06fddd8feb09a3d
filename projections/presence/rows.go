package presence

import (
	"encoding/binary"

	"godwit/projections/view"
	"godwit/schema/event"
)

const (
	lifeBucket    = "life"
	userBucket    = "user"
	heldBucket    = "held"
	statusBucket  = "status"
	changesBucket = "changes"
	endedBucket   = "ended"
	endedAtBucket = "ended-at"
	stateBucket   = "state"
)

var (
	be        = binary.BigEndian
	keyTotals = []byte("totals")
	keyEnded  = []byte("ended")
)

// life is the row of a live node life.
type life struct {
	sequence        uint64
	started         int64 // ms
	sessions        uint32
	node, advertise string
}

func parseLife(b []byte) (l life) {
	d := view.Decode(b)
	l.sequence, l.started, l.sessions = d.Uint64(), int64(d.Uint64()), d.Uint32()
	l.node, l.advertise = string(d.Bytes()), string(d.Bytes())
	return l
}

func (l *life) append(b []byte) []byte {
	b = be.AppendUint64(b, l.sequence)
	b = be.AppendUint64(b, uint64(l.started))
	b = be.AppendUint32(b, l.sessions)
	b = view.AppendBytes(b, []byte(l.node))
	return view.AppendBytes(b, []byte(l.advertise))
}

// session is one live session in its user's row.
type session struct {
	id, life       event.ID
	clientType     uint32
	class          event.DeviceClass
	peopleSequence uint64
	opened         int64 // ms
	sequence       uint64
}

func parseSessions(b []byte) (all []session) {
	for d := view.Decode(b); d.Left() > 0; {
		all = append(all, session{
			id: event.ToID(d.Take(16)), life: event.ToID(d.Take(16)),
			clientType: uint32(d.Uvarint()), class: event.DeviceClass(d.Uvarint()),
			peopleSequence: d.Uvarint(), opened: int64(d.Uvarint()), sequence: d.Uvarint(),
		})
	}
	return all
}

func appendSessions(b []byte, all []session) []byte {
	for i := range all {
		s := &all[i]
		b = append(b, s.id[:]...)
		b = append(b, s.life[:]...)
		b = binary.AppendUvarint(b, uint64(s.clientType))
		b = binary.AppendUvarint(b, uint64(s.class))
		b = binary.AppendUvarint(b, s.peopleSequence)
		b = binary.AppendUvarint(b, uint64(s.opened))
		b = binary.AppendUvarint(b, s.sequence)
	}
	return b
}

// online tells whether others see the user of the sessions online.
func online(all []session) bool {
	for i := range all {
		if all[i].class.Shown() {
			return true
		}
	}
	return false
}

// ended is why a session is not live any more.
type ended struct {
	serial uint64
	user   uint32
	reason event.EndReason
	by     []byte // 16 bytes or none
}

func parseEnded(b []byte) (e ended) {
	d := view.Decode(b)
	e.serial, e.user, e.reason = d.Uint64(), d.Uint32(), event.EndReason(d.Byte())
	if d.Left() == 16 {
		e.by = append([]byte(nil), d.Rest()...)
	}
	return e
}

func (e *ended) append(b []byte) []byte {
	b = be.AppendUint64(b, e.serial)
	b = be.AppendUint32(b, e.user)
	b = append(b, byte(e.reason))
	if len(e.by) == 16 {
		b = append(b, e.by...)
	}
	return b
}

// totals are kept, not counted, as they are asked often.
type totals struct {
	sessions uint32
	online   uint32 // users who are
}

func parseTotals(b []byte) totals {
	d := view.Decode(b)
	return totals{d.Uint32(), d.Uint32()}
}

func user4(user uint32) []byte { return be.AppendUint32(nil, user) }

func heldKey(life, session event.ID) []byte {
	return append(append(make([]byte, 0, 32), life[:]...), session[:]...)
}

func changeKey(sequence uint64, user uint32) []byte {
	return be.AppendUint32(be.AppendUint64(make([]byte, 0, 12), sequence), user)
}
