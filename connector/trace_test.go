package connector

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"godwit/schema/client"
)

// One id follows a message from the writer's connector to the reader's.
func TestTraceFollowsAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		r := newRig(t, func(c *Config) {
			c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		ann.send(ann.pack(client.CmdMsgData, 44, msg(2, text, "secret")))
		r.step(ann, bob)
		trace := ""
		for line := range strings.SplitSeq(log.text(), "\n") {
			_, after, _ := strings.Cut(line, "trace=")
			id, _, _ := strings.Cut(after, " ")
			switch {
			case strings.Contains(line, `"message stored"`):
				trace = id
				if !strings.HasPrefix(id, "CONVERSATION-") || !strings.Contains(line, "seq_num=44") || !strings.Contains(line, "id=1") {
					t.Errorf("stored: %s", line)
				}
			case strings.Contains(line, `"message pushed"`):
				if id != trace || id == "" || !strings.Contains(line, "user=2") {
					t.Errorf("pushed: %s, stored as %q", line, trace)
				}
				trace = "done"
			}
		}
		if trace != "done" {
			t.Errorf("logged: %s", log.text())
		}
		if strings.Contains(log.text(), "secret") {
			t.Error("a message's content is in the log")
		}
	})
}
