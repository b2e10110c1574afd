// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hack/cluster/localcluster"
)

func TestAFleetKnowsItsRegistries(t *testing.T) {
	for name, tc := range map[string]struct {
		info  localcluster.Info
		plain bool
		want  []v1alpha1.RegistryHost
	}{
		"the local cluster's two": {
			localcluster.Info{Registry: "10.0.0.1:5000", RegistryAuth: "10.0.0.1:5001"}, true,
			[]v1alpha1.RegistryHost{{Host: "10.0.0.1:5000", Scheme: "HTTP"}, {Host: "10.0.0.1:5001", Scheme: "HTTP"}},
		},
		"one with a path, without TLS": {
			localcluster.Info{Registry: "registry:5000/me"}, true,
			[]v1alpha1.RegistryHost{{Host: "registry:5000", Scheme: "HTTP"}},
		},
		"one with TLS needs no exception": {localcluster.Info{Registry: "registry.example.com/me"}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Cluster{Info: tc.info, PlainHTTP: tc.plain}
			cache := c.BuildCache("ns", "c", 2, "1Gi", "cache-1")
			if diff := cmp.Diff(tc.want, cache.Spec.BuildKit.Registries); diff != "" {
				t.Errorf("registries differ (-want +got):\n%s", diff)
			}
			if got := cache.Spec.Registry.Repository; got != tc.info.Registry+"/cache-1" {
				t.Errorf("the registry cache is in %s", got)
			}
		})
	}
}
