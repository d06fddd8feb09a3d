package cli

import (
	"slices"
	"strings"
	"testing"

	"godwit/internal/admin"
)

func TestStatusIsToldInWords(t *testing.T) {
	var out strings.Builder
	st := admin.Status{
		Files:    &admin.FileStatus{Listen: "[::]:8600", Advertise: "im.example.org:8600", StoreStatus: admin.StoreStatus{Room: 4 << 30, Left: new(uint64(3 << 30))}},
		Pictures: admin.PictureStatus{Upload: "session", StoreStatus: admin.StoreStatus{Room: 1 << 20}},
		Pushes: admin.PushStatus{Sending: true, Targets: []admin.TargetStatus{
			{ID: "a", BacklogSeconds: new(0.0)}, {ID: "b", BacklogSeconds: new(90.4)}, {ID: "c", Disabled: true}, {ID: "d"},
		}},
		Nodes: []admin.NodeStatus{
			{Process: "CCCC", Node: "c1", Role: "connector", Advertise: "im:8000", Clients: 3, Capacity: 100, State: "serves", Clock: 0.5},
			{Process: "xAAAA", Node: "p1", Role: "projector", Views: 1, Owns: 1}, {Process: "xBBBB", Node: "p1", Role: "projector", Views: 1},
		},
		Streams: []admin.StreamStatus{{Name: "PEOPLE", Last: 9, View: "people", Leader: "n1", Replicas: 3, Current: 2,
			Owner: &admin.ViewCopy{Process: "xAAAA", Folded: 9, Warm: true}, Standbys: []admin.ViewCopy{{Process: "xBBBB", Folded: 4}}}},
		Leases:  []admin.LeaseStatus{{Name: "people", Process: "xAAAA"}},
		Unknown: []string{"PRESENCE: no leader"},
	}
	if err := writeStatus(&out, st); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"files [::]:8600, clients are told im.example.org:8600, 3072 of 4096 MiB free",
		"pictures on the http port, upload session, how full is not known now",
		"pushes to 4 targets, sent from here",
		"  target a has caught up", "  target b behind by 1m30s", "  target c disabled", "  target d not known here",
	} {
		if !strings.Contains(out.String(), "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, out.String())
		}
	}
	for _, line := range []string{
		"3 clients connected, 0 people online",
		"NODE     ROLE       ADDRESS      CLIENTS   STATE              CLOCK",
		"c1       connector  im:8000      3 of 100  serves             +0.5s",
		"p1/AAAA  projector  -            -         owns 1 of 1 views  -",
		"p1/BBBB  projector  -            -         owns 0 of 1 views  -",
		"STREAM  RECORDS  LEADER  CURRENT  VIEW    OWNER (BEHIND)  STANDBYS (BEHIND)",
		"PEOPLE  9        n1      2 of 3   people  p1/AAAA (0)     p1/BBBB (5) cold",
		"leases: people p1/AAAA",
		"not known now: PRESENCE: no leader",
	} {
		line = strings.Join(strings.Fields(line), " ")
		if !slices.ContainsFunc(strings.Split(out.String(), "\n"), func(l string) bool { return strings.Join(strings.Fields(l), " ") == line }) {
			t.Errorf("no line %q in\n%s", line, out.String())
		}
	}
	out.Reset()
	if err := writeStatus(&out, admin.Status{Pictures: admin.PictureStatus{URL: "https://img.example.org/"}}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"files off", "pictures https://img.example.org/,", "pushes to 0 targets, sent by another process, or by none for the moment"} {
		if !strings.Contains(out.String(), "\n"+line) {
			t.Errorf("no line %q in\n%s", line, out.String())
		}
	}
}
