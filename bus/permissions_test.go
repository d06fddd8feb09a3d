package bus_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"

	"github.com/nats-io/nats.go"
)

// rolesServer is a server that knows the roles, with a log that was made for them.
func rolesServer(t *testing.T) (url string, roles *bustest.Roles) {
	t.Helper()
	roles = bustest.NewRoles(t)
	url = bustest.Server(t, roles.Change)
	bustest.New(t, roles.As(bus.RoleInit, url))
	return url, roles
}

// Who only checks makes nothing, and says what to do.
func TestWhoOnlyChecksMakesNothing(t *testing.T) {
	roles := bustest.NewRoles(t)
	url := bustest.Server(t, roles.Change)
	for _, role := range []bus.Role{bus.RoleConnector, bus.RoleProjector, bus.RoleGateway} {
		_, err := bustest.Open(t, roles.As(role, url))
		if !errors.Is(err, bus.ErrNotPrepared) || !strings.Contains(err.Error(), "godwit init") {
			t.Errorf("%s: %v", role, err)
		}
	}
	made := bustest.New(t, roles.As(bus.RoleInit, url))
	for _, role := range []bus.Role{bus.RoleConnector, bus.RoleProjector, bus.RoleGateway} {
		if k := bustest.New(t, roles.As(role, url)); k.LogID() != made.LogID() {
			t.Errorf("%s: log %v, want %v", role, k.LogID(), made.LogID())
		}
	}
}

