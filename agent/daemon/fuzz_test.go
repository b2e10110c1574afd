// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"testing"

	"github.com/moby/buildkit/client"
)

// FuzzMountID: whatever target, command and id a cache mount has, its record's description gives the id back.
func FuzzMountID(f *testing.F) {
	f.Add("/c", "/bin/sh -c make", "ns//c")
	f.Add("/c", "echo with id \"x\"", "ns/a\"b")
	f.Add("/c", "a\nb", "ns/c")
	f.Add("/c with id \"x\"", "", "with id \\")
	f.Add("/c", "make", "")
	f.Add("", "\xff\x00", "\xff\n\u2028")
	f.Fuzz(func(t *testing.T, target, command, id string) {
		r := &client.UsageInfo{
			RecordType:  client.UsageRecordTypeCacheMount,
			Description: fmt.Sprintf("cached mount %s from exec %s with id %q", target, command, id),
		}
		if id == "" {
			id = unknownMount // which would not tell the record from a layer
		}
		if got, ok := mountID(r); !ok || got != id {
			t.Errorf("the id of %q is %q, %v, want %q", r.Description, got, ok, id)
		}
		r.Description = command // anything at all
		mountID(r)
	})
}
