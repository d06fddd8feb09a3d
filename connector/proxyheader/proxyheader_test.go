package proxyheader_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"

	"godwit/connector/proxyheader"
)

// second is a header of version 2, written by another's hand.
func second(t testing.TB, command byte, family byte, addresses string, more int) []byte {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family)
	n := len(addresses) + more
	b = append(b, byte(n>>8), byte(n))
	b = append(b, addresses...)
	return append(b, make([]byte, more)...)
}

const (
	four = "\xc0\x00\x02\x07\xc0\x00\x02\x01\x01\x00\x1f\x40" // 192.0.2.7:256 to 192.0.2.1:8000
	six  = " \x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + " \x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x01\x00\x1f\x40"
)

func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name, header string
		from         string // "-": the balancer's own; "": none
	}{
		{"v1", "PROXY TCP4 192.0.2.7 192.0.2.1 256 8000\r\n", "192.0.2.7:256"},
		{"v1 IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 256 8000\r\n", "[2001:db8::7]:256"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "-"},
		{"v1 unknown with addresses", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "-"},
		{"v1 without CR", "PROXY TCP4 192.0.2.7 192.0.2.1 256 8000\n", ""},
		{"v1 bad address", "PROXY TCP4 192.0.2.700 192.0.2.1 256 8000\r\n", ""},
		{"v1 bad port", "PROXY TCP4 192.0.2.7 192.0.2.1 65536 8000\r\n", ""},
		{"v1 other family", "PROXY TCP4 2001:db8::7 2001:db8::1 256 8000\r\n", ""},
		{"v1 too long", "PROXY TCP4 " + strings.Repeat("1", 107) + "\r\n", ""},
		{"v2", string(second(t, 1, 0x11, four, 0)), "192.0.2.7:256"},
		{"v2 IPv6", string(second(t, 1, 0x21, six, 0)), "[2001:db8::7]:256"},
		{"v2 local", string(second(t, 0, 0x00, "", 0)), "-"},
		{"v2 local with addresses", string(second(t, 0, 0x11, four, 0)), "-"},
		{"v2 UDP", string(second(t, 1, 0x12, four, 0)), ""},
		{"v2 unix", string(second(t, 1, 0x31, strings.Repeat("a", 216), 0)), ""},
		{"v2 other command", string(second(t, 2, 0x11, four, 0)), ""},
		{"v2 too short", string(second(t, 1, 0x11, four[:8], 0)), ""},
		{"v2 too long", string(second(t, 1, 0x11, four, proxyheader.MaxSize)), ""},
		{"a login", "\x00\x00\x00\x10\x00\x01\x00\x00\x00\x01\x01\x03\x00\x00\x00\x00", ""},
		{"TLS", "\x16\x03\x01\x02\x00", ""},
	} {
		rest := "rest\n"
		h, n, err := proxyheader.Parse([]byte(c.header + rest))
		switch c.from {
		case "":
			if !errors.Is(err, proxyheader.ErrNone) || n != 0 {
				t.Errorf("%s: %v, %d bytes, %v", c.name, h, n, err)
			}
			continue
		case "-":
			if h.From.IsValid() || n != len(c.header) || err != nil {
				t.Errorf("%s: %v, %d bytes, %v", c.name, h, n, err)
			}
		default:
			if h.From != netip.MustParseAddrPort(c.from) || n != len(c.header) || err != nil {
				t.Errorf("%s: %v, %d bytes, %v", c.name, h, n, err)
			}
		}
		for i := range len(c.header) {
			if _, n, err := proxyheader.Parse([]byte(c.header[:i])); n != 0 || err != nil {
				t.Fatalf("%s: its first %d bytes: %d, %v", c.name, i, n, err)
			}
		}
	}
}

// Whatever is sent, a header is bounded, does not depend on what follows it, and is the one
// that the protocol's own library writes.
func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.7 192.0.2.1 256 8000\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\nabc"))
	f.Add(second(f, 1, 0x11, four, 9))
	f.Add(second(f, 1, 0x21, six, 0))
	f.Add(second(f, 0, 0x00, "", 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := proxyheader.Parse(b)
		if err != nil && (n != 0 || h.From.IsValid()) || n > proxyheader.MaxSize || n > len(b) {
			t.Fatalf("%v, %d bytes, %v", h, n, err)
		}
		if n == 0 {
			return
		}
		if again, m, err := proxyheader.Parse(append(bytes.Clone(b[:n]), "PROXY"...)); again != h || m != n || err != nil {
			t.Fatalf("with other bytes behind it: %v, %d bytes, %v", again, m, err)
		}
		if !h.From.IsValid() {
			return
		}
		to := &net.TCPAddr{IP: net.IPv6loopback, Port: 1}
		if h.From.Addr().Is4() {
			to.IP = net.IPv4(127, 0, 0, 1)
		}
		for version := byte(1); version <= 2; version++ {
			made, err := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(h.From), to).Format()
			if err != nil {
				t.Fatal(err)
			}
			if again, _, err := proxyheader.Parse(made); err != nil || again != h {
				t.Fatalf("%q is %v, %v, not %v", made, again, err, h)
			}
		}
	})
}
