// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestABuildDaemonsSpecIsValidated(t *testing.T) {
	type spec = v1alpha1.BuildDaemonSpec
	cluster := envtestkit.Get(t)
	ns := cluster.Namespace(t)
	asks := func(n int, change func(*v1alpha1.PrefetchRequest)) func(*spec) {
		return func(s *spec) {
			for i := range n {
				r := v1alpha1.PrefetchRequest{ID: fmt.Sprint(ns, "/m", i), Sharing: v1alpha1.MountShared, Bytes: 7,
					RequestedAt: metav1.NewTime(envtestkit.Epoch)}
				change(&r)
				s.Prefetch = append(s.Prefetch, r)
			}
		}
	}
	cases := map[string]struct {
		change func(*spec)
		want   string
	}{
		"another BuildCache is refused": {
			func(s *spec) { s.CacheRef.Name = "other" }, "belongs to one BuildCache for good",
		},
		"another ordinal is refused": {
			func(s *spec) { s.Ordinal += 1000 }, "stands for one daemon of its BuildCache for good",
		},
		"sixteen requests are accepted": {asks(16, func(*v1alpha1.PrefetchRequest) {}), ""},
		"seventeen are refused": {
			asks(17, func(*v1alpha1.PrefetchRequest) {}), "must have at most 16 items",
		},
		"two for one mount are refused": {
			asks(2, func(r *v1alpha1.PrefetchRequest) { r.ID = "same" }), "Duplicate",
		},
		"one without a mount is refused": {
			asks(1, func(r *v1alpha1.PrefetchRequest) { r.ID = "" }), "at least 1 chars",
		},
		"an id of 512 bytes is accepted": {
			asks(1, func(r *v1alpha1.PrefetchRequest) { r.ID = strings.Repeat("m", 512) }), "",
		},
		"a longer one is refused": {
			asks(1, func(r *v1alpha1.PrefetchRequest) { r.ID = strings.Repeat("m", 513) }), "512",
		},
		"one without a mode is refused": {
			asks(1, func(r *v1alpha1.PrefetchRequest) { r.Sharing = "" }), `"shared", "private", "locked"`,
		},
		"fewer bytes than none are refused": {asks(1, func(r *v1alpha1.PrefetchRequest) { r.Bytes = -1 }), "bytes"},
	}
	ordinal := int32(0)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := testbuild.BuildDaemon(ns, "cache", ordinal)
			ordinal++
			if err := cluster.Client.Create(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			tc.change(&d.Spec)
			err := cluster.Client.Update(t.Context(), d)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the API server says %v, want %q", err, tc.want)
			}
		})
	}
}
