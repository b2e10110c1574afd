// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"github.com/openllb/hlb-operator/agent/stepnet"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func networked(mode v1alpha1.NetworkMode) *v1alpha1.BuildCache {
	return testbuild.BuildCache("ns", "c", func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.Network.Mode = mode })
}

func TestNetworkModes(t *testing.T) {
	cases := map[string]struct {
		mode          v1alpha1.NetworkMode
		wantDaemon    string // buildkitd's mode
		wantFlags     bool   // by which buildkitd does without
		wantContainer bool
		wantRequired  bool
	}{
		"by default the node decides":                {"", "cni", true, true, false},
		"so it does when that is asked for":          {v1alpha1.NetworkPreferIsolated, "cni", true, true, false},
		"without networks of steps no daemon starts": {v1alpha1.NetworkIsolated, "cni", false, true, true},
		"steps share the pod's":                      {v1alpha1.NetworkPod, "host", false, false, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cache := networked(tc.mode)
			network := understood(t, cache).Workers.OCI.NetworkConfig
			if network.Mode != tc.wantDaemon || network.CNIConfigPath != networkConfig ||
				network.CNIBinaryPath != networkPlugins {
				t.Errorf("buildkitd has %+v", network)
			}
			pod := podOf(cache)
			command := pod.InitContainers[len(pod.InitContainers)-1].Command[2]
			if got := strings.Contains(command, "--oci-worker-net=host"); got != tc.wantFlags {
				t.Errorf("buildkitd is started by %s", command)
			}
			first := pod.InitContainers[0]
			if got := first.Name == containerNetwork; got != tc.wantContainer {
				t.Fatalf("the first container is %s", first.Name)
			}
			if got := slices.Contains(first.Args, "-required"); got != tc.wantRequired {
				t.Errorf("networks are required: %v, want %v", got, tc.wantRequired)
			}
			for _, c := range []corev1.Container{pod.InitContainers[len(pod.InitContainers)-1], pod.Containers[0]} {
				has := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
					return m.Name == volumeNetwork && m.MountPath == networkDir && m.ReadOnly
				})
				if has != tc.wantContainer {
					t.Errorf("container %s has the folder: %v", c.Name, has)
				}
			}
			if got := slices.Contains(pod.Containers[0].Args, "--network-dir="+networkDir); got != tc.wantContainer {
				t.Errorf("the agent has the folder: %v", got)
			}
		})
	}
}

func TestTheNetworkIsSetUpWithOneCapability(t *testing.T) {
	c := podOf(networked("")).InitContainers[0]
	want := &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}}
	if diff := cmp.Diff(want, c.SecurityContext.Capabilities); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
	if c.SecurityContext.Privileged != nil || len(c.VolumeMounts) != 1 || c.RestartPolicy != nil {
		t.Errorf("the container is %+v", c)
	}
}

func TestEgressReachesTheFirewall(t *testing.T) {
	prefix := netip.MustParsePrefix
	cases := map[string]struct {
		egress *[]v1alpha1.EgressRule
		want   []stepnet.Rule
	}{
		"unset":      {nil, nil},
		"empty":      {&[]v1alpha1.EgressRule{}, []stepnet.Rule{}},
		"everything": {&[]v1alpha1.EgressRule{{}}, []stepnet.Rule{{}}},
		"ranges and ports": {
			&[]v1alpha1.EgressRule{{
				To: []v1alpha1.EgressPeer{
					{IPBlock: v1alpha1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}},
					{IPBlock: v1alpha1.IPBlock{CIDR: "2001:db8::/32"}},
				},
				Ports: []v1alpha1.EgressPort{{Protocol: "TCP", Port: 80, EndPort: 90}, {Protocol: "UDP"}},
			}},
			[]stepnet.Rule{{
				To: []stepnet.Peer{
					{IPBlock: stepnet.IPBlock{
						CIDR: prefix("10.0.0.0/8"), Except: []netip.Prefix{prefix("10.1.0.0/16")},
					}},
					{IPBlock: stepnet.IPBlock{CIDR: prefix("2001:db8::/32")}},
				},
				Ports: []stepnet.Port{{Protocol: "TCP", Port: 80, EndPort: 90}, {Protocol: "UDP"}},
			}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cache := networked(v1alpha1.NetworkIsolated)
			cache.Spec.BuildKit.Network.Egress = tc.egress
			text := ""
			for _, arg := range podOf(cache).InitContainers[0].Args {
				if value, found := strings.CutPrefix(arg, "-egress="); found {
					text = value
				}
			}
			got, err := stepnet.ParseEgress(text)
			if err != nil {
				t.Fatal(err)
			}
			equal := cmpopts.EquateComparable(netip.Prefix{})
			if diff := cmp.Diff(tc.want, got, equal); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}
