// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"testing"
	"time"

	"github.com/moby/buildkit/client"
)

func TestMountIDIsReadFromTheDescription(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		kind        client.UsageRecordType
		description string
		want        string
		ok          bool
		inUse       bool
		mutable     bool
	}{
		"a cache mount": {
			client.UsageRecordTypeCacheMount, `cached mount /c from exec /bin/sh -c make with id "ns//c"`, "ns//c",
			true, false, false,
		},
		"a command that quotes": {
			client.UsageRecordTypeCacheMount, `cached mount /c from exec echo with id "x" with id "ns/a\"b"`, `ns/a"b`,
			true, false, false,
		},
		"a command of several lines": {
			client.UsageRecordTypeCacheMount, "cached mount /c from exec /bin/sh -c a\nb with id \"ns/c\"", "ns/c",
			true, false, false,
		},
		"another kind of record": {
			client.UsageRecordTypeRegular, `cached mount /c from exec make with id "ns/c"`, "", false, false, false,
		},
		"what stands for one that is measured": {
			client.UsageRecordTypeRegular, `cached mount /c from exec make with id "ns/c"`, "ns/c", true, true, false,
		},
		"what can be written is a mount of its own": {
			client.UsageRecordTypeRegular, `cached mount /c from exec make with id "ns/c"`, "", false, true, true,
		},
		"a step's result that is in use": {
			client.UsageRecordTypeRegular, `mount / from exec cached mount /c with id "ns/c"`, "", false, true, false,
		},
		"an id that is the mount point": {
			client.UsageRecordTypeCacheMount, `cached mount //root/x from exec make`, "//root/x", true, false, false,
		},
		"a container of a front end": {
			client.UsageRecordTypeCacheMount, `cached mount /c from container abc with id "ns/c"`, "ns/c", true, false,
			false,
		},
		"a command without a word": {client.UsageRecordTypeCacheMount, `cached mount /c from exec  with id "ns/c"`,
			"ns/c", true, false, false},
		"a description of no use": {client.UsageRecordTypeCacheMount, "cached mount /c", "?/r", true, false, false},
		"none at all":             {client.UsageRecordTypeCacheMount, "", "?/r", true, false, false},
		"an id that is no string": {
			client.UsageRecordTypeCacheMount, `cached mount /c from exec a with id "\q"`, "?/r", true, false, false,
		},
		"a layer of no use": {client.UsageRecordTypeRegular, "cached mount /c", "", false, true, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, ok := mountID(&client.UsageInfo{
				ID: "r", RecordType: tc.kind, Description: tc.description, InUse: tc.inUse, Mutable: tc.mutable,
			})
			if ok && got != tc.want || ok != tc.ok {
				t.Errorf("got %q, %v; want %q, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestGCRulesReadAsOneLine(t *testing.T) {
	t.Parallel()
	rule := client.PruneInfo{
		All: true, Filter: []string{"type==a", "type==b"}, KeepDuration: time.Hour, ReservedSpace: 1, MaxUsedSpace: 2,
		MinFreeSpace: 3,
	}
	const want = "all type==a or type==b keepDuration=1h0m0s reservedSpace=1 maxUsedSpace=2 minFreeSpace=3"
	if got := ruleLine(rule); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
