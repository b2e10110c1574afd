// SPDX-License-Identifier: Apache-2.0

package buildkey

import (
	"github.com/openllb/hlb-operator/hlb/analyze"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// Mounts lists the ids of cache mounts that targets of an HLB program declare with known ids, found by static
// analysis: no daemon, no imports, bounded work. A program with errors has none; its errors are reported by the
// compiler, not by placement.
func Mounts(program string, targets []string) []string {
	info, findings := lint.Program("<inline>", []byte(program), syntax.Limits{})
	if info == nil || findings.HasErrors() {
		return nil
	}
	found, _ := analyze.Module(info, analyze.Options{Targets: targets})
	var ids []string
	for _, target := range found {
		for _, mount := range target.CacheMounts {
			if mount.ID.Known {
				ids = append(ids, mount.ID.Text)
			}
		}
	}
	return sorted(ids)
}
