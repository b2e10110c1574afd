// SPDX-License-Identifier: Apache-2.0

// Package stepnet gives build steps networks of their own, and bounds what they reach.
//
// Install runs once in a daemon's pod, before buildkitd, with CAP_NET_ADMIN and nothing else: it puts firewall rules
// into the pod's network namespace, and this program as a CNI plugin into a folder that buildkitd reads. buildkitd
// calls the plugin for each network namespace that it makes. A step's namespace has one interface, which leads to the
// pod's namespace and nowhere else; there the rules decide. Steps hold no capability in the pod's namespace.
package stepnet

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// Policy is what steps may reach beside their own loopback.
type Policy struct {
	// Egress lists what steps may reach; the name servers of the pod are always among it. Nil: everything outside of
	// the pod but refused, which is reached only by a peer that lies within it.
	Egress []Rule
}

// Rule is one of a NetworkPolicy's egress rules: peers that are reached at ports.
type Rule struct {
	// To lists peers, empty for all.
	To []Peer `json:"to,omitempty"`
	// Ports of the peers, empty for all.
	Ports []Port `json:"ports,omitempty"`
}

// Peer is a range of addresses.
type Peer struct {
	IPBlock IPBlock `json:"ipBlock"`
}

// IPBlock is a range of addresses without those of other ranges.
type IPBlock struct {
	CIDR   netip.Prefix   `json:"cidr"`
	Except []netip.Prefix `json:"except,omitempty"`
}

// Port is a range of ports of a protocol.
type Port struct {
	// Protocol is TCP or UDP, empty for TCP.
	Protocol string `json:"protocol,omitempty"`
	// Port is the first port, 0 for all of the protocol.
	Port uint16 `json:"port,omitempty"`
	// EndPort is the last port, 0 for the first.
	EndPort uint16 `json:"endPort,omitempty"`
}

// ParseEgress reads Policy.Egress as JSON. The empty text is nil, and "[]" allows nothing.
func ParseEgress(text string) ([]Rule, error) {
	if text == "" {
		return nil, nil
	}
	rules := []Rule{}
	if err := json.Unmarshal([]byte(text), &rules); err != nil {
		return nil, fmt.Errorf("read the egress rules: %w", err)
	}
	for _, r := range rules {
		for _, p := range r.Ports {
			if p.Protocol != "" && p.Protocol != "TCP" && p.Protocol != "UDP" {
				return nil, fmt.Errorf("read the egress rules: the protocol %q is neither TCP nor UDP", p.Protocol)
			}
			if p.EndPort != 0 && (p.Port == 0 || p.EndPort < p.Port) {
				return nil, fmt.Errorf("read the egress rules: no ports from %d to %d", p.Port, p.EndPort)
			}
		}
	}
	return rules, nil
}

// refused are addresses at which clouds hand out the credentials of a machine to whoever asks from it: all link-local
// ones, and those of Azure, Alibaba and Oracle Cloud, of AWS and Google Cloud for IPv6. Nothing else is there.
var refused = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::254/128"),
	netip.MustParsePrefix("fd20:ce::254/128"),
}

// isRefused reports whether all of a range is refused unless a rule names it.
func isRefused(p netip.Prefix) bool {
	for _, r := range refused {
		if r.Bits() <= p.Bits() && r.Contains(p.Addr()) {
			return true
		}
	}
	return false
}
