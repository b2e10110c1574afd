// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/internal/statefile"
)

// fileLimit bounds the file of FirstSeen, in bytes; a tag takes about 200.
const fileLimit = 64 << 20

// FirstSeen records, in a file, when the digest of each build cache tag was first observed: registries don't say. A
// lost file only makes tags look newer. It is not safe for concurrent use.
type FirstSeen struct {
	file *statefile.File
	// seen by repository and tag.
	seen map[string]map[string]observation
}

type observation struct {
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"`
}

// OpenFirstSeen reads the record at path, or begins a new one when there is none or it can't be read; lost is then the
// reason, and nil otherwise.
func OpenFirstSeen(path string) (f *FirstSeen, lost error) {
	f = &FirstSeen{file: statefile.New(path, fileLimit)}
	err := f.file.LoadJSON(&f.seen)
	if err != nil || f.seen == nil {
		f.seen = map[string]map[string]observation{}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	return f, err
}

// futureSlack is how far ahead a snapshot's tag may be for its time to count.
const futureSlack = 10 * time.Minute

// Observe records what a repository holds now and returns those of its tags that the operator makes for the namespaces.
// digest is asked for tags of build cache; a snapshot's tag has its time in it, unless that is in the future. A tag
// whose digest is unknown counts as new. An error is that of writing the file; the tags are valid with it.
func (f *FirstSeen) Observe(
	repository string,
	namespaces, names []string,
	digest func(tag string) (string, error),
	now time.Time,
) ([]Tag, error) {
	before, after := f.seen[repository], map[string]observation{}
	var out []Tag
	for _, name := range names {
		own := func(namespace string) bool { return cacheref.Owned(namespace, name) }
		if !slices.ContainsFunc(namespaces, own) {
			continue
		}
		if at, ok := cacheref.MountTagTime(name); ok && at.Sub(now) <= futureSlack {
			out = append(out, Tag{Name: name, Since: at})
			continue
		}
		found, err := digest(name)
		s, known := before[name]
		if err != nil || !known || s.Digest != found {
			s = observation{Digest: found, Since: now.UTC()}
		}
		after[name] = s
		out = append(out, Tag{Name: name, Since: s.Since})
	}
	f.seen[repository] = after
	return out, f.file.SaveJSON(f.seen)
}
