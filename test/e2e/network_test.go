// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// reaching is a build on the fleet of that name that fails unless its step reaches the registry, or unless it does not,
// and in any case if it reaches the agent's probe or an address where clouds have metadata.
func reaching(t *testing.T, fleet, name string, registry bool) *v1alpha1.HLBBuild {
	t.Helper()
	pod := strings.TrimSpace(kubectl(t, "get", "pod", harness.Pod(fleet+"-0"), "-o", "jsonpath={.status.podIP}"))
	host, port, err := net.SplitHostPort(cluster.Info.Registry)
	must(t, err)
	want := "then true; else echo no registry; exit 1; fi"
	if !registry {
		want = "then echo registry; exit 1; fi"
	}
	script := fmt.Sprintf(`ask() { printf 'GET /healthz HTTP/1.0\r\n\r\n' | nc -w 5 $1 $2 | grep HTTP; }
		if ask %s %s; %s
		if ask 127.0.0.1 8081; then echo loopback; exit 1; fi
		if ask %s 8081; then echo pod; exit 1; fi
		if ask 169.254.169.254 80; then echo metadata; exit 1; fi`, host, port, want, pod)
	build := newBuild(name, fmt.Sprintf("fs default() { image \"IMAGE\"; run `%s`; }\n", script))
	build.Spec.CacheRef.Name = fleet
	return build
}

func TestStepsHaveNetworksOfTheirOwn(t *testing.T) {
	t.Parallel()
	open, closed := newFleet("networked", 1), newFleet("bounded", 1)
	open.Spec.BuildKit.Network.Mode = v1alpha1.NetworkIsolated
	closed.Spec.BuildKit.Network = v1alpha1.StepNetwork{
		Mode: v1alpha1.NetworkIsolated, Egress: &[]v1alpha1.EgressRule{},
	}
	for cache, registry := range map[*v1alpha1.BuildCache]bool{open: true, closed: false} {
		makeFleet(t, cache)
		d := daemon(t, cache.Name+"-0")
		if !meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionStepsIsolated) {
			t.Errorf("conditions of %s are %+v", d.Name, d.Status.Conditions)
		}
		build := reaching(t, cache.Name, "reaching-"+cache.Name, registry)
		run(t, build)
		succeeded(t, build)
	}
}
