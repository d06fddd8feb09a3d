package bench

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"godwit/schema/client"
	"godwit/schema/pdu"
	"godwit/schema/pdujson"
)

// overWebSocket puts a WebSocket in front of a server of PDUs, and gives its address. Messages of the
// server come in two fragments with a ping between them.
func overWebSocket(t *testing.T, server string, by Transport) string {
	t.Helper()
	var ended sync.WaitGroup
	ended.Add(1) // the server itself: an upgrade may otherwise begin to count while the end waits
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil || r.URL.Path != "/ws" {
			t.Error(r.URL, err)
			return
		}
		behind, err := net.Dial("tcp", server)
		if err != nil {
			t.Error(err)
			return
		}
		ended.Go(func() {
			defer behind.Close()
			defer conn.Close()
			for {
				message, code, err := wsutil.ReadClientData(conn)
				if err != nil {
					return
				}
				if (code == ws.OpText) != (by == JSON) {
					t.Errorf("opcode %d", code)
				}
				if by == JSON {
					if message, err = pdujson.Append(nil, message); err != nil {
						t.Error(err)
					}
				}
				_, _ = behind.Write(message)
			}
		})
		ended.Go(func() {
			var in []byte
			chunk := make([]byte, 4096)
			for {
				n, err := behind.Read(chunk)
				if err != nil {
					_ = wsutil.WriteServerMessage(conn, ws.OpClose, ws.NewCloseFrameBody(4001, "replaced"))
					_ = conn.(*net.TCPConn).CloseWrite() // what the client still says must not take it from him
					return
				}
				in = append(in, chunk[:n]...)
				for {
					f, n, err := pdu.Next(in, pdu.MaxAfterLogin)
					if n == 0 || err != nil {
						break
					}
					message, code := f.Raw, ws.OpBinary
					if by == JSON {
						code = ws.OpText
						if message, err = pdujson.AppendText(nil, &f); err != nil {
							t.Error(err)
						}
					}
					_ = ws.WriteFrame(conn, ws.NewFrame(code, false, message[:10]))
					_ = ws.WriteFrame(conn, ws.NewPingFrame([]byte("?")))
					_ = ws.WriteFrame(conn, ws.NewFrame(ws.OpContinuation, true, message[10:]))
					in = in[n:]
				}
			}
		})
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		ended.Done()
		ended.Wait()
	})
	return strings.TrimPrefix(s.URL, "http://")
}

func TestLoadsOverWebSockets(t *testing.T) {
	for _, by := range []Transport{WebSocket, JSON} {
		t.Run(string(by), func(t *testing.T) {
			o := startServer(t).options()
			o.Server, o.Transport = overWebSocket(t, o.Server, by), by
			var r *OneOneReport
			var err error
			longer(func(d time.Duration) bool {
				r, err = OneOne{Pairs: 2, Window: 4, Size: 100, Duration: d}.Run(t.Context(), o)
				return err != nil || r.Delivered > 0
			})
			if err != nil || r.Err() != nil || r.Delivered == 0 || r.Received != r.Sent {
				t.Errorf("%+v, %v", r, err)
			}
			i, err := Idle{Sessions: 20, Settle: 10 * time.Millisecond}.Run(t.Context(), o)
			if err != nil || i.Err() != nil || i.Login.Count != 20 {
				t.Errorf("idle: %+v, %v", i, err)
			}
		})
	}
}

// A session that the server ends over a WebSocket is found, with the server's own words.
func TestDisconnectedWebSocketIsFound(t *testing.T) {
	s := startServer(t)
	s.be(once(7, func(m client.MsgData) []delivery {
		_ = s.users[m.To].Close()
		return nil
	}), nil)
	o := s.options()
	o.Server, o.Transport = overWebSocket(t, o.Server, WebSocket), WebSocket
	var r *OneOneReport
	var err error
	longer(func(d time.Duration) bool {
		r, err = OneOne{Pairs: 2, Window: 4, Size: 100, Duration: d, Drain: 100 * time.Millisecond}.Run(t.Context(), o)
		return err != nil || s.relayed() >= 7
	})
	if err != nil || r.Dropped != 1 || !strings.Contains(r.DroppedWhy, "4001 replaced") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestServerWithoutWebSocket(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	o := startServer(t).options()
	o.Server, o.Transport = strings.TrimPrefix(s.URL, "http://"), WebSocket
	_, err := Idle{Sessions: 2, Settle: time.Millisecond}.Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "404") || errors.Is(err, io.EOF) {
		t.Errorf("error %v, want the server's answer", err)
	}
}
