// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"testing"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestNetworksOfStepsAreValidated(t *testing.T) {
	ns := envtestkit.Get(t).Namespace(t)
	block := func(cidr string, except ...string) []v1alpha1.EgressRule {
		return []v1alpha1.EgressRule{
			{To: []v1alpha1.EgressPeer{{IPBlock: v1alpha1.IPBlock{CIDR: cidr, Except: except}}}},
		}
	}
	port := func(first, last int32) []v1alpha1.EgressRule {
		return []v1alpha1.EgressRule{{Ports: []v1alpha1.EgressPort{{Port: first, EndPort: last}}}}
	}
	const own, prefer = v1alpha1.NetworkIsolated, v1alpha1.NetworkPreferIsolated
	cases := map[string]struct {
		mode   v1alpha1.NetworkMode
		egress []v1alpha1.EgressRule
		want   string
	}{
		"the mode alone is accepted":          {v1alpha1.NetworkPod, nil, ""},
		"another mode is refused":             {"Bridge", nil, "spec.buildkit.network.mode"},
		"an empty list is accepted":           {own, []v1alpha1.EgressRule{}, ""},
		"a list where steps may have none":    {prefer, block("10.0.0.0/8"), "set mode: Isolated"},
		"a list in the pod's network":         {v1alpha1.NetworkPod, block("10.0.0.0/8"), "set mode: Isolated"},
		"a list without a mode":               {"", block("10.0.0.0/8"), "set mode: Isolated"},
		"ranges of both families":             {own, append(block("10.0.0.0/8"), block("fd00::/8")...), ""},
		"an address is no range":              {own, block("10.0.0.1"), "such as 10.0.0.0/8"},
		"a part left out is accepted":         {own, block("10.0.0.0/8", "10.1.0.0/16"), ""},
		"what is left out must be a part":     {own, block("10.0.0.0/8", "11.0.0.0/8"), "ranges within cidr"},
		"what is left out must be a range":    {own, block("10.0.0.0/8", "x"), "ranges within cidr"},
		"a range of ports is accepted":        {own, port(80, 90), ""},
		"a range must not end before it does": {own, port(90, 80), "endPort needs a port"},
		"a range must have a start":           {own, port(0, 80), "endPort needs a port"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cache := testbuild.BuildCache(ns, "c")
			cache.Spec.BuildKit.Network.Mode = tc.mode
			if tc.egress != nil {
				cache.Spec.BuildKit.Network.Egress = &tc.egress
			}
			expectVerdict(t, offer(t, cache), tc.want)
		})
	}
}
