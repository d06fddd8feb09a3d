package up

import (
	"context"
	"fmt"
	"net"

	"godwit/bus"
)

// Run brings a whole godwit up in one process and serves until ctx ends; then it drains
// and returns nil. Errors before the ready line are the operator's to mend.
func Run(ctx context.Context, cfg Config) error {
	return run(ctx, cfg, bus.RoleAll, func(p *process) []step {
		return []step{
			p.readIdentity, p.lockDirectory, p.makeToken,
			// Ports first: an address that is taken is told before the log is touched.
			p.tryPorts, p.listenHTTP, p.listenAdmin, p.listenFiles,
			p.openLog, p.answerLive, p.hearProjectors, p.openViews, p.openFiles, p.makeHasher, p.makeServer, p.makeNode, p.makeLive, p.makeAPI, p.makePushes, p.openPictures,
			p.startViews, p.startNode, p.startAdmin, p.publishAdmin, p.awaitNode, p.succeed, p.populate,
			p.startServer, p.startFiles, p.startPushes, p.startHTTP, p.startObserving, p.startLive,
		}
	})
}

// readyLine says where the process can be reached.
func (p *process) readyLine() string {
	if p.role != bus.RoleAll {
		return p.roleLine()
	}
	reach := "all-interfaces"
	if host, _, err := net.SplitHostPort(p.srv.Addr().String()); err == nil {
		switch ip := net.ParseIP(host); {
		case ip.IsLoopback():
			reach = "loopback-only"
		case !ip.IsUnspecified():
			reach = "one-address"
		}
	}
	durability := string(p.cfg.Durability)
	if p.cfg.NATSURL != "" {
		durability = "external"
	}
	line := fmt.Sprintf("ready clients=%s http=%s admin=%s durability=%s reach=%s", p.srv.Addr(), p.public.Addr(), p.private.Addr(), durability, reach)
	if a := p.srv.TLSAddr(); a != nil {
		line += " tls=" + a.String()
	}
	if p.secure != nil {
		line += " https=" + p.secure.Addr().String()
	}
	if p.files != nil {
		line += " files=" + p.files.ln.Addr().String()
	}
	return line
}

// roleLine is the ready line of a role of a cluster.
func (p *process) roleLine() string {
	line := "ready role=" + string(p.role)
	add := func(name string, at net.Addr) {
		if at != nil {
			line += " " + name + "=" + at.String()
		}
	}
	if p.role == bus.RoleConnector {
		add("clients", p.srv.Addr())
		add("tls", p.srv.TLSAddr())
	}
	if p.public != nil {
		add("http", p.public.Addr())
	}
	if p.secure != nil {
		add("https", p.secure.Addr())
	}
	if p.files != nil && p.files.ln != nil {
		add("files", p.files.ln.Addr())
	}
	add("admin", p.private.Addr())
	return line
}
