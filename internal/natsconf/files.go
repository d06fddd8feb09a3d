package natsconf

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func (m *maker) path(folder, name string) string { return filepath.Join(m.cfg.Dir, folder, name) }

// secret reads a secret of one line, or makes it at the first time.
func (m *maker) secret(folder, name string, make func() (string, error)) (string, error) {
	text, err := os.ReadFile(m.path(folder, name))
	switch {
	case err == nil:
		line := strings.TrimSpace(string(text))
		if line == "" {
			return "", fmt.Errorf("%s is empty: remove it, and the next run makes a new one", m.path(folder, name))
		}
		m.kept(folder, name)
		return line, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	line, err := make()
	if err != nil {
		return "", err
	}
	m.made(folder, name)
	return line, m.write(folder, name, []byte(line+"\n"), 0o600)
}

// derived makes a file what it should be.
func (m *maker) derived(folder, name string, want []byte, mode fs.FileMode) error {
	have, err := os.ReadFile(m.path(folder, name))
	switch {
	case err == nil && bytes.Equal(have, want):
		m.kept(folder, name)
		return nil
	case err == nil:
		m.report.Changed = append(m.report.Changed, filepath.Join(folder, name))
	case errors.Is(err, fs.ErrNotExist):
		m.made(folder, name)
	default:
		return err
	}
	return m.write(folder, name, want, mode)
}

func (m *maker) made(folder, name string) {
	m.report.Made = append(m.report.Made, filepath.Join(folder, name))
}

func (m *maker) kept(folder, name string) {
	m.report.Kept = append(m.report.Kept, filepath.Join(folder, name))
}

// write replaces a file as a whole: there is never half of one.
func (m *maker) write(folder, name string, text []byte, mode fs.FileMode) (err error) {
	at := m.path(folder, name)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(at), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), at)
}

// randomText is 256 random bits as text.
func randomText() (string, error) {
	var b [32]byte
	_, err := rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:]), err
}
