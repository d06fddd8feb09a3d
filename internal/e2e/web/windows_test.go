package web

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/internal/e2e/e2etest"
	"godwit/internal/ttclient"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	immessage "godwit/schema/client/message"
)

// TestWindowsAndBrowser has somebody at TeamTalk's own program and somebody at a browser read each other, in one script and
// in others, see each other come and go, and see what the other has read.
func TestWindowsAndBrowser(t *testing.T) {
	s := together(t)
	anna, wei := s.person(t, "Anna"), s.person(t, "Wei")
	a := s.signedIn(t, anna, desktop).with(wei)
	a.is("the other away", `!/online/i.test(document.querySelector("main header").innerText)`)

	pushed := make(chan *immessage.IMMsgData, 64)
	read := make(chan uint32, 64)
	w := s.windows(t, wei, ttclient.Options{Push: func(_ uint16, m proto.Message) {
		switch m := m.(type) {
		case *immessage.IMMsgData:
			pushed <- m
		case *immessage.IMMsgDataReadNotify:
			read <- m.GetMsgId()
		}
	}})
	a.is("the other online", `/online/i.test(document.querySelector("main header").innerText)`)
	a.until("who is at a browser to be online to others", func() (bool, string) {
		on, err := w.Statuses(t.Context(), []uint32{anna.id})
		return err == nil && on[anna.id], fmt.Sprint(on, err)
	})

	for i, text := range []string{"hello", "你好，世界", "Grüße, καλημέρα, 😀👩‍👩‍👧", "two\nlines", "a < b && c > d"} {
		a.write(text)
		select {
		case m := <-pushed:
			got, err := content.DecryptText(m.GetMsgData())
			if err != nil || got != text || m.GetFromUserId() != anna.id || m.GetMsgType() != imbase.MsgType_MSG_TYPE_SINGLE_TEXT {
				t.Fatalf("the program got %q (%v), written was %q", got, err, text)
			}
		case <-time.After(e2etest.Patience):
			t.Fatalf("%q never came", text)
		}
		answer := fmt.Sprintf("%d: %s", i, text)
		says(t, w, ttclient.Conversation{ID: anna.id}, answer)
		a.hears(answer)
	}
	log := history(t, w, ttclient.Conversation{ID: anna.id})
	a.until("what the log has", func() (bool, string) {
		var shown []string
		for _, m := range a.messages() {
			shown = append(shown, m.Text)
		}
		return slices.Equal(shown, log), fmt.Sprintf("the browser shows\n%s\nthe log has\n%s", lines(shown), lines(log))
	})
	// Both have read what the other wrote, and are told.
	if err := w.MarkRead(anna.id, uint32(len(log))); err != nil {
		t.Fatal(err)
	}
	a.marked("hello", "read")
	a.shoot("a browser and TeamTalk's program")
	w.Close()
	a.is("the other away again", `!/online/i.test(document.querySelector("main header").innerText)`)
}
