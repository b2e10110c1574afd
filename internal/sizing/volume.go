// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// VolumeSize is the size that each volume of the fleet is to have: the spec's, or more where the manager says so. The
// manager sizes claims by it, agents bound their garbage collection by it.
func VolumeSize(cache *v1alpha1.BuildCache) resource.Quantity {
	if s := cache.Status.Storage; s != nil && s.Size.Cmp(cache.Spec.Storage.Size) > 0 {
		return s.Size
	}
	return cache.Spec.Storage.Size
}
