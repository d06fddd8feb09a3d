package up

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"godwit/internal/admin"
	"godwit/internal/web"
)

// Ready is nil while the process can do the work of its role.
func (p *process) Ready(context.Context) error {
	errs := []error{p.bus.Healthy()}
	if p.owners != nil {
		errs = append(errs, p.owners.Ready())
	}
	if p.node != nil {
		errs = append(errs, p.node.Ready())
	}
	return errors.Join(errs...)
}

// startAdmin serves health, metrics and the APIs.
func (p *process) startAdmin(context.Context) error {
	p.registerReady()
	p.stages.start("admin", serveHTTP(p.private, adminConnections, 0, nil, admin.NewHandler(admin.Config{
		People: p.people, Server: p, Token: p.token, API: p.serverAPI, Console: web.Console(),
		Metrics: promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}), Logger: p.log.With("part", "admin")})))
	return nil
}

// publishAdmin tells commands on this machine where the admin port is.
func (p *process) publishAdmin(context.Context) error { return p.dir.PublishAdmin(p.private.Addr()) }

// startHealth serves health and metrics alone.
func (p *process) startHealth(context.Context) error {
	p.registerReady()
	p.stages.start("admin", serveHTTP(p.private, adminConnections, 0, nil,
		admin.NewHealth(p, promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{}))))
	return nil
}

func (p *process) registerReady() {
	p.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "godwit_ready", Help: "1 while the process can do its work."}, func() float64 {
		if p.Ready(context.Background()) != nil {
			return 0
		}
		return 1
	}))
}
