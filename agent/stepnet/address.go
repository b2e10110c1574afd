// SPDX-License-Identifier: Apache-2.0

package stepnet

import (
	"net"
	"net/netip"
)

// The addresses of steps. They are seen within the pod only: what leaves it has the pod's address. One of each family
// is the pod's, and each slot has one.
var (
	stepNet4 = netip.MustParsePrefix("198.18.0.0/16") // of those kept for benchmarks, which no cluster routes
	stepNet6 = netip.MustParsePrefix("fd68:6c62:7374:6570::/64")
	gateway4 = netip.MustParseAddr("198.18.0.1")
	gateway6 = netip.MustParseAddr("fd68:6c62:7374:6570::1")
)

// Slots are numbers of network namespaces that exist at a time.
const (
	firstSlot = 2
	lastSlot  = 4000
)

// hostPrefix is how the pod's ends of steps' interfaces begin; their slot follows.
const hostPrefix = "vethstep"

// addresses are those of a slot in a family.
func addresses(slot int, ipv6 bool) (step, gateway *net.IPNet) {
	if !ipv6 {
		a := stepNet4.Addr().As4()
		a[2], a[3] = byte(slot>>8), byte(slot)
		return whole(netip.AddrFrom4(a)), whole(gateway4)
	}
	a := stepNet6.Addr().As16()
	a[14], a[15] = byte(slot>>8), byte(slot)
	return whole(netip.AddrFrom16(a)), whole(gateway6)
}

// whole is an address as a network of one.
func whole(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}
