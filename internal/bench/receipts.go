package bench

import (
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	immsg "godwit/schema/client/message"
	"godwit/schema/pdu"
)

// MaxReceipts is the largest group whose members are told of each other's receipts.
const MaxReceipts = 100

const (
	oneOneReceipts = 100 * time.Millisecond
	groupReceipts  = time.Second // each is told to all the others
)

// ReceiptReport is what a load found of receipts: what its sessions sent of how far they
// have received and read, and what the others were told of it.
type ReceiptReport struct {
	Sent    uint64  `json:"sent"`
	Told    uint64  `json:"told"`
	Took    Latency `json:"sent_to_told"`
	Foreign uint64  `json:"foreign"` // of nobody in the conversation, or of neither or both kinds
	Beyond  uint64  `json:"beyond"`  // further than was sent
	Back    uint64  `json:"back"`    // less far than was told before
	Missing uint64  `json:"missing"` // not told at the end as it was sent
}

func (r *ReceiptReport) wrong() []string {
	var wrong []string
	for _, c := range []struct {
		name string
		n    uint64
	}{
		{"receipts of nobody here", r.Foreign}, {"receipts beyond what was sent", r.Beyond},
		{"receipts that go back", r.Back}, {"receipts missing", r.Missing},
	} {
		if c.n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s", c.n, c.name))
		}
	}
	if r.Told == 0 {
		wrong = append(wrong, "no receipts told")
	}
	return wrong
}

func (r *ReceiptReport) write(w io.Writer) {
	line(w, "receipts        sent %d, told %d, p50 %.2f  p95 %.2f  p99 %.2f  max %.2f ms from one to the other",
		r.Sent, r.Told, r.Took.P50, r.Took.P95, r.Took.P99, r.Took.Max)
	line(w, "receipts        of nobody here %d, beyond %d, back %d, missing %d", r.Foreign, r.Beyond, r.Back, r.Missing)
}

// mark is how far somebody says to be.
type mark struct {
	id    uint32
	at    int64  // when it was sent
	after uint64 // own messages sent before it
	own   uint32 // newest id of those
}

// reader is a session that sends receipts and is told of those of its party.
type reader struct {
	*session
	to    uint32    // whom or where it writes
	party []*reader // of one conversation, this one among them
	at    int       // there

	seen           uint32  // newest id that came
	received, read mark    // sent last
	told           []heard // of the others, as in party

	// Who writes has read so far, without saying so. A view that tells of a receipt later
	// tells where the mark is by then, which may be at a message whose ack is still on its
	// way.
	wrote *uint64           // how many messages; nil: it writes none
	own   uint32            // newest id of those, by the acks
	ahead map[uint32]uint64 // what was told above that, and how often
}

// heard is what somebody was told of another one.
type heard struct{ received, read uint32 }

// receipts has the sessions of a load send receipts, and checks what comes of it.
type receipts struct {
	kind    imbase.SessionType
	every   time.Duration // between two turns of a session
	readers []*reader
	by      map[uint32]*reader // by user number
	last    time.Time          // tick
	due     float64            // turns
	next    int                // whose turn it is
	took    histogram
	r       ReceiptReport
}

func newReceipts(kind imbase.SessionType, every time.Duration) *receipts {
	return &receipts{kind: kind, every: every, by: map[uint32]*reader{}, last: time.Now()}
}

// join adds those of one conversation, when their numbers are known. group is 0 for two
// who write to each other.
func (x *receipts) join(group uint32, sessions ...*session) {
	party := make([]*reader, len(sessions))
	for i, s := range sessions {
		to := group
		if to == 0 {
			to = sessions[1-i].id
		}
		party[i] = &reader{session: s, to: to, party: party, at: i, told: make([]heard, len(sessions)), ahead: map[uint32]uint64{}}
		x.by[s.id] = party[i]
	}
	x.readers = append(x.readers, party...)
}

// saw takes a message that came to a session.
func (x *receipts) saw(s *session, id uint32) {
	r := x.by[s.id]
	r.seen = max(r.seen, id)
}

