package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/internal/e2e/e2etest"
	"godwit/schema/event"
)

// tracer finds strace, and skips the test where it is missing or not permitted.
func tracer(t *testing.T) string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("skipped: strace is not installed (Debian package strace)")
	}
	if out, err := exec.Command(strace, "-f", "--seccomp-bpf", "-e", "trace=fsync", "true").CombinedOutput(); err != nil {
		t.Skipf("skipped: tracing is not permitted here: %v: %s", err, out)
	}
	return strace
}

// blockFile is in the path of the block files that hold the direct conversation of
// two people.
func blockFile(a, b uint32) string {
	return "/streams/" + event.Direct(a, b).Stream(event.DefaultPartitions).String() + "/msgs/"
}

// talkers logs two people in, for tests that send one message at a time.
func talkers(t *testing.T, addr string, ids []uint32) (a, b *e2etest.Session, got chan e2etest.Packet) {
	t.Helper()
	got = make(chan e2etest.Packet, 1024)
	a, err := e2etest.Open(addr, e2etest.Name(0), e2etest.DeviceWindows, func(e2etest.Packet) {})
	if err != nil {
		t.Fatal(err)
	}
	b, err = e2etest.Open(addr, e2etest.Name(1), e2etest.DeviceWindows, func(p e2etest.Packet) {
		if p.Command == e2etest.CmdMessage {
			got <- p
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.End)
	t.Cleanup(b.End)
	if a.User != ids[0] || b.User != ids[1] {
		t.Fatalf("users %d and %d, registered as %v", a.User, b.User, ids)
	}
	return a, b, got
}

var (
	callBegins  = regexp.MustCompile(`^(\d+) +(\w+)\((\d+)<(.*)`)
	callResumes = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>.* = (-?\d+)`)
	callResult  = regexp.MustCompile(`\) += (-?\d+)`)
)

// call is one system call of a trace: the lines on which it begins and is complete.
type call struct {
	name, on   string // on: its file or socket and what follows
	begin, end int    // end is -1 where it did not come back
	result     string
}

// calls reads a trace written by strace -f -o.
func calls(text string) []call {
	var all []call
	open := map[string]int{} // by thread
	for n, line := range strings.Split(text, "\n") {
		if m := callBegins.FindStringSubmatch(line); m != nil {
			c := call{name: m[2], on: m[4], begin: n, end: -1}
			if r := callResult.FindStringSubmatch(line); r != nil && !strings.HasSuffix(line, "<unfinished ...>") {
				c.end, c.result = n, r[1]
			} else {
				open[m[1]] = len(all)
			}
			all = append(all, c)
		} else if m := callResumes.FindStringSubmatch(line); m != nil {
			if i, ok := open[m[1]]; ok && all[i].name == m[2] {
				all[i].end, all[i].result = n, m[3]
				all[i].on += " " + line // what was read stands here
				delete(open, m[1])
			}
		}
	}
	return all
}

// TestDiskMeansFsync watches the system calls of the server: at durability disk a
// sync of the stream's block file begins and completes between a message's arrival
// and its ack; at os acks go out without one.
func TestDiskMeansFsync(t *testing.T) {
	strace := tracer(t)
	const messages = 20
	synced := map[string]int{}
	for _, durability := range []string{"disk", "os"} {
		t.Run(durability, func(t *testing.T) {
			data := t.TempDir()
			trace := filepath.Join(t.TempDir(), "trace")
			s, err := tryStart(t, []string{strace, "-f", "--seccomp-bpf", "-yy", "-x", "-s", "64", "-o", trace,
				"-e", "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,fsync,fdatasync"},
				data, "--durability", durability)
			if err != nil {
				t.Fatal(err)
			}
			ids := s.register(t, 2)
			a, _, got := talkers(t, s.Clients, ids)
			for i := range messages {
				id, err := a.Say(ids[1], fmt.Sprint("message ", i))
				if err != nil || id != uint32(i+1) {
					t.Fatalf("message %d got id %d: %v", i+1, id, err)
				}
				select {
				case <-got:
				case <-time.After(e2etest.Patience):
					t.Fatal("the message never came")
				}
			}
			port := strings.TrimPrefix(a.LocalAddr().String(), "127.0.0.1:")
			stopTraced(t, s)
			text, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			all := calls(string(text))
			for i := range messages {
				arrived, acked := between(all, port, uint16(0xf001+i))
				if arrived < 0 || acked < 0 {
					t.Fatalf("message %d: arrival at line %d and ack at line %d of the trace; both should be there", i+1, arrived, acked)
				}
				for _, c := range all {
					if (c.name == "fsync" || c.name == "fdatasync") && c.result == "0" &&
						strings.Contains(c.on, blockFile(ids[0], ids[1])) && strings.Contains(c.on, ".blk") &&
						c.begin > arrived && c.end >= 0 && c.end < acked {
						synced[durability]++
						break
					}
				}
			}
		})
	}
	t.Logf("of %d messages each, a sync of their block file stood between arrival and ack: %v", messages, synced)
	if synced["disk"] != messages {
		t.Errorf("disk: %d of %d messages were acked without a sync of their block file", messages-synced["disk"], messages)
	}
	if synced["os"] != 0 {
		t.Errorf("os: %d of %d acks waited for a sync", synced["os"], messages)
	}
}

// between finds, for a message of the client at a port, the line on which its
// arrival completes and the line on which the write of its ack begins.
func between(all []call, port string, seq uint16) (arrived, acked int) {
	arrived, acked = -1, -1
	message := fmt.Sprintf(`\x03\x01\x%02x\x%02x\x00\x00`, seq>>8, seq&0xff)
	ack := fmt.Sprintf(`\x03\x02\x%02x\x%02x\x00\x00`, seq>>8, seq&0xff)
	for _, c := range all {
		if !strings.Contains(c.on, ":"+port+"]") {
			continue
		}
		switch c.name {
		case "read", "readv", "recvfrom", "recvmsg":
			if arrived < 0 && strings.Contains(c.on, message) {
				arrived = c.end
			}
		default:
			if acked < 0 && strings.Contains(c.on, ack) {
				acked = c.begin
			}
		}
	}
	return arrived, acked
}

// stopTraced ends a server that runs under strace, which passes signals on to
// nobody.
func stopTraced(t *testing.T, s *server) {
	t.Helper()
	status, err := s.Admin(t).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(status.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Gone:
	case <-time.After(e2etest.Patience):
		_ = syscall.Kill(status.PID, syscall.SIGKILL)
		<-s.Gone
		t.Fatalf("did not stop in %v", e2etest.Patience)
	}
}

// TestKilledBetweenAppendAndFold kills the server at the sync of a record: the record
// is in the log, and neither folded nor acked. The next start finds it.
func TestKilledBetweenAppendAndFold(t *testing.T) {
	strace := tracer(t)
	if *flagRaceChild {
		t.Skip("skipped: strace stops at every system call here, and with the race detector on top the start takes minutes")
	}
	data := t.TempDir()
	s := start(t, data)
	ids := s.register(t, 2)
	a, _, _ := talkers(t, s.Clients, ids)
	if id, err := a.Say(ids[1], "before"); err != nil || id != 1 {
		t.Fatalf("first message got id %d: %v", id, err)
	}
	s.stop(t)
	blocks, err := filepath.Glob(filepath.Join(data, "nats", "*", "*", blockFile(ids[0], ids[1]), "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("block files of the conversation: %v, %v", blocks, err)
	}

	s, err = tryStart(t, []string{strace, "-f", "-o", filepath.Join(t.TempDir(), "trace"), "-P", blocks[0],
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:signal=SIGKILL"}, data)
	if err != nil {
		t.Fatal(err)
	}
	a, _, _ = talkers(t, s.Clients, ids)
	const text = "stored, not acked"
	if id, err := a.Say(ids[1], text); err == nil {
		t.Fatalf("the message was acked with id %d; the server should have been killed before", id)
	}
	<-s.Gone

	s = start(t, data)
	a, b, got := talkers(t, s.Clients, ids)
	have, err := b.Messages(ids[0])
	if err != nil || len(have) != 2 || have[1] != text {
		t.Fatalf("history is %q (%v), should end with %q", have, err, text)
	}
	// The client knows nothing of that, and sends again: the same bytes, the same number.
	if id, err := a.Say(ids[1], text); err != nil || id != 2 {
		t.Fatalf("sent again it got id %d, %v; it has id 2", id, err)
	}
	if id, err := a.Say(ids[1], "after"); err != nil || id != 3 {
		t.Fatalf("the next message got id %d: %v", id, err)
	}
	p := <-got
	if p.Body.Num(3) != 3 {
		t.Errorf("id %d was pushed; only the new message should be", p.Body.Num(3))
	}
	have, err = b.Messages(ids[0])
	if err != nil || strings.Join(have, "|") != "before|"+text+"|after" {
		t.Errorf("history is %q, %v", have, err)
	}
	s.stop(t)
	verify(t, data)
}
