package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/connector/delivery"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	"godwit/schema/event"
	"godwit/schema/frame"
)

const (
	windows = imbase.ClientType_CLIENT_TYPE_WINDOWS
	ios     = imbase.ClientType_CLIENT_TYPE_IOS
	android = imbase.ClientType_CLIENT_TYPE_ANDROID
)

func TestEveryMessageGoesOutWhateverTheReceiverDoes(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	stalls := 0
	r.answers(func(n int, _ *Document) (int, bool) {
		switch {
		case n%7 == 3 && stalls < 3:
			stalls++
			return 0, true
		case n%7 == 5:
			return cutNow, false
		case n%11 == 6:
			return 307, false
		case n%3 == 1:
			return []int{500, 404, 410, 429}[n/3%4], false
		}
		return 200 + n%2*4, false
	})
	people := w.people(6)
	w.target("t", r.url)
	w.sender(func(c *Config) { c.post = time.Second })
	const messages = 300
	w.sendMany(messages, direct(people))
	r.await(messages)
	w.settled("t")
	// Where this machine is too slow for the short time to answer in, an answer gets lost: what
	// comes again then has its first id.
	w.checkAll(r.all())
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stalls == 0 || r.failures == 0 || r.cuts == 0 {
		t.Errorf("the receiver stalled %d times, failed %d times and cut %d times; the test shows nothing", r.stalls, r.failures, r.cuts)
	}
	if r.most != 1 {
		t.Errorf("%d documents of one stream were under way at once", r.most)
	}
}

func TestAReceiverThatWasAwayIsCaughtUp(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	people := w.people(4)
	w.target("t", r.url)
	registry := prometheus.NewRegistry()
	w.sender(func(c *Config) { c.Registerer = registry })
	w.sendMany(20, direct(people))
	r.await(20)
	w.settled("t")
	r.close()
	w.sendMany(50, direct(people))
	failures := func() float64 { return metric(t, registry, "godwit_webhook_failures_total") }
	bustest.Eventually(t, "it was tried while nobody listened", func() bool { return failures() > 3 })
	if age := metric(t, registry, "godwit_webhook_backlog_seconds"); age <= 0 {
		t.Errorf("the backlog is %v seconds old", age)
	}
	if n := metric(t, registry, "godwit_webhook_sending"); n != 1 {
		t.Errorf("the process that sends is said to be %v", n)
	}
	if n := len(r.all()); n != 20 {
		t.Fatalf("%d documents were taken by nobody", n-20)
	}
	r.listen(r.addr)
	r.await(70)
	w.settled("t")
	if again := w.checkAll(r.all()); again != 0 {
		t.Errorf("%d documents came twice", again)
	}
	bustest.Eventually(t, "there is no backlog", func() bool { return metric(t, registry, "godwit_webhook_backlog_seconds") == 0 })
	if n := metric(t, registry, "godwit_webhook_documents_total"); n != 70 {
		t.Errorf("the metric says %v documents", n)
	}
}

// A receiver that takes every second document is not waited for ever longer.
func TestPausesGrowOnlyWhileNothingIsTaken(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	r.answers(func(n int, _ *Document) (int, bool) { return 200 + n%2*300, false })
	people := w.people(2)
	w.target("t", r.url)
	w.sender(func(c *Config) { c.most = time.Hour })
	w.sendMany(30, direct(people))
	r.await(30)
	w.settled("t")
	if again := w.checkAll(r.all()); again != 0 || r.failures < 30 {
		t.Errorf("%d documents came twice, %d were refused", again, r.failures)
	}
}

func metric(t *testing.T, g prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return 0
}

