package timeline

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/query"
)

// createGolden makes the golden log of rule 1. It was used once, when rule 1 was
// frozen: it fails where the files exist. A changed rule is a new rule with a
// golden log of its own; this one must come to the same for ever.
var createGolden = flag.Bool("create-golden", false, "write the golden log if there is none")

const (
	goldenLog  = "rule-1-2026-11-23.log" // records, each after its length as uvarint
	goldenText = "rule-1-2026-11-23.txt" // what each event comes to, and the cursors at the end
)

func TestTheGoldenLogComesToTheSameForEver(t *testing.T) {
	if *createGolden {
		createGoldenFiles(t)
	}
	l := readGolden(t)
	want, err := os.ReadFile(filepath.Join("testdata", goldenText))
	if err != nil {
		t.Fatalf("the golden log's text is missing, and must not be made anew: %v", err)
	}
	got := strings.SplitAfter(goldenSays(t, l), "\n")
	for i, line := range strings.SplitAfter(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Fatalf("line %d: %q, must be %q", i+1, slices.Concat(got, []string{"nothing"})[min(i, len(got))], line)
		}
	}
	if n := strings.Count(string(want), "\n"); len(got) != n+1 {
		t.Fatalf("%d lines, must be %d", len(got)-1, n)
	}
}

// The files are pinned here too, so that nobody changes them and the fold together.
func TestTheGoldenLogItselfIsUntouched(t *testing.T) {
	for name, want := range goldenSums {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != want {
			t.Errorf("%s has the sum %s, must have %s", name, got, want)
		}
	}
}

