// SPDX-License-Identifier: Apache-2.0

package stepnet

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// exprs are the parts of a rule: matches and then a verdict.
type exprs []expr.Any

// match joins matches, so that a rule reads as a list of them.
func match(parts ...exprs) exprs {
	var out exprs
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// dnsPort is where name servers listen.
const dnsPort = 53

// egressChain is the chain that decides on what a step sends out of the pod: the pod's name servers, what rules
// name of the refused ranges, then those, then all other rules.
func egressChain(p Policy, nameservers []netip.Addr) []exprs {
	out := outputChain(p, nameservers)
	if p.Egress == nil {
		return append(out, accept())
	}
	for _, r := range p.Egress {
		out = append(out, allowed(r, func(cidr netip.Prefix) bool { return !isRefused(cidr) })...)
	}
	return append(out, reject())
}

// outputChain is the chain for what buildkitd itself and the agent send, and for steps in the pod's network: for
// programs have buildkitd fetch whatever they name. It refuses what egressChain refuses without rules.
func outputChain(p Policy, nameservers []netip.Addr) []exprs {
	var out []exprs
	for _, ns := range nameservers {
		for _, protocol := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			to := netip.PrefixFrom(ns, ns.BitLen())
			out = append(out, match(destination(to), ports(protocol, dnsPort, dnsPort), accept()))
		}
	}
	for _, r := range p.Egress {
		out = append(out, allowed(r, isRefused)...)
	}
	for _, cidr := range refused {
		if cidr.Addr().Is6() && cidr.Addr().IsLinkLocalUnicast() {
			continue // neighbours find each other there, and it is never routed
		}
		out = append(out, match(destination(cidr), reject()))
	}
	return out
}

// allowed are the rules that accept what an egress rule allows, of the peers that are wanted. What is excepted is
// left to later rules, by excluding it from each match.
func allowed(r Rule, wanted func(netip.Prefix) bool) []exprs {
	peers := r.To
	if len(peers) == 0 {
		peers = []Peer{
			{IPBlock{CIDR: netip.MustParsePrefix("0.0.0.0/0")}}, {IPBlock{CIDR: netip.MustParsePrefix("::/0")}},
		}
	}
	var out []exprs
	for _, peer := range peers {
		block := peer.IPBlock
		if !wanted(block.CIDR) {
			continue
		}
		to := destination(block.CIDR)
		for _, e := range block.Except {
			to = append(to, outside(e)...)
		}
		if len(r.Ports) == 0 {
			out = append(out, match(to, accept()))
		}
		for _, p := range r.Ports {
			out = append(out, match(to, portsOf(p), accept()))
		}
	}
	return out
}

func portsOf(p Port) exprs {
	protocol := byte(unix.IPPROTO_TCP)
	if p.Protocol == "UDP" {
		protocol = unix.IPPROTO_UDP
	}
	if p.Port == 0 {
		return l4(protocol)
	}
	return ports(protocol, p.Port, max(p.Port, p.EndPort))
}

// inputInterface matches what comes from a step; with not, what does not.
func inputInterface(not bool) exprs { return interfaceName(expr.MetaKeyIIFNAME, not) }

// outputInterface matches what goes to a step; with not, what does not.
func outputInterface(not bool) exprs { return interfaceName(expr.MetaKeyOIFNAME, not) }

// interfaceName compares the first bytes of the name.
func interfaceName(key expr.MetaKey, not bool) exprs {
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	return exprs{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte(hostPrefix)}}
}

// toLoopback matches what goes to the pod's own loopback.
func toLoopback() exprs {
	return exprs{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("lo\x00")},
	}
}

// answers matches packets of connections that were let through before.
func answers() exprs {
	states := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	none := make([]byte, 4)
	return exprs{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: states, Xor: none},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: none},
	}
}

// destination matches packets to a range.
func destination(p netip.Prefix) exprs { return address(p, false, expr.CmpOpEq) }

// outside matches packets of a range's family to none of its addresses.
func outside(p netip.Prefix) exprs { return address(p, false, expr.CmpOpNeq) }

// source matches packets from a range.
func source(p netip.Prefix) exprs { return address(p, true, expr.CmpOpEq) }

func address(p netip.Prefix, isSource bool, op expr.CmpOp) exprs {
	p = p.Masked()
	family, offset := byte(unix.NFPROTO_IPV4), uint32(16)
	if p.Addr().Is6() {
		family, offset = unix.NFPROTO_IPV6, 24
	}
	size := uint32(p.Addr().BitLen() / 8)
	if isSource {
		offset -= size
	}
	return exprs{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: size, Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
			Xor: make([]byte, size),
		},
		&expr.Cmp{Op: op, Register: 1, Data: p.Addr().AsSlice()},
	}
}

// l4 matches a protocol.
func l4(protocol byte) exprs {
	return exprs{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
	}
}

// ports matches a protocol with a destination port from first to last.
func ports(protocol byte, first, last uint16) exprs {
	return append(l4(protocol),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: be(first), ToData: be(last)})
}

func be(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func accept() exprs { return exprs{&expr.Verdict{Kind: expr.VerdictAccept}} }

func jump(chain string) exprs { return exprs{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }

// reject has the sender told at once.
func reject() exprs {
	return exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
}
