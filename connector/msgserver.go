package connector

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Discovery answers GET /msg_server as TeamTalk's login_server does: it tells clients
// where to connect.
type Discovery struct {
	// Server is asked whether clients are served, and where.
	Server *Server
	// Advertise is HOST[:PORT]. Without a host it is the address by which the client
	// reached this HTTP server; without a port the one that the Server listens on.
	Advertise string
	// MSFS is the URL of the picture store, and Directory that of the list of web
	// items; both may be empty. With Pictures and without MSFS the store is on this HTTP
	// server, as the client reached it.
	MSFS      string
	Pictures  bool
	Directory string
}

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
	switch {
	case d.Server.Ready() != nil:
		body = refusal{1, "没有msg_server"}
	case d.Server.count() >= d.Server.limits.Connections:
		body = refusal{2, "负载过高"}
	default:
		host, port := d.where(r)
		msfs := d.MSFS
		if msfs == "" && d.Pictures {
			msfs = "http://" + r.Host + "/"
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
		}{host, 0, d.Directory, "", msfs, msfs, port, host}
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

// where is the address for a client that asks.
func (d *Discovery) where(r *http.Request) (host, port string) {
	host, port = d.Advertise, ""
	if h, p, err := net.SplitHostPort(d.Advertise); err == nil {
		host, port = h, p
	}
	host = strings.Trim(host, "[]")
	if port == "" {
		if a := d.Server.Addr(); a != nil {
			_, port, _ = net.SplitHostPort(a.String())
		}
	}
	if host != "" {
		return host, port
	}
	// The address that the client itself used is the one that works for it, also behind
	// a translation of addresses; if it used a name, the one that it arrived at.
	name := r.Host
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return a.String(), port
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if h, _, err := net.SplitHostPort(a.String()); err == nil {
			return h, port
		}
	}
	return name, port
}
