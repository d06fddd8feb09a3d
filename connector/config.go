package connector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/commands"
	"godwit/connector/identity"
	"godwit/internal/password"
	"godwit/schema/pdu"
)

// Contacts says whose status notices a client is sent.
type Contacts string

// The two ways of contacts.
const (
	// Everyone is everybody's contact, as in a company: the protocol's own way.
	Everyone Contacts = "everyone"
	// Friends are told of each other, and nobody else.
	Friends Contacts = "friends"
)

// DefaultRecalledText says that a message was recalled.
const DefaultRecalledText = "此消息已撤回"

// Config of a Server. Zero values take the defaults named.
type Config struct {
	Listen    string // plain TCP, "host:port"; port 0 takes a free one; empty: none
	TLSListen string // TLS; empty: none
	TLSCert   string // PEM files, read again when they change
	TLSKey    string

	// TrustedProxies are the load balancers whose connections, on both ports, begin with a
	// header of the PROXY protocol, version 1 or 2: the address in it is the client's. It is
	// required of them, and believed of nobody else.
	TrustedProxies []netip.Prefix

	// Origins are the sites, beside the server's own, whose pages may open a WebSocket here: an origin such as
	// "https://chat.example.com", a host with its port if that is not the usual one, or "*" for any.
	Origins []string

	Limits   Limits
	Policy   commands.DevicePolicy // nil: one desktop, one mobile and one web session
	Contacts Contacts              // default Everyone
	// StatusLimit, with Everyone: no status notices are pushed while more users than
	// this are online; clients learn by 0x020a. Default 1,000.
	StatusLimit int

	// Hasher checks passwords; needed. Limiter and Remembered have defaults.
	Hasher     *password.Hasher
	Limiter    *password.Limiter
	Remembered *password.Remembered

	// ResumeTime is how long a resume token lets its holder in without a password; 0: none
	// are given or taken. Secrets are what all nodes sign them with, the present one first,
	// then those that were before and still hold; it is called from time to time.
	ResumeTime time.Duration
	Secrets    func(ctx context.Context) ([][]byte, error)

	// RecallTime and EditTime are how long after it was sent a message may be recalled and
	// edited by its sender; 0: not at all.
	RecallTime time.Duration
	EditTime   time.Duration
	// RecalledText is what clients show in place of a message that was recalled. Default
	// DefaultRecalledText.
	RecalledText string

	// GroupLimit is how many members a group may have. Default 10,000, at most 40,000.
	GroupLimit int

	// Identity checks the tokens of an identity provider; nil: nobody logs in by one.
	Identity identity.Verifier

	// Files keeps file transfers, and FileAt is where clients reach the file server; nil:
	// files are refused.
	Files  Files
	FileAt FileAddress

	// Partitions of the log, to tell the stream of a conversation; needed.
	Partitions int

	// DrainTimeout is how long the sessions of a server that stops have to leave, one after
	// the other; those that are left are closed then. Default 5 s.
	DrainTimeout time.Duration
	// DrainRate is the part of the sessions that is closed each second meanwhile, such as 0.05,
	// or what four fifths of DrainTimeout need, if that is more. 0: that alone, and at least
	// 500 a second.
	DrainRate float64

	Logger     *slog.Logger          // default: none
	Registerer prometheus.Registerer // of the metrics; default: none
}

// Limits bound what clients can cost.
type Limits struct {
	Connections     int     // at once; default 200,000
	PerAddress      int     // at once from one IPv4 address or IPv6 /64; default 50,000
	PerUser         int     // sessions of one user on this server, those that are ending included; default 100
	Rate            float64 // PDUs a second and session, sustained; default 500
	Burst           int     // PDUs at once; default 1,000
	Pending         int     // appends of a session without outcome; default 64
	Questions       int     // questions of a session that wait; default 32
	Output          int     // bytes waiting to be written to a session; default 1 MiB, at least 512 KiB
	PartialInput    int     // bytes of incomplete PDUs, all sessions together; default 256 MiB
	LoginWorkers    int     // logins being decided at once; default 64
	QuestionWorkers int     // questions being asked at once; default 512
	HistoryCount    int     // messages in an answer to 0x0309; default 1,000

	LoginWait   time.Duration // from connecting to the login request, and from there to its answer; default 15 s
	IdleDesktop time.Duration // and of web sessions; default 120 s
	IdleMobile  time.Duration // default 300 s
	Ask         time.Duration // for a question, and for a login; default 12 s
	Stall       time.Duration // for a client to take what it is sent, beside a second for each 4 KiB; default 60 s
	Goodbye     time.Duration // for a closing session to take what is left; default 3 s
}

