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
	// Differences says what came out differently. After a difference in what was learned the replay goes on with what
	// was recorded.
	Differences []string

	fleets map[types.NamespacedName]*replay
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
	defer file.Close() //nolint:errcheck // it was only read
	zip, err := gzip.NewReader(file)
	if errors.Is(err, io.EOF) {
		return nil // it was opened and not written
	}
	if err != nil {
		return err
	}
	dec := json.NewDecoder(zip)
	dec.DisallowUnknownFields()
	for {
		var e Entry
		switch err := dec.Decode(&e); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil // it is still being written, or the writer died
		case err != nil:
			return err
		}
		if err := p.Entry(&e); err != nil {
			return fmt.Errorf("fleet %s: %w", e.Fleet, err)
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
	if r := p.fleets[of]; r != nil && !c.Gap {
		got, err := r.state.Save()
		if err != nil {
			return err
		}
		if !bytes.Equal(got, c.Learned) {
			p.differ(of, "what was learned differs before the cycle of %s", c.Observation.Now)
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
		p.differ(of, "the cycle of %s decided\n\t%s\nrecorded was\n\t%s", obs.Now, got, c.Writes)
	}
	p.Cycles++
	if p.Replayed != nil {
		p.Replayed(of, &obs, &writes)
	}
	return nil
}

func (p *Player) differ(of types.NamespacedName, format string, args ...any) {
	p.Differences = append(p.Differences, of.String()+": "+fmt.Sprintf(format, args...))
}
