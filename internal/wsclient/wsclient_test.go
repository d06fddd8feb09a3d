package wsclient

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"godwit/schema/client"
	"godwit/schema/client/content"
	"godwit/schema/pdu"
	"godwit/schema/pdujson"
)

// serve is the address of a server whose connections go to play.
func serve(t *testing.T, play func(conn net.Conn)) string {
	t.Helper()
	ended := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		play(conn)
	}))
	t.Cleanup(func() {
		<-ended
		s.Close()
	})
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func dial(t *testing.T, url string, o Options) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// next is what the client sent.
func next(t *testing.T, conn net.Conn) (ws.OpCode, []byte) {
	t.Helper()
	f, err := ws.ReadFrame(conn)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	if !f.Header.Masked || !f.Header.Fin {
		t.Errorf("header %+v", f.Header)
	}
	return f.Header.OpCode, ws.UnmaskFrame(f).Payload
}

var (
	beat = pdu.Append(nil, 7, client.CmdHeartBeat, 9, nil)
	mail = pdu.Append(nil, 3, client.CmdMsgData, 0, func(b []byte) []byte {
		return client.AppendMsgData(b, 1, 2, 3, 4, 1, content.EncryptText("hello"))
	})
)

func TestPDUsTravelInFrames(t *testing.T) {
	c := dial(t, serve(t, func(conn net.Conn) {
		for _, want := range [][]byte{beat, mail} {
			if code, got := next(t, conn); code != ws.OpBinary || !bytes.Equal(got, want) {
				t.Errorf("sent %d %x, want %x", code, got, want)
			}
		}
		ws.MustWriteFrame(conn, ws.NewFrame(ws.OpBinary, false, mail[:20]))
		ws.MustWriteFrame(conn, ws.NewPingFrame([]byte("are you there")))
		ws.MustWriteFrame(conn, ws.NewFrame(ws.OpContinuation, true, mail[20:]))
		ws.MustWriteFrame(conn, ws.NewBinaryFrame(beat))
		if code, got := next(t, conn); code != ws.OpPong || string(got) != "are you there" {
			t.Errorf("ping answered by %d %q", code, got)
		}
		ws.MustWriteFrame(conn, ws.NewCloseFrame(ws.NewCloseFrameBody(4001, "replaced")))
		if code, _ := next(t, conn); code != ws.OpClose {
			t.Errorf("close answered by %d", code)
		}
	}), Options{})
	all := append(bytes.Clone(beat), mail...)
	for _, piece := range [][]byte{all[:3], all[3:40], all[40:]} {
		if n, err := c.Write(piece); err != nil || n != len(piece) {
			t.Fatal(n, err)
		}
	}
	got, err := io.ReadAll(c)
	if want := append(bytes.Clone(mail), beat...); !bytes.Equal(got, want) {
		t.Errorf("read %x, want %x", got, want)
	}
	if e, ok := errors.AsType[*CloseError](err); !ok || e.Code != 4001 || e.Reason != "replaced" {
		t.Errorf("ended with %v", err)
	}
}

func TestPDUsInJSON(t *testing.T) {
	c := dial(t, serve(t, func(conn net.Conn) {
		code, text := next(t, conn)
		back, err := pdujson.Append(nil, text)
		if code != ws.OpText || err != nil || !bytes.Equal(back, mail) || !bytes.Contains(text, []byte(`"text":"hello"`)) {
			t.Errorf("sent %d %s, %v", code, text, err)
		}
		f, _, err := pdu.Next(mail, pdu.MaxAfterLogin)
		if err != nil {
			t.Error(err)
		}
		shown, err := pdujson.AppendText(nil, &f)
		if err != nil {
			t.Error(err)
		}
		ws.MustWriteFrame(conn, ws.NewTextFrame([]byte(`{"seq":7,"command":"IMMsgData","error":"body.toSessionId: missing"}`)))
		ws.MustWriteFrame(conn, ws.NewTextFrame(shown))
		ws.MustWriteFrame(conn, ws.NewTextFrame(bytes.Replace(shown, []byte(`"hello"`), []byte(`"hallo"`), 1)))
	}), Options{JSON: true})
	if _, err := c.Write(mail); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if !bytes.Equal(got, mail) || err == nil || !strings.Contains(err.Error(), "text does not go with msgData") {
		t.Errorf("read %x, %v", got, err)
	}
	if all := c.Refused(); len(all) != 1 || all[0] != (Refusal{"IMMsgData", 7, "body.toSessionId: missing"}) {
		t.Errorf("refused %v", all)
	}
}

func TestServersThatAreWrong(t *testing.T) {
	for name, frame := range map[string][]byte{
		"two PDUs":             ws.MustCompileFrame(ws.NewBinaryFrame(append(bytes.Clone(beat), mail...))),
		"half a PDU":           ws.MustCompileFrame(ws.NewBinaryFrame(mail[:30])),
		"a text":               ws.MustCompileFrame(ws.NewTextFrame([]byte("{}"))),
		"masked":               AppendFrame(nil, ws.OpBinary, mail),
		"an end that has none": ws.MustCompileFrame(ws.NewFrame(ws.OpContinuation, true, mail)),
		"too long":             {0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, serve(t, func(conn net.Conn) { _, _ = conn.Write(frame) }), Options{})
			if got, err := io.ReadAll(c); err == nil || len(got) > 0 {
				t.Errorf("read %x, %v", got, err)
			}
		})
	}
	refused := httptest.NewServer(http.NotFoundHandler())
	defer refused.Close()
	if _, err := Dial(t.Context(), "ws"+strings.TrimPrefix(refused.URL, "http"), Options{}); err == nil {
		t.Error("connected to a server that has no WebSocket")
	}
}