// acked takes the ack of a session's own message.
func (x *receipts) acked(s *session, number uint64, id uint32) {
	r := x.by[s.id]
	r.own = max(r.own, id)
	delete(r.ahead, id)
	for _, m := range []*mark{&r.received, &r.read} {
		if number <= m.after {
			m.own = max(m.own, id)
		}
	}
}

// tick gives sessions their turns, evenly over the time.
func (x *receipts) tick(now time.Time) {
	all := float64(len(x.readers))
	x.due = min(x.due+all*float64(now.Sub(x.last))/float64(x.every), all)
	x.last = now
	for ; x.due >= 1; x.due-- {
		x.turn(x.readers[x.next], now)
		x.next = (x.next + 1) % len(x.readers)
	}
}

// turn says what has come as received, and what was said so the last time as read.
func (x *receipts) turn(r *reader, now time.Time) {
	if !r.open {
		return
	}
	next := mark{at: sinceEpoch(now), own: r.own}
	if r.wrote != nil {
		next.after = *r.wrote
	}
	if read := r.received.id; read > r.read.id {
		r.read, r.read.id = next, read
		x.send(r, client.CmdMsgDataReadAck, &immsg.IMMsgDataReadAck{UserId: &r.id, SessionId: &r.to, MsgId: &read, SessionType: &x.kind})
	}
	if seen := r.seen; seen > r.received.id {
		r.received, r.received.id = next, seen
		x.send(r, client.CmdReceivedReq, &imextension.ReceivedReq{SessionId: &r.to, SessionType: &x.kind, MsgId: &seen})
	}
}

func (x *receipts) send(r *reader, command uint16, m proto.Message) {
	out, err := pdu.AppendMessage(r.conn.out, command, 0, m)
	if err != nil {
		r.conn.fail(err)
		return
	}
	r.conn.out = out
	r.conn.queue()
	x.r.Sent++
}

// notice checks a 0x200b that came to a session.
func (x *receipts) notice(s *session, body []byte) {
	var m imextension.ReceiptNotify
	r, err := x.by[s.id], client.Unmarshal(body, &m)
	of := x.by[m.GetUserId()]
	if err != nil || of == nil || of == r || of.at >= len(r.party) || r.party[of.at] != of ||
		m.GetSessionType() != x.kind || m.GetSessionId() != r.to || (m.DeliveredMsgId == nil) == (m.ReadMsgId == nil) {
		x.r.Foreign++
		return
	}
	x.r.Told++
	id, sent, told := m.GetDeliveredMsgId(), of.received, &r.told[of.at].received
	if m.ReadMsgId != nil {
		id, sent, told = m.GetReadMsgId(), of.read, &r.told[of.at].read
	}
	switch {
	case id < *told:
		x.r.Back++
		return
	case id <= sent.id:
	case m.ReadMsgId == nil || of.wrote == nil:
		x.r.Beyond++
		return
	case id > of.own:
		of.ahead[id]++
	}
	if id == sent.id && *told < id {
		x.took.add(time.Duration(sinceEpoch(time.Now()) - sent.at))
	}
	*told = id
}

// unknown are the marks of o that r has not been told, of those still connected. Who had
// written something newer before had read already, and there was nothing to tell.
func (r *reader) unknown(o *reader) (n uint64) {
	if o == r || !o.open || !r.open {
		return 0
	}
	told := r.told[o.at]
	if told.received < o.received.id && o.received.own < o.received.id {
		n++
	}
	if told.read < o.read.id && o.read.own < o.read.id {
		n++
	}
	return n
}

// quiet: all that came has been said to be read, and everybody knows.
func (x *receipts) quiet() bool {
	for _, r := range x.readers {
		if r.open && r.read.id < r.seen {
			return false
		}
		for _, o := range r.party {
			if r.unknown(o) > 0 {
				return false
			}
		}
	}
	return true
}

// report sums up.
func (x *receipts) report() *ReceiptReport {
	for _, r := range x.readers {
		for _, o := range r.party {
			x.r.Missing += r.unknown(o)
		}
		for _, n := range r.ahead {
			x.r.Beyond += n
		}
	}
	x.r.Took = x.took.latency()
	return &x.r
}
