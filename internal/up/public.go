package up

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/commands"
	"godwit/connector"
	"godwit/connector/pictures"
	"godwit/internal/web"
)

// places are what the public HTTP port leads to.
type places struct {
	sessions  http.Handler // WebSocket; nil: elsewhere
	discovery http.Handler // where to connect; nil: elsewhere
	pictures  http.Handler // nil: elsewhere
	settings  web.Settings
}

// socketPath is where WebSocket sessions begin.
const socketPath = "/ws"

// startHTTP serves what clients find over HTTP: sessions of browsers and their page, and, where this process has them,
// where to connect and pictures.
func (p *process) startHTTP(context.Context) error {
	if p.public == nil && p.secure == nil {
		return nil
	}
	to := places{settings: p.settings()}
	if p.srv != nil {
		to.sessions = p.srv.WebSocket()
	}
	if p.pictures != nil {
		to.pictures = p.pictures
		to.discovery = &connector.Discovery{Server: p.srv, Nodes: p.node.Lives, Advertise: p.cfg.Advertise, MSFS: p.cfg.PictureURL, Pictures: true}
	}
	port := publicPort(to)
	if p.public != nil {
		p.stages.start("http", serveHTTP(p.public, publicConnections, publicPerAddress, p.cfg.ProxyFrom, port))
	}
	if p.secure != nil {
		p.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "godwit_https_certificate_expiry_timestamp_seconds",
			Help: "When the certificate of the HTTPS port expires."}, func() float64 { return float64(p.certificate.Expires().Unix()) }))
		p.stages.start("https", serveHTTPS(p.secure, publicConnections, publicPerAddress, p.cfg.ProxyFrom, p.certificate, p.log.With("part", "http"), port))
	}
	return nil
}

// settings are what the page in a browser must know.
func (p *process) settings() web.Settings {
	seconds := func(d time.Duration) int { return int(d / time.Second) }
	return web.Settings{
		Name: "godwit", Version: Version(), WS: socketPath, Contacts: cmp.Or(p.cfg.Contacts, string(connector.Everyone)),
		RecallSeconds: seconds(p.cfg.RecallTime), EditSeconds: seconds(p.cfg.EditTime), GroupLimit: cmp.Or(p.cfg.GroupLimit, commands.DefaultGroupLimit),
		Pictures: p.pictures != nil && pictures.Upload(p.cfg.PictureUpload) != pictures.Off,
	}
}

// publicPort leads a request to its place. Only an upload has a body that somebody reads.
func publicPort(to places) http.Handler {
	page := web.Client()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		place := page
		switch {
		case to.discovery != nil && strings.HasPrefix(r.URL.Path, "/msg_server"):
			place = to.discovery
		case to.pictures != nil && r.Method == http.MethodPost:
			to.pictures.ServeHTTP(w, r)
			return
		case to.pictures != nil && (!reads || strings.HasPrefix(r.URL.Path, "/g0/")):
			place = to.pictures
		case r.URL.Path == socketPath && to.sessions == nil:
			place = http.HandlerFunc(noSessions)
		case r.URL.Path == socketPath:
			place = to.sessions
		case r.URL.Path == "/client.json":
			place = to.settings
		}
		bodiless(place).ServeHTTP(w, r)
	})
}

// noSessions is told to who looks for sessions where there are none.
func noSessions(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "sessions are at the connectors: a load balancer has to lead "+socketPath+" to their --http", http.StatusNotFound)
}
