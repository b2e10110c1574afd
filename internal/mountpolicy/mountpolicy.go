// SPDX-License-Identifier: Apache-2.0

// Package mountpolicy finds the policy that applies to a cache mount. Policies name mounts as programs do; BuildKit
// knows them with the namespace in front.
package mountpolicy

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// For returns the entry of policies that applies to the mount that programs call id, nil for none. Its fields apply
// as a whole; entries are never mixed. An entry with exactly the id wins, then the pattern with the longest text
// before its first *, then the one with the most literal characters, then the first in the order of the alphabet: the
// order of the list means nothing.
func For(policies []v1alpha1.MountPolicy, id string) *v1alpha1.MountPolicy {
	var best *v1alpha1.MountPolicy
	for i := range policies {
		p := &policies[i]
		if p.ID == id {
			return p
		}
		if strings.Contains(p.ID, "*") && matches(p.ID, id) && (best == nil || precedes(p.ID, best.ID)) {
			best = p
		}
	}
	return best
}

// precedes reports whether pattern a is more specific than b.
func precedes(a, b string) bool {
	prefix := func(pattern string) int { return strings.Index(pattern, "*") }
	literals := func(pattern string) int { return len(pattern) - strings.Count(pattern, "*") }
	return cmp.Or(cmp.Compare(prefix(b), prefix(a)), cmp.Compare(literals(b), literals(a)), cmp.Compare(a, b)) < 0
}

// matches reports whether id is the pattern with each * replaced by any text. It takes time in proportion to the
// product of the lengths at most.
func matches(pattern, id string) bool {
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(id, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	if last == 0 {
		return rest == ""
	}
	for _, part := range parts[1:last] {
		at := strings.Index(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return strings.HasSuffix(rest, parts[last])
}

// base is what BuildKit may put after a mount's id: the reference of the state that the mount began with, 25
// characters of base 36.
var base = regexp.MustCompile(`:[0-9a-z]{25}$`)

// Scoped is the id that BuildKit knows a program's mount by, in a namespace.
func Scoped(namespace, id string) string { return namespace + "/" + id }

// Written splits an id as BuildKit knows it into the namespace of the program's build and the id as the program writes
// it. It returns false for mounts of no program of these namespaces.
func Written(namespaces []string, id string) (namespace, written string, ok bool) {
	namespace, written, ok = strings.Cut(Unbased(id), "/")
	if !ok || !slices.Contains(namespaces, namespace) {
		return "", "", false
	}
	return namespace, written, true
}

// Unbased is an id as BuildKit knows it without the state that the mount began with. Several mounts may have it.
func Unbased(id string) string { return base.ReplaceAllString(id, "") }

// Of is the entry that applies to a mount by the id that BuildKit knows, nil when none does or it is no mount of a
// program of these namespaces.
func Of(namespaces []string, policies []v1alpha1.MountPolicy, id string) *v1alpha1.MountPolicy {
	_, written, own := Written(namespaces, id)
	if !own {
		return nil
	}
	return For(policies, written)
}

// IsPinned reports whether a policy keeps mounts from eviction.
func IsPinned(p *v1alpha1.MountPolicy) bool {
	return p != nil && p.Eviction != nil && p.Eviction.Policy == v1alpha1.EvictNever
}

// Bounds are the eviction bounds of a policy; the zero value has none.
func Bounds(p *v1alpha1.MountPolicy) v1alpha1.MountEviction {
	if p == nil || p.Eviction == nil {
		return v1alpha1.MountEviction{}
	}
	return *p.Eviction
}

// Primes reports whether mounts of a policy are filled from snapshots on a daemon that does not hold them; without a
// policy they are not.
func Primes(p *v1alpha1.MountPolicy) bool {
	return p != nil && (p.Prime == v1alpha1.PrimeOnFreshDaemon || p.Prime == "" && p.Snapshot != nil)
}

// Sharing returns the sharing modes of policies, for mounts of a namespace that a program names no mode for. The
// function takes ids as BuildKit knows them, and returns false for mounts without a policy or mode.
func Sharing(namespace string, policies []v1alpha1.MountPolicy) func(id string) (mode string, ok bool) {
	own := []string{namespace}
	return func(id string) (string, bool) {
		p := Of(own, policies, id)
		if p == nil || p.Sharing == "" {
			return "", false
		}
		return string(p.Sharing), true
	}
}
