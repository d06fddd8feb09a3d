// Package certfile serves a TLS certificate from two PEM files, and reads them again when they have changed. They are
// looked at when a client greets, at most once a second, so that nothing runs while nobody comes.
package certfile

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files are a certificate and its key. All methods may be called at any time.
type Files struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	version [2]version
	current *tls.Certificate
}

// version tells whether a file is another one than it was.
type version struct {
	modified time.Time
	size     int64
}

const lookEvery = time.Second

// Open reads the files. Its error is that of [tls.LoadX509KeyPair].
func Open(cert, key string, log *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, log: log}
	if err := f.load(f.versions()); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Files) versions() (v [2]version) {
	for i, name := range []string{f.cert, f.key} {
		if info, err := os.Stat(name); err == nil {
			v[i] = version{info.ModTime(), info.Size()}
		}
	}
	return v
}

func (f *Files) load(v [2]version) error {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.current, f.version = &pair, v
	return nil
}

// Get is for GetCertificate of a [tls.Config]. Files that can't be used, for they may be just being replaced, leave the
// certificate as it was.
func (f *Files) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= lookEvery {
		f.looked = now
		if v := f.versions(); v != f.version {
			if err := f.load(v); err != nil {
				f.log.Warn("new certificate can't be used", "err", err)
			} else {
				f.log.Info("certificate reloaded", "file", f.cert)
			}
		}
	}
	return f.current, nil
}

// Expires is when the certificate that is served now does; zero if it can't be told.
func (f *Files) Expires() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current.Leaf == nil {
		return time.Time{}
	}
	return f.current.Leaf.NotAfter
}
