// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// NeedsRun reports whether the object asks for a run that was not opened yet: it has none, its spec changed in what the
// result depends on, or the annotation build.openllb.dev/requestedAt has a new value. Removing the annotation asks for
// nothing.
func NeedsRun(b *v1alpha1.HLBBuild) bool {
	run := b.Status.Run
	if run == nil {
		return true
	}
	if requested := Requested(b); requested != "" && requested != run.RequestedAt {
		return true
	}
	return HasNewSpec(b)
}

// HasNewSpec reports whether the spec differs from that of the current run in what the result depends on. It is false
// without a run.
func HasNewSpec(b *v1alpha1.HLBBuild) bool {
	run := b.Status.Run
	if run == nil || b.Status.ObservedGeneration == b.Generation { // Open and Observe have seen this spec
		return false
	}
	return run.SpecHash != SpecHash(&b.Spec)
}

// SpecHash is a digest of what the result of a build depends on in its spec: 16 bytes in hexadecimal. The BuildCache
// belongs to it, with its entitlements and registry credentials. The cacheKey does not: it decides where a build runs,
// as priority and queue decide when.
//
// It changes with the API types. So it is compared only for a generation that was not yet observed: an upgrade of the
// operator opens no runs.
func SpecHash(spec *v1alpha1.HLBBuildSpec) string {
	input := v1alpha1.HLBBuildSpec{
		CacheRef:           spec.CacheRef,
		Source:             spec.Source,
		Platforms:          slices.Sorted(slices.Values(spec.Platforms)),
		Outputs:            sorted(spec.Outputs, func(o v1alpha1.OutputSpec) string { return o.Name }),
		Secrets:            sorted(spec.Secrets, func(s v1alpha1.BuildSecret) string { return s.ID }),
		SSH:                sorted(spec.SSH, func(s v1alpha1.BuildSSH) string { return s.ID }),
		RegistrySecretRefs: spec.RegistrySecretRefs, // the first that knows a registry is used
	}
	if spec.HLB != nil {
		program := *spec.HLB
		program.Targets = slices.Sorted(slices.Values(program.Targets))
		input.HLB = &program
	}
	text, err := json.Marshal(&input) // maps are written in order of their keys
	if err != nil {
		panic("a spec is always JSON: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// sorted returns a copy of a list whose order means nothing, in order of its keys.
func sorted[T any](list []T, key func(T) string) []T {
	return slices.SortedFunc(slices.Values(list), func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}

// requestedLimit bounds status.run.requestedAt; the API's own limit, in characters.
const requestedLimit = 64

// Requested is the annotation that asks for a run, as status.run.requestedAt holds it: a value that does not fit is
// replaced by its digest, so that different values stay different.
func Requested(b *v1alpha1.HLBBuild) string {
	value := b.Annotations[v1alpha1.AnnotationRequestedAt]
	if len(value) <= requestedLimit {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}
