package connector

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificates serves a certificate from two files, and reads them again when they have
// changed. They are looked at when a client greets, at most once a second, so that
// nothing runs while nobody comes.
type certificates struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	version [2]fileVersion
	current *tls.Certificate
}

type fileVersion struct {
	modified time.Time
	size     int64
}

const lookEvery = time.Second

func newCertificates(cert, key string, log *slog.Logger) (*certificates, error) {
	c := &certificates{cert: cert, key: key, log: log}
	if err := c.load(c.versions()); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *certificates) versions() (v [2]fileVersion) {
	for i, name := range []string{c.cert, c.key} {
		if info, err := os.Stat(name); err == nil {
			v[i] = fileVersion{info.ModTime(), info.Size()}
		}
	}
	return v
}

func (c *certificates) load(v [2]fileVersion) error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.current, c.version = &pair, v
	return nil
}

// get is for tls.Config.GetCertificate. Files that can't be used, for they may be just
// being replaced, leave the certificate as it was.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= lookEvery {
		c.looked = now
		if v := c.versions(); v != c.version {
			if err := c.load(v); err != nil {
				c.log.Warn("new certificate can't be used", "err", err)
			} else {
				c.log.Info("certificate reloaded", "file", c.cert)
			}
		}
	}
	return c.current, nil
}

// expires is when the certificate that is served now does; zero if it can't be told.
func (c *certificates) expires() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current.Leaf == nil {
		return time.Time{}
	}
	return c.current.Leaf.NotAfter
}