func def[T int | float64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (l *Limits) defaults() {
	def(&l.Connections, 200_000)
	def(&l.PerAddress, 50_000)
	def(&l.PerUser, 100)
	def(&l.Rate, 500)
	def(&l.Burst, 1000)
	def(&l.Pending, 64)
	def(&l.Questions, 32)
	def(&l.Output, 1<<20)
	def(&l.PartialInput, 256<<20)
	def(&l.LoginWorkers, 64)
	def(&l.QuestionWorkers, 512)
	def(&l.HistoryCount, 1000)
	def(&l.LoginWait, 15*time.Second)
	def(&l.IdleDesktop, 120*time.Second)
	def(&l.IdleMobile, 300*time.Second)
	def(&l.Ask, 12*time.Second)
	def(&l.Stall, 60*time.Second)
	def(&l.Goodbye, 3*time.Second)
}

// Validate refuses what can't work. It doesn't change c.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Listen == "" && c.TLSListen == "" {
		bad("no address to listen on")
	}
	for name, addr := range map[string]string{"listen": c.Listen, "tls-listen": c.TLSListen} {
		if addr == "" {
			continue
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			bad("%s %q is not HOST:PORT", name, addr)
		} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			bad("%s %q has no port number", name, addr)
		}
	}
	if (c.TLSListen != "") != (c.TLSCert != "" && c.TLSKey != "") {
		bad("TLS needs an address, a certificate and its key")
	} else if c.TLSListen != "" {
		if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
			bad("TLS certificate: %w", err)
		}
	}
	switch c.Contacts {
	case "", Everyone, Friends:
	default:
		bad("contacts %q is neither %q nor %q", c.Contacts, Everyone, Friends)
	}
	if c.Hasher == nil {
		bad("no password hasher")
	}
	if c.Partitions < 1 {
		bad("the number of partitions is not given")
	}
	for _, p := range c.TrustedProxies {
		if !p.IsValid() || p.Addr().Is4In6() {
			bad("trusted proxies %q is no network, such as 10.0.0.0/8", p)
		}
	}
	for _, o := range c.Origins {
		if !ValidOrigin(o) {
			bad("origin %q is neither an origin, such as https://chat.example.com, nor a host, nor *", o)
		}
	}
	if c.ResumeTime > 0 && c.Secrets == nil {
		bad("resume tokens need secrets")
	}
	if c.GroupLimit < 0 || c.GroupLimit > commands.MaxGroupLimit {
		bad("a group may have at most %d members, not %d", commands.MaxGroupLimit, c.GroupLimit)
	}
	if c.StatusLimit < 0 || c.DrainTimeout < 0 || c.ResumeTime < 0 || c.RecallTime < 0 || c.EditTime < 0 {
		bad("a limit is negative")
	}
	l := c.Limits
	for _, n := range []int{l.Connections, l.PerAddress, l.PerUser, l.Burst, l.Pending, l.Questions, l.Output, l.PartialInput,
		l.LoginWorkers, l.QuestionWorkers, l.HistoryCount, int(l.LoginWait), int(l.IdleDesktop), int(l.IdleMobile),
		int(l.Ask), int(l.Stall), int(l.Goodbye)} {
		if n < 0 {
			bad("a limit is negative")
			break
		}
	}
	if c.DrainRate < 0 || c.DrainRate > 1 {
		bad("a drain rate of %v is no part of the sessions a second, such as 0.05", c.DrainRate)
	}
	if l.Rate < 0 {
		bad("the rate is negative")
	}
	if l.Output != 0 && l.Output < pdu.MaxAfterLogin+(100<<10) {
		bad("the output limit of %d bytes doesn't hold one answer", l.Output)
	}
	return errors.Join(errs...)
}
