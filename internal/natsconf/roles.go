package natsconf

import (
	"bytes"
	"fmt"

	"godwit/bus"

	"github.com/nats-io/nkeys"
)

const (
	gatewayFolder = "gateway"
	initFolder    = "init"
)

// role is one who connects to the log's servers.
type role struct {
	folder string
	bus    bus.Role
}

// roles are all of them.
var roles = []role{
	{"connector", bus.RoleConnector},
	{"projector", bus.RoleProjector},
	{gatewayFolder, bus.RoleGateway},
	{initFolder, bus.RoleInit},
}

// systemPublish is what who checks the servers may ask of them: their settings. It is
// nobody's right to change one.
var systemPublish = []string{"$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.*"}

// user is a role with its public key.
type user struct {
	role
	public string
}

// keys reads the keys of all roles and of the system account, or makes them.
func (m *maker) keys() (users []user, system string, err error) {
	for _, r := range roles {
		public, err := m.key(r.folder, RoleKey)
		if err != nil {
			return nil, "", err
		}
		users = append(users, user{role: r, public: public})
	}
	system, err = m.key(initFolder, SystemKey)
	return users, system, err
}

// key gives the public half of a key.
func (m *maker) key(folder, name string) (string, error) {
	seed, err := m.secret(folder, name, func() (string, error) {
		pair, err := nkeys.CreateUser()
		if err != nil {
			return "", err
		}
		defer pair.Wipe()
		seed, err := pair.Seed()
		return string(bytes.TrimSpace(seed)), err
	})
	if err != nil {
		return "", err
	}
	pair, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return "", fmt.Errorf("%s holds no key: %w: remove it, and the next run makes a new one", m.path(folder, name), err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}
