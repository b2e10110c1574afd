// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/openllb/hlb-operator/internal/cacheref"
)

// Memory is since when tags of build cache are as they are: registries don't say. It lies in a file; one that is lost
// only makes tags look newer. It is not safe for concurrent use.
type Memory struct {
	path string
	// seen by repository and tag.
	seen map[string]map[string]sighting
}

type sighting struct {
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"`
}

// OpenMemory reads the memory at path.
func OpenMemory(path string) *Memory {
	m := &Memory{path: path}
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &m.seen) != nil || m.seen == nil {
		m.seen = map[string]map[string]sighting{}
	}
	return m
}

// Look notes what a repository holds now and returns its tags that the operator makes for the namespace. digest is
// asked for tags of build cache; a snapshot's tag tells its time itself. One whose digest is unknown counts as new.
// The error is about the file.
func (m *Memory) Look(
	repository, namespace string,
	names []string,
	digest func(tag string) (string, error),
	now time.Time,
) ([]Tag, error) {
	before, after := m.seen[repository], map[string]sighting{}
	var out []Tag
	for _, name := range names {
		if !cacheref.Owned(namespace, name) {
			continue
		}
		if at, ok := cacheref.MountTagTime(name); ok {
			out = append(out, Tag{Name: name, Since: at})
			continue
		}
		found, err := digest(name)
		s, known := before[name]
		if err != nil || !known || s.Digest != found {
			s = sighting{Digest: found, Since: now.UTC()}
		}
		after[name] = s
		out = append(out, Tag{Name: name, Since: s.Since})
	}
	m.seen[repository] = after
	return out, m.save()
}

// save replaces the file whole.
func (m *Memory) save() error {
	data, err := json.Marshal(m.seen)
	if err == nil {
		next := filepath.Join(filepath.Dir(m.path), ".retention-next")
		if err = os.WriteFile(next, data, 0o600); err == nil {
			err = os.Rename(next, m.path)
		}
	}
	if err != nil {
		return fmt.Errorf("write since when tags are as they are: %w", err)
	}
	return nil
}
