package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/internal/admin"
	"godwit/internal/datadir"
	"godwit/internal/e2e/e2etest"
	"godwit/internal/ttclient"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
)

// The password of the imported people as their clients send it, and as TeamTalk stored it.
const (
	movedPassword = "827ccb0eea8a706c4c34a16891f84e7b" // 12345
	movedStored   = "e63d43d38a008d9ca3cfdef06f6ac223" // with the salt 1234
)

// movedDump is a small TeamTalk: three people, two groups, a conversation with a hole.
func movedDump() string {
	var b strings.Builder
	b.WriteString(e2etest.TeamTalkTables())
	b.WriteString("INSERT INTO `IMDepart` VALUES (3,'sales',1,0,0,1,1);\n")
	for i, name := range []string{"ann", "bob", "cyd"} {
		fmt.Fprintf(&b, "INSERT INTO `IMUser` VALUES (%d,1,'%s','%s','%s','%s','1234','','','',3,0,1,1,0,'');\n", 100+i, name, name, strings.ToUpper(name), movedStored)
	}
	b.WriteString("INSERT INTO `IMGroup` VALUES (500,'all','',100,1,3,0,4,1400000100,1400000100,1400000000),(507,'two','',101,2,2,0,2,1,1400000100,1400000000);\n" +
		"INSERT INTO `IMGroupMember` VALUES (1,500,100,0,1400000000,1400000000),(2,500,101,0,1400000000,1400000000),(3,500,102,0,1400000000,1400000000),(4,507,101,0,1400000000,1400000000),(5,507,102,0,1400000000,1400000000);\n" +
		"INSERT INTO `IMRelationShip` VALUES (9,100,101,0,1400000000,1400000000);\n")
	for i, id := range []int{1, 2, 4} { // 3 is lost
		fmt.Fprintf(&b, "INSERT INTO `IMMessage_1` VALUES (%d,9,%d,%d,%d,'%s',1,0,%d,%d);\n", i+1, 100+i%2, 101-i%2, id, content.EncryptText(fmt.Sprint("old ", id)), 1400000010+i, 1400000010+i)
	}
	for id := range 3 {
		fmt.Fprintf(&b, "INSERT INTO `IMGroupMessage_4` VALUES (%d,500,%d,%d,'%s',17,0,%d,%d);\n", id+1, 100+id, id+1, content.EncryptText(fmt.Sprint("to all ", id+1)), 1400000020+id, 1400000020+id)
	}
	return b.String()
}

