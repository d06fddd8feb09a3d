// Package origin tells by what the clients of one subscriber are counted, wherever
// connections, requests or failures of one address are limited.
package origin

import "net/netip"

// subscriber is how long a prefix of IPv6 one subscriber has at least.
const subscriber = 64

// Of is what an address is counted by: itself, or of IPv6 the network that one
// subscriber has. An IPv4 address in the form of IPv6 is the IPv4 address, and a zone
// does not count. It is not valid if a is not.
func Of(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(subscriber); err == nil {
			return p.Addr()
		}
	}
	return a
}

// OfPeer is Of the host of HOST:PORT, an address that is not valid where there is none.
func OfPeer(hostport string) netip.Addr {
	from, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return Of(from.Addr())
}
