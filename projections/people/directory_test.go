package people

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

func profile(at int64, p *event.ProfileChanged) *event.Event {
	return &event.Event{At: at, Body: &event.Event_ProfileChanged{ProfileChanged: p}}
}

func department(at int64, d *event.DepartmentChanged) *event.Event {
	return &event.Event{At: at, Body: &event.Event_DepartmentChanged{DepartmentChanged: d}}
}

func reserved(number uint32) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_GroupReserved{GroupReserved: &event.GroupReserved{Number: number}}}
}

func token(user uint32, kind uint32, token string) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_DeviceTokenSet{DeviceTokenSet: &event.DeviceTokenSet{User: user, ClientType: kind, Token: token}}}
}

func shield(user uint32, on bool) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_PushShieldSet{PushShieldSet: &event.PushShieldSet{User: user, On: on}}}
}

func rehashed(user uint32, hash string, credentials uint64) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_PasswordRehashed{PasswordRehashed: &event.PasswordRehashed{
		User: user, PasswordHash: hash, CredentialsSequence: credentials,
	}}}
}

func keyAdded(at int64, id string) *event.Event {
	return &event.Event{At: at, Body: &event.Event_ApiKeyAdded{ApiKeyAdded: &event.ApiKeyAdded{
		Id: id, Hash: bytes.Repeat([]byte{1}, 32), Name: "shop", Scopes: []string{"users:read"}, Expires: 5, By: "operator",
	}}}
}

func keyRevoked(id string) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_ApiKeyRevoked{ApiKeyRevoked: &event.ApiKeyRevoked{Id: id}}}
}

func webhook(at int64, id, url, secret string) *event.Event {
	return &event.Event{At: at, Body: &event.Event_WebhookSet{WebhookSet: &event.WebhookSet{Id: id, Url: url, Secret: secret}}}
}

func unhooked(id string) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_WebhookRemoved{WebhookRemoved: &event.WebhookRemoved{Id: id}}}
}

// request names the request of an event.
func request(n byte, ev *event.Event) *event.Event {
	ev.Request = bytes.Repeat([]byte{n}, 16)
	return ev
}

