// SPDX-License-Identifier: Apache-2.0

// Package ledger keeps, on the daemon's volume, what the daemon has built: which cache keys, when and how fast, and
// which cache mounts they used.
//
// BuildKit's own usage counts also move without a build, and say nothing of keys, so the agent keeps its own. All of
// it belongs to a volume epoch, a random name that changes when the bytes it is about are gone.
package ledger

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

const (
	// keep bounds the keys and the mounts of the file, each; at about 150 bytes an entry it stays near a megabyte.
	keep = 4096
	// reported bounds the keys of a BuildDaemon's status; the API's own limit.
	reported = 256
)

// Ledger is the open ledger of a volume. It is safe for concurrent use.
type Ledger struct {
	path string

	mu   sync.Mutex
	book book
}

// book is the file's content.
type book struct {
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

// Open reads the ledger at path, or begins a new one with a new epoch when there is none or it can't be read; lost
// then says why, and is nil otherwise. The directory must exist. The error is that of writing a new ledger.
func Open(path string) (l *Ledger, lost, err error) {
	l = &Ledger{path: path}
	data, err := os.ReadFile(path)
	if err == nil {
		if err = json.Unmarshal(data, &l.book); err == nil && l.book.Epoch != "" {
			l.book.fill()
			return l, nil, nil
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		lost = fmt.Errorf("read ledger %s: %w", path, cmp.Or(err, errors.New("it names no epoch")))
	}
	return l, lost, l.Reset()
}

func (b *book) fill() {
	if b.Keys == nil {
		b.Keys = map[string]keyEntry{}
	}
	if b.Mounts == nil {
		b.Mounts = map[string]mountEntry{}
	}
}

// Reset forgets everything and begins a new epoch: what the ledger was about is gone.
func (l *Ledger) Reset() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book = book{Epoch: strings.ToLower(rand.Text())}
	l.book.fill()
	return l.save()
}

// Epoch is the name of the volume's state.
func (l *Ledger) Epoch() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.book.Epoch
}

// KeyMounts lists the mounts of the last build of a key that the ledger knows, sorted.
func (l *Ledger) KeyMounts(key string) (ids []string, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, known := l.book.Keys[key]
	return slices.Clone(e.Mounts), known
}

// IsEmpty says whether nothing was built in this epoch.
func (l *Ledger) IsEmpty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.book.Keys) == 0
}

// Use is one successful build.
type Use struct {
	Key string
	// Epoch in which it began; a use of an earlier epoch is about bytes that are gone and is not recorded.
	Epoch string
	// Fresh says that the daemon held nothing for the key, or nothing new enough.
	Fresh bool
	// Seconds the build took, at least 1.
	Seconds int32
	// Mounts are the ids of its cache mounts.
	Mounts []string
}

// Record notes a build that succeeded at now. On an error the note holds in memory only.
func (l *Ledger) Record(use Use, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if use.Epoch != l.book.Epoch {
		return nil
	}
	entry := l.book.Keys[use.Key]
	entry.LastUsed = now.UTC()
	if use.Fresh {
		entry.ColdSeconds = use.Seconds
	} else {
		entry.WarmSeconds = use.Seconds
	}
	entry.Mounts = slices.Compact(slices.Sorted(slices.Values(use.Mounts)))
	l.book.Keys[use.Key] = entry
	l.book.useMounts(use.Key, entry.Mounts, now)
	bound(l.book.Keys, func(e keyEntry) time.Time { return e.LastUsed })
	return l.save()
}

// bound drops the least recently used of m beyond keep.
func bound[E any](m map[string]E, used func(E) time.Time) {
	for _, k := range latestFirst(m, used)[min(keep, len(m)):] {
		delete(m, k)
	}
}

// latestFirst returns the keys of m, the most recently used first, equal ones by name.
func latestFirst[E any](m map[string]E, used func(E) time.Time) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(used(m[b]).Compare(used(m[a])), cmp.Compare(a, b))
	})
}

// Keys lists the keys as a BuildDaemon reports them: latest first, at most 256.
func (l *Ledger) Keys() []v1alpha1.KeyUse {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []v1alpha1.KeyUse
	for _, key := range latestFirst(l.book.Keys, func(e keyEntry) time.Time { return e.LastUsed }) {
		e := l.book.Keys[key]
		out = append(out, v1alpha1.KeyUse{
			Key: key, LastUsed: metav1.NewTime(e.LastUsed.Truncate(time.Second)), WarmSeconds: e.WarmSeconds, ColdSeconds: e.ColdSeconds,
		})
		if len(out) == reported {
			break
		}
	}
	return out
}

// save replaces the file so that a crash leaves the old one or the new one, whole.
func (l *Ledger) save() error {
	data, err := json.Marshal(&l.book)
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(l.path), ".ledger-*")
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), l.path)
	}
	if err != nil {
		return fmt.Errorf("write ledger: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
