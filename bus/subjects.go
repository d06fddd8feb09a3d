package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"godwit/schema/event"

	"golang.org/x/text/unicode/norm"
)

// LiveQuestion is the kind of question that projectors answer as well (see [EveryNode]): how a process does now.
const LiveQuestion = "live"

// Subjects of the queries that any projector answers.
const (
	PeopleQuery   = "view.people"
	PresenceQuery = "view.presence"
)

const (
	peopleEvent      = "people.event"
	presenceEvent    = "presence.event"
	beatSubject      = "node.beat"
	projectorSubject = "projector.beat"
)

// EventSubject is where the ordinary records of a stream are written.
func EventSubject(s event.Stream) string {
	switch s {
	case event.People:
		return peopleEvent
	case event.Presence:
		return presenceEvent
	}
	return fmt.Sprintf("conversation.%02d.event", s.Partition())
}

// streamSubjects are all the subjects of a stream: that of ordinary records and
// those of compare and set (wildcards, so that a new kind changes no stream).
func streamSubjects(s event.Stream) []string {
	switch s {
	case event.People:
		return []string{"people.>"}
	case event.Presence:
		return []string{presenceEvent}
	}
	return []string{fmt.Sprintf("conversation.%02d.>", s.Partition())}
}

// NameSubject is the compare-and-set subject of a login name: the first 16 bytes
// of the SHA-256 of the normalised (NFC, lower case) name, in hex.
func NameSubject(name string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(norm.NFC.String(name))))
	return "people.name." + hex.EncodeToString(sum[:16])
}

// GroupSubject is the compare-and-set subject of a group in a log of p partitions.
func GroupSubject(group uint32, p int) string {
	return fmt.Sprintf("conversation.%02d.group.%d", event.Group(group).Partition(p), group)
}

// OwnerSubject is where an owner process answers one kind of question: "attach",
// "changes", "resync" or "query".
func OwnerSubject(process, what string) string { return "owner." + process + "." + what }

// EveryNode is where every connector answers one kind of question ("address", say): asked
// with AskAll, answered with ServeAll. Gateways may ask and answer there too, projectors answer one.
func EveryNode(what string) string { return "node.ask." + what }

func deliverSubject(life event.ID) string { return "deliver." + life.String() }

// validToken tells whether s can stand as one token of a subject.
func validToken(s string) bool {
	return s != "" && !strings.ContainsAny(s, " .*>\t\r\n\x00")
}