func TestWhatOtherEventsComeTo(t *testing.T) {
	type step struct {
		ev   *event.Event
		want string
	}
	long := strings.Repeat("x", MaxWebhook)
	cases := []struct {
		name  string
		steps []step
	}{
		{"profiles", []step{
			{profile(second(1), &event.ProfileChanged{User: 9, Nick: new("x")}), "no_such_person"},
			{profile(second(1), &event.ProfileChanged{User: 1, Nick: new("Annie"), Department: new(uint32(99))}), "tells 1"},
			{profile(second(1), &event.ProfileChanged{User: 1, Nick: new("Annie")}), "no_effect"},
			{profile(second(1), &event.ProfileChanged{User: 1}), "no_effect"},
			{profile(second(1), &event.ProfileChanged{User: 1, AvatarUrl: new("http://b"), Signature: new("")}), "tells 1 directory avatar http://b"},
			{profile(second(1), &event.ProfileChanged{User: 1, Signature: new("bye"), AvatarUrl: new("http://c")}), "tells 1 directory avatar http://c signature bye"},
			{profile(second(1), &event.ProfileChanged{User: 1, Signature: new("")}), "tells 1 directory signature "},
			{profile(second(1), &event.ProfileChanged{User: 1, Employment: new(uint32(2))}), "tells 1"},
			{profile(second(1), &event.ProfileChanged{User: 1, Employment: new(uint32(3))}), "tells 1 disabled"},
			{profile(second(1), &event.ProfileChanged{User: 1, Employment: new(uint32(3))}), "no_effect"},
			{profile(second(1), &event.ProfileChanged{User: 1, Employment: new(uint32(0))}), "tells 1"},
		}},
		{"departments", []step{
			{department(second(1), &event.DepartmentChanged{Name: new("Sales")}), "number 1"},
			{department(second(1), &event.DepartmentChanged{Department: 7, Name: new("x")}), "no_such_department"},
			{department(second(1), &event.DepartmentChanged{Department: 7, Make: true, Name: new("x"), Parent: new(uint32(7))}), "number 7"},
			{department(second(1), &event.DepartmentChanged{Department: 7, Make: true, Name: new("y")}), "number_taken"},
			{department(second(1), &event.DepartmentChanged{Make: true}), "number 8"},
			{department(second(1), &event.DepartmentChanged{Department: 3, Make: true}), "number 3"},
			{department(second(1), &event.DepartmentChanged{}), "number 9"},
			{department(second(1), &event.DepartmentChanged{Department: 9, Deleted: new(false)}), "no_effect"},
			{department(second(1), &event.DepartmentChanged{Department: 9, Deleted: new(true)}), "number 9"},
			{department(second(1), &event.DepartmentChanged{Department: 9, Make: true}), "number_taken"},
			{department(second(1), &event.DepartmentChanged{Department: math.MaxUint32, Make: true}), fmt.Sprint("number ", uint32(math.MaxUint32))},
			{department(second(1), &event.DepartmentChanged{}), "number_taken"},
		}},
		{"numbers of groups", []step{
			{reserved(0), "number 1"},
			{reserved(12), "number 12"},
			{reserved(12), "number_taken"},
			{reserved(0), "number 13"},
			{reserved(2), "number 2"},
			{reserved(0), "number 14"},
		}},
		{"a request counts once", []step{
			{request(1, reserved(0)), "number 1"},
			{request(1, reserved(0)), "repeat of 1"},
			{request(2, reserved(0)), "number 2"},
			{request(2, department(second(1), &event.DepartmentChanged{})), "repeat of 2"},
			{request(3, reserved(2)), "number_taken"},
			{request(3, reserved(5)), "number 5"},
			{request(4, shield(1, true)), "nobody"},
			{shield(1, false), "nobody"},
			{request(4, shield(1, true)), "repeat of 0"},
			{&event.Event{Request: []byte("short"), Body: reserved(0).Body}, "malformed"},
		}},
		{"device tokens", []step{
			{token(9, 17, "t"), "no_such_person"},
			{token(1, 17, ""), "no_effect"},
			{token(1, 17, "t"), "nobody"},
			{token(1, 17, "t"), "no_effect"},
			{token(1, 18, "t"), "nobody"},
			{token(2, 17, "t"), "nobody"},
			{token(1, 17, ""), "no_effect"}, // it was taken
			{token(2, 17, ""), "nobody"},
			{token(1, 17, strings.Repeat("x", MaxToken+1)), "malformed"},
		}},
		{"quiet nights", []step{
			{shield(9, true), "no_such_person"},
			{shield(1, false), "no_effect"},
			{shield(1, true), "nobody"},
			{shield(1, true), "no_effect"},
		}},
		{"another hash of a password", []step{
			{rehashed(9, "h", 0), "no_such_person"},
			{rehashed(1, "", 0), "malformed"},
			{rehashed(1, "h", 1), "no_effect"},
			{rehashed(1, "h", 0), "tells 1"},
			{rehashed(1, "h", 0), "no_effect"},
			{password(second(1), 1), "tells 1 password_changed"}, // at 7
			{rehashed(1, "i", 0), "no_effect"},
			{rehashed(1, "i", 7), "tells 1"},
		}},
		{"API keys", []step{
			{keyRevoked("k"), "no_effect"},
			{keyRevoked(""), "no_effect"},
			{keyAdded(second(1), "k"), "tells 0 directory keys"},
			{keyAdded(second(1), "k"), "name_taken by 0"},
			{keyAdded(second(1), ""), "malformed"},
			{keyAdded(second(1), long), "malformed"},
			{keyAdded(second(1), long[:MaxName+1]), "malformed"},
			{keyAdded(second(1), long[:MaxKey*3/4]), "malformed"}, // a row of it would fit
			{keyRevoked(long[:MaxKey*3/4]), "no_effect"},
			{&event.Event{Body: &event.Event_ApiKeyAdded{ApiKeyAdded: &event.ApiKeyAdded{Id: "l", Hash: []byte("secret")}}}, "malformed"},
			{keyRevoked("k"), "tells 0 directory keys"},
			{keyRevoked("k"), "no_effect"},
			{keyAdded(second(1), "k"), "name_taken by 0"},
		}},
		{"webhook targets", []step{
			{unhooked("w"), "no_effect"},
			{unhooked(""), "no_effect"},
			{webhook(second(1), "w", "http://a", "s"), "tells 0 directory keys"},
			{webhook(second(2), "w", "http://a", ""), "no_effect"}, // the secret stays
			{webhook(second(2), "w", "http://b", ""), "tells 0 directory keys"},
			{webhook(second(2), "", "http://b", ""), "malformed"},
			{webhook(second(2), "w", "", ""), "malformed"},
			{webhook(second(2), "w", long, ""), "malformed"},
			{webhook(second(2), long, "http://b", ""), "malformed"},
			{unhooked("w"), "tells 0 directory keys"},
			{unhooked("w"), "no_effect"},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := new(projectiontest.Log)
			l.Append(writer, three()...)
			for _, s := range c.steps {
				l.Append(writer, s.ev)
			}
			_, applied := projectiontest.Fold(t, New(), l.Records)
			for i, a := range applied[1:] {
				got := text(a.Effects[0])
				if e := a.Effects[0]; e.Void == frame.Void_VOID_REPEAT {
					got = fmt.Sprint("repeat of ", e.FirstID)
				}
				if got != c.steps[i].want {
					t.Errorf("step %d: %s, want %s", i+1, got, c.steps[i].want)
				}
			}
		})
	}
}

