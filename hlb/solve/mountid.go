// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"regexp"
	"strconv"
)

// mountDescription is how BuildKit describes the record of a cache mount, which is the only place that names it. What
// has made it may have lines of its own: a step, or a container of a front end.
var mountDescription = regexp.MustCompile(`(?s)^cached mount (.*?) from (?:exec|container) .*$`)

// mountIDSuffix is what follows where the id is not the mount point.
var mountIDSuffix = regexp.MustCompile(` with id ("(?:[^"\\]|\\.)*")$`)

// CacheMountID reads the id of a cache mount out of BuildKit's description of its record; ok is false for other
// records. The id is empty where it can't be read. Mounts with a base state have the base's reference after their id,
// which is not taken off.
func CacheMountID(description string) (id string, ok bool) {
	found := mountDescription.FindStringSubmatch(description)
	if found == nil {
		return "", false
	}
	quoted := mountIDSuffix.FindStringSubmatch(description)
	if quoted == nil {
		return found[1], true
	}
	id, err := strconv.Unquote(quoted[1])
	if err != nil {
		return "", true
	}
	return id, true
}
