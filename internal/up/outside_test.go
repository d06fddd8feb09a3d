package up_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"godwit/connector/identity"
	"godwit/connector/webhook"
	"godwit/internal/admin"
	"godwit/internal/api"
	"godwit/internal/datadir"
	"godwit/internal/ttclient"
	"godwit/internal/up"
)

// A target that is made over the API gets what happens from then on, once, also when the
// server was stopped and lost its views meanwhile.
func TestPushesGoOutOverARestart(t *testing.T) {
	got := make(chan webhook.Document, 64)
	secret := make(chan string, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var d webhook.Document
		if err == nil {
			err = json.Unmarshal(body, &d)
		}
		if err != nil {
			t.Error(err)
		}
		key := <-secret
		secret <- key
		at, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get(webhook.SignatureHeader), "t="), ",")
		seconds, err := time.ParseDuration(at + "s")
		if err != nil || r.Header.Get(webhook.SignatureHeader) != webhook.Sign(key, time.Unix(int64(seconds.Seconds()), 0), body) {
			t.Errorf("signature %q", r.Header.Get(webhook.SignatureHeader))
		}
		got <- d
	}))
	defer receiver.Close()
	next := func(text string) {
		t.Helper()
		select {
		case d := <-got:
			if d.Message.Text != text || len(d.Recipients) != 1 || d.Recipients[0].User != 2 {
				t.Errorf("got %+v, want %q", d, text)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q never came", text)
		}
	}

	dir := t.TempDir()
	caller := func() func(method, path string, body, to any) {
		where, token, err := datadir.FindAdmin(dir)
		if err != nil {
			t.Fatal(err)
		}
		c := admin.NewClient(where, token)
		return func(method, path string, body, to any) {
			t.Helper()
			if err := c.Call(t.Context(), method, path, body, to); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
		}
	}
	_, stop := start(t, dir, nil)
	call := caller()
	send := func(text string) {
		t.Helper()
		call(http.MethodPost, "/messages", map[string]any{"from": 1, "to_user": 2, "text": text}, nil)
	}
	for _, name := range []string{"ann", "bob"} {
		call(http.MethodPost, "/users", map[string]any{"name": name, "password": "secret"}, nil)
	}
	send("before")
	var hook api.NewWebhook
	call(http.MethodPost, "/webhooks", map[string]any{"url": receiver.URL}, &hook)
	secret <- hook.Secret
	send("one")
	next("one")
	send("two")
	next("two")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	views, err := filepath.Glob(filepath.Join(dir, "views", "*.db"))
	if err != nil || len(views) == 0 {
		t.Fatalf("views are %q, %v", views, err)
	}
	for _, v := range views {
		if err := os.Remove(v); err != nil {
			t.Fatal(err)
		}
	}
	start(t, dir, nil)
	call = caller()
	send("three")
	next("three")
	if len(got) != 0 {
		t.Errorf("and then came %+v", <-got)
	}
}

// A product's own token lets its people in, and makes their account the first time.
func TestLoginByAnIdentityProvidersToken(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	lines, _ := start(t, dir, func(c *up.Config) {
		c.Identity = identity.Config{KeyFiles: []string{"k=" + file}, Issuer: "https://shop.example.org", Audience: "chat", Create: true}
	})
	addr := strings.TrimPrefix(strings.Fields(lines[len(lines)-1])[1], "clients=")
	login := func(claims jwt.MapClaims) (*ttclient.Client, error) {
		t.Helper()
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
		token.Header["kid"] = "k"
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		client, err := ttclient.Login(ctx, ttclient.Options{Addr: addr, Identity: text})
		if err == nil {
			t.Cleanup(client.Close)
		}
		return client, err
	}
	claims := func(sub, audience string) jwt.MapClaims {
		return jwt.MapClaims{"iss": "https://shop.example.org", "aud": audience, "sub": sub, "name": "Ann of the shop", "exp": time.Now().Add(time.Hour).Unix()}
	}
	ann, err := login(claims("Ann", "chat"))
	if err != nil {
		t.Fatal(err)
	}
	if me := ann.Self(); me.GetUserRealName() != "ann" || me.GetUserNickName() != "Ann of the shop" {
		t.Errorf("the account is %v", me)
	}
	again, err := login(claims("ANN", "chat"))
	if err != nil || again.ID() != ann.ID() {
		t.Errorf("the second login: %v", err)
	}
	if _, err := login(claims("ann", "mail")); err == nil {
		t.Error("a token for another audience let somebody in")
	}
	bob, err := login(claims("bob", "chat"))
	if err != nil || bob.ID() == ann.ID() {
		t.Errorf("another one: %v", err)
	}
}

func TestKeysThatCannotBeReadAreSaidBeforeAnythingBegins(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "never-made")
	err := up.Run(t.Context(), up.Config{DataDir: dir, Identity: identity.Config{KeyFiles: []string{"k=/none"}, Issuer: "i", Audience: "a"}})
	if err == nil || !strings.Contains(err.Error(), `--jwt-key-file: no key: "k=/none": `) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data directory: %v", err)
	}
}