// goldenSays folds the log and writes what it comes to.
func goldenSays(t *testing.T, l *projectiontest.Log) string {
	v, applied := projectiontest.Fold(t, New(0), l.Records)
	var out strings.Builder
	conversations := make(map[string]bool)
	for _, a := range applied {
		if a.Repeated {
			fmt.Fprintf(&out, "%d: stored twice\n", a.Sequence)
			continue
		}
		for i, ev := range l.Decode(a.Sequence).Events {
			fmt.Fprintf(&out, "%d/%d: %s: %s\n", a.Sequence, i, describe(ev), text(a.Effects[i]))
			if m := ev.GetMessageSent(); m != nil && a.Effects[i].Void == 0 {
				conversations[string(m.Conversation)] = true
			}
		}
	}
	for _, c := range slices.Sorted(maps.Keys(conversations)) {
		lower, higher := naiveParties([]byte(c))
		for _, user := range []uint32{lower, higher} {
			h := asking(t, v, &query.Request{Body: &query.Request_Head{Head: &query.Head{Conversation: []byte(c), User: user}}}).GetHead()
			entry := "listed"
			err := v.Read(func(r *view.Reader) error {
				if parseMember(r.Get(memberBucket, new(keyBuf).number(event.ConversationKey([]byte(c)), user))).removed {
					entry = "removed"
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "d-%d-%d of %d: head %d cursor %d %s\n", lower, higher, user, h.Head, h.Cursor, entry)
		}
	}
	return out.String()
}

func describe(ev *event.Event) string {
	name := func(c []byte) string {
		key, ok := event.ParseConversation(c)
		if !ok {
			return fmt.Sprintf("%x", c)
		}
		return key.String()
	}
	at := (ev.At - projectiontest.Epoch) / 1000
	switch b := ev.Body.(type) {
	case *event.Event_MessageSent:
		m := b.MessageSent
		s := fmt.Sprintf("at %ds message in %s from %d", at, name(m.Conversation), m.From)
		if m.Origin != 0 {
			s += " " + strings.ToLower(strings.TrimPrefix(m.Origin.String(), "ORIGIN_"))
		}
		if len(m.RepeatKey) > 0 {
			s += fmt.Sprintf(" key %x", m.RepeatKey[:min(2, len(m.RepeatKey))])
		}
		if len(m.ClientMessageId) > 0 {
			s += " by client id"
		}
		return s
	case *event.Event_ReadAdvanced:
		return fmt.Sprintf("read in %s by %d to %d", name(b.ReadAdvanced.Conversation), b.ReadAdvanced.User, b.ReadAdvanced.MsgId)
	case *event.Event_SessionEntryRemoved:
		return fmt.Sprintf("remove %s by %d", name(b.SessionEntryRemoved.Conversation), b.SessionEntryRemoved.User)
	case *event.Event_BlockChanged:
		return fmt.Sprintf("block %s by %d %v", name(b.BlockChanged.Conversation), b.BlockChanged.User, b.BlockChanged.Blocked)
	case nil:
		return "unknown"
	}
	return "other"
}

func readGolden(t *testing.T) *projectiontest.Log {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", goldenLog))
	if err != nil {
		t.Fatalf("the golden log is missing, and must not be made anew: %v", err)
	}
	l := new(projectiontest.Log)
	for len(b) > 0 {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			t.Fatal("the golden log is cut off")
		}
		l.AppendData(bytes.Clone(b[used : used+int(n)]))
		b = b[used+int(n):]
	}
	return l
}

// createGoldenFiles drew the log: some hundred events of three writers, with every
// kind of void, records stored twice and events that nobody knows.
func createGoldenFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	l := new(projectiontest.Log)
	l.Append(projectiontest.ID(99), &event.Event{At: projectiontest.Epoch, Body: &event.Event_StreamOpened{StreamOpened: &event.StreamOpened{}}})
	clock := second(0)
	for len(l.Records) < 220 {
		if r.IntN(20) == 0 {
			l.Repeat(1 + r.Uint64N(uint64(len(l.Records))))
			continue
		}
		var events []*event.Event
		for range 1 + r.IntN(4) {
			clock += r.Int64N(90_000)
			if r.IntN(25) == 0 {
				clock += r.Int64N(3 * dayMillis)
			}
			at := clock - r.Int64N(60_000)
			if r.IntN(12) == 0 {
				at -= r.Int64N(9 * dayMillis)
			}
			user := uint32(1 + r.IntN(3))
			conv := event.Direct(user, 1+(user+r.Uint32N(2))%3)
			if r.IntN(25) == 0 {
				user = 4
			}
			var ev *event.Event
			switch r.IntN(16) {
			case 0, 1:
				ev = read(conv, user, r.Uint32N(60))
			case 2:
				ev = remove(conv, user)
			case 3:
				ev = block(conv, user, r.IntN(4) == 0)
			case 4:
				ev = projectiontest.Unknown()
			case 5:
				ev = sent(at, event.Group(user), user, origin(event.Origin(2*r.IntN(2))))
			case 6:
				ev = sent(at, event.ConversationKey{'d', 0, 0, 0, 2, 0, 0, 0, 1}, user)
			case 7, 8:
				ev = sent(at, conv, user, origin(event.Origin(1+r.IntN(2))), newKey(byte(100+r.IntN(8))))
			case 9, 10, 11:
				ev = sent(at, conv, user, newKey(byte(100+r.IntN(8))))
			default:
				ev = sent(at, conv, user, oldKey(byte(1+r.IntN(6))))
			}
			events = append(events, ev)
		}
		l.Append(projectiontest.ID(byte(1+r.IntN(3))), events...)
	}
	var b []byte
	for _, rec := range l.Records {
		b = binary.AppendUvarint(b, uint64(len(rec.Data)))
		b = append(b, rec.Data...)
	}
	for name, content := range map[string][]byte{goldenLog: b, goldenText: []byte(goldenSays(t, l))} {
		f, err := os.OpenFile(filepath.Join("testdata", name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = f.Write(content)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheGoldenLogAgreesWithTheDefinition keeps the golden text honest.
func TestTheGoldenLogAgreesWithTheDefinition(t *testing.T) {
	l := readGolden(t)
	_, applied := projectiontest.Fold(t, New(0), l.Records)
	model := newNaive()
	l.Known(func(seq uint64, index int, ev *event.Event) {
		if got, want := text(applied[seq-1].Effects[index]), model.event(ev); got != want {
			t.Errorf("%d/%d: %s, by definition %s", seq, index, got, want)
		}
	})
}

// goldenSums were taken when the log was made.
var goldenSums = map[string]string{
	goldenLog:  "4e5d5b486636a7beda70f2afdeb4ee56be0a7266feb03393225992667f8935a1",
	goldenText: "d5c4243622eb394de957a29c5fa5ce3eba314b84e92afd2ed7f45b325e8584db",
}
