package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/connector"
	"godwit/internal/password"
	"godwit/internal/ttclient"
	"godwit/internal/up"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	imextension "godwit/schema/client/extension"
	immessage "godwit/schema/client/message"
	imswitch "godwit/schema/client/switchservice"
)

const allExtensions = uint32(imextension.Feature_FEATURE_NOTICES | imextension.Feature_FEATURE_RECEIPTS |
	imextension.Feature_FEATURE_TYPING | imextension.Feature_FEATURE_RESUME)

// newcomer is a client with extensions, and what it was pushed.
type newcomer struct {
	*ttclient.Client
	t      *testing.T
	pushes chan proto.Message
}

// newcomer logs somebody in; edit may change how.
func (s *server) newcomer(t *testing.T, p person, device imbase.ClientType, edit func(o *ttclient.Options)) *newcomer {
	t.Helper()
	m, err := s.tryNewcomer(t, p, device, edit)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (s *server) tryNewcomer(t *testing.T, p person, device imbase.ClientType, edit func(o *ttclient.Options)) (*newcomer, error) {
	m := &newcomer{t: t, pushes: make(chan proto.Message, 1000)}
	o := ttclient.Options{Addr: s.clients, Name: p.name, Password: password.MD5Hex(password1), Device: device, Features: allExtensions, Timeout: patience,
		Push: func(_ uint16, push proto.Message) {
			select {
			case m.pushes <- push:
			default:
				t.Error("too many pushes")
			}
		}}
	switch transportOf(t) {
	case overBinary:
		o.Addr = s.webSocket()
	case overJSON:
		o.Addr, o.JSON = s.webSocket(), true
	}
	if edit != nil {
		edit(&o)
	}
	var err error
	if m.Client, err = ttclient.Login(t.Context(), o); err != nil {
		return nil, err
	}
	t.Cleanup(m.Close)
	return m, nil
}

// wantPush waits for a push of a kind that fits; others of the kind fail the test.
func wantPush[M proto.Message](m *newcomer, what string, fits func(push M) bool) {
	m.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case push := <-m.pushes:
			if p, ok := push.(M); ok {
				if !fits(p) {
					m.t.Errorf("%s: %v", what, p)
				}
				return
			}
		case <-limit:
			m.t.Fatalf("%s did not come", what)
		}
	}
}

// noPush looks at what was pushed until now: whatever was on its way has come when an answer
// to a later request has.
func noPush[M proto.Message](ctx context.Context, m *newcomer, what string) {
	m.t.Helper()
	if _, err := m.Sync(ctx, nil); err != nil {
		m.t.Error(err)
	}
	for {
		select {
		case push := <-m.pushes:
			if p, ok := push.(M); ok {
				m.t.Errorf("%s: %v", what, p)
			}
		default:
			return
		}
	}
}

