package cli_test

import (
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/cli"
)

// What can't be done is refused in one line that names the mend, before anything is written.
func TestBackupCommandsRefuse(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{"move", "--nats", "nats://127.0.0.1:1"}, cli.ExitUsage, "--from is not given"},
		{[]string{"move", "--from", dir}, cli.ExitUsage, "--nats is not given"},
		{[]string{"move", "--from", missing, "--nats", "nats://127.0.0.1:1"}, cli.ExitError, "there is no log in " + missing},
		{[]string{"backup"}, cli.ExitUsage, "--out is not given"},
		{[]string{"backup", "--data", missing, "--out", filepath.Join(dir, "out")}, cli.ExitError, "there is no log in " + missing},
		{[]string{"backup", "--data", dir, "--nats", "nats://127.0.0.1:1", "--out", dir}, cli.ExitUsage, "--data and --nats"},
		{[]string{"backup", "verify", missing}, cli.ExitError, "there is no backup in " + missing},
		{[]string{"restore", "--data", dir}, cli.ExitUsage, "--from is not given"},
		{[]string{"restore", "--from", dir}, cli.ExitUsage, "either --data or --nats"},
		{[]string{"restore", "--from", missing, "--data", dir}, cli.ExitError, "there is no backup in " + missing},
	} {
		var out, err strings.Builder
		exit := cli.Run(t.Context(), c.args, cli.IO{In: strings.NewReader(""), Out: &out, Err: &err})
		if text := err.String(); exit != c.exit || !strings.Contains(text, c.says) || strings.Count(text, "\n") != 1 {
			t.Errorf("%v: exit %d, want %d, says %q", c.args, exit, c.exit, text)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