// TestMovedIn starts a server on what was TeamTalk's. Its people log in with their old
// clients and passwords, find their history and groups, and go on.
func TestMovedIn(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	dump := filepath.Join(t.TempDir(), "dump.sql")
	if err := os.WriteFile(dump, []byte(movedDump()), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time does nothing
		if out, err := godwit(t, "import", "teamtalk", dump, "--data", data); err != nil {
			t.Fatalf("import: %v\n%s", err, out)
		}
	}
	for name, hash := range hashes(t, data) {
		if strings.HasPrefix(hash, "$argon2id$") || !strings.Contains(hash, movedStored) {
			t.Errorf("%s has the hash %q before the first login", name, hash)
		}
	}

	s := start(t, data)
	login := func(name, password string, pushed chan<- *immessage.IMMsgData) (*ttclient.Client, error) {
		ctx, cancel := context.WithTimeout(t.Context(), e2etest.Patience)
		defer cancel()
		return ttclient.Login(ctx, ttclient.Options{Addr: s.Clients, Name: name, Password: password, Push: func(_ uint16, m proto.Message) {
			if m, ok := m.(*immessage.IMMsgData); ok && pushed != nil {
				pushed <- m
			}
		}})
	}
	enter := func(name string, pushed chan<- *immessage.IMMsgData) *ttclient.Client {
		t.Helper()
		c, err := login(name, movedPassword, pushed)
		if err != nil {
			t.Fatalf("login of %s: %v", name, err)
		}
		return c
	}
	if _, err := login("ann", "827ccb0eea8a706c4c34a16891f84e7c", nil); !isRefusal(err) {
		t.Fatalf("a wrong password: %v", err)
	}
	pushed := make(chan *immessage.IMMsgData, 16)
	ann, bob := enter("ann", nil), enter("bob", pushed)
	if ann.ID() != 100 || bob.ID() != 101 || ann.Self().GetDepartmentId() != 3 {
		t.Fatalf("ann is %v, bob %v", ann.Self(), bob.Self())
	}

	says := func(c *ttclient.Client, v ttclient.Conversation) (texts []string) {
		t.Helper()
		list, err := c.Messages(t.Context(), v, 0, e2etest.Page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range slices.Backward(list) {
			text, err := content.DecryptText(m.GetMsgData())
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, fmt.Sprintf("%d %d %s", m.GetMsgId(), m.GetFromSessionId(), text))
		}
		return texts
	}
	withBob, all := ttclient.Conversation{ID: 101}, ttclient.Conversation{ID: 500, Group: true}
	equal := func(what string, got, want []string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, should be %q", what, got, want)
		}
	}
	talk := says(ann, withBob)
	if len(talk) != 4 || !strings.HasSuffix(talk[2], "[missing at import]") {
		t.Fatalf("the talk with bob is %q", talk)
	}
	equal("with bob", slices.Concat(talk[:2], talk[3:]), []string{"1 100 old 1", "2 101 old 2", "4 100 old 4"})
	equal("all", says(ann, all), []string{"1 100 to all 1", "2 101 to all 2", "3 102 to all 3"})
	if got := says(ann, ttclient.Conversation{ID: 507, Group: true}); len(got) > 0 {
		t.Errorf("ann reads a group that she is not in: %q", got)
	}
	groups, err := ann.Groups(t.Context(), 500, 507)
	if err != nil || len(groups) != 1 || numbers(ascending(groups[0].GetGroupMemberList())) != "100,101,102" ||
		groups[0].GetGroupType() != imbase.GroupType_GROUP_TYPE_NORMAL {
		t.Fatalf("the groups of ann are %v, %v", groups, err)
	}

	// And on, above what there was.
	goesOn := func(v ttclient.Conversation, text string, want uint32) {
		t.Helper()
		id, err := ann.SendMessage(t.Context(), v, ttclient.Message{Data: content.EncryptText(text)})
		if err != nil || id != want {
			t.Fatalf("%q got the id %d (%v), should be %d", text, id, err, want)
		}
		select {
		case m := <-pushed:
			if m.GetMsgId() != want || string(m.GetMsgData()) != string(content.EncryptText(text)) {
				t.Fatalf("bob was pushed %v", m)
			}
		case <-time.After(e2etest.Patience):
			t.Fatalf("bob was never pushed %q", text)
		}
	}
	goesOn(withBob, "new here", 5)
	goesOn(all, "everybody here?", 4)
	made, err := ann.CreateGroup(t.Context(), "lunch", 101)
	if err != nil || made <= 507 {
		t.Fatalf("a new group has the number %d (%v), should be above 507", made, err)
	}
	goesOn(ttclient.Conversation{ID: made, Group: true}, "hungry?", 1)
	err = s.Admin(t).Import(t.Context(), []admin.NewPerson{{Name: "dan", Password: "x"}}, func(p admin.ImportProgress) {
		for _, r := range p.Refused {
			t.Errorf("import of %s: %s", r.Name, r.Error)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for p, err := range s.Admin(t).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Name == "dan" && p.Number != 103 {
			t.Errorf("a new person has the number %d, should be 103", p.Number)
		}
	}
	ann.Close()
	bob.Close()
	s.stop(t)

	// Whoever was here has another hash; the others wait.
	got := hashes(t, data)
	for _, name := range []string{"ann", "bob"} {
		if !strings.HasPrefix(got[name], "$argon2id$") {
			t.Errorf("%s has the hash %q after a login", name, got[name])
		}
	}
	if !strings.Contains(got["cyd"], movedStored) {
		t.Errorf("cyd, who was never here, has the hash %q", got["cyd"])
	}
	s = start(t, data)
	enter("ann", nil).Close()
	if _, err := login("ann", movedStored, nil); !isRefusal(err) {
		t.Errorf("the stored hash for a password: %v", err)
	}
	s.stop(t)
	verify(t, data)
}

func isRefusal(err error) bool {
	refused, ok := errors.AsType[*ttclient.LoginError](err)
	return ok && refused.Code == imbase.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED
}

// hashes are the passwords in the log of a stopped directory, by login name.
func hashes(t *testing.T, data string) map[string]string {
	t.Helper()
	dir, err := datadir.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.Open(t.Context(), bus.Config{Dir: dir.NATS(), Durability: bus.OS})
	if err != nil {
		t.Fatal(errors.Join(err, dir.Close()))
	}
	defer func() {
		if err := errors.Join(b.Close(), dir.Close()); err != nil {
			t.Error(err)
		}
	}()
	last, err := b.LastSequence(t.Context(), event.People)
	if err != nil {
		t.Fatal(err)
	}
	found, names := map[string]string{}, map[uint32]string{}
	for rec, err := range b.Replay(t.Context(), event.People, 1, last) {
		var r event.Record
		if err == nil {
			err = proto.Unmarshal(rec.Data, &r)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if p := e.GetPersonRegistered(); p != nil && p.Number != 0 {
				names[p.Number], found[p.Name] = p.Name, p.PasswordHash
			}
			if p := e.GetPasswordRehashed(); p != nil {
				found[names[p.User]] = p.PasswordHash
			}
		}
	}
	return found
}
