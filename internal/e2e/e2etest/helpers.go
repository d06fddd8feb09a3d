package e2etest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	"godwit/schema/client/basedefine"
	"godwit/schema/client/message"
)

// Patience bounds every wait for something that must come. It is no measure of
// speed: two cores may carry several test binaries.
const Patience = 60 * time.Second

func AnyOf[T any](rnd *rand.Rand, of []T) T { return of[rnd.IntN(len(of))] }

// Begins waits for a line at or after the mark that begins so.
func (o *Output) Begins(mark int, begin string) (line string, at int, err error) {
	limit := time.After(Patience)
	for {
		o.Mu.Lock()
		for ; mark < len(o.Lines); mark++ {
			if strings.HasPrefix(o.Lines[mark], begin) {
				line = o.Lines[mark]
				o.Mu.Unlock()
				return line, mark, nil
			}
		}
		more, ended := o.more, o.ended
		o.Mu.Unlock()
		if ended {
			return "", 0, fmt.Errorf("ended without %q", begin)
		}
		select {
		case <-more:
		case <-limit:
			return "", 0, fmt.Errorf("no %q in %v", begin, Patience)
		}
	}
}

// Stays gives a check that nobody has lost his connection since.
func (w *World) Stays() func(when string) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	was := map[*Person]*Session{}
	for _, p := range w.People {
		was[p] = p.Session
	}
	return func(when string) {
		w.Mu.Lock()
		defer w.Mu.Unlock()
		for p, s := range was {
			select {
			case <-s.Done:
				w.t.Errorf("%s lost the connection %s: %v", p.Name, when, s.Err)
			default:
			}
		}
	}
}

// Stalled waits until no ack has come for a second, and returns how many there are.
func (w *World) Stalled(t *testing.T) int {
	t.Helper()
	still := time.NewTicker(time.Second)
	defer still.Stop()
	limit := time.After(Patience)
	before := w.AckedSoFar()
	for {
		select {
		case <-still.C:
			now := w.AckedSoFar()
			if now == before {
				return now
			}
			before = now
		case <-limit:
			t.Fatal("acks go on and on though the disk is full")
		}
	}
}

func (w *World) AckedSoFar() int {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Acked
}

// Finish stops the writing and holds everything against the model.
func (w *World) Finish() {
	w.t.Helper()
	w.Quiet(nil)
	w.Settle()
	w.Audit()
	for _, p := range w.People {
		p.Leave()
	}
	w.t.Logf("%d acked, %d pushed, %d sent again", w.Acked, w.Pushes, w.Repeats)
}

// Request asks with a message of the schema.
func (s *Session) Request(t *testing.T, command uint16, m, answer proto.Message) {
	t.Helper()
	b, err := client.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	err = s.ask(command, b, func(p Packet) { err = proto.Unmarshal(p.Raw, answer) })
	if err != nil {
		t.Fatal(err)
	}
}

// Latest flushes what is pushed to the session, and gives the newest id of a group.
func (s *Session) Latest(t *testing.T, group uint32) uint32 {
	t.Helper()
	a := new(immessage.IMGetLatestMsgIdRsp)
	s.Request(t, client.CmdGetLatestMsgIdReq, &immessage.IMGetLatestMsgIdReq{UserId: &s.User,
		SessionType: imbase.SessionType_SESSION_TYPE_GROUP.Enum(), SessionId: &group}, a)
	return a.GetLatestMsgId()
}

// GroupHistory counts what a session reads of a group.
func (s *Session) GroupHistory(group uint32) (n int, err error) {
	err = s.ask(CmdHistory, Body(s.User, 2, group, 0, Page), func(p Packet) { n = len(p.Body.Subs(5)) })
	return n, err
}

// Said is what n messages of the tests below say.
func Said(from, to int) (texts []string) {
	for i := from; i <= to; i++ {
		texts = append(texts, fmt.Sprint("message ", i))
	}
	return texts
}

// SayAll sends messages whose ids must run from the first number to the last.
func (s *Session) SayAll(t *testing.T, to uint32, first, last int) {
	t.Helper()
	for i, text := range Said(first, last) {
		if id, err := s.Say(to, text); err != nil || id != uint32(first+i) {
			t.Fatalf("message %d got id %d: %v", first+i, id, err)
		}
	}
}

// Has demands that the whole history with a peer is that.
func (s *Session) Has(t *testing.T, peer uint32, want []string) {
	t.Helper()
	if got, err := s.Messages(peer); err != nil || !slices.Equal(got, want) {
		t.Fatalf("history is %q (%v), should be %q", got, err, want)
	}
}

// Say sends one message and waits for its ack.
func (s *Session) Say(to uint32, text string) (id uint32, err error) {
	err = s.ask(CmdMessage, Body(s.User, to, 0, 0, 1, text), func(a Packet) {
		if a.Command == CmdAck {
			id = a.Body.Num(3)
		}
	})
	if err == nil && id == 0 {
		err = fmt.Errorf("message %q was answered without an id", text)
	}
	return id, err
}

// Messages reads the whole history with a peer, oldest first.
func (s *Session) Messages(peer uint32) (texts []string, err error) {
	for begin := uint32(0); ; {
		n, lowest := 0, uint32(0)
		err := s.ask(CmdHistory, Body(s.User, 1, peer, begin, Page), func(a Packet) {
			for _, m := range a.Body.Subs(5) {
				n, lowest = n+1, m.Num(1)
				texts = append([]string{m.Text(5)}, texts...)
			}
		})
		if err != nil || n < Page || lowest <= 1 {
			return texts, err
		}
		begin = lowest - 1
	}
}
