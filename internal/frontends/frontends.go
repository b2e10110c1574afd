// SPDX-License-Identifier: Apache-2.0

// Package frontends decides which images a BuildCache lets programs run as BuildKit front ends.
package frontends

import (
	"fmt"

	"github.com/distribution/reference"
)

// Check returns an error if an image is not among the allowed references. References are compared parsed: docker.io,
// library and upper-case hosts are normalised. An allowed one without tag and digest allows all of its repository. One
// that can't be parsed allows nothing.
func Check(allowed []string, image string) error {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return fmt.Errorf("front end %q: %w", image, err)
	}
	for _, text := range allowed {
		if a, err := reference.ParseNormalizedNamed(text); err == nil && covers(a, named) {
			return nil
		}
	}
	return fmt.Errorf("front end %s is not among spec.allowedFrontends of the BuildCache",
		reference.FamiliarString(named))
}

// covers reports whether an allowed reference covers another one. A digest counts before a tag.
func covers(allowed, named reference.Named) bool {
	if allowed.Name() != named.Name() {
		return false
	}
	if reference.IsNameOnly(allowed) {
		return true
	}
	if digest, pinned := allowed.(reference.Digested); pinned {
		other, same := named.(reference.Digested)
		return same && digest.Digest() == other.Digest()
	}
	if _, pinned := named.(reference.Digested); pinned {
		return false // the tag beside a digest says nothing of what is run
	}
	return reference.TagNameOnly(allowed).String() == reference.TagNameOnly(named).String()
}
