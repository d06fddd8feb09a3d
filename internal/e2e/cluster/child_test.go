package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/bus"
	"godwit/internal/e2e/e2etest"
	"godwit/internal/password"
	"godwit/internal/watch"
	"godwit/projections/owner"
)

// runChild is this binary as one part of a cluster. It is true where that was asked for.
func runChild() (code int, asked bool) {
	text, asked := os.LookupEnv(childEnv)
	if !asked {
		return 0, false
	}
	var cfg childConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2, true
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, nil)).With("at", cfg.Name)
	ctx, cancel := untilClosed(context.Background())
	defer cancel()
	var err error
	switch {
	case cfg.NATS != nil:
		err = childNATS(ctx, *cfg.NATS, log)
	case cfg.Owner != nil:
		err = childOwner(ctx, cfg.Name, *cfg.Owner, log)
	case cfg.Edge != nil:
		err = childEdge(ctx, cfg.Name, *cfg.Edge, log)
	}
	if err != nil {
		log.Error("ended", "err", err)
		return 1, true
	}
	return 0, true
}

func childNATS(ctx context.Context, cfg natsConfig, log *slog.Logger) error {
	srv, err := startNATS(cfg)
	if err != nil {
		return err
	}
	log.Info("nats is up", "client", srv.Addr(), "route", srv.ClusterAddr())
	<-ctx.Done()
	srv.Shutdown()
	srv.WaitForShutdown()
	return nil
}

func childBus(ctx context.Context, name string, cfg partConfig, log *slog.Logger) (*bus.Bus, error) {
	return bus.Open(ctx, bus.Config{URL: cfg.URLs, Partitions: e2etest.RigPartitions, Replicas: 3, Process: name, Logger: log})
}

func childOwner(ctx context.Context, name string, cfg partConfig, log *slog.Logger) error {
	b, err := childBus(ctx, name, cfg, log)
	if err != nil {
		return err
	}
	p, err := owner.Open(ctx, owner.Config{Bus: b, Dir: cfg.Dir, Logger: log})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	log.Info("owner is up")
	go tellReady(ctx, log, p.Ready)
	err = p.Run(ctx)
	return errors.Join(err, p.Close(), b.Close())
}

func childEdge(ctx context.Context, name string, cfg partConfig, log *slog.Logger) error {
	b, err := childBus(ctx, name, cfg, log)
	if err != nil {
		return err
	}
	hasher, err := password.NewHasher(password.Cost{MemoryKiB: 64, Iterations: 1})
	if err != nil {
		return err
	}
	srv, node, err := e2etest.NewEdge(b, hasher, name, nil, log)
	if err != nil {
		return err
	}
	outer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, gctx := errgroup.WithContext(outer)
	g.Go(func() error { return node.Run(gctx) })
	g.Go(func() error { return watch.Run(gctx, b, node, log) })
	go func() {
		<-srv.Listening()
		log.Info("edge is up", "clients", srv.Addr())
		tellReady(ctx, log, srv.Ready)
	}()
	err = srv.Run(ctx, node)
	cancel()
	return errors.Join(err, g.Wait(), b.Close())
}

// tellReady logs every change of readiness.
func tellReady(ctx context.Context, log *slog.Logger, ready func() error) {
	was := "?"
	for ctx.Err() == nil {
		now := "ready"
		if err := ready(); err != nil {
			now = err.Error()
		}
		if now != was {
			log.Info("readiness", "now", now)
			was = now
		}
		time.Sleep(50 * time.Millisecond)
	}
}
