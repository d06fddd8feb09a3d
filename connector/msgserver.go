package connector

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/connector/delivery"
	"godwit/schema/event"
)

// Discovery answers GET /msg_server as TeamTalk's login_server does: it tells clients
// where to connect.
type Discovery struct {
	// Server of this process is asked whether clients are served, and where. Without one
	// Nodes tells of those that are heard.
	Server *Server
	Nodes  func() []delivery.Live
	// Advertise is HOST[:PORT]. Without a host it is the address by which the client
	// reached this HTTP server; without a port the one that the Server, or a node, listens
	// on. Empty: of Nodes, each advertises its own address, and the least loaded is given.
	Advertise string
	// MSFS is the URL of the picture store, and Directory that of the list of web
	// items; both may be empty. With Pictures and without MSFS the store is on this HTTP
	// server, as the client reached it.
	MSFS      string
	Pictures  bool
	Directory string

	mu    sync.Mutex
	given map[event.ID]given
}

// given counts the clients sent to a node since its last beat, which can't know of them.
type given struct {
	heard   time.Time
	clients int
}

// Answers of the original that name no address.
var (
	errNobody = errors.New("没有msg_server")
	errFull   = errors.New("负载过高")
)

// address is where a client is sent; backup is another host with the same port.
type address struct{ host, port, backup string }

// ServeHTTP answers any method and any path that begins with /msg_server.
func (d *Discovery) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/msg_server") {
		http.NotFound(w, r)
		return
	}
	type refusal struct {
		Code int    `json:"code"`
		Msg  string `json:"msg"`
	}
	var body any
	at, err := d.choose()
	switch err {
	case errNobody:
		body = refusal{1, err.Error()}
	case errFull:
		body = refusal{2, err.Error()}
	default:
		at = at.seenBy(r)
		msfs := d.MSFS
		if msfs == "" && d.Pictures {
			scheme := "http"
			if r.TLS != nil {
				scheme = "https"
			}
			msfs = scheme + "://" + r.Host + "/"
		}
		body = struct {
			BackupIP   string `json:"backupIP"`
			Code       int    `json:"code"`
			Discovery  string `json:"discovery"`
			Msg        string `json:"msg"`
			MSFSBackup string `json:"msfsBackup"`
			MSFSPrior  string `json:"msfsPrior"`
			Port       string `json:"port"` // clients want text
			PriorIP    string `json:"priorIP"`
		}{at.backup, 0, d.Directory, "", msfs, msfs, at.port, at.host}
	}
	b, err := json.MarshalIndent(body, "", "   ")
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html;charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Connection", "close")
	w.Write(b)
}

// choose finds where the next client is to go. It fails with errNobody or errFull.
func (d *Discovery) choose() (address, error) {
	if d.Server != nil {
		switch {
		case d.Server.Ready() != nil:
			return address{}, errNobody
		case d.Server.count() >= d.Server.limits.Connections:
			return address{}, errFull
		}
		port := ""
		if a := d.Server.Addr(); a != nil {
			_, port, _ = net.SplitHostPort(a.String())
		}
		return addressOf(d.Advertise, port), nil
	}
	nodes := slices.DeleteFunc(d.Nodes(), func(l delivery.Live) bool { return !l.Serves })
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.given
	d.given = make(map[event.ID]given, len(nodes))
	for i, l := range nodes {
		g := known[l.Life]
		if g.heard != l.Heard {
			g = given{heard: l.Heard}
		}
		d.given[l.Life] = g
		nodes[i].Clients += g.clients
	}
	first, second := leastLoaded(nodes)
	switch {
	case len(nodes) == 0:
		return address{}, errNobody
	case first < 0:
		return address{}, errFull
	}
	g := d.given[nodes[first].Life]
	g.clients++
	d.given[nodes[first].Life] = g
	_, port, _ := net.SplitHostPort(nodes[first].Advertise)
	if d.Advertise != "" {
		return addressOf(d.Advertise, port), nil
	}
	at := addressOf(nodes[first].Advertise, "")
	if second >= 0 {
		if other := addressOf(nodes[second].Advertise, ""); other.port == at.port && other.host != "" {
			at.backup = other.host
		}
	}
	return at, nil
}

// leastLoaded are the two nodes with the smallest part of their room taken, -1 where there
// is none with room.
func leastLoaded(nodes []delivery.Live) (first, second int) {
	first, second = -1, -1
	less := func(a, b delivery.Live) bool { return a.Clients*b.Capacity < b.Clients*a.Capacity }
	for i, l := range nodes {
		switch {
		case l.Clients >= l.Capacity:
		case first < 0 || less(l, nodes[first]):
			first, second = i, first
		case second < 0 || less(l, nodes[second]):
			second = i
		}
	}
	return first, second
}

// addressOf takes HOST[:PORT] apart; port is for one that names none.
func addressOf(advertise, port string) address {
	host := advertise
	if h, p, err := net.SplitHostPort(advertise); err == nil {
		host = h
		if p != "" {
			port = p
		}
	}
	host = strings.Trim(host, "[]")
	return address{host, port, host}
}

// seenBy completes an address without a host for the client that asks.
func (a address) seenBy(r *http.Request) address {
	if a.host != "" {
		return a
	}
	// The address that the client itself used is the one that works for it, also behind
	// a translation of addresses; if it used a name, the one that it arrived at.
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	a.host = name
	if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		a.host = ip.String()
	} else if to, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if h, _, err := net.SplitHostPort(to.String()); err == nil {
			a.host = h
		}
	}
	if a.backup == "" {
		a.backup = a.host
	}
	return a
}
