package chat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/term"

	"godwit/internal/ttclient"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imlogin "godwit/schema/client/login"
	immsg "godwit/schema/client/message"
)

const patience = 20 * time.Second

// script is a chat whose lines a test writes and reads.
type script struct {
	t   *testing.T
	in  *io.PipeWriter
	end chan error

	mu    sync.Mutex
	out   bytes.Buffer
	grown chan struct{}
	read  int
}

func (s *script) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.grown)
	s.grown = make(chan struct{})
	return s.out.Write(b)
}

func chatIn(t *testing.T, w *world) *script {
	t.Helper()
	in, feed := io.Pipe()
	s := &script{t: t, in: feed, end: make(chan error, 1), grown: make(chan struct{})}
	go func() {
		s.end <- Run(t.Context(), Config{
			Connect: ttclient.Options{Addr: w.l.Addr().String(), Name: "ann", Password: "x"}, In: in, Out: s,
		})
	}()
	t.Cleanup(func() { _ = feed.Close() })
	return s
}

func (s *script) say(lines ...string) {
	s.t.Helper()
	for _, l := range lines {
		if _, err := io.WriteString(s.in, l+"\n"); err != nil {
			s.t.Fatal(err)
		}
	}
}

// expect waits for exactly these lines, next.
func (s *script) expect(lines ...string) {
	s.t.Helper()
	for _, want := range lines {
		if got := s.line(); got != want {
			s.t.Fatalf("line %q, want %q", got, want)
		}
	}
}

func (s *script) line() string {
	s.t.Helper()
	late := time.After(patience)
	for {
		s.mu.Lock()
		rest, grown := s.out.String()[s.read:], s.grown
		s.mu.Unlock()
		if line, _, whole := strings.Cut(rest, "\n"); whole {
			s.read += len(line) + 1
			return line
		}
		select {
		case <-grown:
		case <-late:
			s.t.Fatalf("no line; all so far:\n%s", s.out.String())
		}
	}
}

// ended waits for the end; nothing may have been printed that no test looked at.
func (s *script) ended() error {
	s.t.Helper()
	select {
	case err := <-s.end:
		s.mu.Lock()
		defer s.mu.Unlock()
		if rest := s.out.String()[s.read:]; rest != "" {
			s.t.Errorf("printed as well:\n%s", rest)
		}
		return err
	case <-time.After(patience):
		s.t.Fatal("the chat did not end")
		return nil
	}
}

func TestScriptTalks(t *testing.T) {
	w := newWorld(t)
	w.say(2, 2, "hello", false)
	w.say(2, 2, `two\lines`+"\nhere", false)
	s := chatIn(t, w)
	s.expect("ready ann 1")
	s.say("contacts")
	s.expect("contact bob online 2", "contact cyd offline 0", "end contacts 2")
	s.say("unread", "history bob")
	s.expect("unread bob 2", "end unread 2", "history bob 1 bob hello", `history bob 2 bob two\\lines\nhere`, "end history bob 2")
	s.say("read bob", "unread")
	s.expect("read bob 2", "end unread 0")
	s.say("to bob how are  you?", "history BOB 1")
	s.expect("sent bob 3", "history bob 3 ann how are  you?", "end history bob 1")
	w.say(2, 2, "fine", true)
	s.say("wait message")
	s.expect("message bob 4 bob fine")
	w.say(3, 1, "from my phone", true)
	s.expect("message cyd 1 ann from my phone")
	w.push(client.CmdUserStatNotify, &imbuddy.IMUserStatNotify{UserStat: stat(3, true)})
	s.say("wait status cyd online")
	s.expect("status cyd online")
	w.push(client.CmdMsgDataReadNotify, &immsg.IMMsgDataReadNotify{
		UserId: new(uint32(1)), SessionId: new(uint32(2)), MsgId: new(uint32(4)), SessionType: imbase.SessionType_SESSION_TYPE_SINGLE.Enum(),
	})
	s.expect("read bob 4")
	w.push(client.CmdPCLoginStatusNotify, &imbuddy.IMPCLoginStatusNotify{UserId: new(uint32(1)), LoginStat: imbase.UserStatType_USER_STATUS_ONLINE.Enum()})
	s.expect("desktop online")
	s.say("", "  ", "kick-desktop", "quit")
	if err := s.ended(); err != nil {
		t.Error(err)
	}
}

