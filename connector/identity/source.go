package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
)

// Times and bounds of asking a provider for its keys.
const (
	refreshEvery = 15 * time.Minute
	retryEvery   = 30 * time.Second // while the provider does not answer
	refreshLeast = 10 * time.Second // between two questions, however many tokens ask for keys that are not known
	fetchLimit   = 3 * time.Second  // of one question
	maxSet       = 256 << 10        // bytes of the answer
	maxWaiting   = 16               // tokens that wait for an answer; who comes then is told that there are no keys
)

// source is the set of keys at a URL, as it was last read whole.
type source struct {
	url    string
	client *http.Client
	log    *slog.Logger

	every, retry, least time.Duration

	wanted chan chan struct{} // who waits until the keys have been asked for; closed then
	slots  chan struct{}      // bounds who waits

	mu   sync.Mutex
	keys []key
	err  error // of the last question; not nil before the first one has been answered
}

// CheckURL tells whether keys may be read from a URL, and what to give if not.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return errors.New("give an https URL, or an http one of this machine, without a password")
	}
	return nil
}

func newSource(address string, log *slog.Logger) (*source, error) {
	if err := CheckURL(address); err != nil {
		return nil, err
	}
	return &source{
		url: address, log: log,
		// A redirect would lead to where nobody has checked the address.
		client: &http.Client{Timeout: fetchLimit, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		every:  refreshEvery, retry: retryEvery, least: refreshLeast,
		wanted: make(chan chan struct{}), slots: make(chan struct{}, maxWaiting),
		err: errors.New("not asked yet"),
	}, nil
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// run asks for the keys now and then until ctx ends, and when somebody wants them, though
// not too often. Only run asks, so there is one question at a time.
func (s *source) run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var asked time.Time
	for {
		var done chan struct{}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case done = <-s.wanted:
			if !asked.IsZero() && time.Since(asked) < s.least {
				close(done)
				continue
			}
		}
		pause := s.every
		if s.refresh(ctx) != nil {
			pause = s.retry
		}
		asked = time.Now()
		timer.Reset(pause)
		if done != nil {
			close(done)
		}
	}
}

// refresh reads the set. One that can't be read leaves the keys as they are.
func (s *source) refresh(ctx context.Context) error {
	keys, err := s.fetch(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.mu.Lock()
	first, was := s.keys == nil, s.err
	s.err = err
	if err == nil {
		s.keys = keys
	}
	s.mu.Unlock()
	switch {
	case err != nil && (was == nil || first):
		s.log.Warn("the identity provider's keys can't be read; the ones before stay in use", "url", s.url, "err", err)
	case err == nil && was != nil:
		s.log.Info("the identity provider's keys were read", "url", s.url, "keys", len(keys))
	}
	return err
}

func (s *source) fetch(ctx context.Context) ([]key, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSet+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxSet {
		return nil, fmt.Errorf("more than %d bytes", maxSet)
	}
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("no JWKS: %w", err)
	}
	// A provider that has withdrawn every key is out of order rather than out of keys.
	keys := fromSet(set)
	if len(keys) == 0 {
		return nil, errors.New("no key of RSA or Ed25519 that signs")
	}
	return keys, nil
}

// have are the keys, and why the last question failed if it did.
func (s *source) have() ([]key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys, s.err
}

// ask has the keys asked for, unless that was done just now, and waits for it.
func (s *source) ask(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return ErrNoKeys
	}
	done := make(chan struct{})
	select {
	case s.wanted <- done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