func TestWhatIsSecretIsInNoOrdinaryAnswer(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, three()...)
	l.Append(writer, token(1, 17, "t1"), token(2, 18, "t2"), shield(2, true), rehashed(1, "better", 0))
	l.Append(writer, token(3, 18, "t1"))
	l.Append(writer, befriended(1, 2))
	v, _ := projectiontest.Fold(t, New(), l.Records)
	users := []uint32{3, 9, 1, 2}
	for _, q := range []*query.Request{
		{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: users}}},
		{Body: &query.Request_AccountList{AccountList: &query.AccountList{}}},
		{Body: &query.Request_AccountsChanged{AccountsChanged: &query.AccountsChanged{}}},
		{Body: &query.Request_AccountsChanged{AccountsChanged: &query.AccountsChanged{Of: 1}}},
	} {
		got := ask(t, v, q).GetAccounts().Accounts
		if len(got) < 2 {
			t.Errorf("%v: %v", q, got)
		}
		for _, a := range got {
			if a.PasswordHash != "" || a.DeviceToken != "" || a.DeviceType != 0 {
				t.Errorf("%v gives %v", q, a)
			}
			if a.Updated != fold(0) && q.GetAccountsChanged().GetOf() == 0 {
				t.Errorf("%v gives a change at %d", q, a.Updated)
			}
		}
	}
	if a := byNameOf(t, v, "ann"); a.PasswordHash != "better" || a.CredentialsSequence != 0 {
		t.Errorf("by name: %v", a)
	}
	if a := byNameOf(t, v, "cleo"); a.PasswordHash == "" || a.DeviceToken != "" {
		t.Errorf("by name: %v", a)
	}
	want := []*query.Device{{User: 3, Type: 18, Token: "t1"}, {User: 1}, {User: 2, Type: 18, Token: "t2", PushShield: true}}
	got := ask(t, v, &query.Request{Body: &query.Request_Devices{Devices: &query.Devices{Users: users}}}).GetDevices().Devices
	if !slices.EqualFunc(got, want, func(a, b *query.Device) bool { return proto.Equal(a, b) }) {
		t.Errorf("devices %v", got)
	}
}

