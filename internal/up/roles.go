package up

import (
	"context"

	"godwit/bus"
)

// Connector serves clients, over HTTP as well where it has an address for that, and keeps nothing.
func Connector(ctx context.Context, cfg Config) error {
	return run(ctx, cfg, bus.RoleConnector, func(p *process) []step {
		return []step{
			p.readIdentity, p.makeHasher, p.tryPorts, p.listenHTTP, p.listenAdmin,
			p.openLog, p.answerLive, p.openFiles, p.makeServer, p.makeNode,
			p.startNode, p.startHealth, p.awaitNode, p.startServer, p.answerAddresses, p.startFiles, p.startHTTP,
		}
	})
}

// Projector keeps views and fans out what happens.
func Projector(ctx context.Context, cfg Config) error {
	return run(ctx, cfg, bus.RoleProjector, func(p *process) []step {
		return []step{
			p.lockDirectory, p.listenAdmin,
			p.openLog, p.answerLive, p.openViews,
			p.startViews, p.startHealth, p.awaitViews,
		}
	})
}

// Gateway is what is reached over HTTP beside sessions, and files: it has the page for
// browsers, tells clients where to connect, and has the APIs, pictures and the pushes.
func Gateway(ctx context.Context, cfg Config) error {
	return run(ctx, cfg, bus.RoleGateway, func(p *process) []step {
		return []step{
			p.readToken, p.makeHasher, p.listenHTTP, p.listenAdmin, p.listenFiles,
			p.openLog, p.answerLive, p.hearProjectors, p.openFiles, p.makeGateNode, p.makeLive, p.makeAPI, p.makePushes, p.openPictures,
			p.startNode, p.startAdmin, p.awaitNode, p.startFiles, p.startPushes, p.startHTTP, p.startObserving, p.startLive,
		}
	})
}
