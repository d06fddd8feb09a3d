package up

import (
	"context"
	"fmt"

	"godwit/bus"
)

// Names of the roles.
const (
	roleConnector = "connector"
	roleProjector = "projector"
	roleGateway   = "gateway"
)

// Connector serves clients, and keeps nothing.
func Connector(ctx context.Context, cfg Config) error {
	return run(ctx, cfg, roleConnector, func(p *process) []step {
		return []step{
			p.readIdentity, p.makeHasher, p.tryPorts, p.listenAdmin,
			p.openLog, p.openFiles, p.makeServer, p.makeNode,
			p.startNode, p.startHealth, p.awaitNode, p.startServer, p.startFiles,
		}
	})
}

// Projector keeps views and fans out what happens.
func Projector(ctx context.Context, cfg Config) error {
	return run(ctx, cfg, roleProjector, func(p *process) []step {
		return []step{
			p.lockDirectory, p.listenAdmin,
			p.openLog, p.openViews,
			p.startViews, p.startHealth, p.awaitViews,
		}
	})
}

// Gateway is what is reached over HTTP, and files: it tells clients where to connect, and
// has the APIs, pictures and the pushes.
func Gateway(ctx context.Context, cfg Config) error {
	return run(ctx, cfg, roleGateway, func(p *process) []step {
		return []step{
			p.readToken, p.makeHasher, p.listenHTTP, p.listenAdmin, p.listenFiles,
			p.openLog, p.openFiles, p.makeGateNode, p.makeAPI, p.makePushes, p.openPictures,
			p.startNode, p.startAdmin, p.awaitNode, p.startFiles, p.startPushes, p.startHTTP,
		}
	})
}

// Init makes what a log needs at the servers, or checks what is there.
func Init(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	b, err := bus.Open(ctx, cfg.log(nil, cfg.Logger))
	if err != nil {
		return err
	}
	fmt.Fprintf(cfg.Out, "log %s, %d partitions\n", b.LogID(), b.Partitions())
	return b.Close()
}
