package origin_test

import (
	"net/netip"
	"testing"

	"godwit/internal/origin"
)

func TestASubscriberCountsOnce(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7:80":              "192.0.2.7",
		"[::ffff:192.0.2.7]:80":     "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::",
		"[2001:db8:1:2::9]:443":     "2001:db8:1:2::",
		"[2001:db8:1:3::9]:443":     "2001:db8:1:3::",
		"[fe80::1%eth0]:80":         "fe80::",
		"[::1]:80":                  "::",
		"":                          "",
		"@":                         "",
		"chat.example.org:80":       "",
	} {
		if got := origin.OfPeer(from); got.IsValid() != (want != "") || got.IsValid() && got != netip.MustParseAddr(want) {
			t.Errorf("%q counts as %s, want %q", from, got, want)
		}
	}
}
