package conformance

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	ct "godwit/connector/connectortest"
	"godwit/internal/wsclient"
	"godwit/schema/client"
)

// transport is how PDUs travel. What is sent and what comes is the same for all of them: the tests
// compare the bytes of a PDU, of which JSON has all but the unused fields of the header.
type transport int

const (
	overTCP    transport = iota
	overBinary           // a WebSocket, a PDU in each frame
	overJSON             // a WebSocket, a PDU in JSON in each frame

	transports
)

// overs are the names of subtests that are about a transport: every connection of such a test, and
// of all below it, goes by that one. Others go by TCP.
var overs = [transports]string{overBinary: "over binary frames", overJSON: "over JSON"}

func transportOf(t testing.TB) transport {
	for part := range strings.SplitSeq(t.Name(), "/") {
		for over, name := range overs {
			if name != "" && part == strings.ReplaceAll(name, " ", "_") {
				return transport(over)
			}
		}
	}
	return overTCP
}

// webSocket is where the server takes WebSockets.
func (s *server) webSocket() string { return "ws://" + s.http + "/ws" }

// dialOver connects by a transport, from an address of this machine unless that is empty.
func (s *server) dialOver(t testing.TB, over transport, from string, kind uint32) *device {
	t.Helper()
	dialer := net.Dialer{Timeout: patience}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var conn net.Conn
	var err error
	if over == overTCP {
		conn, err = dialer.DialContext(ctx, "tcp", s.clients)
	} else {
		conn, err = wsclient.Dial(ctx, s.webSocket(), wsclient.Options{JSON: over == overJSON, Dial: dialer.DialContext})
	}
	if err != nil {
		t.Fatal(err)
	}
	return &device{Client: ct.New(t, conn), t: t, kind: kind, over: over}
}

// elsewhere are the commands that are said on the file server's port alone, which is TCP.
var elsewhere = map[uint16]bool{0x0501: true, 0x0502: true, 0x0503: true, 0x0504: true, 0x0505: true}

// stories are tests of more than one command that are told over every transport. The others are
// about bytes of a TCP stream, or about clocks and limits that are the same for all.
var stories = map[string]func(t *testing.T){
	"login is answered first":        TestRule6LoginAnswerIsFirst,
	"acks come first":                TestRule7AckFirst,
	"acks come first in groups":      TestRule7AckFirstInGroups,
	"notices by class":               TestRule8NoticesByClass,
	"ids are dense":                  TestRule11DenseIDs,
	"ids are dense in groups":        TestRule11DenseIDsInGroups,
	"contents stay as they came":     TestRule12CiphertextAsItCame,
	"repeats":                        TestDefect2Repeat,
	"order":                          TestDefect3Order,
	"unread":                         TestDefect7Unread,
	"first messages at once":         TestDefect10FirstMessagesAtOnce,
	"nothing leaks":                  TestDefect11NothingLeaks,
	"groups":                         TestGroups,
	"group conversations":            TestGroupConversations,
	"groups end":                     TestDefect19GroupsEnd,
	"a hundred messages at once":     TestHundredMessagesAtOnce,
	"many requests at once":          TestManyRequestsAtOnce,
	"extensions":                     TestExtensions,
	"old clients are spared":         TestOldClientsAreSpared,
	"friends":                        TestFriends,
	"headers":                        TestHeadersOfAllClients,
	"what servers say to each other": TestServersCommandsAreIgnored,
	"lists of at most a hundred":     TestAtMostAHundredSessions,
}

// TestTransports: what clients say and are told is the same over WebSockets, binary and JSON, as
// it is over TCP. Every command is driven, from one kind of client each, and every detail asked
// for, from another kind.
func TestTransports(t *testing.T) {
	t.Parallel()
	t.Run("all", func(t *testing.T) {
		for over := overBinary; over < transports; over++ {
			t.Run(overs[over], func(t *testing.T) {
				t.Parallel()
				for i, id := range slices.Sorted(maps.Keys(catalogue)) {
					t.Run(fmt.Sprintf("0x%04x", id), func(t *testing.T) {
						t.Parallel()
						k := kinds[(i+int(over))%len(kinds)]
						t.Run(k.name, func(t *testing.T) { drive(t, id, k.kind) })
						if detail := details[id]; detail != nil {
							k = kinds[(i+int(over)+2)%len(kinds)]
							t.Run("detail "+k.name, func(t *testing.T) { detail(t, k.kind) })
						}
					})
				}
				for name, story := range stories {
					t.Run(name, story)
				}
			})
		}
		t.Run("the server leaves", func(t *testing.T) { serverLeaves(t, overBinary, overJSON) })
	})
	for over := overBinary; over < transports && flagRun() == ""; over++ {
		wholly(t, over)
	}
}

// unlooked tells of a field of a request that the server does not look at, because it knows who asks
// and says itself when a message is: in JSON it may be left out.
func unlooked(id uint16, l line) bool {
	switch {
	case l.kind != 'n':
		return false
	case id == 0x0301:
		return l.no == 1 || l.no == 3 || l.no == 4
	case id == 0x0302 || id == 0x050c || id>>8 == 0x20 || id>>8 == 0x05 && id < 0x0506:
		return false
	}
	return l.no == 1
}

// wasTold checks that a device which speaks JSON was told of each of n requests why it was not
// understood, by the name of a field; by other transports nothing is said of them.
func (d *device) wasTold(id, seq uint16, n int) {
	d.t.Helper()
	if d.over != overJSON {
		return
	}
	c, _ := client.Lookup(id)
	all := d.Conn().(*wsclient.Conn).Refused()
	if len(all) != n {
		d.t.Errorf("told of %d requests that they were not understood, there were %d: %v", len(all), n, all)
	}
	for _, r := range all {
		if r.Command != string(c.Message.Name()) || r.Seq != seq || !strings.HasPrefix(r.Error, "body.") {
			d.t.Errorf("told %+v", r)
		}
	}
}
