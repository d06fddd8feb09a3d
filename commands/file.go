package commands

import (
	"fmt"
	"time"

	"godwit/schema/event"
)

// Longest texts of a file, in bytes. Windows gives a whole path as the name.
const (
	MaxFileName = 1024
	MaxFileTask = 64
)

// RequestFile is the wish to pass a file to a user. Nothing of it is kept.
type RequestFile struct {
	From, To uint32
}

// Check refuses a file to whoever could not be sent a message.
func (c RequestFile) Check(s Permit) error {
	switch {
	case c.From == 0:
		return ErrIncomplete
	case c.To == c.From:
		return ErrOneself
	}
	return SendMessage{From: Session{User: c.From}, To: c.To}.checkPeer(s)
}

// OfferFile says that a file lies ready for a user.
type OfferFile struct {
	At       time.Time
	From, To uint32
	Session  event.ID // of who sends it; zero where the file's own connection says so
	Task     string   // names the stored file
	Name     string
	Size     uint32 // bytes
}

// Decide gives FileOffered. The name is kept as far as an event can hold it.
func (c OfferFile) Decide(s Permit) (*event.Event, error) {
	if noTime(c.At) || c.From == 0 {
		return nil, ErrIncomplete
	}
	if err := (RequestFile{From: c.From, To: c.To}).Check(s); err != nil {
		return nil, err
	}
	if err := checkTask(c.Task); err != nil {
		return nil, err
	}
	if c.Name == "" || c.Size == 0 {
		return nil, fmt.Errorf("%w: name %q, %d bytes", ErrFile, c.Name, c.Size)
	}
	conversation := event.Direct(c.From, c.To)
	return &event.Event{At: millis(c.At), Body: &event.Event_FileOffered{FileOffered: &event.FileOffered{
		Conversation: conversation[:], From: c.From, To: c.To, Task: c.Task, Name: cut(c.Name, MaxFileName), Size: c.Size,
		Session: Session{ID: c.Session}.session(),
	}}}, nil
}

// RemoveFile takes an offered file away.
type RemoveFile struct {
	At       time.Time
	User     uint32 // its receiver or its sender; 0 with Expired
	Expired  bool   // its time is over
	From, To uint32 // of the file
	Session  event.ID
	Task     string
}

// Decide gives FileRemoved. Whether there was such a file is told by the outcome of the event.
func (c RemoveFile) Decide() (*event.Event, error) {
	switch {
	case noTime(c.At) || c.Expired != (c.User == 0):
		return nil, ErrIncomplete
	case c.From == 0 || c.To == 0:
		return nil, ErrNoSuchPerson
	case c.From == c.To:
		return nil, ErrOneself
	case !c.Expired && c.User != c.From && c.User != c.To:
		return nil, ErrNotParty
	}
	if err := checkTask(c.Task); err != nil {
		return nil, err
	}
	conversation := event.Direct(c.From, c.To)
	return &event.Event{At: millis(c.At), Body: &event.Event_FileRemoved{FileRemoved: &event.FileRemoved{
		Conversation: conversation[:], User: c.User, Task: c.Task, Session: Session{ID: c.Session}.session(),
	}}}, nil
}

// checkTask refuses what names no stored file: names are letters, digits and hyphens.
func checkTask(task string) error {
	if task == "" || len(task) > MaxFileTask {
		return fmt.Errorf("%w: a task of %d bytes", ErrFile, len(task))
	}
	for _, r := range task {
		if (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' {
			return fmt.Errorf("%w: task %q", ErrFile, task)
		}
	}
	return nil
}
