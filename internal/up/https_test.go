package up_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"godwit/internal/admin"
	"godwit/internal/certtest"
	"godwit/internal/datadir"
	"godwit/internal/password"
	"godwit/internal/ttclient"
	"godwit/internal/up"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
)

// record keeps what is logged, also by who logs beyond the end.
type record struct {
	mu  sync.Mutex
	all strings.Builder
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.String()
}

// One process serves browsers over TLS as it does in the open: the page, and the session that it opens.
func TestBrowsersComeByHTTPS(t *testing.T) {
	cert, key := certtest.Write(t, t.TempDir(), "test", certtest.Ends)
	trust := certtest.Trust(t, cert)
	dir := t.TempDir()
	var logged record
	lines, stop := start(t, dir, func(c *up.Config) {
		c.HTTPS, c.TLSCert, c.TLSKey = "127.0.0.1:0", cert, key
		c.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelInfo}))
	})
	at := reached(t, lines, "https")
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}}
	defer browser.CloseIdleConnections()
	for path, want := range map[string]string{"/": "<html", "/client.json": `"ws":"/ws"`, "/msg_server": `"msfsPrior": "https://` + at + `/"`} {
		resp, err := browser.Get("https://" + at + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) || resp.ProtoMajor != 1 {
			t.Errorf("%s answers %s %d, %v: %.200s", path, resp.Proto, resp.StatusCode, err, body)
		}
	}
	// One who speaks something else is nothing to tell an operator.
	if conn, err := net.Dial("tcp", at); err == nil {
		io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
		io.Copy(io.Discard, conn)
		conn.Close()
	}

	where, token, err := datadir.FindAdmin(dir)
	if err != nil {
		t.Fatal(err)
	}
	operator := admin.NewClient(where, token)
	if _, err := operator.Add(t.Context(), admin.NewPerson{Name: "ann", Password: "secret"}); err != nil {
		t.Fatal(err)
	}
	ann, err := ttclient.Login(t.Context(), ttclient.Options{Addr: "wss://" + at + "/ws", TLS: trust, JSON: true, Name: "ann", Password: password.MD5Hex("secret"),
		Device: imbase.ClientType_CLIENT_TYPE_WEB, Features: uint32(imextension.Feature_FEATURE_NOTICES)})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := operator.Status(t.Context()); err != nil || st.DesktopOnline != 1 {
		t.Errorf("%d people are online, %v", st.DesktopOnline, err)
	}
	ann.Close()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if all := logged.String(); strings.Contains(all, "handshake") {
		t.Error(all)
	}
}

func TestACertificateThatCannotBeUsedIsToldBeforeTheLogIsTouched(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	err := up.Run(t.Context(), up.Config{DataDir: dir, Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", Admin: "127.0.0.1:0", TLSCert: "none.pem", TLSKey: "none.pem"})
	if err == nil || !strings.Contains(err.Error(), `--tls-cert is "none.pem"`) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "nats")); err == nil {
		t.Error("the log was opened")
	}
}