func TestFailedCommandsAreToldAndEndInAnError(t *testing.T) {
	s := chatIn(t, newWorld(t))
	s.expect("ready ann 1")
	for line, want := range map[string]string{
		"to zed hello":                `error nobody is called "zed"`,
		"to bob":                      `error write: to NAME TEXT`,
		"dance":                       `error "dance" is no command`,
		"history bob 0":               `error history of bob: give a number`,
		"history":                     `error write: history NAME [N]`,
		"read":                        `error write: read NAME`,
		"wait":                        `error write: wait`,
		"wait long":                   `error "long" is no number of seconds`,
		"wait message 0.01":           `error waited 10ms in vain for message`,
		"wait status bob away":        `error a status is online or offline`,
		"wait status bob":             `error write: wait`,
		"to bob " + long(3069):        `error the text has 3069 bytes, at most 3068 go`,
		"wait message 1 2":            `error write: wait`,
		"wait status zed online 0.01": `error waited 10ms in vain for status`,
	} {
		s.say(line)
		if got := s.line(); !strings.HasPrefix(got, want) {
			t.Errorf("%.40q gives %q, want %q", line, got, want)
		}
	}
	_ = s.in.Close()
	if err := s.ended(); !errors.Is(err, ErrCommandFailed) {
		t.Errorf("ended with %v", err)
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestEndOfInputIsAGoodbye(t *testing.T) {
	s := chatIn(t, newWorld(t))
	s.expect("ready ann 1")
	_ = s.in.Close()
	if err := s.ended(); err != nil {
		t.Error(err)
	}
}

func TestKickEndsTheChat(t *testing.T) {
	for reason, want := range map[imbase.KickReasonType]string{
		imbase.KickReasonType_KICK_REASON_DUPLICATE_USER: "kicked you logged in on another device of this kind",
		imbase.KickReasonType_KICK_REASON_MOBILE_KICK:    "kicked your phone sent this device away",
	} {
		w := newWorld(t)
		s := chatIn(t, w)
		s.expect("ready ann 1")
		w.push(client.CmdKickUser, &imlogin.IMKickUser{UserId: new(uint32(1)), KickReason: reason.Enum()})
		s.expect(want)
		err := s.ended()
		if kicked, ok := errors.AsType[*ttclient.KickedError](err); !ok || kicked.Reason != reason {
			t.Errorf("ended with %v", err)
		}
		if w.logins != 1 {
			t.Errorf("%d logins: a kicked device must not come back", w.logins)
		}
	}
}

func TestRefusedLoginEndsTheChat(t *testing.T) {
	w := newWorld(t)
	w.refuse = imbase.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED
	if _, ok := errors.AsType[*ttclient.LoginError](chatIn(t, w).ended()); !ok {
		t.Error("no LoginError")
	}
}

func TestLostConnectionIsMadeAgainAndNothingIsMissed(t *testing.T) {
	w := newWorld(t)
	w.say(2, 2, "before", false)
	s := chatIn(t, w)
	s.expect("ready ann 1")
	w.say(2, 2, "live", true)
	s.expect("message bob 2 bob live")
	w.say(2, 2, "its push is lost", false)
	w.say(3, 3, "first ever", false)
	w.cut()
	if got := s.line(); !strings.HasPrefix(got, "lost ") {
		t.Fatalf("line %q", got)
	}
	// Both, in any order of conversations, and then back.
	got := []string{s.line(), s.line()}
	if got[0] > got[1] {
		got[0], got[1] = got[1], got[0]
	}
	if got[0] != "message bob 3 bob its push is lost" || got[1] != "message cyd 1 cyd first ever" {
		t.Errorf("missed messages %q", got)
	}
	s.expect("back")
	w.say(2, 2, "live again", true)
	s.expect("message bob 4 bob live again")
	s.say("unread", "quit")
	s.expect("unread bob 4", "unread cyd 1", "end unread 5")
	if err := s.ended(); err != nil {
		t.Error(err)
	}
}

func TestSendWithALostAckIsRepeatedWithSameNumberAndBytes(t *testing.T) {
	w := newWorld(t)
	w.onSend = func(n int) bool { return n > 2 } // two acks are lost
	s := chatIn(t, w)
	s.expect("ready ann 1")
	s.say("to bob important", "quit")
	for {
		line := s.line()
		if line == "sent bob 1" {
			break
		}
		// The message may be found in the list before its ack comes.
		if !strings.HasPrefix(line, "lost ") && line != "back" && line != "message bob 1 ann important" {
			t.Fatalf("line %q", line)
		}
	}
	if err := s.ended(); err != nil {
		t.Error(err)
	}
	if len(w.store[2]) != 1 || w.sent != 3 {
		t.Errorf("%d stored, %d sent", len(w.store[2]), w.sent)
	}
}

func TestMessageThatComesTwiceIsShownOnce(t *testing.T) {
	w := newWorld(t)
	s := chatIn(t, w)
	s.expect("ready ann 1")
	w.say(2, 2, "hello", true)
	s.expect("message bob 1 bob hello")
	w.push(client.CmdMsgData, &immsg.IMMsgData{
		FromUserId: new(uint32(2)), ToSessionId: new(uint32(1)), MsgId: new(uint32(1)), CreateTime: new(uint32(1)),
		MsgType: imbase.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: []byte("again"),
	})
	w.say(2, 2, "next", true)
	s.expect("message bob 2 bob next")
	s.say("quit")
	if err := s.ended(); err != nil {
		t.Error(err)
	}
}

// The ack of an own message goes out before copies of others', also of such as come
// before it in the conversation.
func TestMessageBelowAnOwnAckIsShown(t *testing.T) {
	w := newWorld(t)
	s := chatIn(t, w)
	s.expect("ready ann 1")
	w.say(2, 2, "crossing", false)
	s.say("to bob mine")
	s.expect("sent bob 2")
	w.push(client.CmdMsgData, &immsg.IMMsgData{
		FromUserId: new(uint32(2)), ToSessionId: new(uint32(1)), MsgId: new(uint32(1)), CreateTime: new(uint32(1)),
		MsgType: imbase.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: []byte("crossing"),
	})
	s.expect("message bob 1 bob crossing")
	w.say(2, 2, "its push is lost", false)
	w.cut()
	if got := s.line(); !strings.HasPrefix(got, "lost ") {
		t.Fatalf("line %q", got)
	}
	s.expect("message bob 3 bob its push is lost", "back")
	s.say("quit")
	if err := s.ended(); err != nil {
		t.Error(err)
	}
}

func TestConversationKnowsWhatWasShown(t *testing.T) {
	var v conversation
	v.skip(3)
	for _, c := range []struct {
		id    uint32
		fresh bool
		floor uint32
	}{{3, false, 3}, {1, false, 3}, {5, true, 3}, {5, false, 3}, {7, true, 3}, {4, true, 5}, {6, true, 7}, {6, false, 7}, {8, true, 8}} {
		if fresh := v.take(c.id); fresh != c.fresh || v.floor != c.floor {
			t.Errorf("id %d: new %v, floor %d; want %v, %d", c.id, fresh, v.floor, c.fresh, c.floor)
		}
	}
	if len(v.above) != 0 || v.head != 8 || v.unread() != 8 {
		t.Errorf("%+v", v)
	}
	v.readUpTo(6)
	if v.readUpTo(2); v.unread() != 2 {
		t.Errorf("%d unread", v.unread())
	}
	for id := uint32(10); id < 3*mostAbove; id++ { // 9 never comes
		v.take(id)
	}
	if len(v.above) > mostAbove {
		t.Errorf("%d ids are kept", len(v.above))
	}
}

func TestMessageOfAStrangerComesWithHisName(t *testing.T) {
	w := newWorld(t)
	s := chatIn(t, w)
	s.expect("ready ann 1")
	dan := info(4)
	dan.UserRealName = new("dan")
	w.mu.Lock()
	w.registered = []*imbase.UserInfo{dan}
	w.mu.Unlock()
	w.say(4, 4, "I am new here", true)
	w.say(2, 2, "after him", true)
	w.say(4, 4, "and again", true)
	s.expect("message dan 1 dan I am new here", "message bob 1 bob after him", "message dan 2 dan and again")
	s.say("wait message", "wait message", "wait message", "quit")
	if err := s.ended(); err != nil {
		t.Error(err)
	}
}

func TestInterruptedChatEndsQuietly(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	in, feed := io.Pipe()
	defer feed.Close()
	s := &script{t: t, in: feed, end: make(chan error, 1), grown: make(chan struct{})}
	go func() {
		s.end <- Run(ctx, Config{Connect: ttclient.Options{Addr: w.l.Addr().String(), Name: "ann", Password: "x"}, In: in, Out: s})
	}()
	s.expect("ready ann 1")
	cancel()
	if err := s.ended(); err != nil {
		t.Error(err)
	}
}

// screen is a terminal without a keyboard.
func screen(t *testing.T) (*Terminal, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	u := &Terminal{fd: -1, t: term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{strings.NewReader(""), &out}, "> ")}
	u.names = func(prefix string) []string {
		var found []string
		for _, n := range []string{"bob", "bobby", "cyd"} {
			if strings.HasPrefix(n, prefix) {
				found = append(found, n)
			}
		}
		return found
	}
	return u, &out
}

func TestTypedTextGoesToTheOpenConversation(t *testing.T) {
	u, out := screen(t)
	for _, c := range [][2]string{
		{"hello", ""}, {"", ""}, {"/to bob", "open bob"}, {"/to bob hello there", "to bob hello there"},
		{"/contacts", "contacts"}, {" /quit ", "quit"}, {"/help", ""},
	} {
		if got := u.translate(c[0]); got != c[1] {
			t.Errorf("%q becomes %q, want %q", c[0], got, c[1])
		}
	}
	if !strings.Contains(out.String(), "/to NAME") {
		t.Error("nothing said about how to open a conversation")
	}
	u.opened(place{name: "bob"})
	if got := u.translate("hello / there"); got != "to bob hello / there" {
		t.Errorf("text becomes %q", got)
	}
}

func TestTabCompletesNames(t *testing.T) {
	u, _ := screen(t)
	for _, c := range []struct {
		line, want string
		ok         bool
	}{{"/to c", "/to cyd ", true}, {"/to b", "/to bob", true}, {"/to z", "", false}, {"c", "", false}} {
		if got, _, ok := u.complete(c.line, len(c.line), '\t'); got != c.want || ok != c.ok {
			t.Errorf("%q becomes %q, %v", c.line, got, ok)
		}
	}
}

func TestMessagesDoNotSteerTheTerminal(t *testing.T) {
	u, out := screen(t)
	bob := person{name: "bob\x1b[2J", id: 2}
	with := place{name: bob.name}
	u.message(message{peer: with, from: bob, text: "\x1b]0;owned\x07 \u009b31m hi", at: time.Now()}, true)
	u.history(message{peer: with, from: bob, text: "\x1b[2J", at: time.Now().Add(-48 * time.Hour)})
	u.contact(person{name: "cyd", nick: "\x1b[2J"}, 3)
	for _, bad := range []string{"\x1b]", "\x1b[2J", "\x07", "\u009b"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("%q reaches the terminal: %q", bad, out.String())
		}
	}
}
