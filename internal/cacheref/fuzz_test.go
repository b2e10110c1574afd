// SPDX-License-Identifier: Apache-2.0

package cacheref

import (
	"strings"
	"testing"
)

// FuzzTag: whatever tag a registry lists, it is the operator's for at most one namespace, and what is not the
// operator's has no subject, no time and is never deleted.
func FuzzTag(f *testing.F) {
	for _, tag := range []string{
		Tag("ns", "app"), Tag("ns-2", "app"), MountTag("ns", "go", noon, "d-0"), "latest", "", "cache-", "mount-",
		"cache-ns-0123456789abcdeF", "mount-ns-0123456789abcdef-20269924T120000Z-01234567",
		"mount-ns-0123456789abcdef-20261124T120000Z-01234567\n", "cache-ns-0123456789abcdef\n",
	} {
		f.Add("ns", "ns-2", tag)
	}
	f.Fuzz(func(t *testing.T, mine, other, tag string) {
		owned := Owned(mine, tag)
		if mine != other && isName(mine) && isName(other) && owned && Owned(other, tag) {
			t.Errorf("%q belongs to %s and to %s", tag, mine, other)
		}
		subject, ok := Subject(mine, tag)
		if ok != owned || ok && !strings.HasPrefix(tag, subject) {
			t.Errorf("the subject of %q is %q, %v; owned: %v", tag, subject, ok, owned)
		}
		if _, ok := MountTagTime(tag); ok && !strings.HasPrefix(tag, mountPrefix) {
			t.Errorf("%q is a snapshot of some time", tag)
		}
		if owned && strings.ContainsAny(tag, "\n :@/") {
			t.Errorf("%q is no tag, but owned", tag)
		}
		if isName(mine) && isName(other) && mine != other && Owned(other, tag) &&
			NewKept([]string{repositoryName}, nil).CheckCache(mine, repositoryName+":"+tag) == nil {
			t.Errorf("%s may write %q, which belongs to %s", mine, tag, other)
		}
	})
}

const repositoryName = "registry.example.com/cache"

// isName reports whether s may be a namespace's name.
func isName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && s[0] != '-' &&
		s[len(s)-1] != '-'
}
