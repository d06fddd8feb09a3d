package up

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"godwit/bus"
	"godwit/internal/datadir"
)

// lockDirectory takes the data directory for this process.
func (p *process) lockDirectory(context.Context) error {
	dir, err := datadir.Open(p.cfg.DataDir)
	if err != nil {
		return err
	}
	p.dir = dir
	p.close(dir)
	if err := os.MkdirAll(dir.Views(), 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// makeToken reads the token of the directory, and makes it at the first start.
func (p *process) makeToken(context.Context) (err error) {
	p.token, err = p.dir.Token()
	return err
}

// readToken reads the token of the file that is configured.
func (p *process) readToken(context.Context) (err error) {
	p.token, err = datadir.ReadToken(p.cfg.TokenFile)
	return err
}

// openLog connects to the log, or brings up the embedded one.
func (p *process) openLog(ctx context.Context) error {
	ctx, cancel := p.opening(ctx)
	defer cancel()
	cfg := p.cfg.log(p.role, p.dir, p.log.With("part", "bus"))
	cfg.Registerer = p.registry
	b, err := bus.Open(ctx, cfg)
	if err != nil {
		return err
	}
	p.bus = b
	p.close(b)
	return nil
}

// log is the log that the process works on: that of the directory, or an external one. The
// roles of a cluster make nothing of it.
func (c Config) log(role bus.Role, dir *datadir.Dir, logger *slog.Logger) bus.Config {
	cfg := bus.Config{
		URL: c.NATSURL, User: c.NATSUser, Password: c.NATSPassword, CredentialsFile: c.NATSCredentials, NKeyFile: c.NATSNKey,
		CAFile: c.NATSCA, CertFile: c.NATSCert, KeyFile: c.NATSKey, SystemNKeyFile: c.NATSSystemNKey,
		Role: role, CheckOnly: role != bus.RoleAll && role != bus.RoleInit,
		Durability: c.Durability, Partitions: c.Partitions, Replicas: c.Replicas, MinFree: c.MinFree,
		Logger: logger, Hooks: c.BusHooks,
	}
	if dir != nil {
		cfg.Dir = dir.NATS()
	}
	return cfg
}