func TestEveryRoleCanDoItsWork(t *testing.T) {
	url, roles := rolesServer(t)
	kit := func(role bus.Role) *bustest.Kit { return bustest.New(t, roles.As(role, url)) }
	making, connector, projector, gateway := kit(bus.RoleInit), kit(bus.RoleConnector), kit(bus.RoleProjector), kit(bus.RoleGateway)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, c := range []bus.StoreConfig{{Name: bus.FilesStore, MaxBytes: 1 << 20}, {Name: bus.PicturesStore, MaxBytes: 1 << 20}, {Name: bus.SnapshotsStore, MaxBytes: 1 << 20}} {
		_, err := making.Objects(ctx, c)
		must("make "+c.Name, err)
	}
	_, err := making.Table(ctx, bus.StoreConfig{Name: bus.TransfersTable, MaxBytes: 1 << 20})
	must("make transfers", err)

	// Writing and following the log.
	w := connector.NewWriter(life())
	write(t, w, 0, 3)
	_, err = register(t, w, "ada", "Ada", 0).wait(t)
	must("register", err)
	_, err = register(t, gateway.NewWriter(life()), "ada", "Ada", 0).wait(t)
	if !errors.Is(err, bus.ErrConflict) {
		t.Errorf("register again: %v", err)
	}
	r := &reader{}
	follow(t, projector.Bus, r)
	bustest.Eventually(t, "followed", func() bool { return r.seen() == 3 })
	_, err = gateway.ReadRecord(ctx, conv, 2)
	must("read", err)

	// Heads of the streams.
	for _, k := range []*bustest.Kit{connector, projector, gateway} {
		old, err := k.Epoch(ctx, conv)
		must("epoch", err)
		if k == projector {
			_, err := k.RenewEpoch(ctx, conv, old)
			must("renew epoch", err)
		}
	}
	for _, k := range []*bustest.Kit{projector, gateway} {
		l, err := k.AcquireLease(ctx, "lease")
		must("lease", err)
		all, err := k.Leases(ctx)
		must("leases", err)
		if len(all) != 1 || all[0].Process != k.Process() {
			t.Errorf("leases: %+v", all)
		}
		must("release", l.Release(ctx))
	}
	one, err := connector.Secret(ctx, "resume")
	must("secret", err)
	other, err := gateway.Secret(ctx, "resume")
	must("secret", err)
	if !bytes.Equal(one, other) {
		t.Error("two secrets")
	}
	cursor, err := gateway.SetCursor(ctx, "webhook.1.PEOPLE", bus.Cursor{}, 7)
	must("cursor", err)
	must("remove cursor", gateway.RemoveCursor(ctx, "webhook.1.PEOPLE", cursor))
	_, err = gateway.NoteRequest(ctx, "request", []byte("note"), 0)
	must("note", err)
	_, _, err = gateway.RequestNote(ctx, "request")
	must("note", err)

	// Questions, to one and to all.
	_, err = projector.Serve(bus.PeopleQuery, "views", 1, func(_ context.Context, q []byte) []byte { return append([]byte("re "), q...) })
	must("serve", err)
	_, err = projector.Serve(bus.OwnerSubject(projector.Process(), "attach"), "", 1, func(context.Context, []byte) []byte { return []byte("attached") })
	must("serve", err)
	for _, k := range []*bustest.Kit{connector, gateway} {
		a, err := k.Ask(ctx, bus.PeopleQuery, []byte("who"))
		must("ask", err)
		if string(a) != "re who" {
			t.Errorf("answer %q", a)
		}
		_, err = k.Ask(ctx, bus.OwnerSubject(projector.Process(), "attach"), nil)
		must("attach", err)
	}
	_, err = connector.ServeAll(bus.EveryNode("address"), func(context.Context, []byte) []byte { return []byte("here") })
	must("serve all", err)
	heard := 0
	for a, err := range gateway.AskAll(ctx, bus.EveryNode("address"), nil, 30*time.Second) {
		must("ask all", err)
		if string(a) == "here" {
			heard++
		}
		break
	}
	if heard != 1 {
		t.Errorf("%d answers", heard)
	}
	for _, k := range []*bustest.Kit{connector, projector, gateway} {
		_, err = k.ServeAll(bus.EveryNode(bus.LiveQuestion), func(context.Context, []byte) []byte { return []byte(k.Process()) })
		must("serve all", err)
	}
	say := map[string]bool{}
	bustest.Eventually(t, "all say how they do", func() bool { // a subscription may be under way
		for a, err := range gateway.AskAll(ctx, bus.EveryNode(bus.LiveQuestion), nil, 5*time.Second) {
			must("ask all", err)
			if say[string(a)] = true; len(say) == 3 {
				break
			}
		}
		return say[connector.Process()] && say[projector.Process()] && say[gateway.Process()]
	})

	// Beats and frames.
	var mu sync.Mutex
	var got []string
	hear := func(what string) func([]byte) {
		return func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, what+string(b))
		}
	}
	node := life()
	_, err = connector.ReceivePushes(node, hear("push "))
	must("pushes", err)
	for name, k := range map[string]*bustest.Kit{"connector ": connector, "projector ": projector, "gateway ": gateway} {
		_, err = k.ReceiveBeats(hear(name))
		must("beats", err)
		_, err = k.ReceiveProjectorBeats(hear(name))
		must("beats", err)
	}
	must("push", projector.Push(node, []byte("frame")))
	must("beat", connector.SendBeat([]byte("c")))
	must("beat", gateway.SendBeat([]byte("g")))
	must("beat", projector.SendProjectorBeat([]byte("p")))
	want := []string{"connector c", "connector g", "connector p", "gateway c", "gateway g", "gateway p", "projector c", "projector g", "projector p", "push frame"}
	bustest.Eventually(t, "all heard", func() bool {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(got)
		return slices.Equal(got, want)
	})

	// Stores.
	for _, u := range []struct {
		k     *bustest.Kit
		store string
	}{{gateway, bus.FilesStore}, {gateway, bus.PicturesStore}, {projector, bus.SnapshotsStore}} {
		o, err := u.k.Objects(ctx, bus.StoreConfig{Name: u.store, MaxBytes: 1 << 30})
		must("open "+u.store, err)
		must("put in "+u.store, o.Put(ctx, "a", []byte("first"), nil))
		must("put in "+u.store, o.Put(ctx, "a", []byte("second"), nil))
		b, _, err := o.Get(ctx, "a")
		must("get from "+u.store, err)
		if string(b) != "second" {
			t.Errorf("%s holds %q", u.store, b)
		}
		must("delete from "+u.store, o.Delete(ctx, "a"))
		if room, err := o.Room(ctx); err != nil || room > 1<<20 {
			t.Errorf("room %d, %v: the limit is that of who made it", room, err)
		}
	}
	files, err := connector.Objects(ctx, bus.StoreConfig{Name: bus.FilesStore, MaxBytes: 1 << 20})
	must("open files", err)
	must("delete a file", files.Delete(ctx, "none"))
	for _, k := range []*bustest.Kit{connector, gateway} {
		tasks, err := k.Table(ctx, bus.StoreConfig{Name: bus.TransfersTable, MaxBytes: 1 << 20})
		must("open transfers", err)
		_, err = tasks.Put(ctx, "task.1", []byte("t"), 0)
		must("put", err)
		keys, err := tasks.Keys(ctx, "task")
		must("keys", err)
		if len(keys) != 1 {
			t.Errorf("keys %v", keys)
		}
		must("delete", tasks.Delete(ctx, "task.1"))
	}
}

