package up

import (
	"context"

	"godwit/connector"
	"godwit/connector/webhook"
	"godwit/internal/admin"
	"godwit/internal/api"
)

// makeAPI makes what operators and programs talk to.
func (p *process) makeAPI(context.Context) (err error) {
	p.people = admin.NewPeople(p.node, p.hasher)
	p.serverAPI, err = api.New(api.Config{
		Node: p.node, Log: p.bus, Partitions: p.bus.Partitions(), Hasher: p.hasher, Token: p.token, Version: Version(),
		GroupLimit: p.cfg.GroupLimit, FriendsOnly: p.cfg.Contacts == string(connector.Friends), Logger: p.log.With("part", "api"), Registerer: p.registry,
		Live:         liveStatus{p.live, p},
		BeginWebhook: func(ctx context.Context, id string) error { return webhook.Begin(ctx, p.bus, id) }})
	return err
}

// makePushes makes the sender of pushes; of several in a cluster one sends.
func (p *process) makePushes(context.Context) (err error) {
	p.pushes, err = webhook.New(webhook.Config{
		Bus: p.bus, Node: p.node, Quiet: p.cfg.PushQuiet, NoText: p.cfg.PushNoText, Logger: p.log.With("part", "webhook"), Registerer: p.registry})
	return err
}

func (p *process) startPushes(context.Context) error {
	p.stages.start("webhook", p.pushes.Run)
	return nil
}
