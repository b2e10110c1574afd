// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/fleet"
)

// Player replays a recording.
type Player struct {
	// Replayed is called after each cycle that was replayed, with what it decided. Nil is not called.
	Replayed func(of types.NamespacedName, obs *fleet.Observation, writes *fleet.Writes)
	// Cycles counts the cycles that were replayed, and Skipped those before the first keyframe of their fleet.
	Cycles, Skipped int
	// Builds counts the decisions about builds that were replayed, and MostQueued is the longest queue of a cycle.
	Builds, MostQueued int
	// From and To are the times of the first and the last cycle that was replayed.
	From, To time.Time
	// Gaps counts how often the recording of a fleet began anew: the manager was restarted, entries came faster than
	// they could be written, or another fleet got the name.
	Gaps int
	// Rotated is the first file that is left where older ones were removed for want of room, empty otherwise.
	Rotated string
	// Cut lists the files that end in the middle of an entry, as a file that is still being written does.
	Cut []string
	// Differences describe what came out differently, in the order of the recording, each with its file and the number
	// of its entry there. After a difference in what was learned the replay goes on with what was recorded.
	Differences []string

	fleets map[types.NamespacedName]*replay
	file   string // base name
	entry  int    // number in the file, from 1
}

// Summary describes what was replayed, and what of the recording is missing.
func (p *Player) Summary() string {
	text := fmt.Sprintf("%d cycles replayed", p.Cycles)
	if p.Cycles > 0 {
		text += fmt.Sprintf(" from %s to %s, with %d decisions about builds, of at most %d in a queue",
			p.From.UTC().Format(time.RFC3339), p.To.UTC().Format(time.RFC3339), p.Builds, p.MostQueued)
	}
	text += fmt.Sprintf("; %d before the first keyframe skipped", p.Skipped)
	if p.Gaps > 0 {
		text += fmt.Sprintf("; %d times a fleet's recording begins anew", p.Gaps)
	}
	if p.Rotated != "" {
		text += "; incomplete: older files were removed, the replay starts at " + p.Rotated
	}
	if len(p.Cut) > 0 {
		text += fmt.Sprintf("; not written to their end: %s", strings.Join(p.Cut, ", "))
	}
	return text
}

// Err is an error that has the first difference, nil if there is none.
func (p *Player) Err() error {
	if len(p.Differences) == 0 {
		return nil
	}
	return fmt.Errorf("%d differences, the first: %s", len(p.Differences), p.Differences[0])
}

// replay is one fleet's.
type replay struct {
	state *fleet.State
	cache *v1alpha1.BuildCache
}

// State is the replayed State of a fleet, nil for none.
func (p *Player) State(of types.NamespacedName) *fleet.State {
	if r := p.fleets[of]; r != nil {
		return r.state
	}
	return nil
}

// Play replays all files of a directory.
func (p *Player) Play(dir string) error {
	files, err := Files(dir)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no recording in %s", dir)
	}
	if err != nil {
		return err
	}
	if base := filepath.Base(files[0]); base != fileName(0) {
		p.Rotated = base
	}
	for _, name := range files {
		if err := p.playFile(name); err != nil {
			return fmt.Errorf("replay %s: %w", name, err)
		}
	}
	return nil
}

func (p *Player) playFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	p.file, p.entry = filepath.Base(name), 0
	zip, err := gzip.NewReader(file)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		p.Cut = append(p.Cut, p.file) // it was opened, and nothing has been written
		return nil
	}
	if err != nil {
		return err
	}
	dec := json.NewDecoder(zip)
	dec.DisallowUnknownFields()
	for {
		var e Entry
		switch err := dec.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF): // it is still being written, or the writer died
			p.Cut = append(p.Cut, p.file)
			return nil
		case err != nil:
			return fmt.Errorf("entry %d: %w", p.entry+1, err)
		}
		p.entry++
		if err := p.Entry(&e); err != nil {
			return fmt.Errorf("entry %d of fleet %s: %w", p.entry, e.Fleet, err)
		}
	}
}