func TestARestartInTheMiddleSendsNothingTwice(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	people := w.people(5)
	w.target("t", r.url)
	for round := range 3 {
		half := make(chan struct{})
		var once sync.Once
		before := len(r.all())
		r.answers(func(_ int, _ *Document) (int, bool) {
			if len(r.taken) >= before+30 {
				once.Do(func() { close(half) })
				return 503, false
			}
			return 200, false
		})
		w.sender()
		w.sendMany(100, direct(people))
		<-half
		w.stop()
		w.up()
		if n := len(r.all()); n != before+30 {
			t.Fatalf("round %d: %d documents before the restart", round, n-before)
		}
	}
	r.answers(nil)
	w.sender()
	r.await(300)
	w.settled("t")
	if again := w.checkAll(r.all()); again != 0 {
		t.Errorf("%d documents came twice", again)
	}
}

// What was taken by the receiver and not noted by the cursor is sent again, under the id it
// had before, and nothing is lost.
func TestADeathBetweenTheAnswerAndTheCursorSendsTheSameIdAgain(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	people := w.people(3)
	w.target("t", r.url)
	var dead atomic.Bool
	errDead := errors.New("no more")
	end := w.sender(func(c *Config) {
		c.setCursor = func(ctx context.Context, name string, was bus.Cursor, value uint64) (bus.Cursor, error) {
			if dead.Load() {
				return bus.Cursor{}, errDead
			}
			return c.Bus.SetCursor(ctx, name, was, value)
		}
	})
	k := event.Direct(people[0], people[1])
	for i := range 5 {
		w.send(k, people[0], fmt.Sprint("before ", i))
	}
	r.await(5)
	w.settled("t")
	dead.Store(true)
	w.send(k, people[0], "in between")
	r.await(6)
	end()
	if c, last := w.cursor("t", w.stream(k)), w.last(w.stream(k)); c > last {
		t.Fatalf("the cursor is at %d, behind the message at %d", c, last)
	}
	before := r.all()
	w.sender()
	w.send(k, people[0], "after")
	bustest.Eventually(t, "the last message is there", func() bool {
		all := r.all()
		return all[len(all)-1].Message.Text == "after"
	})
	w.settled("t")
	all := r.all()
	if again := w.checkAll(all); again == 0 {
		t.Error("nothing was sent again; the test shows nothing")
	}
	if next := all[len(before)]; next.EventID != before[5].EventID || next.Message.Text != "in between" {
		t.Errorf("after the death came %+v, not the message that was not noted", next)
	}
}

func TestNewViewsSendNothing(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	people := w.people(4)
	w.target("t", r.url)
	w.sender()
	w.sendMany(40, direct(people))
	r.await(40)
	w.settled("t")
	w.replaceViews()
	k := event.Direct(people[0], people[1])
	bustest.Eventually(t, "the new view has the messages", func() bool { return w.asked(k, people[0]) > 0 })
	w.send(k, people[1], "the only new one")
	r.await(41)
	w.settled("t")
	if again := w.checkAll(r.all()); again != 0 || len(r.all()) != 41 {
		t.Errorf("%d documents, %d of them twice", len(r.all()), again)
	}
}

func TestATargetBeginsWhereItIsMade(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	people := w.people(2)
	k := event.Direct(people[0], people[1])
	w.sender()
	w.send(k, people[0], "before")
	if err := Begin(t.Context(), w.kit.Bus, "t"); err != nil {
		t.Fatal(err)
	}
	w.send(k, people[0], "between")
	w.set("t", r.url, false)
	w.send(k, people[0], "after")
	r.await(2)
	w.settled("t")
	var got []string
	for _, d := range r.all() {
		got = append(got, d.Message.Text)
	}
	if !slices.Equal(got, []string{"between", "after"}) {
		t.Errorf("it got %q", got)
	}
	// One that nobody gave a beginning begins at the present end, once it is seen.
	other := newReceiver(t)
	w.set("u", other.url, false)
	bustest.Eventually(t, "it has a cursor", func() bool { return w.cursor("u", w.stream(k)) > 0 })
	w.send(k, people[0], "last")
	if d := one(t, other.await(1)); d.Message.Text != "last" {
		t.Errorf("it got %+v", d)
	}
	r.await(3)
}

