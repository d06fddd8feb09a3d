package up

import (
	"context"
	"os"
	"time"

	"godwit/connector"
	"godwit/connector/delivery"
	"godwit/internal/password"
	"godwit/internal/watch"
	"godwit/schema/query"
)

func (p *process) readIdentity(context.Context) (err error) {
	p.provider, err = openIdentity(p.cfg)
	return err
}

func (p *process) makeHasher(context.Context) (err error) {
	p.hasher, err = password.NewHasher(p.cfg.PasswordCost)
	return err
}

// makeServer makes the sessions' server. It serves when it is started.
func (p *process) makeServer(context.Context) (err error) {
	if p.srv, err = connector.New(p.provider.offered(p.files.offered(p.serverConfig()))); err == nil {
		p.gate = &p.srv.Gate
	}
	return err
}

// serverConfig is the connector's part of the configuration.
func (p *process) serverConfig() connector.Config {
	cfg := p.cfg
	if cfg.TLSListen == "" {
		cfg.TLSCert, cfg.TLSKey = "", "" // they are the HTTPS port's
	}
	return connector.Config{
		ResumeTime: cfg.ResumeTime, Secrets: p.secrets,
		GroupLimit: cfg.GroupLimit, RecallTime: cfg.RecallTime, EditTime: cfg.EditTime, RecalledText: cfg.RecalledText,
		TrustedProxies: cfg.ProxyFrom, Origins: cfg.Origins, Listen: cfg.Listen, TLSListen: cfg.TLSListen, TLSCert: cfg.TLSCert, TLSKey: cfg.TLSKey,
		Policy: cfg.DevicePolicy, Contacts: connector.Contacts(cfg.Contacts), StatusLimit: cfg.StatusLimit,
		Hasher: p.hasher, Partitions: p.bus.Partitions(), DrainTimeout: cfg.DrainTimeout, DrainRate: cfg.DrainRate, Registerer: p.registry,
		Logger: p.log.With("part", "connector"),
	}
}

// secrets are what resume tokens are signed with. One is renewed when every token under
// the one before it has ended.
func (p *process) secrets(ctx context.Context) ([][]byte, error) {
	return p.bus.Secrets(ctx, "resume", p.cfg.ResumeTime+time.Hour)
}

// makeNode makes the node of the server.
func (p *process) makeNode(context.Context) (err error) {
	p.node, err = delivery.New(delivery.Config{
		Bus: p.bus, Handler: p.srv.Handler(), Serving: p.srv.Serving, Advertise: p.cfg.Advertise, Logger: p.log.With("part", "node"), Registerer: p.registry})
	return err
}

// makeGateNode makes a node without sockets, and the gate that says who may come in.
func (p *process) makeGateNode(context.Context) (err error) {
	p.gate = connector.NewGate(connector.GateConfig{ResumeTime: p.cfg.ResumeTime, Secrets: p.secrets})
	p.node, err = delivery.New(delivery.Config{Bus: p.bus, Handler: p.gate.Handler(), Logger: p.log.With("part", "node"), Registerer: p.registry})
	if err == nil {
		p.gate.Use(p.node)
	}
	return err
}

// startNode has the node's life begin, and watches the lives of all.
func (p *process) startNode(context.Context) error {
	p.stages.start("node", p.node.Run)
	p.stages.start("watch", func(ctx context.Context) error { return watch.Run(ctx, p.bus, p.node, p.log.With("part", "watch")) })
	return nil
}

func (p *process) awaitNode(ctx context.Context) error { return p.await(ctx, p.node.Started()) }

// succeed ends the lives whose place this process has taken.
func (p *process) succeed(ctx context.Context) error {
	return watch.Succeed(ctx, p.node, p.predecessor)
}

// predecessor tells whether a life can only be one of this process's own past: with
// an embedded log, whose directory is locked, every other one.
func (p *process) predecessor(l *query.Life) bool {
	if p.cfg.NATSURL == "" {
		return true
	}
	host, err := os.Hostname()
	return err == nil && l.Node == host && l.Advertise == p.cfg.Advertise
}

// startServer lets clients in.
func (p *process) startServer(context.Context) error {
	p.provider.start(p.stages)
	p.stages.start("connector", func(ctx context.Context) error { return p.srv.Run(ctx, p.node) })
	select {
	case <-p.srv.Listening():
		return nil
	case err := <-p.stages.failed:
		return err
	}
}

// answerAddresses tells gateways who is logged in here.
func (p *process) answerAddresses(context.Context) error {
	stop, err := p.srv.AnswerAddresses(p.bus)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, func() error {
		stop()
		return nil
	})
	return nil
}

// tryPorts refuses addresses of clients and a certificate that can't be used, which
// the connector would find out only when the log is open.
func (p *process) tryPorts(context.Context) error { return tryClients(p.cfg) }
