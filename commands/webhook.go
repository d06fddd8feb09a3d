package commands

import (
	"fmt"
	"strings"
	"time"

	"godwit/schema/event"
)

// Limits of a webhook target, in bytes.
const (
	MaxWebhookID     = 64
	MaxWebhookURL    = 2048
	MinWebhookSecret = 16
	MaxWebhookSecret = 256
)

// WebhookState is what the people view knows of a target.
type WebhookState struct {
	Exists bool
}

// SetWebhook makes a target of pushes, or replaces what is known of it.
type SetWebhook struct {
	At       time.Time
	ID       string // letters, digits, "-" and "_"
	URL      string // absolute, http or https
	Secret   string // signs what is sent; empty keeps the present one
	Disabled bool
	By       string
}

// Decide gives WebhookSet.
func (c SetWebhook) Decide(s WebhookState) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if err := checkID("id", c.ID, MaxWebhookID); err != nil {
		return nil, err
	}
	if err := checkField("URL", c.URL, MaxWebhookURL); err != nil {
		return nil, err
	}
	if err := checkBytes("URL", c.URL, MaxWebhookURL); err != nil {
		return nil, err
	}
	if !webAddress(c.URL) {
		return nil, fmt.Errorf("%w: the URL is not an absolute one of http or https", ErrField)
	}
	if c.Secret != "" || !s.Exists {
		if len(c.Secret) < MinWebhookSecret || len(c.Secret) > MaxWebhookSecret {
			return nil, fmt.Errorf("%w: the secret has %d bytes, not %d to %d", ErrField, len(c.Secret), MinWebhookSecret, MaxWebhookSecret)
		}
		if err := checkField("secret", c.Secret, MaxWebhookSecret); err != nil {
			return nil, err
		}
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_WebhookSet{WebhookSet: &event.WebhookSet{
		Id: c.ID, Url: c.URL, Secret: c.Secret, Disabled: c.Disabled, By: cut(c.By, maxBy),
	}}}, nil
}

// webAddress tells an absolute URL of http or https that names a host and no fragment. What else is wrong with one is found
// when it is used.
func webAddress(text string) bool {
	scheme, rest, _ := strings.Cut(text, "://")
	if !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") || strings.ContainsAny(text, "# \\") {
		return false
	}
	host := rest
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		host = rest[:end]
	}
	host = host[strings.LastIndexByte(host, '@')+1:]
	if inside, ok := strings.CutPrefix(host, "["); ok {
		inside, _, ok = strings.Cut(inside, "]")
		return ok && inside != ""
	}
	host, _, _ = strings.Cut(host, ":")
	return host != ""
}

// RemoveWebhook forgets a target.
type RemoveWebhook struct {
	At time.Time
	ID string
	By string
}

// Decide gives WebhookRemoved.
func (c RemoveWebhook) Decide(s WebhookState) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if c.ID == "" || !s.Exists {
		return nil, ErrNoSuchWebhook
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_WebhookRemoved{WebhookRemoved: &event.WebhookRemoved{
		Id: c.ID, By: cut(c.By, maxBy),
	}}}, nil
}