func TestATargetIsDisabledAndEnabledAndRemoved(t *testing.T) {
	w := newWorld(t)
	r, moved := newReceiver(t), newReceiver(t)
	people := w.people(2)
	k := event.Direct(people[0], people[1])
	w.target("t", r.url)
	w.sender()
	w.send(k, people[0], "one")
	r.await(1)
	w.settled("t")
	w.set("t", r.url, true)
	at := w.cursor("t", w.stream(k))
	w.send(k, people[0], "two")
	// A second target shows when the first has surely had its chance: each of these takes it
	// another look at the log.
	w.target("u", moved.url)
	for i := range 4 {
		w.send(k, people[0], "three")
		moved.await(i + 1)
	}
	if len(r.all()) != 1 || w.cursor("t", w.stream(k)) != at {
		t.Errorf("a disabled target got %d documents, its cursor went from %d to %d", len(r.all())-1, at, w.cursor("t", w.stream(k)))
	}
	w.set("t", moved.url, false) // and goes elsewhere
	moved.await(9)
	w.settled("t")
	if len(r.all()) != 1 {
		t.Errorf("the old address got %d documents", len(r.all()))
	}
	w.must(event.People, &event.Event{Body: &event.Event_WebhookRemoved{WebhookRemoved: &event.WebhookRemoved{Id: "t"}}})
	bustest.Eventually(t, "its cursors are gone", func() bool {
		for _, s := range w.kit.Streams() {
			if c, err := w.kit.Cursor(t.Context(), cursorName("t", s)); err != nil || c.Set {
				return false
			}
		}
		return true
	})
	w.send(k, people[0], "four")
	moved.await(10)
	w.settled("u")
	if n := len(moved.all()); n != 10 {
		t.Errorf("%d documents, want five of each target", n)
	}
}

func TestOneOfSeveralSenders(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	people := w.people(4)
	w.target("t", r.url)
	first := w.sender()
	second := w.sender()
	w.sendMany(50, direct(people))
	r.await(50)
	w.settled("t")
	first()
	w.sendMany(50, direct(people))
	r.await(100)
	w.settled("t")
	second()
	if again := w.checkAll(r.all()); again != 0 {
		t.Errorf("%d documents came twice", again)
	}
	if r.most != 1 {
		t.Errorf("%d documents of one stream were under way at once", r.most)
	}
}

