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

	// Of the events that came later: groups, recalls, edits, imports, files.
	groupsLog  = "rule-1-groups-2026-11-23.log"
	groupsText = "rule-1-groups-2026-11-23.txt"
)

func TestTheGoldenLogComesToTheSameForEver(t *testing.T) {
	if *createGolden {
		createGoldenFiles(t)
	}
	comesToTheSame(t, goldenLog, goldenText)
}

func TestTheGoldenLogOfGroupsComesToTheSameForEver(t *testing.T) {
	if *createGolden {
		createGroupsFiles(t)
	}
	comesToTheSame(t, groupsLog, groupsText)
}

func comesToTheSame(t *testing.T, log, text string) {
	t.Helper()
	l := readGolden(t, log)
	want, err := os.ReadFile(filepath.Join("testdata", text))
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
			fmt.Fprintf(&out, "%d/%d: %s: %s\n", a.Sequence, i, describe(ev), text(a.Effects[i])+moved(a.Effects[i]))
			if m := ev.GetMessageSent(); m != nil && a.Effects[i].Void == 0 {
				conversations[string(m.Conversation)] = true
			}
			if m := ev.GetGroupCreated(); m != nil && a.Effects[i].Void == 0 {
				conversations[string(m.Conversation)] = true
			}
		}
	}
	for _, c := range slices.Sorted(maps.Keys(conversations)) {
		lower, higher := naiveParties([]byte(c))
		users, name := []uint32{lower, higher}, fmt.Sprintf("d-%d-%d", lower, higher)
		if c[0] == 'g' {
			a := asking(t, v, &query.Request{Body: &query.Request_GroupState{GroupState: &query.GroupState{Conversation: []byte(c), Members: true}}}).GetGroup()
			users, name = a.Members, fmt.Sprintf("g-%d", higher)
			fmt.Fprintf(&out, "%s: version %d, %q, administrator %d, dissolved %v, %d members\n", name, a.Group.Version, a.Group.Name, a.Group.Administrator, a.Group.Dissolved, a.Group.Members)
		}
		for _, user := range users {
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
			fmt.Fprintf(&out, "%s of %d: head %d cursor %d %s\n", name, user, h.Head, h.Cursor, entry)
		}
	}
	return out.String()
}

// moved is who came to a group and went from it by an event.
func moved(e view.Effect) string {
	if e.Members == nil {
		return ""
	}
	return fmt.Sprintf(" +%v -%v", e.Members.Joined, e.Members.Left)
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
	case *event.Event_GroupCreated:
		g := b.GroupCreated
		return fmt.Sprintf("make %s, %v by %d of %v, at most %d", name(g.Conversation), g.Type.Number(), g.Creator, g.Members, g.Limit)
	case *event.Event_GroupMembersChanged:
		g := b.GroupMembersChanged
		return fmt.Sprintf("members of %s by %d +%v -%v, at most %d, import %d/%d", name(g.Conversation), g.User, g.Added, g.Removed, g.Limit, g.ImportAfter, g.ImportStep)
	case *event.Event_GroupChanged:
		g := b.GroupChanged
		s := fmt.Sprintf("change %s by %d", name(g.Conversation), g.User)
		if g.Name != nil {
			s += " to " + *g.Name
		}
		if g.Administrator != nil {
			s += fmt.Sprintf(" for %d", *g.Administrator)
		}
		if g.Dissolved {
			s += " dissolved"
		}
		return s
	case *event.Event_GroupShieldSet:
		return fmt.Sprintf("shield %s by %d %v", name(b.GroupShieldSet.Conversation), b.GroupShieldSet.User, b.GroupShieldSet.Shielded)
	case *event.Event_MessageRecalled:
		r := b.MessageRecalled
		return fmt.Sprintf("at %ds recall %d of %s by %d within %ds", at, r.MsgId, name(r.Conversation), r.User, r.Within)
	case *event.Event_MessageEdited:
		r := b.MessageEdited
		return fmt.Sprintf("at %ds edit %d of %s by %d within %ds to %q", at, r.MsgId, name(r.Conversation), r.User, r.Within, r.Body)
	case *event.Event_DeliveredAdvanced:
		return fmt.Sprintf("received in %s by %d to %d", name(b.DeliveredAdvanced.Conversation), b.DeliveredAdvanced.User, b.DeliveredAdvanced.MsgId)
	case *event.Event_MessageImported:
		i := b.MessageImported
		return fmt.Sprintf("import %d of %s from %d, missing %v, %q", i.MsgId, name(i.Conversation), i.From, i.Missing, i.Body)
	case *event.Event_FileOffered:
		o := b.FileOffered
		return fmt.Sprintf("offer %q in %s from %d to %d", o.Task, name(o.Conversation), o.From, o.To)
	case *event.Event_FileRemoved:
		return fmt.Sprintf("fetch %q in %s by %d", b.FileRemoved.Task, name(b.FileRemoved.Conversation), b.FileRemoved.User)
	case nil:
		return "unknown"
	}
	return "other"
}

func readGolden(t *testing.T, name string) *projectiontest.Log {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
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
	writeGolden(t, l, goldenLog, goldenText)
}

// createGroupsFiles drew a log in which everything happens that mustHappen.
func createGroupsFiles(t *testing.T) {
	for seed := uint64(1); seed < 200; seed++ {
		l := randomLog(rand.New(rand.NewPCG(seed, 4)), 600)
		came := make(map[string]bool)
		agrees(t, t.TempDir(), 0, l, func(what string) { came[what] = true })
		if !slices.ContainsFunc(mustHappen, func(what string) bool { return !came[what] }) {
			writeGolden(t, l, groupsLog, groupsText)
			return
		}
	}
	t.Fatal("no log in which everything happens")
}

func writeGolden(t *testing.T, l *projectiontest.Log, log, text string) {
	t.Helper()
	var b []byte
	for _, rec := range l.Records {
		b = binary.AppendUvarint(b, uint64(len(rec.Data)))
		b = append(b, rec.Data...)
	}
	for name, content := range map[string][]byte{log: b, text: []byte(goldenSays(t, l))} {
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

// TestTheGoldenLogAgreesWithTheDefinition keeps the golden texts honest.
func TestTheGoldenLogAgreesWithTheDefinition(t *testing.T) {
	for n, name := range []string{goldenLog, groupsLog} {
		agrees(t, t.TempDir(), n, readGolden(t, name), func(string) {})
	}
}

// goldenSums were taken when the logs were made.
var goldenSums = map[string]string{
	goldenLog:  "4e5d5b486636a7beda70f2afdeb4ee56be0a7266feb03393225992667f8935a1",
	goldenText: "d5c4243622eb394de957a29c5fa5ce3eba314b84e92afd2ed7f45b325e8584db",
	groupsLog:  "521527a9eaa7f7e21231acc41ec051d5daa2b55c6bb51ae31f227080ad193f34",
	groupsText: "11c087e5d91bdabfe79224f47cedc425db8cf03dc68d7868e030d55e2ea250fc",
}
