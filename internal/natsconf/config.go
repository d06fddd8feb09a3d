package natsconf

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"godwit/bus"
)

// Limits of every NATS server. A record stays well below maxPayload; maxPending is what
// may wait for one connection before it is cut.
const (
	maxPayload     = 1 << 20
	maxPending     = 128 << 20
	maxConnections = 4096
)

// config is the configuration file of one server.
func (m *maker) config(s Server, route string, users []user, system string) []byte {
	var b strings.Builder
	at := func(name string) string { return filepath.Join(m.cfg.SeenAt, s.Name, name) }
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	tls := func(verify bool) {
		p("  tls {")
		p("    cert_file: %q", at(ServerCert))
		p("    key_file: %q", at(ServerKey))
		p("    ca_file: %q", at(CAFile))
		p("    verify: %t", verify)
		p("    min_version: \"1.3\"")
		p("    timeout: 5")
		p("  }")
	}
	p("# NATS server %s of the godwit cluster %s. Written by godwit cluster make, which overwrites changes.", s.Name, m.cfg.Cluster)
	p("server_name: %q", s.Name)
	p("listen: \"0.0.0.0:%d\"", ClientPort)
	p("http: \"127.0.0.1:%d\" # health; asked from this machine only", MonitorPort)
	p("max_payload: %d", maxPayload)
	p("max_pending: %d", maxPending)
	p("max_connections: %d", maxConnections)
	p("ping_interval: \"10s\" # who is gone without a word is noticed after two")
	p("ping_max: 2")
	p("write_deadline: \"10s\"")
	tls(false)
	p("jetstream {")
	p("  store_dir: %q", m.cfg.Store)
	p("  sync_interval: always # acknowledged means on the disks of a majority")
	p("  max_memory_store: %d", m.cfg.MaxMemory)
	p("  max_file_store: %d", m.cfg.MaxStore)
	p("}")
	if len(m.cfg.Servers) > 1 { // a cluster of one would wait for others
		p("cluster {")
		p("  name: %q", m.cfg.Cluster)
		p("  listen: \"0.0.0.0:%d\"", RoutePort)
		p("  no_advertise: true # clients know all servers by name, as the certificates do")
		p("  authorization { user: %q, password: %q, timeout: 5 }", routeUser, route)
		tls(true)
		p("  routes: [")
		for _, other := range m.cfg.Servers {
			u := url.URL{Scheme: "nats-route", User: url.UserPassword(routeUser, route), Host: net.JoinHostPort(other.Host, strconv.Itoa(RoutePort))}
			p("    %q", u.String())
		}
		p("  ]")
		p("}")
	}
	p("accounts {")
	p("  LOG {")
	p("    jetstream: enabled")
	p("    users: [")
	for _, u := range users {
		p("      { # %s", u.folder)
		p("        nkey: %q", u.public)
		p("        permissions: {")
		publish, subscribe := bus.Permissions(u.bus)
		p("          publish: { allow: %s, deny: %s }", list(publish), list(bus.Denied(u.bus)))
		p("          subscribe: { allow: %s }", list(subscribe))
		p("        }")
		p("      }")
	}
	p("    ]")
	p("  }")
	p("  SYSTEM {")
	p("    users: [")
	p("      { nkey: %q, permissions: { publish: { allow: %s }, subscribe: { allow: %s } } }", system, list(systemPublish), list([]string{"_INBOX.>"}))
	p("    ]")
	p("  }")
	p("}")
	p("system_account: SYSTEM")
	return []byte(b.String())
}

const routeUser = "route"

func list(subjects []string) string {
	quoted := make([]string, len(subjects))
	for i, s := range slices.Sorted(slices.Values(subjects)) {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
