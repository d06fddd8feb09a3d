package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
)

// Client speaks to the admin API of one server. It may be used from any goroutine.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// NewClient is for the server at addr (HOST:PORT, or a URL where something stands
// in front of it).
func NewClient(addr, token string) *Client {
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	return &Client{base: strings.TrimSuffix(addr, "/") + "/api/v1", token: token, http: &http.Client{}}
}

// Add registers a person.
func (c *Client) Add(ctx context.Context, p NewPerson) (Person, error) {
	var added Person
	return added, c.call(ctx, http.MethodPost, "/people", p, &added)
}

// Import registers many, in as many requests as it takes. progress is called with
// the numbers of the whole; Refused holds only what is new, with indexes into
// people. The error is not nil when it broke off.
func (c *Client) Import(ctx context.Context, people []NewPerson, progress func(ImportProgress)) error {
	var before ImportProgress
	for from := 0; from < len(people); from += importChunk {
		chunk := people[from:min(from+importChunk, len(people))]
		last, err := c.importChunk(ctx, chunk, func(p ImportProgress) {
			p.Handled += before.Handled
			p.Added += before.Added
			for i := range p.Refused {
				p.Refused[i].Index += from
			}
			p.Done = p.Done && from+len(chunk) == len(people)
			progress(p)
		})
		if err != nil {
			return err
		}
		before.Handled += last.Handled
		before.Added += last.Added
	}
	return nil
}

const importChunk = 10_000

func (c *Client) importChunk(ctx context.Context, people []NewPerson, progress func(ImportProgress)) (last ImportProgress, err error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for _, p := range people {
		if err := enc.Encode(p); err != nil {
			return last, fmt.Errorf("encode %s: %w", p.Name, err)
		}
	}
	for line, err := range lines[ImportProgress](c, ctx, "/people:import", &body) {
		if err != nil {
			return last, err
		}
		last = line
		progress(line)
		if line.Error != "" {
			return last, errors.New(line.Error)
		}
	}
	if !last.Done {
		return last, errBrokeOff
	}
	return last, nil
}

// List is a page of people with numbers above after.
func (c *Client) List(ctx context.Context, after uint32, limit int) (Page, error) {
	var page Page
	return page, c.call(ctx, http.MethodGet, fmt.Sprintf("/people?after=%d&limit=%d", after, limit), nil, &page)
}

// All is everybody, by number.
func (c *Client) All(ctx context.Context) iter.Seq2[Person, error] {
	return func(yield func(Person, error) bool) {
		for after := uint32(0); ; {
			page, err := c.List(ctx, after, MaxPage)
			if err != nil {
				yield(Person{}, err)
				return
			}
			for _, p := range page.People {
				if !yield(p, nil) {
					return
				}
				after = p.Number
			}
			if !page.More || len(page.People) == 0 {
				return
			}
		}
	}
}

// SetPassword changes a password; the person's sessions end.
func (c *Client) SetPassword(ctx context.Context, name, password string) error {
	return c.call(ctx, http.MethodPost, "/people/"+url.PathEscape(name)+"/password", Password{password}, nil)
}

// SetEnabled lets a person log in, or no more.
func (c *Client) SetEnabled(ctx context.Context, name string, enabled bool) error {
	action := "/disable"
	if enabled {
		action = "/enable"
	}
	return c.call(ctx, http.MethodPost, "/people/"+url.PathEscape(name)+action, nil, nil)
}

// SetFriends makes two people friends, or no more.
func (c *Client) SetFriends(ctx context.Context, a, b string, friends bool) error {
	method := http.MethodDelete
	if friends {
		method = http.MethodPut
	}
	return c.call(ctx, method, "/friends/"+url.PathEscape(a)+"/"+url.PathEscape(b), nil, nil)
}

// Call does a request of the server API: path is below /api/v1, body goes as JSON unless it is nil, and the answer is read
// into to unless that is nil.
func (c *Client) Call(ctx context.Context, method, path string, body, to any) error {
	return c.call(ctx, method, path, body, to)
}

// Status asks the server about itself.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	return st, c.call(ctx, http.MethodGet, "/status", nil, &st)
}

// Replay has the server rebuild its views beside the present ones.
func (c *Client) Replay(ctx context.Context, verify bool, progress func(view string, events, total uint64)) (ReplayReport, error) {
	path := "/replay?verify=" + strconv.FormatBool(verify)
	for line, err := range lines[ReplayProgress](c, ctx, path, nil) {
		switch {
		case err != nil:
			return ReplayReport{}, err
		case line.Done && line.Error != "":
			return ReplayReport{}, errors.New(line.Error)
		case line.Done && line.Report != nil:
			return *line.Report, nil
		}
		progress(line.View, line.Events, line.Total)
	}
	return ReplayReport{}, errBrokeOff
}

var errBrokeOff = errors.New("the server's answer broke off: it may have ended; its log says more")

func (c *Client) call(ctx context.Context, method, path string, body, to any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		r = bytes.NewReader(b)
	}
	resp, err := c.do(ctx, method, path, "application/json", r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if to == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(to); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// lines posts a request and reads the answer line by line.
func lines[T any](c *Client, ctx context.Context, path string, body io.Reader) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		resp, err := c.do(ctx, http.MethodPost, path, "application/x-ndjson", body)
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		d := json.NewDecoder(bufio.NewReader(resp.Body))
		for {
			var line T
			if err := d.Decode(&line); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				yield(none, fmt.Errorf("%w (%w)", errBrokeOff, err))
				return
			}
			if !yield(line, nil) {
				return
			}
		}
	}
}

func (c *Client) do(ctx context.Context, method, path, kind string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("admin request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("nothing answers at %s: is the server running?", c.server())
	case err != nil:
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // it says the same address once more
		}
		return nil, fmt.Errorf("no answer from the admin API at %s: %w", c.server(), err)
	case resp.StatusCode/100 == 2:
		return resp, nil
	}
	defer resp.Body.Close()
	p := &Problem{}
	// Something else may stand at the address: then the status has to do.
	if json.NewDecoder(io.LimitReader(resp.Body, MaxBody)).Decode(p) != nil || p.Title == "" {
		p = &Problem{Title: fmt.Sprintf("%s answered %s: is that the admin API of a server?", c.server(), resp.Status)}
	}
	if p.Status = resp.StatusCode; p.Status == http.StatusUnauthorized {
		p.Detail = fmt.Sprintf("the server at %s refuses the token: give the file admin.token of its data directory", c.server())
	}
	return nil, p
}

func (c *Client) server() string { return strings.TrimSuffix(c.base, "/api/v1") }
