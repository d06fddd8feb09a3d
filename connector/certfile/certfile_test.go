package certfile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

var ends = time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)

// write puts a new certificate of that name into the folder's two files.
func write(t *testing.T, dir, name string, end time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestACertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := write(t, dir, "first", ends)
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
		if got := served(); got != "first" || !f.Expires().Equal(ends) {
			t.Errorf("at first %q, until %s", got, f.Expires())
		}
		write(t, dir, "the second", ends.AddDate(1, 0, 0))
		if got := served(); got != "first" {
			t.Errorf("within a second %q: files are not looked at for each client", got)
		}
		time.Sleep(lookEvery)
		if got := served(); got != "the second" || !f.Expires().Equal(ends.AddDate(1, 0, 0)) {
			t.Errorf("then %q, until %s", got, f.Expires())
		}
		if err := os.WriteFile(key, []byte("half a fi"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery)
		if got := served(); got != "the second" {
			t.Errorf("with half a key %q", got)
		}
		write(t, dir, "a third one, whose files have another size", ends)
		time.Sleep(lookEvery)
		if got := served(); got != "a third one, whose files have another size" {
			t.Errorf("with a whole one again %q", got)
		}
	})
}

func TestFilesThatCannotBeUsedAreRefused(t *testing.T) {
	dir := t.TempDir()
	cert, key := write(t, dir, "x", ends)
	for _, files := range [][2]string{{filepath.Join(dir, "none"), key}, {cert, cert}, {key, key}} {
		if _, err := Open(files[0], files[1], slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%v can be used", files)
		}
	}
}
