// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/hlb/request"
)

// openMode is the mode of a new mount's own directory when a step's user is not root: any user of the step's image can
// write to the mount, as root can.
const openMode = 0o777

// setRoots notes what the own directories of a run's new cache mounts are to be. An owner or mode of the program comes
// first; else a user other than root must be able to write. Only a server profile's embedding program can set it: the
// daemon itself knows no owner of a mount but that of a base state, which would make it another mount of the same id.
func (e *evaluator) setRoots(x *execution) {
	for _, m := range x.mounts {
		if m.cache == nil || !m.plain || !e.server() {
			continue
		}
		root := m.root
		if root == nil && !m.readonly && !isRoot(x.user) {
			root = &request.MountRoot{Mode: openMode}
		}
		i := slices.IndexFunc(e.mounts, func(c request.CacheMount) bool {
			return c.ID == m.cache.id && c.Target == m.target
		})
		if i >= 0 && root != nil && e.mounts[i].Root == nil {
			e.mounts[i].Root = root
		}
	}
}

// isRoot reports whether a user, as steps and images name it, with or without a group, is root.
func isRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	return name == "" || name == "root" || strings.Trim(name, "0") == ""
}
