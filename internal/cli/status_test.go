package cli

import (
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
