// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/statefile"
)

// fileLimit bounds the file of a State, in bytes; a mount takes some 500.
const fileLimit = 64 << 20

// Entry is what is remembered of one mount.
type Entry struct {
	// Sharing that the last build used it with.
	Sharing string `json:"sharing"`
	// Dirty: a build used it and did not succeed, or has not ended.
	Dirty bool `json:"dirty,omitempty"`
	// Uses counts builds that have used it, so that a mount that none has used since its snapshot is known to be
	// unchanged.
	Uses int64 `json:"uses"`
	// Seen is when it was first used, Tried when a snapshot was last tried.
	Seen  time.Time `json:"seen"`
	Tried time.Time `json:"tried,omitzero"`
	// Requested: a snapshot was asked for and not yet made.
	Requested bool `json:"requested,omitempty"`
	// Deferred is since when every try was put off, Overdue that this was reported; zero after one that was not.
	Deferred time.Time `json:"deferred,omitzero"`
	Overdue  bool      `json:"overdue,omitempty"`
	// Disturbed: the last try was put off because a build began to use the mount while it was copied.
	Disturbed bool `json:"disturbed,omitempty"`
	// Failures is how many tries have failed since one that did not.
	Failures int `json:"failures,omitempty"`
	// Outcome and Message of the last try, Took how long it was.
	Outcome v1alpha1.SnapshotOutcome `json:"outcome,omitempty"`
	Message string                   `json:"message,omitempty"`
	Took    time.Duration            `json:"took,omitempty"`
	// Ref, by digest, Digest and Bytes of the newest snapshot, and Uses at the time.
	Ref         string `json:"ref,omitempty"`
	Digest      string `json:"digest,omitempty"`
	Bytes       int64  `json:"bytes,omitempty"`
	SnapshotUse int64  `json:"snapshotUse,omitempty"`
	// Root is the owner and mode that the mount's own directory was given, empty for none.
	Root string `json:"root,omitempty"`
	// Omitted describes what the newest snapshot leaves out, empty for nothing.
	Omitted string `json:"omitted,omitempty"`
}

// Note describes the last try and what the newest snapshot leaves out, empty when there is nothing to say.
func (e *Entry) Note() string {
	if e.Message != "" && e.Omitted != "" {
		return e.Message + "; " + e.Omitted
	}
	return e.Message + e.Omitted
}

// State is what is remembered of mounts over restarts. It belongs to a volume epoch, like the usage record. It is safe
// for concurrent use.
type State struct {
	file *statefile.File
	lost error

	mu      sync.Mutex
	content content
	running map[string]int   // builds that use a mount now
	begun   map[string]int64 // builds that began to use it since the agent started
}

type content struct {
	Epoch  string           `json:"epoch"`
	Mounts map[string]Entry `json:"mounts"`
	// Request is the newest value of the annotations that ask for snapshots.
	Request string `json:"request,omitempty"`
	// Unfilled are mounts that a copy was begun for. What the daemon holds of them may be nothing yet, or a part.
	Unfilled map[string]bool `json:"unfilled,omitempty"`
}

// OpenState reads the state at path. A state that can't be read is begun anew, which costs a snapshot that would not
// have been needed; see Lost.
func OpenState(path, epoch string) *State {
	s := &State{file: statefile.New(path, fileLimit), running: map[string]int{}, begun: map[string]int64{}}
	if err := s.file.LoadJSON(&s.content); err != nil {
		s.content = content{}
		if !errors.Is(err, fs.ErrNotExist) {
			s.lost = err
		}
	}
	s.keepTo(epoch)
	return s
}

// Lost returns why the state was begun anew although there was a file, nil when it was not.
func (s *State) Lost() error { return s.lost }

// keepTo forgets the mounts of another epoch. s.mu is held, or nobody else has s.
func (s *State) keepTo(epoch string) {
	if s.content.Epoch != epoch || s.content.Mounts == nil {
		s.content = content{Epoch: epoch, Mounts: map[string]Entry{}, Request: s.content.Request}
	}
}

