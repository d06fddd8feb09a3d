package bus_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"

	"github.com/nats-io/nats-server/v2/server"
)

func TestALogIsPreparedOnce(t *testing.T) {
	roles := bustest.NewRoles(t)
	url := bustest.Server(t, roles.Change)
	cfg := bus.Config{URL: url, Role: bus.RoleInit, NKeyFile: roles.Seed(bus.RoleInit), Partitions: 2}
	stores := bus.Stores{
		Objects: []bus.StoreConfig{{Name: bus.FilesStore, MaxBytes: 1 << 20, Keep: time.Hour}},
		Tables:  []bus.StoreConfig{{Name: bus.TransfersTable, MaxBytes: 1 << 20}},
	}
	states := func(r bus.Report, want bus.State, but ...string) {
		t.Helper()
		if len(r.Streams) != 4+5+2 {
			t.Errorf("%d streams: %+v", len(r.Streams), r.Streams)
		}
		for _, s := range r.Streams {
			if (s.State == want) == slices.Contains(but, s.Name) || (s.State != bus.Differs && s.Replicas != 1) {
				t.Errorf("%+v, want %s", s, want)
			}
		}
	}
	first, err := bus.Prepare(t.Context(), cfg, stores)
	if err != nil {
		t.Fatal(err)
	}
	states(first, bus.Made)
	if first.Partitions != 2 || first.Verified || !strings.Contains(first.Durability, "not verified") {
		t.Errorf("%+v", first)
	}
	again, err := bus.Prepare(t.Context(), cfg, stores)
	if err != nil || again.LogID != first.LogID {
		t.Errorf("log %v, want %v: %v", again.LogID, first.LogID, err)
	}
	states(again, bus.Fits)
	stores.Objects[0].MaxBytes *= 2
	larger, err := bus.Prepare(t.Context(), cfg, stores)
	if err != nil {
		t.Error(err)
	}
	states(larger, bus.Fits, "OBJ_files")
	// More replicas than one server has: nothing is changed, all of it is named.
	cfg.Replicas = 3
	differing, err := bus.Prepare(t.Context(), cfg, stores)
	ce, ok := errors.AsType[*bus.ConfigError](err)
	if !ok || ce.Field != "Replicas" || ce.Have != "1" || ce.Want != "3" {
		t.Error(err)
	}
	for _, s := range differing.Streams {
		if s.State != bus.Differs || !slices.Equal(s.Differences, []string{"Replicas is 1, want 3"}) {
			t.Errorf("%+v", s)
		}
	}
	if len(differing.Streams) != 9 {
		t.Errorf("%d streams", len(differing.Streams))
	}
}

// How the servers write to disk they say themselves, to who may ask.
func TestServersSayHowTheyWrite(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*server.Options)
		want   string
	}{
		"always":   {func(o *server.Options) { o.SyncAlways = true }, "disk (fsync before every ack"},
		"interval": {func(o *server.Options) { o.SyncInterval = 7 * time.Second }, "each 7s"},
	} {
		roles := bustest.NewRoles(t)
		url := bustest.Server(t, roles.Change, c.change)
		cfg := bus.Config{URL: url, Role: bus.RoleInit, NKeyFile: roles.Seed(bus.RoleInit), SystemNKeyFile: roles.SystemSeed(), Partitions: 1}
		r, err := bus.Prepare(t.Context(), cfg, bus.Stores{})
		if err != nil || !r.Verified || !strings.Contains(r.Durability, c.want) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		cfg.SystemNKeyFile = roles.Seed(bus.RoleConnector) // of another account
		if r, err := bus.Prepare(t.Context(), cfg, bus.Stores{}); err == nil {
			t.Errorf("%s: verified by nobody: %+v", name, r)
		}
	}
}

func TestAServerThatTakesTooLittleIsRefused(t *testing.T) {
	url := bustest.Server(t, func(o *server.Options) { o.MaxPayload = 1 << 19 })
	if _, err := bustest.Open(t, bustest.At(url)); err == nil || !strings.Contains(err.Error(), "max_payload") {
		t.Error(err)
	}
}
