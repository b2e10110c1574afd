// SPDX-License-Identifier: Apache-2.0

// Package usage is the record, on the daemon's volume, of which cache keys and cache mounts builds have used: when, how
// often, and how long the builds took.
//
// BuildKit's own usage counts also change without a build and know no keys, so the agent keeps its own. Everything in
// the record belongs to a volume epoch, a random name that changes when the cache is gone.
package usage

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/statefile"
)

const (
	// keep bounds the keys and the mounts of the file, each; at about 150 bytes an entry it stays near a megabyte.
	keep = 4096
	// fileLimit bounds the file, in bytes, for long ids and keys: fewer entries are kept then.
	fileLimit = 8 << 20
	// reported bounds the keys of a BuildDaemon's status; the API's own limit.
	reported = 256
)

// Journal is the open record of a volume. It is safe for concurrent use. Changes that can't be written hold in memory,
// are logged, and are written with the next one.
type Journal struct {
	file *statefile.File
	log  logr.Logger

	mu      sync.Mutex
	content content
}

// content of the file.
type content struct {
	Epoch  string                `json:"epoch"`
	Keys   map[string]keyEntry   `json:"keys"`
	Mounts map[string]mountEntry `json:"mountUses"`
}

type keyEntry struct {
	LastUsed    time.Time `json:"lastUsed"`
	WarmSeconds int32     `json:"warmSeconds,omitempty"`
	ColdSeconds int32     `json:"coldSeconds,omitempty"`
	Mounts      []string  `json:"mounts,omitempty"` // of its last build, sorted
}

func (e keyEntry) lastUsed() time.Time { return e.LastUsed }

// Open reads the record at path, or begins a new one with a new epoch when there is none or it can't be read; lost is
// then the reason, and nil otherwise. The directory must exist. The error is that of writing a new record.
func Open(path string, log logr.Logger) (j *Journal, lost, err error) {
	j = &Journal{file: statefile.New(path, fileLimit), log: log}
	err = j.file.LoadJSON(&j.content)
	if err == nil && j.content.Epoch != "" {
		j.content.fill()
		return j, nil, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		lost = fmt.Errorf("open the usage record: %w", cmp.Or(err, errors.New("it has no epoch")))
	}
	j.begin()
	if err := j.file.SaveJSON(&j.content); err != nil {
		return nil, lost, fmt.Errorf("begin a usage record: %w", err)
	}
	return j, lost, nil
}

// begin empties the record under a new epoch.
func (j *Journal) begin() {
	j.content = content{Epoch: strings.ToLower(rand.Text())}
	j.content.fill()
}

func (c *content) fill() {
	if c.Keys == nil {
		c.Keys = map[string]keyEntry{}
	}
	if c.Mounts == nil {
		c.Mounts = map[string]mountEntry{}
	}
}

// Reset begins a new epoch: the cache that the record was about is gone.
func (j *Journal) Reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.begin()
	j.save()
}

// Epoch is the name of the volume's state.
func (j *Journal) Epoch() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.content.Epoch
}

// KeyMounts lists the mounts of the last build of a key, sorted. known reports whether a build of the key has succeeded
// here in this epoch and no mount of it was evicted since.
func (j *Journal) KeyMounts(key string) (ids []string, known bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, known := j.content.Keys[key]
	return slices.Clone(e.Mounts), known
}

// IsEmpty reports whether nothing was built in this epoch.
func (j *Journal) IsEmpty() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.content.Keys) == 0
}

// Build is one successful build.
type Build struct {
	Key string
	// Epoch in which it began; a build of an earlier epoch used a cache that is gone and is not recorded.
	Epoch string
	// Fresh: the daemon held nothing for the key, or nothing new enough.
	Fresh bool
	// Seconds the build took, at least 1.
	Seconds int32
	// Mounts are the ids of its cache mounts.
	Mounts []string
}

// RecordBuild records a build that succeeded at now.
func (j *Journal) RecordBuild(build Build, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if build.Epoch != j.content.Epoch {
		return
	}
	entry := j.content.Keys[build.Key]
	entry.LastUsed = now.UTC()
	if build.Fresh {
		entry.ColdSeconds = build.Seconds
	} else {
		entry.WarmSeconds = build.Seconds
	}
	entry.Mounts = slices.Compact(slices.Sorted(slices.Values(build.Mounts)))
	j.content.Keys[build.Key] = entry
	j.content.useMounts(build.Key, entry.Mounts, now)
	bound(j.content.Keys, keep, keyEntry.lastUsed)
	j.save()
}

// bound drops the least recently used of m beyond limit.
func bound[E any](m map[string]E, limit int, used func(E) time.Time) {
	for _, k := range latestFirst(m, used)[min(limit, len(m)):] {
		delete(m, k)
	}
}

// latestFirst returns the keys of m, the most recently used first, equal ones by name.
func latestFirst[E any](m map[string]E, used func(E) time.Time) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(used(m[b]).Compare(used(m[a])), cmp.Compare(a, b))
	})
}

// Snapshot is the record at one moment, as the status shows it.
type Snapshot struct {
	Epoch string
	// Keys are the most recently used ones, latest first, at most 256.
	Keys []v1alpha1.KeyUse
	// KeysTotal is the number of keys in the record.
	KeysTotal int
	// Mounts by id without base state.
	Mounts map[string]Mount
	// SavedSeconds is as the method of that name.
	SavedSeconds map[string]float64
}

// Snapshot returns a copy, which is the caller's.
func (j *Journal) Snapshot() Snapshot {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := Snapshot{
		Epoch: j.content.Epoch, KeysTotal: len(j.content.Keys), Mounts: make(map[string]Mount, len(j.content.Mounts)),
		SavedSeconds: j.content.savedSeconds(),
	}
	for _, key := range latestFirst(j.content.Keys, keyEntry.lastUsed) {
		e := j.content.Keys[key]
		out.Keys = append(out.Keys, v1alpha1.KeyUse{
			Key: key, LastUsed: metav1.NewTime(e.LastUsed.Truncate(time.Second)),
			WarmSeconds: e.WarmSeconds, ColdSeconds: e.ColdSeconds,
		})
		if len(out.Keys) == reported {
			break
		}
	}
	for id, e := range j.content.Mounts {
		out.Mounts[id] = e.mount()
	}
	return out
}

// save writes the record, without its older half as often as it is too large. j.mu is held.
func (j *Journal) save() {
	err := j.file.SaveJSON(&j.content)
	for errors.Is(err, statefile.ErrTooLarge) && len(j.content.Keys)+len(j.content.Mounts) > 0 {
		bound(j.content.Keys, len(j.content.Keys)/2, keyEntry.lastUsed)
		bound(j.content.Mounts, len(j.content.Mounts)/2, mountEntry.lastUsed)
		err = j.file.SaveJSON(&j.content)
	}
	if err != nil {
		j.log.Error(err, "Failed to write the usage record")
	}
}
