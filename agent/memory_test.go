// SPDX-License-Identifier: Apache-2.0

package agent

import "testing"

func TestShareMemory(t *testing.T) {
	t.Parallel()
	const mib = int64(1) << 20
	for name, tc := range map[string]struct {
		container, own, each, all int64
	}{
		"the default":          {2048, 512, 512, 1536},
		"a large container":    {8192, 512, 512, 7680},
		"a small container":    {256, 64, 144, 192},
		"no limit":             {0, 0, 512, 1536},
		"half of what is ours": {1024, 256, 512, 768},
	} {
		t.Run(name, func(t *testing.T) {
			own, limits := shareMemory(tc.container * mib)
			if own != tc.own*mib || limits.MemoryBytes != tc.each*mib || limits.TotalBytes != tc.all*mib {
				t.Errorf("own %d, each %d, all %d MiB", own/mib, limits.MemoryBytes/mib, limits.TotalBytes/mib)
			}
		})
	}
}
