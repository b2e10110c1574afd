// SPDX-License-Identifier: Apache-2.0

package query

import (
	"github.com/distribution/reference"

	"github.com/openllb/hlb-operator/hlb/analyze"
)

// Held is what a daemon holds. A nil one holds nothing.
type Held struct {
	Mounts map[string]int64 // sizes of cache mounts in bytes, by their ids
	Images map[string]int64 // sizes of the layers of images in bytes, by their ImageName
}

// ImageName is the full name of an image, such as docker.io/library/golang:1.26; its digest counts only where it has
// no tag. What is no reference is its own name.
func ImageName(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	named = reference.TagNameOnly(named)
	if tagged, ok := named.(reference.Tagged); ok {
		return named.Name() + ":" + tagged.Tag()
	}
	return named.String()
}

func (h *Held) mount(m analyze.CacheMount) (int64, bool) {
	if h == nil || !m.ID.Known {
		return 0, false
	}
	size, ok := h.Mounts[m.ID.Text]
	return size, ok
}

func (h *Held) image(r analyze.Ref) (int64, bool) {
	if h == nil || !r.Ref.Known {
		return 0, false
	}
	size, ok := h.Images[ImageName(r.Ref.Text)]
	return size, ok
}
