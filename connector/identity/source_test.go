package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// keyServer is an identity provider's JWKS over real HTTP.
type keyServer struct {
	*httptest.Server
	asked atomic.Int32
	serve atomic.Pointer[http.HandlerFunc]
}

func newKeyServer(t *testing.T, body []byte) *keyServer {
	s := &keyServer{}
	s.gives(http.StatusOK, body)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		(*s.serve.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) gives(status int, body []byte) {
	s.does(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		w.Write(body)
	})
}

func (s *keyServer) does(h http.HandlerFunc) { s.serve.Store(&h) }

// running starts the provider of a key server, with the least time between two questions.
func running(t *testing.T, s *keyServer, least time.Duration) *Provider {
	t.Helper()
	p := provider(t, func(c *Config) { c.JWKSURL = s.URL })
	p.source.least, p.source.every, p.source.retry = least, time.Hour, time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func newEd(t *testing.T) (ed25519.PrivateKey, ed25519.PublicKey) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key, pub
}

func verify(t *testing.T, p *Provider, key ed25519.PrivateKey, kid string) error {
	t.Helper()
	_, err := p.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, key, kid, good()))
	return err
}

func TestKeysRotate(t *testing.T) {
	old, oldPub := newEd(t)
	next, nextPub := newEd(t)
	s := newKeyServer(t, jwks(t, jwk(t, "1", oldPub)))
	p := running(t, s, 0)
	if err := verify(t, p, old, "1"); err != nil {
		t.Fatal(err)
	}
	s.gives(http.StatusOK, jwks(t, jwk(t, "1", oldPub), jwk(t, "2", nextPub)))
	if err := verify(t, p, next, "2"); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if err := verify(t, p, old, "1"); err != nil {
		t.Errorf("the old key, still there: %v", err)
	}
	s.gives(http.StatusOK, jwks(t, jwk(t, "2", nextPub)))
	if err := verify(t, p, next, "3"); !errors.Is(err, ErrRefused) { // has the set read again
		t.Errorf("a key that never was: %v", err)
	}
	if err := verify(t, p, old, "1"); !errors.Is(err, ErrRefused) {
		t.Errorf("the old key, withdrawn: %v", err)
	}
}

func TestUnknownKeysDoNotHammerTheProvider(t *testing.T) {
	key, pub := newEd(t)
	s := newKeyServer(t, jwks(t, jwk(t, "1", pub)))
	p := running(t, s, time.Hour)
	if err := verify(t, p, key, "1"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if err := verify(t, p, key, "unknown"); !errors.Is(err, ErrRefused) && !errors.Is(err, ErrNoKeys) {
				t.Errorf("unknown key: %v", err)
			}
		})
	}
	wg.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}

