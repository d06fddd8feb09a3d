package connector

import (
	"context"
	"time"

	"godwit/connector/delivery"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// GateConfig is what a Gate needs of a Server's Config.
type GateConfig struct {
	// ResumeTime and Secrets are as in Config: without them no token holds.
	ResumeTime time.Duration
	Secrets    func(ctx context.Context) ([][]byte, error)
	Ask        time.Duration // for a question; default 12 s
}

// Gate says who may come in, without letting anybody in: the file server and the picture
// store ask it, also in a process without sockets for clients. It keeps what it was told
// of accounts until its node says that they have changed.
type Gate struct {
	node     Node
	wait     time.Duration
	accounts accounts
	tokens   keeper
}

// NewGate makes a gate. Its Handler is for a node that has no other, and Use gives it
// that node.
func NewGate(cfg GateConfig) *Gate {
	start := time.Now()
	g := &Gate{}
	g.init(cfg, func() uint32 { return uint32(time.Since(start) / time.Second) })
	return g
}

func (g *Gate) init(cfg GateConfig, tick func() uint32) {
	def(&cfg.Ask, 12*time.Second)
	g.wait = cfg.Ask
	g.tokens = keeper{ttl: cfg.ResumeTime, read: cfg.Secrets}
	g.accounts = accounts{gate: g, tick: tick}
	g.accounts.dropAll()
}

// Use gives the gate its node; nothing may be asked before.
func (g *Gate) Use(node Node) { g.node = node }

// HoldsToken tells whether token lets somebody in now. Nobody is logged in by the question.
func (g *Gate) HoldsToken(ctx context.Context, token []byte) bool {
	if !g.tokens.on() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, g.wait)
	defer cancel()
	user, credentials, err := g.tokens.check(ctx, token, time.Now())
	if err != nil {
		return false
	}
	p, err := g.openAccount(ctx, user)
	return err == nil && p != nil && p.GetCredentialsSequence() == credentials
}

// MayLogIn tells whether the user's account lets somebody in now, with whatever proves him.
func (g *Gate) MayLogIn(ctx context.Context, user uint32) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, g.wait)
	defer cancel()
	p, err := g.openAccount(ctx, user)
	return p != nil, err
}

// openAccount is the account of a user who is let in, nil if there is none.
func (g *Gate) openAccount(ctx context.Context, user uint32) (*query.Account, error) {
	name, err := g.accounts.nameOf(ctx, user)
	if err != nil || name == "" {
		return nil, err
	}
	p, _, err := g.accounts.find(ctx, name)
	if err != nil || user == 0 || p.GetUser() != user || p.GetDisabled() || p.GetEmployment() == left {
		return nil, err
	}
	return p, nil
}

// Handler is what a node without sockets tells of: only what was known of people matters.
func (g *Gate) Handler() delivery.Handler { return gateHandler{g} }

type gateHandler struct{ g *Gate }

func (h gateHandler) PersonChanged(c *frame.PersonChanged, _ uint64) {
	h.g.accounts.sweep(h.g.accounts.tick())
	if user := c.GetUser(); user != 0 && c.GetFriend() == nil {
		h.g.accounts.drop(user)
	}
}

func (h gateHandler) DropCaches()                      { h.g.accounts.dropAll() }
func (h gateHandler) CloseAll(error)                   { h.g.accounts.dropAll() }
func (gateHandler) SessionOver(*frame.SessionOver)     {}
func (gateHandler) UserStatus(uint32, bool, uint64)    {}
func (gateHandler) DesktopStatus(uint32, bool, uint64) {}
func (gateHandler) Relay(*frame.Relay)                 {}
func (gateHandler) Suspend(bool)                       {}
