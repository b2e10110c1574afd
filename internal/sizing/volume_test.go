// SPDX-License-Identifier: Apache-2.0

package sizing_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/sizing"
)

func TestVolumeSize(t *testing.T) {
	for name, tc := range map[string]struct {
		grown string // status.storage.size, empty for none
		want  string
	}{
		"that of the spec":                 {"", "10Gi"},
		"what autoExpand has grown":        {"13Gi", "13Gi"},
		"the spec's once it has overtaken": {"8Gi", "10Gi"},
	} {
		t.Run(name, func(t *testing.T) {
			cache := &v1alpha1.BuildCache{}
			cache.Spec.Storage.Size = resource.MustParse("10Gi")
			if tc.grown != "" {
				cache.Status.Storage = &v1alpha1.StorageStatus{Size: resource.MustParse(tc.grown)}
			}
			if got := sizing.VolumeSize(cache); got.Cmp(resource.MustParse(tc.want)) != 0 {
				t.Errorf("got %s, want %s", got.String(), tc.want)
			}
		})
	}
}
