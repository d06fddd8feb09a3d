package bustest

import (
	"os"
	"path/filepath"
	"testing"

	"godwit/bus"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// Roles are the keys under which the roles of a cluster come to its servers.
type Roles struct {
	seeds map[bus.Role]string // files
	users []*server.NkeyUser

	system     *server.Account
	systemSeed string
}

// NewRoles makes a key for each role, and for RoleAll, which may do everything.
func NewRoles(t testing.TB) *Roles {
	t.Helper()
	r := &Roles{seeds: map[bus.Role]string{}, system: server.NewAccount("SYS")}
	var public string
	r.systemSeed, public = newKey(t)
	r.users = append(r.users, &server.NkeyUser{Nkey: public, Account: r.system})
	for _, role := range []bus.Role{bus.RoleAll, bus.RoleConnector, bus.RoleProjector, bus.RoleGateway, bus.RoleInit} {
		file, public := newKey(t)
		publish, subscribe := bus.Permissions(role)
		r.seeds[role] = file
		r.users = append(r.users, &server.NkeyUser{Nkey: public, Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish, Deny: bus.Denied(role)},
			Subscribe: &server.SubjectPermission{Allow: subscribe},
		}})
	}
	return r
}

// newKey makes a key, and a file with its seed.
func newKey(t testing.TB) (file, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatalf("bustest: roles: %v", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatalf("bustest: roles: %v", err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatalf("bustest: roles: %v", err)
	}
	file = filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatalf("bustest: roles: %v", err)
	}
	return file, public
}

// Change makes a server know the roles, and nobody else; see [Server] and [Cluster].
func (r *Roles) Change(o *server.Options) {
	o.Nkeys = r.users
	o.Accounts, o.SystemAccount = append(o.Accounts, r.system), r.system.Name
}

// SystemSeed is the file with a key of the servers' own account.
func (r *Roles) SystemSeed() string { return r.systemSeed }

// Seed is the file with the role's key.
func (r *Roles) Seed(role bus.Role) string { return r.seeds[role] }

// As comes to the servers at url in a role. All but RoleAll and RoleInit find the log made.
func (r *Roles) As(role bus.Role, url string) Option {
	return WithConfig(func(c *bus.Config) {
		c.URL, c.Durability, c.Role, c.NKeyFile = url, "", role, r.seeds[role]
		c.CheckOnly = role != bus.RoleAll && role != bus.RoleInit
	})
}
