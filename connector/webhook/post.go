package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Headers of a document.
const (
	// EventHeader is the document's event id.
	EventHeader = "Godwit-Event"
	// SignatureHeader is t=<Unix seconds>,v1=<hex>, see Sign.
	SignatureHeader = "Godwit-Signature"
)

// maxAnswer is how much of a receiver's answer is read, so that its connection can be used
// again. Nothing of it is looked at.
const maxAnswer = 64 << 10

// Sign is the value of SignatureHeader: HMAC-SHA256 under the target's secret over the
// time in Unix seconds, a dot, and the body.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// newClient makes the client of one target. A redirect is an answer like others that are
// not 2xx: whoever moves a receiver sets its URL.
func newClient(limit time.Duration) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 64
	return &http.Client{
		Transport: t, Timeout: limit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// statusError is an answer that is not 2xx.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// send posts a body and is nil once the receiver has answered with 2xx.
func (t *target) send(ctx context.Context, id string, body []byte, at time.Time) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.hook.GetUrl(), bytes.NewReader(body))
	if err != nil {
		return errors.New("its URL can't be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "godwit")
	req.Header.Set(EventHeader, id)
	req.Header.Set(SignatureHeader, Sign(t.hook.GetSecret(), at, body))
	resp, err := t.client.Do(req)
	if err != nil {
		// A URL may hold a secret, which has no place in a log.
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return err
	}
	// Nothing is wanted of the answer but to be over; the status counts also if it never is.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	_ = resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return statusError(resp.StatusCode)
	}
	return nil
}

// hostOf is what a log may show of a URL.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}
