package natsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// How long certificates last. A server's is made anew when less than RenewBefore is left
// of it, by whichever Make comes by then; its server takes it at its next reload or start.
const (
	authorityLife   = 20 * 365 * 24 * time.Hour
	certificateLife = 2 * 365 * 24 * time.Hour
	RenewBefore     = 180 * 24 * time.Hour
	// clockSkew is how far behind the clock of another machine may be.
	clockSkew = 24 * time.Hour
)

// authority is the one that signs the servers' certificates and nothing else.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// authority reads the authority, or makes it at the first time.
func (m *maker) authority() (*authority, error) {
	cert, text, err := readCertificate(m.path(caFolder, CAFile))
	if err == nil {
		key, err := readKey(m.path(caFolder, caKey))
		if err != nil {
			return nil, err
		}
		if !key.PublicKey.Equal(cert.PublicKey) {
			return nil, fmt.Errorf("%s does not belong to %s", m.path(caFolder, caKey), m.path(caFolder, CAFile))
		}
		if m.now.After(cert.NotAfter) {
			return nil, fmt.Errorf("the authority %s has ended: remove %s and restart all servers and roles after the next run",
				m.path(caFolder, CAFile), filepath.Join(m.cfg.Dir, caFolder))
		}
		m.kept(caFolder, CAFile)
		return &authority{cert: cert, key: key, pem: text}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := m.newKey(caFolder, caKey)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "godwit cluster " + m.cfg.Cluster},
		NotBefore:             m.now.Add(-clockSkew),
		NotAfter:              m.now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	m.made(caFolder, CAFile)
	return &authority{cert: cert, key: key, pem: text}, m.write(caFolder, CAFile, text, 0o644)
}

// certificate makes a server's certificate and key where they are missing, end soon or
// name something else than now. The key is written first: a certificate without its key,
// or with another one, is made again.
func (m *maker) certificate(ca *authority, s Server) error {
	names, addresses := m.namesOf(s)
	cert, _, err := readCertificate(m.path(s.Name, ServerCert))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := err == nil
	if there {
		key, err := readKey(m.path(s.Name, ServerKey))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && key.PublicKey.Equal(cert.PublicKey) && cert.CheckSignatureFrom(ca.cert) == nil &&
			slices.Equal(cert.DNSNames, names) && sameAddresses(cert.IPAddresses, addresses) && !m.endsSoon(cert, ca) {
			m.kept(s.Name, ServerCert)
			m.until(cert)
			return nil
		}
	}
	key, err := m.newKey(s.Name, ServerKey)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: s.Name},
		NotBefore:    m.now.Add(-clockSkew),
		NotAfter:     earlier(m.now.Add(certificateLife), ca.cert.NotAfter),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, // a route has two ends
		DNSNames:     names,
		IPAddresses:  addresses,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return err
	}
	if there {
		m.report.Renewed = append(m.report.Renewed, filepath.Join(s.Name, ServerCert))
	} else {
		m.made(s.Name, ServerCert)
	}
	m.until(template)
	return m.write(s.Name, ServerCert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// endsSoon tells whether a new certificate would last longer and is due.
func (m *maker) endsSoon(cert *x509.Certificate, ca *authority) bool {
	return cert.NotAfter.Sub(m.now) < RenewBefore && cert.NotAfter.Before(ca.cert.NotAfter)
}

func (m *maker) until(cert *x509.Certificate) {
	if m.report.Until.IsZero() {
		m.report.Until = cert.NotAfter
	}
	m.report.Until = earlier(m.report.Until, cert.NotAfter)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// namesOf are those that a server's certificate is for.
func (m *maker) namesOf(s Server) (names []string, addresses []net.IP) {
	for _, n := range slices.Concat([]string{s.Host, s.Name, "localhost", "127.0.0.1"}, m.cfg.Names) {
		if ip := net.ParseIP(n); ip == nil {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		} else if !slices.ContainsFunc(addresses, ip.Equal) {
			addresses = append(addresses, ip)
		}
	}
	return names, addresses
}

func sameAddresses(a, b []net.IP) bool { return slices.EqualFunc(a, b, net.IP.Equal) }

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f
	b[15] |= 1
	return new(big.Int).SetBytes(b[:])
}

func (m *maker) newKey(folder, name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, m.write(folder, name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func readPEM(path, kind string) (der, text []byte, err error) {
	if text, err = os.ReadFile(path); err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, nil, fmt.Errorf("%s holds no %s: remove it, and the next run makes a new one", path, kind)
	}
	return block.Bytes, text, nil
}

func readCertificate(path string) (*x509.Certificate, []byte, error) {
	der, text, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, text, nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	der, _, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds another kind of key than ours", path)
	}
	return k, nil
}
