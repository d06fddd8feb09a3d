// Package up wires the roles of godwit into one process: the bus with its embedded
// server, the owner of every view, a connector and the HTTP ports.
package up

import (
	"io"
	"log/slog"
	"time"

	"godwit/bus"
	"godwit/commands"
	"godwit/internal/password"
)

// Config of one `godwit up`. The command line checks the form of every value; Run
// checks what only the running parts know.
type Config struct {
	DataDir   string // holds the log, the views, the admin token and the lock
	Listen    string // TCP for clients, "host:port"; port 0 takes a free one
	HTTP      string // public HTTP (GET /msg_server)
	Admin     string // admin API and metrics
	Advertise string // HOST[:PORT] that /msg_server answers; empty: derived

	TLSListen string // TLS for clients, empty: none
	TLSCert   string
	TLSKey    string

	NATSURL         string // external NATS; empty: embedded
	NATSUser        string
	NATSPassword    string
	NATSCredentials string
	NATSCA          string

	Durability   bus.Durability
	Partitions   int    // 0: what the log has, else the default
	MinFree      uint64 // free bytes below which appends are refused
	PasswordCost password.Cost

	Contacts     string // "everyone" or "friends"
	StatusLimit  int    // everyone: no pushed status notices above so many online users
	DevicePolicy commands.DevicePolicy
	DrainTimeout time.Duration

	Demo bool // ten people who know each other, one random password

	Logger *slog.Logger
	Out    io.Writer // the ready line, and the people of the demo

	// Hooks are for tests.
	BusHooks *bus.Hooks
}

// ReplayProgress is told during a replay, by one goroutine at a time: records folded
// and records there are.
type ReplayProgress func(view string, done, total uint64)
