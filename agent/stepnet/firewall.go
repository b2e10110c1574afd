// SPDX-License-Identifier: Apache-2.0

package stepnet

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName names the operator's table in the pod's network namespace.
const tableName = "hlb-steps"

// chain is one chain of the firewall.
type chain struct {
	name string
	// hook and kind are unset for a chain that others jump to.
	hook     *nftables.ChainHook
	kind     nftables.ChainType
	priority *nftables.ChainPriority
	// drops refuses what no rule decides.
	drops bool
	rules []exprs
}

// firewall is all of the rules: steps reach no address of the pod itself and no other step, and what egressChain
// allows. Only steps have anything forwarded, and only with the pod's address.
func firewall(p Policy, nameservers []netip.Addr) []chain {
	const egress = "egress"
	filter := func(name string, hook *nftables.ChainHook, drops bool, rules ...exprs) chain {
		return chain{
			name: name, hook: hook, kind: nftables.ChainTypeFilter, priority: nftables.ChainPriorityFilter,
			drops: drops, rules: rules,
		}
	}
	out := append([]exprs{match(toLoopback(), accept()), match(answers(), accept())}, outputChain(p, nameservers)...)
	return []chain{
		{name: egress, rules: egressChain(p, nameservers)},
		filter("forward", nftables.ChainHookForward, true,
			match(answers(), accept()),
			match(inputInterface(false), outputInterface(true), jump(egress)),
			match(inputInterface(false), reject())),
		filter("input", nftables.ChainHookInput, false,
			match(inputInterface(false), l4(unix.IPPROTO_ICMPV6), accept()), // steps find their gateway by it
			match(inputInterface(false), answers(), accept()),
			match(inputInterface(false), reject())),
		filter("output", nftables.ChainHookOutput, false, out...),
		{
			name: "postrouting", hook: nftables.ChainHookPostrouting, kind: nftables.ChainTypeNAT,
			priority: nftables.ChainPriorityNATSource, rules: []exprs{
				match(source(stepNet4), outputInterface(true), exprs{&expr.Masq{}}),
				match(source(stepNet6), outputInterface(true), exprs{&expr.Masq{}}),
			},
		},
	}
}

// apply puts the chains into the network namespace of this process, in place of what an earlier call has put there. All
// of them or none are in force afterwards.
func apply(chains []chain) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName}
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	conn.AddTable(table)
	for i := range chains {
		c := &chains[i]
		added := &nftables.Chain{Name: c.name, Table: table}
		if c.hook != nil {
			policy := nftables.ChainPolicyAccept
			if c.drops {
				policy = nftables.ChainPolicyDrop
			}
			added.Hooknum, added.Type, added.Priority, added.Policy = c.hook, c.kind, c.priority, &policy
		}
		conn.AddChain(added)
		for _, r := range c.rules {
			conn.AddRule(&nftables.Rule{Table: table, Chain: added, Exprs: r})
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("load the rules into nf_tables: %w", err)
	}
	return nil
}
