package e2e

import (
	"io"
	"strings"
	"testing"
)

// TestTerminalsInAGroup has three people use what the program's own client knows beside
// talking to one person: groups, receipts, recalls, edits, friends and blocks.
func TestTerminalsInAGroup(t *testing.T) {
	t.Parallel()
	srv := start(t, t.TempDir())
	srv.register(t, 3)
	ann := chat(t, srv.Clients, "u1", "windows")
	bob := chat(t, srv.Clients, "u2", "windows")
	cyd := chat(t, srv.Clients, "u3", "android")

	made := strings.Fields(ann.do("group lunch u2", "group #"))
	group := made[1]
	if len(made) != 4 || made[2] != "2" || made[3] != "lunch" {
		t.Fatalf("made %q", made)
	}
	bob.see("joined " + group + " u1 u1,u2")

	ann.do("to "+group+" hungry?", "sent "+group+" 1")
	bob.see("message " + group + " 1 u1 hungry?")
	ann.see("delivered " + group + " 1 u2")
	bob.do("read "+group, "read "+group+" 1")
	ann.see("seen " + group + " 1 u2")
	ann.do("receipts "+group+" 1", "receipts "+group+" 1 read u2 delivered -")

	// Who comes later sees what comes later.
	bob.do("add "+group+" u3", "joined "+group+" u2 u3")
	cyd.see("joined " + group + " u2 u3")
	ann.see("joined " + group + " u2 u3")
	cyd.do("history "+group, "end history "+group+" 0")
	bob.do("to "+group+" very", "sent "+group+" 2")
	cyd.see("message " + group + " 2 u2 very")
	cyd.do("members "+group, "end members "+group+" 3")

	// Changed messages.
	bob.do("edit "+group+" 2 very much", "edited "+group+" 2 u2 very much")
	ann.see("edited " + group + " 2 u2 very much")
	bob.do("recall "+group+" 2", "recalled "+group+" 2")
	cyd.see("recalled " + group + " 2")
	bob.do("recall "+group+" 1", "error refused")

	// Only the administrator renames and removes; everybody may leave.
	bob.do("rename "+group+" dinner", "error refused")
	ann.do("rename "+group+" dinner", "done renamed "+group)
	cyd.see("group " + group + " 3 dinner")
	bob.do("remove "+group+" u3", "error "+group+": refused")
	cyd.do("leave "+group, "left "+group+" u3 u3")
	bob.see("left " + group + " u3 u3")
	cyd.do("to "+group+" still here?", "error refused")
	ann.do("remove "+group+" u2", "left "+group+" u1 u2")
	bob.see("left " + group + " u1 u2")
	bob.do("groups", "end groups 0")

	// Friends, and a block that holds at once.
	ann.do("friend u2 it is me", "done friend u2")
	bob.see("friends request u1 it is me")
	bob.do("accept u1", "done accept u1")
	ann.see("friends friend u2")
	ann.do("remark u2 Bobby", "done remark u2")
	ann.do("friends", "end friends 1")
	bob.do("block u1", "done block u1")
	ann.do("to u2 hello?", "error refused: one of you blocks the other")
	bob.do("unblock u1", "done unblock u1")
	ann.do("to u2 hello?", "sent u2 1")
	bob.see("message u1 1 u1 hello?")

	for _, c := range []*terminal{ann, bob, cyd} {
		if _, err := io.WriteString(c.in, "quit\n"); err != nil {
			t.Fatal(err)
		}
		c.ends(1) // of each a command was refused
	}
}