func refusedAs(t *testing.T, what string, err error, want imextension.Refusal) {
	t.Helper()
	if r, ok := errors.AsType[*ttclient.RefusedError](err); !ok || r.Why != want {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// What new clients can do beyond the protocol, over real sockets. Old clients beside them
// notice nothing.
func TestExtensions(t *testing.T) {
	s := other(t, func(c *up.Config) {
		c.ResumeTime, c.RecallTime, c.EditTime = time.Hour, time.Hour, time.Hour
	})
	const windows, android = imbase.ClientType_CLIENT_TYPE_WINDOWS, imbase.ClientType_CLIENT_TYPE_ANDROID
	old := func(o *ttclient.Options) { o.Features = 0 }

	t.Run("resume", func(t *testing.T) {
		p := s.person(t)
		m := s.newcomer(t, p, windows, nil)
		token, expires := m.ResumeToken()
		if m.Features() != allExtensions || time.Until(expires) < 59*time.Minute {
			t.Fatalf("features %b, token until %v", m.Features(), expires)
		}
		by := func(token []byte) func(o *ttclient.Options) {
			return func(o *ttclient.Options) { o.Name, o.Password, o.ResumeToken = "", "", token }
		}
		again := s.newcomer(t, p, windows, by(token))
		if again.ID() != p.id {
			t.Errorf("resumed as %d", again.ID())
		}
		bad := bytes.Clone(token)
		bad[3] ^= 1
		if _, err := s.tryNewcomer(t, p, windows, by(bad)); err == nil {
			t.Error("a forged token was taken")
		}
		if err := s.people.SetPassword(t.Context(), p.name, "another"); err != nil {
			t.Fatal(err)
		}
		_, err := s.tryNewcomer(t, p, windows, by(token))
		if le, ok := errors.AsType[*ttclient.LoginError](err); !ok || le.Code != imbase.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED {
			t.Errorf("with another password: %v", err)
		}
		if o := s.newcomer(t, s.person(t), windows, old); o.Features() != 0 {
			t.Errorf("an old client is told of features %b", o.Features())
		} else if token, _ := o.ResumeToken(); token != nil {
			t.Error("an old client got a token")
		}
	})

	t.Run("client message id", func(t *testing.T) {
		ann, bob := s.person(t), s.person(t)
		pc, phone, b := s.newcomer(t, ann, windows, nil), s.newcomer(t, ann, android, nil), s.newcomer(t, bob, windows, nil)
		to := ttclient.Conversation{ID: bob.id}
		msg := ttclient.Message{Data: content.EncryptText("once"), ID: ttclient.NewMessageID()}
		first, err := pc.SendMessage(t.Context(), to, msg)
		if err != nil {
			t.Fatal(err)
		}
		wantPush(b, "the message", func(m *immessage.IMMsgData) bool {
			return m.GetMsgId() == first && bytes.Equal(m.GetClientMessageId(), msg.ID) && m.GetFromUserId() == ann.id
		})
		// Another connection, another kind of device, other bytes: it is the same message.
		msg.Data, msg.Seq = content.EncryptText("once more"), 0
		if id, err := phone.SendMessage(t.Context(), to, msg); err != nil || id != first {
			t.Errorf("sent again as %d, %v, was %d", id, err, first)
		}
		noPush[*immessage.IMMsgData](t.Context(), b, "pushed again")
		msg.ID = bytes.Repeat([]byte{1}, 16) // a ULID of long ago
		_, err = pc.SendMessage(t.Context(), to, msg)
		refusedAs(t, "an old id", err, imextension.Refusal_REFUSAL_MALFORMED)
	})

	t.Run("recall and edit", func(t *testing.T) {
		ann, bob := s.person(t), s.person(t)
		a, phone, b, was := s.newcomer(t, ann, windows, nil), s.newcomer(t, ann, android, nil), s.newcomer(t, bob, windows, nil), s.newcomer(t, bob, android, old)
		to, from := ttclient.Conversation{ID: bob.id}, ttclient.Conversation{ID: ann.id}
		send := func(text string) uint32 {
			id, err := a.SendMessage(t.Context(), to, ttclient.Message{Data: content.EncryptText(text)})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		first, second := send("a secret"), send("a tyop")
		refusedAs(t, "recall of another's", b.Recall(t.Context(), from, first), imextension.Refusal_REFUSAL_NOT_ALLOWED)
		if err := a.Edit(t.Context(), to, second, content.EncryptText("a typo")); err != nil {
			t.Fatal(err)
		}
		if err := a.Recall(t.Context(), to, first); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, "a second recall", a.Recall(t.Context(), to, first), imextension.Refusal_REFUSAL_NO_SUCH_MESSAGE)
		refusedAs(t, "an edit of what was recalled", a.Edit(t.Context(), to, first, []byte("x")), imextension.Refusal_REFUSAL_NO_SUCH_MESSAGE)
		refusedAs(t, "an edit that changes nothing", a.Edit(t.Context(), to, second, content.EncryptText("a typo")), imextension.Refusal_REFUSAL_NO_EFFECT)
		gone := content.EncryptText(connector.DefaultRecalledText)
		for m, peer := range map[*newcomer]uint32{phone: bob.id, b: ann.id} {
			wantPush(m, "the edit", func(n *imextension.MessageChangedNotify) bool {
				g := n.GetMessage()
				return n.GetSessionId() == peer && g.GetMsgId() == second && g.GetEdits() == 1 && bytes.Equal(g.GetMsgData(), content.EncryptText("a typo")) &&
					g.GetFromSessionId() == ann.id && g.GetCreateTime() > 0
			})
			wantPush(m, "the recall", func(n *imextension.MessageChangedNotify) bool {
				g := n.GetMessage()
				return g.GetMsgId() == first && g.GetRecalled() && bytes.Equal(g.GetMsgData(), gone)
			})
		}
		noPush[*imextension.MessageChangedNotify](t.Context(), a, "told what it did itself")
		noPush[*imextension.MessageChangedNotify](t.Context(), was, "an old client was told")
		// An old client finds both as the log has them now, and both count until they are read.
		list, err := was.Messages(t.Context(), from, 0, 10)
		if err != nil || len(list) != 2 || !bytes.Equal(list[0].GetMsgData(), content.EncryptText("a typo")) || !bytes.Equal(list[1].GetMsgData(), gone) {
			t.Errorf("history %v, %v", list, err)
		}
		unread, err := was.Unread(t.Context())
		if err != nil || len(unread) != 1 || unread[0].GetUnreadCnt() != 2 {
			t.Errorf("unread %v, %v", unread, err)
		}
	})

	t.Run("receipts", func(t *testing.T) {
		ann, bob := s.person(t), s.person(t)
		a, phone, b := s.newcomer(t, ann, windows, nil), s.newcomer(t, ann, android, old), s.newcomer(t, bob, windows, nil)
		to, from := ttclient.Conversation{ID: bob.id}, ttclient.Conversation{ID: ann.id}
		id, err := a.SendMessage(t.Context(), to, ttclient.Message{Data: content.EncryptText("hello")})
		if err != nil {
			t.Fatal(err)
		}
		is := func(what, want string) {
			t.Helper()
			read, delivered, err := a.Receipts(t.Context(), to, id)
			if got := fmt.Sprint(read, delivered); err != nil || got != want {
				t.Errorf("%s: %s, %v, want %s", what, got, err, want)
			}
		}
		is("at first", "[] []")
		if err := b.Received(from, id); err != nil {
			t.Fatal(err)
		}
		wantPush(a, "received", func(n *imextension.ReceiptNotify) bool {
			return n.GetSessionId() == bob.id && n.GetUserId() == bob.id && n.GetDeliveredMsgId() == id && n.ReadMsgId == nil
		})
		is("received", fmt.Sprintf("[] [%d]", bob.id))
		if err := b.Read(from, id); err != nil {
			t.Fatal(err)
		}
		wantPush(a, "read", func(n *imextension.ReceiptNotify) bool {
			return n.GetSessionId() == bob.id && n.GetUserId() == bob.id && n.GetReadMsgId() == id && n.DeliveredMsgId == nil
		})
		is("read", fmt.Sprintf("[%d] []", bob.id))
		noPush[*imextension.ReceiptNotify](t.Context(), phone, "an old client was told")
	})

	t.Run("typing and commands", func(t *testing.T) {
		ann, bob := s.person(t), s.person(t)
		a, phone, b, was := s.newcomer(t, ann, windows, nil), s.newcomer(t, ann, android, old), s.newcomer(t, bob, windows, nil), s.newcomer(t, bob, android, old)
		// What passes is for those who are there by now; whose list was answered is.
		for _, m := range []*newcomer{a, phone, b, was} {
			if _, err := m.Sync(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Typing(ttclient.Conversation{ID: bob.id}, true); err != nil {
			t.Fatal(err)
		}
		wantPush(b, "typing", func(n *imextension.TypingNotify) bool {
			return n.GetSessionId() == ann.id && n.GetUserId() == ann.id && n.GetTyping()
		})
		const shake = `{"service_id":1,"cmd_id":65537,"content":"shakewindow"}`
		err := a.Send(client.CmdP2PCmdMsg, &imswitch.IMP2PCmdMsg{FromUserId: new(uint32(0)), ToUserId: &bob.id, CmdMsgData: new(shake)})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*newcomer{phone, b, was} {
			wantPush(m, "the command", func(n *imswitch.IMP2PCmdMsg) bool {
				return n.GetFromUserId() == ann.id && n.GetToUserId() == bob.id && n.GetCmdMsgData() == shake
			})
		}
		noPush[*imswitch.IMP2PCmdMsg](t.Context(), a, "the sender got it back")
		noPush[*imextension.TypingNotify](t.Context(), was, "an old client was told")
	})

	t.Run("sync", func(t *testing.T) {
		ann, bob, cy := s.person(t), s.person(t), s.person(t)
		b, c := s.newcomer(t, bob, windows, nil), s.newcomer(t, cy, windows, nil)
		to := ttclient.Conversation{ID: ann.id}
		send := func(m *newcomer, text string) uint32 {
			id, err := m.SendMessage(t.Context(), to, ttclient.Message{Data: content.EncryptText(text)})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		since := func(token []byte) *ttclient.Synced {
			m := s.newcomer(t, ann, windows, func(o *ttclient.Options) { o.SyncToken = token })
			m.Close()
			return m.Synced()
		}
		heads := func(y *ttclient.Synced) string {
			var all []string
			for _, e := range y.Entries {
				all = append(all, fmt.Sprintf("%d: %d read %d changed %v", e.GetSessionId(), e.GetLatestMsgId(), e.GetReadMsgId(), e.GetChanged()))
			}
			slices.Sort(all)
			return fmt.Sprint(all)
		}
		is := func(what string, y *ttclient.Synced, want ...string) {
			t.Helper()
			slices.Sort(want)
			if got := heads(y); got != fmt.Sprint(want) {
				t.Errorf("%s: %s, want %v", what, got, want)
			}
		}
		one := send(b, "one")
		send(c, "two")
		y := since([]byte{})
		is("everything", y, fmt.Sprintf("%d: 1 read 0 changed []", bob.id), fmt.Sprintf("%d: 1 read 0 changed []", cy.id))
		if !y.Whole || !y.Directory || y.Entries[0].GetLatest().GetFromSessionId() == 0 {
			t.Errorf("everything: %+v", y)
		}
		token := y.Token
		if y = since(token); len(y.Entries) != 0 || y.Whole || y.Directory || !bytes.Equal(y.Token, token) {
			t.Errorf("nothing new: %+v", y)
		}
		send(b, "three")
		if err := b.Recall(t.Context(), to, one); err != nil {
			t.Fatal(err)
		}
		y = since(token)
		is("one has changed", y, fmt.Sprintf("%d: 2 read 0 changed [1]", bob.id))
		a := s.newcomer(t, ann, windows, nil)
		if err := a.Read(ttclient.Conversation{ID: cy.id}, 1); err != nil {
			t.Fatal(err)
		}
		z, err := a.Sync(t.Context(), y.Token) // asked on the same session, after what it did
		if err != nil {
			t.Fatal(err)
		}
		is("read", z, fmt.Sprintf("%d: 1 read 1 changed []", cy.id))
		_ = s.person(t)
		if y = since(z.Token); !y.Directory || len(y.Entries) != 0 {
			t.Errorf("a new person: %+v", y)
		}
	})
}