func TestWhoLeavesLosesHisSessions(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, three()...)
	l.Append(writer, profile(second(1), &event.ProfileChanged{User: 1, Employment: new(uint32(3))}))
	v, _ := projectiontest.Fold(t, New(), l.Records)
	err := v.Read(func(r *view.Reader) error {
		a := Resync(r, &frame.ResyncRequest{Life: writer[:], Since: 2, Users: []*frame.ResyncUser{{User: 1, PeopleSequence: 1}, {User: 2, PeopleSequence: 1}}})
		if len(a.People) != 1 || a.People[0].User != 1 || a.People[0].Reason != event.EndReason_END_REASON_DISABLED {
			t.Errorf("%v", a)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDepartmentsAreNeverMissed(t *testing.T) {
	l := new(projectiontest.Log)
	name := func(number uint32, name string) *event.DepartmentChanged {
		return &event.DepartmentChanged{Department: number, Name: &name}
	}
	l.Append(writer, department(second(10), name(0, "a")), department(second(10), name(0, "b")))
	l.Append(writer, department(second(10), name(0, "c"))) // 11
	l.Append(writer, registered(second(10), "ann", 0))     // 12: of the same clock
	l.Append(writer, department(second(20), name(1, "A")), department(second(20), &event.DepartmentChanged{Department: 2, Deleted: new(true)}))
	v, _ := projectiontest.Fold(t, New(), l.Records)
	page := func(since, limit uint32) (out []string, latest uint32, more bool) {
		a := ask(t, v, &query.Request{Body: &query.Request_Departments{Departments: &query.Departments{Since: since, Limit: limit}}}).GetDepartments()
		for _, d := range a.Departments {
			out = append(out, fmt.Sprint(d.Department, d.Name, " ", d.Updated-fold(0), " ", d.Deleted))
		}
		return out, a.Latest, a.More
	}
	all := []string{"3c 11 false", "1A 20 false", "2b 20 true"}
	if got, latest, more := page(0, 0); !slices.Equal(got, all) || latest != fold(20) || more {
		t.Errorf("all: %v, %d, %v", got, latest, more)
	}
	if got, latest, _ := page(fold(20), 0); got != nil || latest != fold(20) {
		t.Errorf("none: %v, %d", got, latest)
	}
	if got, _, _ := page(math.MaxUint32, 0); got != nil {
		t.Errorf("since the end of time: %v", got)
	}
	for limit := uint32(1); limit <= 4; limit++ {
		var got []string
		for since, more := uint32(0), true; more; {
			var part []string
			part, since, more = page(since, limit)
			got = append(got, part...)
		}
		if !slices.Equal(got, all) {
			t.Errorf("in pages of %d: %v", limit, got)
		}
	}
}

func TestKeysAndTargetsAreListed(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, keyAdded(second(1), "b"), keyAdded(second(2), "a"), keyRevoked("b"))
	l.Append(writer, webhook(second(3), "w", "http://a", "s"), webhook(second(4), "w", "http://b", ""))
	v, _ := projectiontest.Fold(t, New(), l.Records)
	keys := func(id string) string {
		a := ask(t, v, &query.Request{Body: &query.Request_ApiKeys{ApiKeys: &query.ApiKeys{Id: id}}}).GetApiKeys()
		var out []string
		for _, k := range a.Keys {
			out = append(out, fmt.Sprint(k.Id, len(k.Hash), k.Name, k.Scopes, k.Expires, k.Revoked, k.Added == second(1), k.By))
		}
		return strings.Join(out, ", ")
	}
	if got := keys(""); got != "a32shop[users:read] 5 false falseoperator, b32shop[users:read] 5 true trueoperator" {
		t.Errorf("all: %s", got)
	}
	if got := keys("a"); got != "a32shop[users:read] 5 false falseoperator" {
		t.Errorf("one: %s", got)
	}
	if got := keys("c"); got != "" {
		t.Errorf("none: %s", got)
	}
	hooks := ask(t, v, &query.Request{Body: &query.Request_Webhooks{}}).GetWebhooks().Webhooks
	if want := (&query.Webhook{Id: "w", Url: "http://b", Secret: "s", Added: second(3)}); len(hooks) != 1 || !proto.Equal(hooks[0], want) {
		t.Errorf("targets: %v", hooks)
	}
}

func TestRevokedKeysMakeRoom(t *testing.T) {
	l := new(projectiontest.Log)
	var events []*event.Event
	for i := range MaxKeys {
		events = append(events, keyAdded(second(int64(i)), fmt.Sprint("k", i)))
	}
	l.Append(writer, events...)
	steps := []struct {
		ev   *event.Event
		want string
	}{
		{keyAdded(second(0), "x"), "full"},
		{keyRevoked("k7"), "tells 0 directory keys"},
		{keyRevoked("k5"), "tells 0 directory keys"},
		{keyAdded(second(0), "x"), "tells 0 directory keys"},
		{keyRevoked("k5"), "no_effect"}, // it was the older one, and is gone
		{keyAdded(second(0), "k7"), "name_taken by 0"},
		{keyAdded(second(0), "y"), "tells 0 directory keys"},
		{keyAdded(second(0), "z"), "full"},
	}
	for _, s := range steps {
		l.Append(writer, s.ev)
	}
	for i := range MaxWebhooks + 1 {
		l.Append(writer, webhook(second(0), fmt.Sprint("w", i), "http://a", "s"))
	}
	l.Append(writer, unhooked("w3"))
	l.Append(writer, webhook(second(0), "new", "http://a", "s"))
	_, applied := projectiontest.Fold(t, New(), l.Records)
	for i, s := range steps {
		if got := text(applied[1+i].Effects[0]); got != s.want {
			t.Errorf("step %d: %s, want %s", i+1, got, s.want)
		}
	}
	hooks := applied[1+len(steps):]
	for i, want := range map[int]string{MaxWebhooks - 1: "tells 0 directory keys", MaxWebhooks: "full", MaxWebhooks + 1: "tells 0 directory keys", MaxWebhooks + 2: "tells 0 directory keys"} {
		if got := text(hooks[i].Effects[0]); got != want {
			t.Errorf("webhook %d: %s, want %s", i, got, want)
		}
	}
}

func TestRequestsAreRemembered(t *testing.T) {
	l := new(projectiontest.Log)
	compared := func(n byte, name string) *event.Event {
		ev := request(n, registered(second(0), name, 0))
		ev.GetPersonRegistered().Compared = true
		return ev
	}
	l.Append(writer, compared(1, "ann"))
	l.Append(writer, compared(1, "ben")) // a repeat, and yet on ben's subject
	l.Append(writer, compared(1, "ann")) // and on ann's
	v, _ := projectiontest.Fold(t, New(), l.Records)
	state := func(n byte) (bool, uint32) {
		a := ask(t, v, &query.Request{Body: &query.Request_RequestState{RequestState: &query.RequestState{Request: bytes.Repeat([]byte{n}, 16)}}}).GetRequestState()
		return a.Known, a.Id
	}
	if known, id := state(1); !known || id != 1 {
		t.Errorf("request 1: %v %d", known, id)
	}
	if known, _ := state(2); known {
		t.Error("a request that nobody made")
	}
	if a := ask(t, v, &query.Request{Body: &query.Request_RequestState{RequestState: &query.RequestState{}}}).GetRequestState(); a.Known {
		t.Error("no request")
	}
	for name, want := range map[string][2]uint64{"ann": {1, 3}, "ben": {0, 2}} {
		a := ask(t, v, &query.Request{Body: &query.Request_NameState{NameState: &query.NameState{Name: name}}}).GetNameState()
		if got := [2]uint64{uint64(a.User), a.SubjectSequence}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestNumbersAndRequestsCountOnce draws any mixture of what gives numbers: no number is
// given twice, each is above all that the fold gave by itself before, and a request gives one.
func TestNumbersAndRequestsCountOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := new(projectiontest.Log)
		var kinds []int
		var named []uint32
		var asked []string
		for i := range rapid.IntRange(1, 40).Draw(rt, "events") {
			kind := rapid.IntRange(0, 2).Draw(rt, "kind")
			number := uint32(0)
			if rapid.IntRange(0, 2).Draw(rt, "named") == 0 {
				number = uint32(rapid.IntRange(1, 20).Draw(rt, "number"))
			}
			var ev *event.Event
			switch kind {
			case 0:
				ev = registered(second(0), fmt.Sprint("name", i), number)
			case 1:
				ev = department(second(0), &event.DepartmentChanged{Department: number, Make: true})
			default:
				ev = reserved(number)
			}
			if n := rapid.IntRange(0, 6).Draw(rt, "request"); n > 0 {
				request(byte(n), ev)
			}
			l.Append(writer, ev)
			kinds, named, asked = append(kinds, kind), append(named, number), append(asked, string(ev.Request))
		}
		_, applied := projectiontest.Fold(t, New(), l.Records)
		given := [3]map[uint32]bool{{}, {}, {}}
		var greatest [3]uint32
		requests := map[string]uint32{}
		for i, a := range applied {
			e, req := a.Effects[0], asked[i]
			if first, seen := requests[req]; seen && req != "" {
				if e.Void != frame.Void_VOID_REPEAT || e.FirstID != first {
					rt.Fatalf("event %d: %s of %d, want a repeat of %d", i, e.Void, e.FirstID, first)
				}
				continue
			}
			if e.Void != 0 {
				if e.Void != frame.Void_VOID_NUMBER_TAKEN || named[i] == 0 || !given[kinds[i]][named[i]] {
					rt.Fatalf("event %d: %s", i, e.Void)
				}
				continue
			}
			if given[kinds[i]][e.ID] || e.ID == 0 {
				rt.Fatalf("event %d: number %d again", i, e.ID)
			}
			if named[i] != 0 && e.ID != named[i] || named[i] == 0 && e.ID != greatest[kinds[i]]+1 {
				rt.Fatalf("event %d: number %d, named %d, greatest %d", i, e.ID, named[i], greatest[kinds[i]])
			}
			given[kinds[i]][e.ID] = true
			greatest[kinds[i]] = max(greatest[kinds[i]], e.ID)
			requests[req] = e.ID
		}
	})
}
