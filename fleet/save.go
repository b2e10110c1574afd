// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/scheduler"
)

// saved is what was learned, as it is saved.
type saved struct {
	Params       scheduler.Params              `json:"params"`
	Bootstrapped bool                          `json:"bootstrapped,omitempty"`
	SweptAt      time.Time                     `json:"sweptAt,omitzero"`
	LookedAt     time.Time                     `json:"lookedAt,omitzero"`
	PlacedAt     time.Time                     `json:"placedAt,omitzero"`
	Estimates    *scheduler.Estimates          `json:"estimates"`
	Hot          *scheduler.HotKeys            `json:"hot"`
	Shares       *scheduler.Shares             `json:"shares"`
	Usage        *scheduler.Usage              `json:"usage"`
	Restarts     *scheduler.Restarts           `json:"restarts"`
	Keys         map[scheduler.KeyID]*keyState `json:"keys,omitempty"`
	BuiltAt      map[scheduler.KeyID]time.Time `json:"builtAt,omitempty"`
	Mounts       map[string]*mountState        `json:"mounts,omitempty"`
	Pull         pullRate                      `json:"pull,omitzero"`
	WaitUpdates  bucket                        `json:"waitUpdates,omitzero"`
	Prefetch     *prefetchState                `json:"prefetch,omitempty"`
	Builds       []savedBuild                  `json:"builds,omitempty"`
	Daemons      map[string]*daemonState       `json:"daemons,omitempty"`
}

// savedBuild is what was learned of a build, with its name.
type savedBuild struct {
	Name  types.NamespacedName `json:"name"`
	State *buildState          `json:"state"`
}

// Save writes what was learned as one line of JSON. Equal states give equal bytes.
func (s *State) Save() ([]byte, error) {
	out := saved{
		Params:       s.params,
		Bootstrapped: s.bootstrapped,
		SweptAt:      s.sweptAt,
		LookedAt:     s.lookedAt,
		PlacedAt:     s.placedAt,
		Estimates:    s.estimates,
		Hot:          s.hot,
		Shares:       s.shares,
		Usage:        s.usage,
		Restarts:     s.restarts,
		Keys:         s.keys,
		BuiltAt:      s.builtAt,
		Mounts:       s.mounts,
		Pull:         s.pull,
		WaitUpdates:  s.waitUpdates,
		Prefetch:     s.prefetch,
		Daemons:      s.daemons,
	}
	for name, k := range s.builds {
		out.Builds = append(out.Builds, savedBuild{name, k})
	}
	slices.SortFunc(out.Builds, func(a, b savedBuild) int { return compareNames(a.Name, b.Name) })
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("save what was learned: %w", err)
	}
	return text, nil
}

// Restore is a State that has learned what text, written by Save, says. Its first observation must be full and have the
// index rebuilt; from there on it does what the saved one does with the same observations.
func Restore(text []byte) (*State, error) {
	s := New(scheduler.Params{})
	in := saved{
		Estimates: s.estimates,
		Hot:       s.hot,
		Shares:    s.shares,
		Usage:     s.usage,
		Restarts:  s.restarts,
		Keys:      s.keys,
		BuiltAt:   s.builtAt,
		Mounts:    s.mounts,
		Daemons:   s.daemons,
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return nil, fmt.Errorf("restore what was learned: %w", err)
	}
	if err := in.validate(); err != nil {
		return nil, fmt.Errorf("restore what was learned: %w", err)
	}
	s.params, s.bootstrapped, s.sweptAt = in.Params, in.Bootstrapped, in.SweptAt
	s.lookedAt, s.placedAt = in.LookedAt, in.PlacedAt
	s.pull, s.waitUpdates, s.prefetch = in.Pull, in.WaitUpdates, in.Prefetch
	for _, b := range in.Builds {
		s.builds[b.Name] = b.State
	}
	for _, k := range s.keys {
		if k.Seen == nil {
			k.Seen = map[string]uint32{}
		}
	}
	if p := s.prefetch; p != nil && p.Ended == nil {
		p.Ended = map[prefetchID]time.Time{}
	}
	return s, nil
}

// validate refuses what Save can't have written.
func (in *saved) validate() error {
	if err := in.Params.Validate(); err != nil {
		return fmt.Errorf("params: %w", err)
	}
	if in.Estimates == nil || in.Hot == nil || in.Shares == nil || in.Usage == nil ||
		in.Restarts == nil {
		return errors.New("estimates, hot, shares, usage or restarts is null")
	}
	for id, k := range in.Keys {
		if k == nil {
			return fmt.Errorf("key %d has no state", id)
		}
	}
	for id, m := range in.Mounts {
		if m == nil {
			return fmt.Errorf("mount %q has no state", id)
		}
	}
	for _, b := range in.Builds {
		if b.State == nil {
			return fmt.Errorf("build %s has no state", b.Name)
		}
	}
	for name, d := range in.Daemons {
		if d == nil || d.Name != name {
			return fmt.Errorf("daemon %q has no state, or another's", name)
		}
	}
	return nil
}
