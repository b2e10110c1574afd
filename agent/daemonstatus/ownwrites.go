// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"slices"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// ownWrites are the latest versions of the BuildDaemon that were read and written here. The cache may still show one
// of those before the last: an API server that is busy sends watch events late, and a patch on top of such a version
// would be refused.
type ownWrites struct {
	last  *v1alpha1.BuildDaemon // as the last write left it
	stale []string              // versions that the last write replaced, oldest first
}

// keptStale bounds ownWrites.stale: writes are seconds apart, and no cache is minutes late.
const keptStale = 16

// wrote records a write on top of a version.
func (o *ownWrites) wrote(before string, after *v1alpha1.BuildDaemon) {
	o.stale = append(o.stale, before)
	o.stale = o.stale[max(0, len(o.stale)-keptStale):]
	o.last = after.DeepCopy()
}

// newer returns bd, or what was written after it here.
func (o *ownWrites) newer(bd *v1alpha1.BuildDaemon) *v1alpha1.BuildDaemon {
	if o.last != nil && o.last.UID == bd.UID && slices.Contains(o.stale, bd.ResourceVersion) {
		return o.last.DeepCopy()
	}
	return bd
}
