package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// value is a pflag.Value over a check that returns the mend.
type value[T any] struct {
	to    *T
	kind  string
	parse func(string) (T, error)
	text  func(T) string
}

func (v *value[T]) Set(s string) error {
	t, err := v.parse(strings.TrimSpace(s))
	if err != nil {
		return err
	}
	*v.to = t
	return nil
}

func (v *value[T]) String() string {
	if v == nil || v.to == nil {
		return ""
	}
	return v.text(*v.to)
}

func (v *value[T]) Type() string { return v.kind }

func same(s string) string { return s }

// Value is a flag value of any kind: parse returns what would be accepted as its
// error, text writes a value as parse reads it.
func Value[T any](to *T, kind string, parse func(string) (T, error), text func(T) string) pflag.Value {
	return &value[T]{to: to, kind: kind, parse: parse, text: text}
}

// OneOf is a flag value that is one of a few words.
func OneOf[S ~string](to *S, def S, words ...S) pflag.Value {
	*to = def
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	return Value(to, strings.Join(names, "|"), func(s string) (S, error) {
		if i := slices.Index(names, strings.ToLower(s)); i >= 0 {
			return words[i], nil
		}
		last := len(names) - 1
		return "", fmt.Errorf("give %s or %s", strings.Join(names[:last], ", "), names[last])
	}, func(s S) string { return string(s) })
}

// Listen is a flag value for an address to listen at: [HOST]:PORT.
func Listen(to *string, def string) pflag.Value {
	*to = def
	return Value(to, "[HOST]:PORT", func(s string) (string, error) {
		if _, port, err := net.SplitHostPort(s); err != nil || !isPort(port, 0) {
			return "", fmt.Errorf("give HOST:PORT or :PORT, for example %s", example(def, "127.0.0.1:8000"))
		}
		return s, nil
	}, same)
}

// OptionalListen is Listen, or empty for none.
func OptionalListen(to *string) pflag.Value {
	l := Listen(to, "").(*value[string])
	parse := l.parse
	l.parse = func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		return parse(s)
	}
	return l
}

// Server is a flag value for the address of a server: HOST or HOST:PORT, completed
// with the default port.
func Server(to *string, def string, port uint16) pflag.Value {
	*to = def
	return Value(to, "HOST[:PORT]", func(s string) (string, error) {
		mend := fmt.Errorf("give HOST or HOST:PORT, for example 127.0.0.1:%d", port)
		if s == "" || strings.ContainsAny(s, " /") {
			return "", mend
		}
		host, p, err := net.SplitHostPort(s)
		if err != nil {
			host, p = strings.Trim(s, "[]"), strconv.Itoa(int(port))
			if strings.Contains(host, ":") && net.ParseIP(host) == nil {
				return "", mend
			}
		}
		if host == "" {
			host = "127.0.0.1" // :8081 listens everywhere, and is reached here
		}
		if !isPort(p, 1) {
			return "", mend
		}
		return net.JoinHostPort(host, p), nil
	}, same)
}

// Entrance is a flag value for where clients come in: a Server, or the ws:// or wss:// URL of sessions over WebSocket, whose
// path is /ws unless it has one.
func Entrance(to *string, def string, port uint16) pflag.Value {
	server := Server(to, def, port).(*value[string])
	return Value(to, "HOST[:PORT]|URL", func(s string) (string, error) {
		if !strings.Contains(s, "://") {
			return server.parse(s)
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" || u.User != nil || u.RawQuery+u.Fragment != "" {
			return "", fmt.Errorf("give HOST or HOST:PORT, for example 127.0.0.1:%d, or a URL such as wss://chat.example.org/ws", port)
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = "/ws"
		}
		return u.String(), nil
	}, same)
}

// Advertise is a flag value for HOST or HOST:PORT, kept as it is given, or empty.
func Advertise(to *string) pflag.Value {
	var checked string
	check := Server(&checked, "", 8000)
	return Value(to, "HOST[:PORT]", func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		if err := check.Set(s); err != nil {
			return "", fmt.Errorf("give the HOST or HOST:PORT that clients can reach, for example chat.example.org:8000")
		}
		return s, nil
	}, same)
}

// Networks is a flag value for addresses and networks, separated by commas or spaces.
func Networks(to *[]netip.Prefix) pflag.Value {
	return Value(to, "NETWORK,...", func(s string) ([]netip.Prefix, error) {
		var all []netip.Prefix
		for _, part := range list(s) {
			p, err := netip.ParsePrefix(part)
			if a, e := netip.ParseAddr(part); e == nil {
				p, err = a.Prefix(a.BitLen())
			}
			if err != nil {
				return nil, errors.New("give networks and addresses, for example 10.0.0.0/8,192.0.2.7")
			}
			all = append(all, p.Masked())
		}
		return all, nil
	}, func(all []netip.Prefix) string {
		parts := make([]string, len(all))
		for i, p := range all {
			parts[i] = p.String()
		}
		return strings.Join(parts, ",")
	})
}

// Int is a flag value for a whole number from least to most.
func Int(to *int, def, least, most int) pflag.Value {
	*to = def
	return Value(to, "N", func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			if most == math.MaxInt {
				return 0, fmt.Errorf("give a whole number, %d or more", least)
			}
			return 0, fmt.Errorf("give a whole number from %d to %d", least, most)
		}
		return n, nil
	}, strconv.Itoa)
}

var units = []struct {
	name  string
	bytes uint64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3},
	{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"B", 1},
}

// Bytes is a flag value for an amount of memory or disk, such as 64MiB.
func Bytes(to *uint64, def uint64) pflag.Value {
	*to = def
	return Value(to, "SIZE", parseBytes, FormatBytes)
}

func parseBytes(s string) (uint64, error) {
	mend := fmt.Errorf("give a size such as 64MiB, 1GB or a number of bytes")
	number, factor := s, uint64(1)
	for _, u := range units {
		if rest, ok := cutSuffixFold(s, u.name); ok {
			number, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > math.MaxUint64/factor {
		return 0, mend
	}
	return n * factor, nil
}

func cutSuffixFold(s, suffix string) (string, bool) {
	at := len(s) - len(suffix)
	if at < 0 || !strings.EqualFold(s[at:], suffix) {
		return s, false
	}
	return s[:at], true
}

// FormatBytes writes an amount in the largest binary unit that leaves it whole.
func FormatBytes(n uint64) string {
	for _, u := range units[:4] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatUint(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatUint(n, 10)
}

func isPort(s string, least uint64) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n >= least
}

func example(def, other string) string {
	if def != "" {
		return def
	}
	return other
}
