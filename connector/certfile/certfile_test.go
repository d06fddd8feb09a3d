package certfile

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"godwit/internal/certtest"
)

func TestACertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := certtest.Write(t, dir, "first", certtest.Ends)
		f, err := Open(cert, key, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		served := func() string {
			c, err := f.Get(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			return c.Leaf.Subject.CommonName
		}
		if got := served(); got != "first" || !f.Expires().Equal(certtest.Ends) {
			t.Errorf("at first %q, until %s", got, f.Expires())
		}
		certtest.Write(t, dir, "the second", certtest.Ends.AddDate(1, 0, 0))
		if got := served(); got != "first" {
			t.Errorf("within a second %q: files are not looked at for each client", got)
		}
		time.Sleep(lookEvery)
		if got := served(); got != "the second" || !f.Expires().Equal(certtest.Ends.AddDate(1, 0, 0)) {
			t.Errorf("then %q, until %s", got, f.Expires())
		}
		if err := os.WriteFile(key, []byte("half a fi"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery)
		if got := served(); got != "the second" {
			t.Errorf("with half a key %q", got)
		}
		certtest.Write(t, dir, "a third one, whose files have another size", certtest.Ends)
		time.Sleep(lookEvery)
		if got := served(); got != "a third one, whose files have another size" {
			t.Errorf("with a whole one again %q", got)
		}
	})
}

func TestFilesThatCannotBeUsedAreRefused(t *testing.T) {
	dir := t.TempDir()
	cert, key := certtest.Write(t, dir, "x", certtest.Ends)
	for _, files := range [][2]string{{filepath.Join(dir, "none"), key}, {cert, cert}, {key, key}} {
		if _, err := Open(files[0], files[1], slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%v can be used", files)
		}
	}
}