// Entry replays one entry.
func (p *Player) Entry(e *Entry) error {
	if p.fleets == nil {
		p.fleets = map[types.NamespacedName]*replay{}
	}
	if e.Cycle != nil && e.Cycle.Learned != nil {
		if err := p.keyframe(e.Fleet, e.Cycle); err != nil {
			return err
		}
	}
	r := p.fleets[e.Fleet]
	switch {
	case r == nil && e.Cycle != nil:
		p.Skipped++
	case r == nil:
	case e.Cycle != nil:
		return p.cycle(e.Fleet, r, e.Cycle)
	case e.Written != nil:
		r.state.Written(*e.Written)
	case e.Digest != "":
		got, err := Digest(r.state)
		if err != nil {
			return err
		}
		if got != e.Digest {
			p.differ(e.Fleet, "what was learned has the digest %s, recorded was %s", got, e.Digest)
		}
	}
	return nil
}

// keyframe goes on with what was recorded, and compares it with what was replayed so far.
func (p *Player) keyframe(of types.NamespacedName, c *Cycle) error {
	switch r := p.fleets[of]; {
	case r == nil:
	case c.Gap:
		p.Gaps++
	default:
		got, err := r.state.Save()
		if err != nil {
			return err
		}
		if !bytes.Equal(got, c.Learned) {
			p.differ(of, "before the cycle of %s something else was learned: %s",
				c.Observation.Now, firstDifference(got, c.Learned))
		}
	}
	state, err := fleet.Restore(c.Learned)
	if err != nil {
		return err
	}
	p.fleets[of] = &replay{state: state}
	return nil
}

// cycle decides again and compares.
func (p *Player) cycle(of types.NamespacedName, r *replay, c *Cycle) error {
	obs := c.Observation
	if obs.Cache == nil {
		obs.Cache = r.cache
	}
	if r.cache = obs.Cache; obs.Cache == nil {
		return errors.New("a cycle has no BuildCache, and none came before")
	}
	writes, err := r.state.Cycle(obs)
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	if failure != c.Error {
		p.differ(of, "the cycle of %s ended with %q, recorded was %q", obs.Now, failure, c.Error)
	}
	got, err := outcomeOf(&writes)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, c.Writes) {
		p.differ(of, "the cycle of %s decided something else: %s", obs.Now, firstDifference(got, c.Writes))
	}
	p.count(&obs, &writes)
	if p.Replayed != nil {
		p.Replayed(of, &obs, &writes)
	}
	return nil
}

// count takes a cycle into the totals.
func (p *Player) count(obs *fleet.Observation, writes *fleet.Writes) {
	if p.Cycles == 0 || obs.Now.Before(p.From) {
		p.From = obs.Now
	}
	if obs.Now.After(p.To) {
		p.To = obs.Now
	}
	p.Cycles++
	p.Builds += len(writes.Builds)
	p.MostQueued = max(p.MostQueued, writes.Queued)
}

func (p *Player) differ(of types.NamespacedName, format string, args ...any) {
	where := fmt.Sprintf("%s entry %d: %s: ", p.file, p.entry, of)
	p.Differences = append(p.Differences, where+fmt.Sprintf(format, args...))
}

// firstDifference shows the first place where two texts differ, with what is around it.
func firstDifference(got, recorded []byte) string {
	at := 0
	for at < len(got) && at < len(recorded) && got[at] == recorded[at] {
		at++
	}
	around := func(text []byte) []byte {
		return text[min(max(at-differenceBefore, 0), len(text)):min(at+differenceAfter, len(text))]
	}
	return fmt.Sprintf("from byte %d on\n\t…%s…\nrecorded was\n\t…%s…", at, around(got), around(recorded))
}

// Bytes that are shown around a difference, enough to find the build or key in.
const (
	differenceBefore = 300
	differenceAfter  = 500
)