func TestTheLastGoodKeysStay(t *testing.T) {
	key, pub := newEd(t)
	weak := jwks(t, jwk(t, "1", secret))
	s := newKeyServer(t, nil)
	bad := map[string]http.HandlerFunc{
		"status":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"no keys": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"keys":[]}`)) },
		"secrets": func(w http.ResponseWriter, _ *http.Request) { w.Write(weak) },
		"endless": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(strings.Repeat(" ", maxSet+1))) },
		"broken":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				w.Write(jwks(t, jwk(t, "2", pub)))
				return
			}
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		},
	}
	for name, h := range bad {
		t.Run(name, func(t *testing.T) {
			s.gives(http.StatusOK, jwks(t, jwk(t, "1", pub)))
			p := running(t, s, 0)
			if err := verify(t, p, key, "1"); err != nil {
				t.Fatal(err)
			}
			s.does(h)
			was := s.asked.Load()
			if err := verify(t, p, key, "2"); !errors.Is(err, ErrNoKeys) {
				t.Errorf("another key: %v", err)
			}
			if s.asked.Load() == was {
				t.Fatal("the provider was not asked")
			}
			if err := verify(t, p, key, "1"); err != nil {
				t.Errorf("the key that was known: %v", err)
			}
			s.gives(http.StatusOK, jwks(t, jwk(t, "2", pub)))
			if err := verify(t, p, key, "2"); err != nil {
				t.Errorf("after the provider came back: %v", err)
			}
		})
	}
}

func TestAProviderThatNeverAnsweredSaysNothingOfATokens(t *testing.T) {
	key, pub := newEd(t)
	s := newKeyServer(t, nil)
	release := make(chan struct{})
	s.does(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	p := running(t, s, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	token := sign(t, jwt.SigningMethodEdDSA, key, "1", good())
	if _, err := p.Verify(ctx, token); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it stalls: %v", err)
	}
	s.gives(http.StatusOK, jwks(t, jwk(t, "1", pub)))
	close(release)
	if _, err := p.Verify(t.Context(), token); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestManyTokensDoNotPileUpBehindAStalledProvider(t *testing.T) {
	key, _ := newEd(t)
	s := newKeyServer(t, nil)
	s.does(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	p := running(t, s, 0)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	token := sign(t, jwt.SigningMethodEdDSA, key, "1", good())
	for range maxWaiting {
		wg.Go(func() {
			if _, err := p.Verify(ctx, token); !errors.Is(err, context.Canceled) {
				t.Errorf("one that waits: %v", err)
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); len(p.source.slots) < maxWaiting; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d tokens wait", len(p.source.slots))
		}
	}
	if _, err := p.Verify(t.Context(), token); !errors.Is(err, ErrNoKeys) {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	wg.Wait()
}

func TestOnlyKeysThatFitAreTakenFromASet(t *testing.T) {
	ed, pub := newEd(t)
	s := newKeyServer(t, jwks(t,
		jwk(t, "enc", pub, map[string]any{"use": "enc"}),
		jwk(t, "alg", pub, map[string]any{"alg": "RS256"}),
		jwk(t, "x5u", pub, map[string]any{"x5u": "http://127.0.0.1:1/never", "x5c": []string{"junk"}}),
		jwk(t, "oct", secret),
		jwk(t, "rsa", rsaKey().Public(), map[string]any{"alg": "RS256"}),
		jwk(t, "rs512", rsaKey().Public(), map[string]any{"alg": "RS512"}),
		map[string]any{"kty": "RSA", "kid": "junk"},
	))
	p := running(t, s, time.Hour)
	if err := verify(t, p, ed, "x5u"); err != nil {
		t.Errorf("a good key with certificates that nobody asks for: %v", err)
	}
	for _, kid := range []string{"enc", "alg"} {
		if err := verify(t, p, ed, kid); !errors.Is(err, ErrRefused) {
			t.Errorf("key %s: %v", kid, err)
		}
	}
	for name, token := range map[string]string{
		"secret of the set":  sign(t, jwt.SigningMethodHS256, secret, "oct", good()),
		"modulus as secret":  sign(t, jwt.SigningMethodHS256, rsaKey().N.Bytes(), "rsa", good()),
		"PEM as secret":      sign(t, jwt.SigningMethodHS256, publicPEM(t, rsaKey().Public()), "rsa", good()),
		"key of another alg": sign(t, jwt.SigningMethodRS256, rsaKey(), "rs512", good()),
	} {
		if _, err := p.Verify(t.Context(), token); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.Verify(t.Context(), sign(t, jwt.SigningMethodRS256, rsaKey(), "rsa", good())); err != nil {
		t.Errorf("the RSA key: %v", err)
	}
}

func TestRunReadsTheKeysNowAndThen(t *testing.T) {
	old, oldPub := newEd(t)
	s := newKeyServer(t, jwks(t, jwk(t, "1", oldPub)))
	p := provider(t, func(c *Config) { c.JWKSURL = s.URL })
	p.source.every = 5 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	if err := verify(t, p, old, "1"); err != nil {
		t.Error(err)
	}
	// Withdrawn without anybody asking for another key.
	s.gives(http.StatusOK, jwks(t, jwk(t, "2", oldPub)))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if keys, _ := p.source.have(); len(keys) == 1 && keys[0].id == "2" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the keys are still %v after %d questions", keys, s.asked.Load())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