// Entries returns what is known of each mount, by id. The map is the caller's.
func (s *State) Entries() map[string]Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.content.Mounts)
}

// Unfilled returns the mounts that IsUnfilled reports. The map is the caller's.
func (s *State) Unfilled() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.content.Unfilled)
}

// Entry returns what is known of a mount, false for nothing.
func (s *State) Entry(id string) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.content.Mounts[id]
	return e, known
}

// Begin records that a build is about to use mounts, each with its mode of sharing, and returns those that other builds
// use now. End must follow. On an error the record holds in memory only.
func (s *State) Begin(epoch string, sharing map[string]string, now time.Time) (busy map[string]bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepTo(epoch)
	busy = map[string]bool{}
	for id, mode := range sharing {
		busy[id] = s.running[id] > 0
		s.running[id]++
		s.begun[id]++
		e, known := s.content.Mounts[id]
		if !known {
			e.Seen = now.UTC()
		}
		e.Sharing, e.Dirty = mode, true
		e.Uses++
		s.content.Mounts[id] = e
	}
	return busy, s.save()
}

// End records how the build ended. A mount is clean again once the last build that used it has succeeded.
func (s *State) End(sharing map[string]string, succeeded bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range sharing {
		s.running[id]--
		e, known := s.content.Mounts[id]
		if known && s.running[id] == 0 {
			e.Dirty = !succeeded
			s.content.Mounts[id] = e
		}
		delete(s.content.Unfilled, id) // it holds what the build has left there
	}
	return s.save()
}

// quiet reports whether no build uses a mount and the last one that did succeeded, and how many have begun to so far.
func (s *State) quiet(id string) (ok bool, begun int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[id] == 0 && !s.content.Mounts[id].Dirty, s.begun[id]
}

// Why a mount is not quiet.
var (
	errInUse = errors.New("a build uses the mount")
	errDirty = errors.New("the last build that used the mount did not succeed")
)

// whyNotQuiet returns why a mount is not quiet, nil when it is by now.
func (s *State) whyNotQuiet(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.running[id] > 0:
		return errInUse
	case s.content.Mounts[id].Dirty:
		return errDirty
	}
	return nil
}

// note changes a mount's entry, unless it was forgotten meanwhile.
func (s *State) note(id string, change func(*Entry)) error {
	if !s.edit(id, change) {
		return nil
	}
	return s.saveNow()
}

// edit changes a mount's entry in memory, false when it was forgotten meanwhile.
func (s *State) edit(id string, change func(*Entry)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.content.Mounts[id]
	if known {
		change(&e)
		s.content.Mounts[id] = e
	}
	return known
}

// saveNow writes the file.
func (s *State) saveNow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.save()
}

// Ask takes the annotations' value, empty for none. A new one asks for a snapshot of all mounts there are; an old one
// on a new volume finds none.
func (s *State) Ask(value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content.Request == value {
		return nil
	}
	s.content.Request = value
	if value != "" {
		for id, e := range s.content.Mounts {
			e.Requested = true
			s.content.Mounts[id] = e
		}
	}
	return s.save()
}

// ids are the mounts that are remembered, sorted.
func (s *State) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for id := range s.content.Mounts {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// Keep forgets mounts that the daemon no longer holds, as look returns them, unless builds use them or have begun to
// since it was called.
func (s *State) Keep(look func() map[string]int64) error {
	before := s.idle()
	held := look()
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for id, begun := range before {
		if _, found := held[id]; !found && s.running[id] == 0 && s.begun[id] == begun {
			delete(s.content.Mounts, id)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return s.save()
}

// idle are the mounts that no build uses, with how many have begun to so far.
func (s *State) idle() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int64{}
	for id := range s.content.Mounts {
		if s.running[id] == 0 {
			out[id] = s.begun[id]
		}
	}
	return out
}

// save writes the file. s.mu is held.
func (s *State) save() error { return s.file.SaveJSON(&s.content) }
