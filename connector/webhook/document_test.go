package webhook

import (
	"strings"
	"testing"
	"time"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	"godwit/schema/event"
	"godwit/schema/query"
)

func TestQuietTime(t *testing.T) {
	east := time.FixedZone("east", 2*60*60)
	for _, c := range []struct {
		quiet string
		zone  *time.Location
		at    string // UTC
		want  bool
	}{
		{"22:00-07:00", time.UTC, "21:59:59", false},
		{"22:00-07:00", time.UTC, "22:00:00", true},
		{"22:00-07:00", time.UTC, "00:00:00", true},
		{"22:00-07:00", time.UTC, "06:59:59", true},
		{"22:00-07:00", time.UTC, "07:00:00", false},
		{"22:00-07:00", time.UTC, "12:00:00", false},
		{"22:00-07:00", east, "20:00:00", true},
		{"22:00-07:00", east, "05:00:00", false},
		{"12:30-13:15", time.UTC, "12:29:59", false},
		{"12:30-13:15", time.UTC, "12:30:00", true},
		{"12:30-13:15", time.UTC, "13:15:00", false},
		{"", time.UTC, "23:00:00", false},
		{"08:00-08:00", time.UTC, "08:00:00", false},
	} {
		q, err := ParseQuiet(c.quiet)
		if err != nil {
			t.Fatal(err)
		}
		q.Zone = c.zone
		at, err := time.ParseInLocation("2006-01-02 15:04:05", "2026-07-01 "+c.at, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		if got := q.At(at); got != c.want {
			t.Errorf("%s in %s at %s: %v", c.quiet, c.zone, c.at, got)
		}
	}
	for _, text := range []string{"22:00-07:00", "00:00-23:59", ""} {
		if q, err := ParseQuiet(text); err != nil || q.String() != text {
			t.Errorf("%q becomes %q, %v", text, q, err)
		}
	}
	for _, text := range []string{"22-7", "22:00", "24:00-07:00", "22:00-", "night"} {
		if q, err := ParseQuiet(text); err == nil {
			t.Errorf("%q is %v", text, q)
		}
	}
}

// A night is as long as the wall's clock says, also when it is set.
func TestQuietTimeOverAChangeOfTheClock(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones here: ", err)
	}
	q := Quiet{From: 22 * time.Hour, To: 7 * time.Hour, Zone: zone}
	for at, want := range map[string]bool{"2026-03-29T04:59:00Z": true, "2026-03-29T05:00:00Z": false, "2026-10-25T05:59:00Z": true, "2026-10-25T06:00:00Z": false} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if q.At(when) != want {
			t.Errorf("%s (%s): %v", at, when.In(zone).Format("15:04"), !want)
		}
	}
}

func TestPreviews(t *testing.T) {
	long := strings.Repeat("é", 199) + "字字"
	for text, want := range map[string]string{
		"hello":     "hello",
		"a\x80\x80": "a\uFFFD",
		long:        strings.Repeat("é", 199) + "字",
		"see " + content.Picture("http://x/1.jpg") + " there": "see [图片] there",
	} {
		if got := preview(content.EncryptText(text)); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	if got := preview([]byte("plain")); got != "" {
		t.Errorf("what can't be read is shown as %q", got)
	}
}

// The bytes of a document and its signature, as docs/webhooks.md shows them.
func TestADocumentInBytes(t *testing.T) {
	f := &facts{
		now:      time.Date(2026, 11, 23, 9, 30, 0, 250_123_456, time.UTC),
		devices:  map[uint32]*query.Device{7: {User: 7, Type: uint32(imbase.ClientType_CLIENT_TYPE_IOS), Token: "a1b2"}},
		online:   map[uint32]presence{7: {seated: true, any: true}},
		accounts: map[uint32]*query.Account{3: {User: 3, Nick: "Ann <3"}, 7: {User: 7}, 8: {User: 8}, 9: {User: 9, Disabled: true}},
		badges:   map[uint32]uint32{7: 5, 8: 1},
	}
	i := item{event.ConversationStream(3), 4711, 2, event.Group(12)}
	d := f.document(i, 1, &query.Message{Id: 42, From: 3, Created: 1795426199, Type: uint32(imbase.MsgType_MSG_TYPE_GROUP_TEXT),
		Body: content.EncryptText("Lunch & tea?")}, []uint32{7, 8, 9}, true)
	b, err := d.encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"event_id":"CONVERSATION-03:4711:2:1","version":1,"time":"2026-11-23T09:30:00.25Z",` +
		`"conversation":{"type":"group","id":12},` +
		`"message":{"id":42,"from":3,"from_nick":"Ann <3","type":17,"created":"2026-11-23T09:29:59Z","text":"Lunch & tea?"},` +
		`"recipients":[{"user":7,"badge":5,"silent":true,"tokens":[{"type":"ios","token":"a1b2"}]},{"user":8,"badge":1,"silent":false,"tokens":[]}]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	// Computed with another program: printf '%s' '1795426200.{}' | openssl dgst -sha256 -hmac 'a secret of a webhook'
	if got := Sign("a secret of a webhook", time.Unix(1795426200, 0), []byte("{}")); got != "t=1795426200,v1=3617b2a79ded2fea42b2c3a872ded1f00a510b8ffdac9aa348ab1b939cc9b649" {
		t.Errorf("signature %s", got)
	}
	if d := f.document(i, 0, &query.Message{Id: 42, From: 3}, []uint32{9}, true); d != nil {
		t.Errorf("a document to nobody: %+v", d)
	}
}
