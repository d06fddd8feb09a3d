// Package datadir owns the data directory of a godwit process: who may use it, what
// lies where in it, and how commands find the server that runs in it.
//
//	lock        held with flock(2) by whatever opens the directory; its text is the holder's pid
//	admin.token bearer token of the admin API, mode 0600, made at first start
//	admin.addr  where the running server's admin API listens; stale after a kill
//	nats/       the log: JetStream's store
//	views/      the views, each one disposable file
package datadir

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gofrs/flock"
)

const (
	lockFile = "lock"
	// TokenFile is the name of the file with the bearer token.
	TokenFile = "admin.token"
	addrFile  = "admin.addr"
)

// ErrInUse is wrapped by the refusal of a directory that another process holds.
var ErrInUse = errors.New("data directory is in use")

// ErrNoServer is wrapped when no running server can be found through a directory.
var ErrNoServer = errors.New("no server found")

// InUseError is the refusal of a directory that another process holds. It is
// ErrInUse.
type InUseError struct {
	Path string
	PID  int // 0 where the holder left none
}

func (e *InUseError) Error() string {
	by := "another process"
	if e.PID > 0 {
		by = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s is in use by %s: stop it first, or give another --data", e.Path, by)
}

// Is makes an InUseError an ErrInUse.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// noServerError is an ErrNoServer in one sentence.
type noServerError struct{ path string }

func (e *noServerError) Error() string {
	return fmt.Sprintf("no server runs in %s: start one with godwit up --data %s, or give another --data, or --admin", e.path, e.path)
}

func (e *noServerError) Is(target error) bool { return target == ErrNoServer }

// Dir is a data directory that this process holds.
type Dir struct {
	path string
	lock *flock.Flock
}

// Open makes the directory if it is missing (mode 0700) and locks it until Close or
// the end of the process, however it ends. A directory that somebody else holds is
// refused with an InUseError.
func Open(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, unusable(path, err)
	}
	d := &Dir{path: abs, lock: flock.New(filepath.Join(abs, lockFile), flock.SetPermissions(0o600))}
	held, err := d.lock.TryLock()
	if err != nil {
		return nil, unusable(path, err)
	}
	if !held {
		return nil, &InUseError{Path: path, PID: holder(abs)}
	}
	if err := d.note(); err != nil {
		return nil, errors.Join(err, d.lock.Unlock())
	}
	return d, nil
}

// unusable is the refusal of a directory that can't be made or locked.
func unusable(path string, err error) error {
	mend := "give a directory with --data that this user may write"
	if errors.Is(err, syscall.ENOSPC) {
		mend = "make room on its file system"
	}
	return fmt.Errorf("data directory %s: %w: %s", path, err, mend)
}

// note leaves our pid for whoever is refused. The lock file is never replaced or
// removed: a lock on an unlinked file would hold nobody out.
func (d *Dir) note() error {
	text := strconv.Itoa(os.Getpid()) + "\n"
	if err := os.WriteFile(filepath.Join(d.path, lockFile), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write pid to the lock: %w", err)
	}
	// What a killed server left would send commands astray.
	return d.withdraw()
}

func holder(path string) int {
	text, err := os.ReadFile(filepath.Join(path, lockFile))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 1 {
		return 0
	}
	return pid
}

// Path is the absolute path of the directory.
func (d *Dir) Path() string { return d.path }

// NATS is the directory of the log.
func (d *Dir) NATS() string { return filepath.Join(d.path, "nats") }

// Views is the directory of the views.
func (d *Dir) Views() string { return filepath.Join(d.path, "views") }

// Token returns the bearer token of the admin API and makes it at the first call
// ever: 256 random bits as text, in a file that only its owner may read.
func (d *Dir) Token() (string, error) {
	token, err := ReadToken(filepath.Join(d.path, TokenFile))
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	var b [32]byte
	rand.Read(b[:])
	token = base64.RawURLEncoding.EncodeToString(b[:])
	if err := replaceFile(filepath.Join(d.path, TokenFile), token+"\n"); err != nil {
		return "", fmt.Errorf("make admin token: %w", err)
	}
	return token, nil
}

// ReadToken reads a token file. One that others may read is refused: it is a
// password.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("admin token %s may be read by others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("admin token %s is empty: remove it, and the next start makes a new one", path)
	}
	return token, nil
}

// PublishAdmin tells commands where the admin API listens: the address as bound, so
// that port 0 works. A wildcard host becomes loopback.
func (d *Dir) PublishAdmin(addr net.Addr) error {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return fmt.Errorf("admin address %s: %w", addr, err)
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if err := replaceFile(filepath.Join(d.path, addrFile), net.JoinHostPort(host, port)+"\n"); err != nil {
		return fmt.Errorf("publish admin address: %w", err)
	}
	return nil
}

func (d *Dir) withdraw() error {
	if err := os.Remove(filepath.Join(d.path, addrFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("withdraw admin address: %w", err)
	}
	return nil
}

// Close withdraws the admin address and gives the directory free.
func (d *Dir) Close() error {
	return errors.Join(d.withdraw(), d.lock.Unlock())
}

// FindAdmin reads where the server that runs in the directory listens for admin
// requests, and its token. The error is ErrNoServer where none has published an
// address; one that was killed may have left a stale one.
func FindAdmin(path string) (addr, token string, err error) {
	text, err := os.ReadFile(filepath.Join(path, addrFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", &noServerError{path}
	}
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return "", "", fmt.Errorf("admin address: %w: run this as the user that the server runs as", err)
		}
		return "", "", fmt.Errorf("admin address: %w", err)
	}
	token, err = ReadToken(filepath.Join(path, TokenFile))
	return strings.TrimSpace(string(text)), token, err
}

// replaceFile writes a small file of mode 0600 that is there whole or not at all.
func replaceFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
