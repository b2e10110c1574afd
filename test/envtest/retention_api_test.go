// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestRetentionInTheRegistryIsValidated(t *testing.T) {
	w := envtestkit.Get(t)
	ns := w.Namespace(t)
	cases := map[string]struct {
		spec v1alpha1.RegistryRetentionSpec
		want string // of the error, empty for none
	}{
		"a month is accepted": {v1alpha1.RegistryRetentionSpec{MaxAgeSeconds: ptr.To[int32](2592000)}, ""},
		"no time is refused": {
			v1alpha1.RegistryRetentionSpec{MaxAgeSeconds: ptr.To[int32](0)}, "maxAgeSeconds",
		},
		"deleting is accepted":          {v1alpha1.RegistryRetentionSpec{OnDelete: v1alpha1.RegistryDelete}, ""},
		"an unknown policy is refused":  {v1alpha1.RegistryRetentionSpec{OnDelete: "Maybe"}, `"Retain", "Delete"`},
		"tags are retained if not told": {v1alpha1.RegistryRetentionSpec{}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cache := testbuild.BuildCache(ns, strings.ReplaceAll(name, " ", "-"), func(c *v1alpha1.BuildCache) {
				c.Spec.Registry = &v1alpha1.RegistryCacheSpec{Repository: "registry.example.com/team/cache",
					Retention: tc.spec}
			})
			err := w.Client.Create(t.Context(), cache)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("the error is %v, want %q", err, tc.want)
			}
			if got := cache.Spec.Registry.Retention.OnDelete; err == nil && tc.spec.OnDelete == "" &&
				got != v1alpha1.RegistryRetain {
				t.Errorf("onDelete is %q by default, want %s", got, v1alpha1.RegistryRetain)
			}
		})
	}
}