func TestWhoIsTold(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	p := w.people(13)
	sender, plain, phone, atDesk, deskOnly, mobile, mobileOnly, shielded, shieldedAndroid, disabled, muted, gone, atPage :=
		p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], p[12]
	w.token(phone, ios, "phone")
	w.online(sender, windows)
	w.online(atDesk, windows)
	w.token(atDesk, ios, "at-desk")
	w.online(atPage, imbase.ClientType_CLIENT_TYPE_WEB)
	w.token(atPage, android, "at-page")
	w.online(deskOnly, windows)
	w.online(mobile, ios)
	w.token(mobile, android, "mobile")
	w.online(mobileOnly, android)
	w.token(shielded, ios, "shielded")
	w.shield(shielded)
	w.token(shieldedAndroid, android, "shielded-android")
	w.shield(shieldedAndroid)
	w.token(disabled, ios, "disabled")
	w.must(event.People, &event.Event{Body: &event.Event_PersonDisabled{PersonDisabled: &event.PersonDisabled{User: disabled}}})
	w.must(event.People, &event.Event{Body: &event.Event_ProfileChanged{ProfileChanged: &event.ProfileChanged{User: gone, Employment: new(uint32(left))}}})
	team := w.group(5, p...)
	w.must(w.stream(team), &event.Event{Body: &event.Event_GroupShieldSet{GroupShieldSet: &event.GroupShieldSet{
		Conversation: team[:], User: muted, Shielded: true}}})
	w.target("t", r.url)

	var now atomic.Int64
	clock := func() time.Time { return time.Unix(now.Load(), 0) }
	at := func(hour, minute int) { now.Store(time.Date(2026, 1, 2, hour, minute, 0, 0, time.UTC).Unix()) }
	at(12, 0)
	quiet, err := ParseQuiet("22:00-07:00")
	if err != nil {
		t.Fatal(err)
	}
	quiet.Zone = time.UTC
	w.sender(func(c *Config) { c.Clock, c.Quiet = clock, quiet })

	w.send(team, sender, "by day")
	d := one(t, r.await(1))
	if d.Conversation != (Conversation{"group", 5}) || d.Message.From != sender || d.Message.FromNick != "Nick 0" || d.Message.ID != 1 ||
		d.Message.Type != uint32(imbase.MsgType_MSG_TYPE_GROUP_TEXT) || d.Message.Voice || d.Message.Text != "by day" ||
		time.Since(d.Message.Created).Abs() > time.Hour || !d.Time.Equal(clock()) {
		t.Errorf("got %+v", d)
	}
	if got, want := users(d), []uint32{plain, phone, atDesk, mobile, shielded, shieldedAndroid, atPage}; !slices.Equal(got, want) {
		t.Errorf("told were %v, want %v", got, want)
	}
	for user, want := range map[uint32]Recipient{
		plain:           {Tokens: []Token{}},
		phone:           {Tokens: []Token{{"ios", "phone"}}},
		atDesk:          {Tokens: []Token{{"ios", "at-desk"}}, Silent: true},
		atPage:          {Tokens: []Token{{"android", "at-page"}}, Silent: true},
		mobile:          {Tokens: []Token{{"android", "mobile"}}},
		shielded:        {Tokens: []Token{{"ios", "shielded"}}},
		shieldedAndroid: {Tokens: []Token{{"android", "shielded-android"}}},
	} {
		want.User, want.Badge = user, 1
		if got := find(d, user); got == nil || fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
			t.Errorf("user %d: %+v, want %+v", user, got, want)
		}
	}

	at(6, 59)
	w.send(team, sender, "by night")
	if got, want := users(r.await(2)[1]), []uint32{plain, phone, atDesk, mobile, shieldedAndroid, atPage}; !slices.Equal(got, want) {
		t.Errorf("told by night were %v, want %v", got, want)
	}
	at(7, 0)
	w.send(team, sender, "in the morning")
	if got := find(r.await(3)[2], shielded); got == nil || got.Badge != 3 {
		t.Errorf("in the morning the shielded phone got %+v", got)
	}

	// To somebody who is there nothing is sent at all; the next document shows it.
	w.send(event.Direct(sender, deskOnly), sender, "to the desk")
	w.send(event.Direct(sender, disabled), sender, "to who may not log in")
	w.send(event.Direct(sender, phone), sender, "to the phone")
	d = r.await(4)[3]
	if d.Message.Text != "to the phone" || d.Conversation != (Conversation{"user", sender}) || find(d, phone).Badge != 4 {
		t.Errorf("got %+v", d)
	}
	w.settled("t")
	if n := len(r.all()); n != 4 {
		t.Errorf("%d documents", n)
	}
}

func TestBadgesCountAllConversations(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	p := w.people(5)
	w.target("t", r.url)
	team := w.group(1, p...)
	w.sender()
	for _, from := range p[1:] {
		w.send(event.Direct(p[0], from), from, "a")
		w.send(event.Direct(p[0], from), from, "b")
	}
	w.send(team, p[1], "c")
	docs := r.await(9)
	w.settled("t")
	last := docs[slices.IndexFunc(docs, func(d *Document) bool { return d.Message.Text == "c" })]
	if got := find(last, p[0]); got == nil || got.Badge != 9 {
		t.Errorf("the one who got all has %+v", got)
	}
	if got := find(last, p[2]); got == nil || got.Badge != 1 {
		t.Errorf("who got one message has %+v", got)
	}
	w.read(event.Direct(p[0], p[1]), p[0], 2)
	w.send(event.Direct(p[0], p[2]), p[2], "d")
	if d := r.await(10)[9]; d.Recipients[0].Badge != 8 {
		t.Errorf("after two were read: %+v", d)
	}
}

