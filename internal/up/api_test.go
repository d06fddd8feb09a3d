package up_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/internal/admin"
	"godwit/internal/api"
	"godwit/internal/datadir"
	"godwit/internal/password"
	"godwit/internal/ttclient"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
	immsg "godwit/schema/client/message"
)

// pushed waits for a push of a type that fits.
func pushed[M proto.Message](t *testing.T, pushes <-chan proto.Message, fits func(M) bool) M {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case m := <-pushes:
			if want, ok := m.(M); ok && fits(want) {
				return want
			}
		case <-limit:
			t.Fatalf("no %T came", *new(M))
		}
	}
}

// What the API does reaches clients that are logged in, as it would reach them from one another.
func TestClientsSeeWhatTheAPIDoes(t *testing.T) {
	dir := t.TempDir()
	lines, _ := start(t, dir, nil)
	addr := strings.TrimPrefix(strings.Fields(lines[len(lines)-1])[1], "clients=")
	where, token, err := datadir.FindAdmin(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := admin.NewClient(where, token)
	call := func(method, path string, body, to any) {
		t.Helper()
		if err := c.Call(t.Context(), method, path, body, to); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	login := func(name string) (*ttclient.Client, chan proto.Message) {
		t.Helper()
		call(http.MethodPost, "/users", map[string]any{"name": name, "password": "secret"}, nil)
		pushes := make(chan proto.Message, 256)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		client, err := ttclient.Login(ctx, ttclient.Options{Addr: addr, Name: name, Password: password.MD5Hex("secret"),
			Features: uint32(imextension.Feature_FEATURE_NOTICES | imextension.Feature_FEATURE_RECEIPTS),
			Push:     func(_ uint16, m proto.Message) { pushes <- m }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return client, pushes
	}
	ann, annHears := login("ann")
	bob, bobHears := login("bob")

	// A message in ann's name goes to bob, and to ann's own client as from another device of hers.
	call(http.MethodPost, "/messages", map[string]any{"from": ann.ID(), "to_user": bob.ID(), "text": "hello"}, nil)
	for _, hears := range []chan proto.Message{annHears, bobHears} {
		m := pushed(t, hears, func(m *immsg.IMMsgData) bool { return m.GetFromUserId() == ann.ID() })
		if text, err := content.DecryptText(m.GetMsgData()); text != "hello" || err != nil || m.GetToSessionId() != bob.ID() || m.GetMsgId() != 1 {
			t.Errorf("%v: %q, %v", m, text, err)
		}
	}
	// It moved no cursor, so it is unread for nobody but bob, and for ann as well.
	for _, client := range []*ttclient.Client{ann, bob} {
		unread, err := client.Unread(t.Context())
		if err != nil || len(unread) != 1 || unread[0].GetUnreadCnt() != 1 {
			t.Errorf("unread of %d: %v, %v", client.ID(), unread, err)
		}
	}

	// A fixed group, which clients can't make: its members are told, and the system writes to it.
	var g api.Group
	call(http.MethodPost, "/groups", map[string]any{"name": "all", "members": []uint32{ann.ID()}}, &g)
	call(http.MethodPut, "/groups/1/members/2", nil, &g)
	for _, hears := range []chan proto.Message{annHears, bobHears} {
		n := pushed(t, hears, func(*imgroup.IMGroupChangeMemberNotify) bool { return true })
		if n.GetGroupId() != g.Number || n.GetUserId() != 0 || n.GetChangeType() != imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD || len(n.GetChgUserIdList()) != 1 {
			t.Errorf("%v", n)
		}
	}
	call(http.MethodPost, "/messages", map[string]any{"system": true, "to_group": g.Number, "text": "welcome"}, nil)
	m := pushed(t, bobHears, func(m *immsg.IMMsgData) bool { return m.GetMsgType() == imbase.MsgType_MSG_TYPE_GROUP_TEXT })
	if m.GetFromUserId() != 0 || m.GetToSessionId() != g.Number || m.GetMsgId() != 1 {
		t.Errorf("%v", m)
	}

	// What bob's back end has shown him is read for his client as well, and a receipt for ann.
	call(http.MethodPut, "/users/2/conversations/user-1/read", map[string]any{"message": 1}, nil)
	read := pushed(t, bobHears, func(*immsg.IMMsgDataReadNotify) bool { return true })
	if read.GetUserId() != bob.ID() || read.GetSessionId() != ann.ID() || read.GetMsgId() != 1 || read.GetSessionType() != imbase.SessionType_SESSION_TYPE_SINGLE {
		t.Errorf("%v", read)
	}
	receipt := pushed(t, annHears, func(*imextension.ReceiptNotify) bool { return true })
	if receipt.GetUserId() != bob.ID() || receipt.GetReadMsgId() != 1 {
		t.Errorf("%v", receipt)
	}
	call(http.MethodPut, "/users/2/friends/1", nil, nil)
	call(http.MethodPut, "/users/2/friends/1/remark", map[string]any{"remark": "Annie"}, nil)
	pushed(t, bobHears, func(n *imextension.FriendNotify) bool {
		return n.GetAction() == imextension.FriendAction_FRIEND_ACTION_REMARK && n.GetUserId() == ann.ID() && n.GetOwn() && n.GetText() == "Annie"
	})

	// A session that is kicked is over for its client.
	var list struct{ Sessions []api.Session }
	call(http.MethodGet, "/users/2/sessions", nil, &list)
	if len(list.Sessions) != 1 {
		t.Fatalf("%+v", list)
	}
	call(http.MethodDelete, "/users/2/sessions/"+list.Sessions[0].ID, nil, nil)
	select {
	case <-bob.Done():
	case <-time.After(time.Minute):
		t.Error("bob's client is still connected")
	}
	if ann.Err() != nil {
		t.Errorf("ann's client ended: %v", ann.Err())
	}
}
