package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	"godwit/schema/event"
	"godwit/schema/query"
)

// Version of the documents. Fields may be added under the same one.
const Version = 1

// maxPreview is the longest preview of a text, in characters.
const maxPreview = 200

// picturePreview stands for a picture in a text.
const picturePreview = "[图片]"

// left is the employment status of who has left and is let in no more.
const left = 3

// Document is what a receiver is sent.
type Document struct {
	EventID      string       `json:"event_id"` // the same whenever the same is sent again
	Version      int          `json:"version"`
	Time         time.Time    `json:"time"` // when it was made
	Conversation Conversation `json:"conversation"`
	Message      Message      `json:"message"`
	Recipients   []Recipient  `json:"recipients"`
}

// Conversation as its recipients call it: the user who wrote, or the group.
type Conversation struct {
	Type string `json:"type"` // "user" or "group"
	ID   uint32 `json:"id"`
}

// Message is what was sent.
type Message struct {
	ID       uint32    `json:"id"`
	From     uint32    `json:"from"`      // 0: the system
	FromNick string    `json:"from_nick"` // empty: nobody's
	Type     uint32    `json:"type"`      // TeamTalk's MsgType
	Created  time.Time `json:"created"`
	Text     string    `json:"text,omitempty"`  // beginning of a text that can be decrypted
	Voice    bool      `json:"voice,omitempty"` // a voice message
}

// Recipient is one whom to call.
type Recipient struct {
	User   uint32  `json:"user"`
	Badge  uint32  `json:"badge"`  // unread messages in all conversations
	Silent bool    `json:"silent"` // sits at a desktop or in a browser: only the badge changes
	Tokens []Token `json:"tokens"` // of phones; may be empty
}

// Token is where a phone's pushes go.
type Token struct {
	Type  string `json:"type"` // "ios", "android", or the number of another ClientType
	Token string `json:"token"`
}

// item is a message as it stands in the log, counted or not.
type item struct {
	stream   event.Stream
	sequence uint64
	index    uint32
	key      event.ConversationKey
}

// A place is a position as one number, with the event's index in its lowest bits; cursors
// are places.
const indexBits = 10

func (i item) place() uint64 { return i.sequence<<indexBits | uint64(i.index) }

// eventID names a block of a message's recipients, for ever.
func (i item) eventID(block int) string {
	id := fmt.Sprintf("%s:%d:%d", i.stream, i.sequence, i.index)
	if block > 0 {
		id += fmt.Sprintf(":%d", block)
	}
	return id
}

// facts are what is known of people at a moment.
type facts struct {
	now      time.Time
	quiet    bool // the hour of who wants quiet nights
	devices  map[uint32]*query.Device
	online   map[uint32]presence
	accounts map[uint32]*query.Account
	badges   map[uint32]uint32
}

// presence is whether a user is there: at a desktop or in a browser, and with any device.
type presence struct{ seated, any bool }

// told tells whether a recipient is to be called, so far as it depends on devices and
// presence: who has a phone, or is not there at all; but no iPhone in a quiet hour, of who
// wants it so.
func (f *facts) told(user uint32) bool {
	d := f.devices[user]
	if d.GetToken() == "" {
		return !f.online[user].any
	}
	return !(f.quiet && d.GetPushShield() && imbase.ClientType(d.GetType()) == imbase.ClientType_CLIENT_TYPE_IOS)
}

// lets tells whether somebody may log in at all.
func (f *facts) lets(user uint32) bool {
	a := f.accounts[user]
	return a != nil && !a.GetDisabled() && a.GetEmployment() != left
}

// document is what is sent of a block of a message's recipients; nil: nothing.
func (f *facts) document(i item, block int, m *query.Message, recipients []uint32, text bool) *Document {
	d := &Document{
		EventID: i.eventID(block), Version: Version, Time: f.now.UTC().Truncate(time.Millisecond),
		Conversation: Conversation{Type: "group", ID: i.key.GroupID()},
		Message: Message{
			ID: m.GetId(), From: m.GetFrom(), FromNick: f.accounts[m.GetFrom()].GetNick(), Type: m.GetType(),
			Created: time.Unix(int64(m.GetCreated()), 0).UTC(),
		},
	}
	if i.key.IsDirect() {
		d.Conversation = Conversation{Type: "user", ID: m.GetFrom()}
	}
	switch imbase.MsgType(m.GetType()) {
	case imbase.MsgType_MSG_TYPE_SINGLE_AUDIO, imbase.MsgType_MSG_TYPE_GROUP_AUDIO:
		d.Message.Voice = true
	case imbase.MsgType_MSG_TYPE_SINGLE_TEXT, imbase.MsgType_MSG_TYPE_GROUP_TEXT:
		if text {
			d.Message.Text = preview(m.GetBody())
		}
	}
	for _, user := range recipients {
		if !f.told(user) || !f.lets(user) {
			continue
		}
		r := Recipient{User: user, Badge: f.badges[user], Silent: f.online[user].seated, Tokens: []Token{}}
		if dev := f.devices[user]; dev.GetToken() != "" {
			r.Tokens = append(r.Tokens, Token{Type: phone(dev.GetType()), Token: dev.GetToken()})
		}
		d.Recipients = append(d.Recipients, r)
	}
	if len(d.Recipients) == 0 {
		return nil
	}
	return d
}

func phone(clientType uint32) string {
	switch imbase.ClientType(clientType) {
	case imbase.ClientType_CLIENT_TYPE_IOS:
		return "ios"
	case imbase.ClientType_CLIENT_TYPE_ANDROID:
		return "android"
	}
	return fmt.Sprint(clientType)
}

// preview is the beginning of a text, empty if it is none that can be read.
func preview(body []byte) string {
	text, err := content.DecryptText(body)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for part := range content.Parts(strings.ToValidUTF8(text, "\uFFFD")) {
		if part.Picture {
			b.WriteString(picturePreview)
		} else {
			b.WriteString(part.Text)
		}
	}
	return cut(b.String(), maxPreview)
}

// cut leaves the first n characters.
func cut(text string, n int) string {
	for at := range text {
		if n == 0 {
			return text[:at]
		}
		n--
	}
	return text
}

func (d *Document) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