// refusing holds a receiver down while something happens in the log, and waits until a
// document has been refused meanwhile.
func refusing(r *receiver, during func()) {
	r.answers(func(int, *Document) (int, bool) { return 503, false })
	during()
	r.mu.Lock()
	was := r.failures
	r.mu.Unlock()
	bustest.Eventually(r.t, "it was refused", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.failures > was
	})
}

func TestWhatNobodyIsToBeCalledForAnyMoreIsNotSent(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	p := w.people(4)
	k := event.Direct(p[0], p[1])
	team := w.group(9, p...)
	w.target("t", r.url)
	end := w.sender()
	refusing(r, func() {
		w.send(k, p[0], "to be recalled")
		w.send(team, p[0], "to be read by one, muted by one")
	})
	w.must(w.stream(k), &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_MessageRecalled{MessageRecalled: &event.MessageRecalled{
		Conversation: k[:], MsgId: 1, User: p[0]}}})
	w.read(team, p[1], 1)
	w.must(w.stream(team), &event.Event{Body: &event.Event_GroupShieldSet{GroupShieldSet: &event.GroupShieldSet{
		Conversation: team[:], User: p[2], Shielded: true}}})
	end() // with whatever was under way
	r.answers(nil)
	w.sender()
	w.send(k, p[0], "the end")
	r.await(2)
	w.settled("t")
	texts := map[string]*Document{}
	for _, d := range r.all() {
		texts[d.Message.Text] = d
	}
	if len(texts) != 2 || texts["the end"] == nil {
		t.Fatalf("sent were %v", texts)
	}
	if d := texts["to be read by one, muted by one"]; d == nil || !slices.Equal(users(d), []uint32{p[3]}) {
		t.Errorf("the group's message went to %+v", d)
	}
	if d := texts["the end"]; d.Message.ID != 2 {
		t.Errorf("got %+v", d)
	}
}

func TestEditsAreShownAndVoidMessagesAreNot(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	p := w.people(4)
	k := event.Direct(p[0], p[1])
	blocked := event.Direct(p[0], p[2])
	team := w.group(3, p[0], p[1])
	w.target("t", r.url)
	end := w.sender()
	w.must(w.stream(blocked), &event.Event{Body: &event.Event_BlockChanged{BlockChanged: &event.BlockChanged{Conversation: blocked[:], User: p[2], Blocked: true}}})
	for what, ev := range map[string]*event.Event{
		"blocked":  w.message(blocked, p[0], "no"),
		"no party": w.message(team, p[3], "no"),
	} {
		key, _ := event.ParseConversation(ev.GetMessageSent().Conversation)
		if res := w.append(w.stream(key), ev); res.Void == frame.Void_VOID_NONE {
			t.Fatalf("the message that is %s counts", what)
		}
	}
	refusing(r, func() {
		repeated := w.message(k, p[0], "first words")
		w.must(w.stream(k), repeated)
		if res := w.append(w.stream(k), repeated); res.Void != frame.Void_VOID_REPEAT {
			t.Fatalf("the repeat came to %+v", res)
		}
	})
	w.must(w.stream(k), &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_MessageEdited{MessageEdited: &event.MessageEdited{
		Conversation: k[:], MsgId: 1, User: p[0], Body: content.EncryptText("second thoughts")}}})
	end() // with whatever was under way
	r.answers(nil)
	w.sender()
	w.settled("t")
	if d := one(t, r.all()); d.Message.Text != "second thoughts" || d.Message.ID != 1 {
		t.Errorf("got %+v", d)
	}
}

func TestVoiceAndWhatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	p := w.people(2)
	k := event.Direct(p[0], p[1])
	w.target("t", r.url)
	end := w.sender()
	w.send(k, p[0], "", func(m *event.MessageSent) {
		m.Type, m.Body = uint32(imbase.MsgType_MSG_TYPE_SINGLE_AUDIO), content.AppendVoice(nil, 3, []byte("sound"))
	})
	w.send(k, p[0], "", func(m *event.MessageSent) { m.Body = []byte("not encrypted") })
	docs := r.await(2)
	if d := docs[0]; !d.Message.Voice || d.Message.Text != "" {
		t.Errorf("voice: %+v", d)
	}
	if d := docs[1]; d.Message.Voice || d.Message.Text != "" {
		t.Errorf("junk: %+v", d)
	}
	w.settled("t")
	end()
	w.sender(func(c *Config) { c.NoText = true })
	w.send(k, p[0], "private")
	r.await(3)
	r.mu.Lock()
	defer r.mu.Unlock()
	if body := string(r.got[2].body); strings.Contains(body, "private") || strings.Contains(body, `"text"`) || strings.Contains(body, "sound") {
		t.Errorf("with previews off: %s", body)
	}
}

func TestManyRecipientsAreToldInBlocks(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t)
	const size = 1100
	names := w.many(size)
	team := w.group(2, names...)
	w.target("t", r.url)
	// The first block is taken, the second is not: then somebody of the first has read, and
	// somebody of the second.
	var refused atomic.Bool
	r.answers(func(_ int, d *Document) (int, bool) {
		if strings.HasSuffix(d.EventID, ":1") && strings.Count(d.EventID, ":") == 3 {
			refused.Store(true)
			return 500, false
		}
		return 200, false
	})
	end := w.sender()
	w.send(team, names[0], "to all")
	bustest.Eventually(t, "the second block was refused", refused.Load)
	w.read(team, names[1], 1)
	w.read(team, names[600], 1)
	end()
	r.answers(nil)
	w.sender()
	w.settled("t")
	// As a receiver sees it that passes over ids it has had.
	byID := map[string]*Document{}
	seen := map[uint32]string{}
	for _, d := range r.all() {
		if len(d.Recipients) > 500 {
			t.Errorf("%s has %d recipients", d.EventID, len(d.Recipients))
		}
		if byID[d.EventID] != nil {
			continue
		}
		byID[d.EventID] = d
		for _, u := range users(d) {
			if was := seen[u]; was != "" && was != d.EventID {
				t.Errorf("user %d was told by %s and by %s", u, was, d.EventID)
			}
			seen[u] = d.EventID
		}
	}
	base := w.log()[0].id
	if len(byID) != 3 || byID[base] == nil || byID[base+":1"] == nil || byID[base+":2"] == nil {
		t.Fatalf("documents were %d", len(byID))
	}
	for _, u := range names[1:] {
		if (seen[u] == "") != (u == names[600]) {
			t.Errorf("user %d was told by %q", u, seen[u])
		}
	}
	if _, ok := seen[names[0]]; ok {
		t.Error("the sender was told")
	}
}

// many registers people without waiting for each.
func (w *world) many(n int) []uint32 {
	w.Helper()
	users := make([]uint32, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		ev := &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{
			Name: fmt.Sprint("m", i), PasswordHash: "-", Nick: fmt.Sprint("Nick ", i)}}}
		if err := w.node.Append(event.People, ev, func(r delivery.Result) {
			users[i] = r.ID
			wg.Done()
		}); err != nil {
			w.Fatal(err)
		}
	}
	wg.Wait()
	slices.Sort(users)
	return users
}

func TestMetricsOfATargetThatIsGone(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := newMetrics(registry, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	m.sent.WithLabelValues("a").Inc()
	m.waits(pendingKey{"a", "S"}, time.Now().Add(-time.Hour))
	m.waits(pendingKey{"a", "T"}, time.Time{})
	if age := metric(t, registry, "godwit_webhook_backlog_seconds"); age < 3600 {
		t.Errorf("the backlog is %v", age)
	}
	m.drop(pendingKey{"a", "S"})
	m.drop(pendingKey{"a", "T"})
	m.forget("a")
	if left, err := registry.Gather(); err != nil || len(left) != 0 {
		t.Errorf("%v, %v is left", left, err)
	}
}
