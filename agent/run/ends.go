// SPDX-License-Identifier: Apache-2.0

package run

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/statefile"
)

// report is the end of an attempt with all that is to be written about it.
type report struct {
	Build   types.NamespacedName `json:"build"`
	Claimed attempt.Claimed      `json:"claimed"`
	End     attempt.End          `json:"end"`
	// Details are nil where the API server has refused them: an end without its details is better than none.
	Details *details `json:"details,omitempty"`
}

// The bounds of what is kept: the number of ends, and the bytes of the file. A daemon runs few builds at once, so that
// there are as many ends only after hours without an API server.
const (
	endsLimit  = 256
	endsLength = 16 << 20
)

// Ends are ends of attempts that could not be written yet. They are kept on the volume, so that they are written after
// a restart of the agent, too. Ends is safe for concurrent use.
type Ends struct {
	file *statefile.File

	mu   sync.Mutex
	kept []report // the oldest first
}

// OpenEnds reads the ends in a file. A file that can't be read is begun anew, and the error says why.
func OpenEnds(path string) (*Ends, error) {
	e := &Ends{file: statefile.New(path, endsLength)}
	err := e.file.LoadJSON(&e.kept)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		e.kept = nil
	}
	return e, err
}

// keep adds an end, or replaces what is kept for its attempt. Beyond the limits, the oldest ends lose their details and
// then go. The error is that of writing the file: the end is kept in memory all the same.
func (e *Ends) keep(r report) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at := e.index(r.Claimed); at >= 0 {
		e.kept[at] = r
	} else {
		e.kept = append(e.kept, r)
	}
	e.kept = e.kept[max(0, len(e.kept)-endsLimit):]
	for i := 0; ; i++ {
		err := e.file.SaveJSON(e.kept)
		if !errors.Is(err, statefile.ErrTooLarge) || i == len(e.kept) {
			return err
		}
		e.kept[i].Details = nil
	}
}

// forget drops what is kept for an attempt, because it was written or is void.
func (e *Ends) forget(c attempt.Claimed) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.index(c)
	if at < 0 {
		return nil
	}
	e.kept = slices.Delete(e.kept, at, at+1)
	return e.file.SaveJSON(e.kept)
}

// has reports whether an end of the attempt is kept.
func (e *Ends) has(c attempt.Claimed) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.index(c) >= 0
}

// all returns what is kept, in order of the builds' names.
func (e *Ends) all() []report {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := slices.Clone(e.kept)
	slices.SortStableFunc(out, func(a, b report) int { return cmp.Compare(a.Build.String(), b.Build.String()) })
	return out
}

// index finds an attempt. e.mu is held.
func (e *Ends) index(c attempt.Claimed) int {
	return slices.IndexFunc(e.kept, func(r report) bool { return r.Claimed == c })
}