// What is none of a role's business the servers refuse.
func TestNoRoleCanDoMore(t *testing.T) {
	url, roles := rolesServer(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	connect := func(role bus.Role) *nats.Conn {
		nkey, err := nats.NkeyOptionFromSeed(roles.Seed(role))
		must(err)
		nc, err := nats.Connect(url, nkey, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		must(err)
		t.Cleanup(nc.Close)
		return nc
	}
	const (
		people = "PEOPLE"
		talk   = "CONVERSATION-00"
	)
	nobody := []string{
		"$JS.API.STREAM.DELETE." + people, "$JS.API.STREAM.PURGE." + people, "$JS.API.STREAM.UPDATE." + talk,
		"$JS.API.STREAM.MSG.DELETE." + talk, "$JS.API.STREAM.CREATE.MORE", "$JS.API.STREAM.RESTORE." + people,
		"$JS.API.STREAM.DELETE.KV_leases", "$JS.API.STREAM.PURGE.KV_leases", "$JS.API.STREAM.PURGE.KV_secrets",
		"$JS.API.STREAM.SNAPSHOT." + people, "$JS.API.STREAM.LEADER.STEPDOWN." + people, "$JS.API.META.LEADER.STEPDOWN",
		"_INBOX_connector.x", "_INBOX_projector.x", "_INBOX_gateway.x", "_INBOX.x", "$SYS.REQ.SERVER.PING",
	}
	for _, c := range []struct {
		role            bus.Role
		publish, listen []string
	}{
		{bus.RoleConnector, append([]string{
			"deliver.someone", "projector.beat", "$KV.leases.people", "$KV.epochs.PEOPLE", "$KV.cursors.webhook", "$KV.requests.r",
			"$O.files.C.x", "$O.pictures.M.x", "$O.snapshots.M.x", "$JS.API.CONSUMER.CREATE.PEOPLE.x", "$JS.API.DIRECT.GET.OBJ_files.x",
			"$JS.API.STREAM.MSG.GET.KV_requests", "$JS.API.STREAM.MSG.GET.OBJ_pictures",
		}, nobody...), []string{"_INBOX_gateway.>", "_INBOX.>", "answer.gateway.>", "people.>", "conversation.>", ">", "view.people", "owner.>", "$KV.secrets.*"}},
		{bus.RoleProjector, append([]string{
			"people.event", "people.name.x", "presence.event", "conversation.00.event", "conversation.00.group.1", "node.beat",
			"$KV.secrets.resume", "$KV.cursors.webhook", "$KV.transfers.t", "$O.files.C.x", "view.people", "owner.other.attach", "node.ask.live",
			"$JS.API.STREAM.MSG.GET.KV_secrets", "$JS.API.CONSUMER.CREATE.KV_secrets.x", "$JS.API.CONSUMER.CREATE.OBJ_files.x",
		}, nobody...), []string{"_INBOX_connector.>", "answer.connector.>", "deliver.*", "people.>", "conversation.>", "$KV.secrets.*", "node.ask.*", "node.ask.address"}},
		{bus.RoleGateway, append([]string{
			"deliver.someone", "projector.beat", "$KV.epochs.PEOPLE", "$O.snapshots.M.x", "$JS.API.CONSUMER.CREATE.PEOPLE.x",
			"$JS.API.STREAM.MSG.GET.OBJ_snapshots",
		}, nobody...), []string{"_INBOX_connector.>", "people.>", "conversation.>", ">", "owner.>"}},
		{bus.RoleInit, []string{"deliver.someone", "node.beat", "projector.beat", "view.people", "answer.gateway.x", "_INBOX_connector.x"},
			[]string{"_INBOX_connector.>", "answer.gateway.>", "deliver.*", "people.>"}},
	} {
		nc := connect(c.role)
		check := func(what, subject string, do func() error) {
			t.Helper()
			must(do())
			must(nc.Flush()) // a refusal comes before its answer
			if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
				t.Errorf("%s may %s %s: %v", c.role, what, subject, err)
			}
		}
		for _, subject := range c.publish {
			check("publish", subject, func() error { return nc.Publish(subject, nil) })
		}
		for _, subject := range c.listen {
			check("subscribe", subject, func() error { _, err := nc.SubscribeSync(subject); return err })
		}
	}
	k := bustest.New(t, roles.As(bus.RoleConnector, url))
	for _, s := range k.Streams() {
		if last, err := k.LastSequence(t.Context(), s); err != nil || last != 1 {
			t.Errorf("%s ends at %d, %v", s, last, err)
		}
	}
}

// A role whose key the servers don't know is told so, and doesn't try for ever.
func TestAnUnknownKeyIsRefused(t *testing.T) {
	url, _ := rolesServer(t)
	strange := bustest.NewRoles(t)
	if _, err := bustest.Open(t, strange.As(bus.RoleConnector, url)); !errors.Is(err, nats.ErrAuthorization) {
		t.Error(err)
	}
	for what, c := range map[string]bus.Config{
		"no such file": {URL: url, NKeyFile: "/nowhere"},
		"two ways":     {URL: url, NKeyFile: strange.Seed(bus.RoleInit), User: "u"},
		"half a pair":  {URL: url, CertFile: "cert.pem"},
		"no role":      {URL: url, Role: "operator"},
	} {
		if b, err := bus.Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", what)
			_ = b.Close()
		}
	}
}

func TestPermissionListsAreShort(t *testing.T) {
	for _, role := range []bus.Role{bus.RoleConnector, bus.RoleProjector, bus.RoleGateway, bus.RoleInit} {
		publish, subscribe := bus.Permissions(role)
		if n := len(publish) + len(bus.Denied(role)); n > 40 || len(subscribe) > 12 {
			t.Errorf("%s: %d to publish, %d to subscribe", role, n, len(subscribe))
		}
		for _, s := range slices.Concat(publish, subscribe, bus.Denied(role)) {
			if slices.Contains(strings.Split(s, "."), "") {
				t.Errorf("%s: %q", role, s)
			}
		}
	}
}
