// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/openllb/hlb-operator/scheduler"
)

// Lengths of builds outlive the daemons that hold a key's caches, and the HLBBuilds: a key that is built again a week
// after its volume was lost is still known to take ten minutes without it. Lessons are the part that outlives the
// manager too.

const (
	// maxLengths and lengthsFor bound the keys whose lengths are kept although no daemon holds their caches and no
	// HLBBuild names them.
	maxLengths = 10_000
	lengthsFor = 30 * 24 * time.Hour
	// maxLessons bounds the keys of Lessons: about 200 KB.
	maxLessons = 1000
	// clockSkew is by how much the clocks of a manager and an agent may differ.
	clockSkew = time.Minute
)

// lessons are what Lessons writes.
type lessons struct {
	Estimates *scheduler.Estimates            `json:"estimates"`
	Restarts  *scheduler.Restarts             `json:"restarts"`
	BuiltAt   map[scheduler.KeyID]keptInstant `json:"builtAt,omitempty"`
}

// keptInstant is an instant in Unix seconds.
type keptInstant int64

// Lessons writes as JSON what a manager that starts anew should know and can't observe: lengths of builds of the keys
// that were built last, and of restarts. Equal states give equal bytes.
func (s *State) Lessons() ([]byte, error) {
	keys := slices.SortedFunc(maps.Keys(s.builtAt), func(a, b scheduler.KeyID) int {
		return cmp.Or(s.builtAt[b].Compare(s.builtAt[a]), cmp.Compare(a, b))
	})
	keys = keys[:min(len(keys), maxLessons)]
	groups := scopes("")
	for _, q := range s.cache.Spec.Queues {
		groups = append(groups, scopes(q.Name)...)
	}
	out := lessons{
		Estimates: s.estimates.Of(keys, groups),
		Restarts:  s.restarts,
		BuiltAt:   make(map[scheduler.KeyID]keptInstant, len(keys)),
	}
	for _, key := range keys {
		out.BuiltAt[key] = keptInstant(s.builtAt[key].Unix())
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("write lessons: %w", err)
	}
	return text, nil
}

// Learned changes whenever Lessons has something new.
func (s *State) Learned() uint64 { return s.taught }

// Recall takes in what Lessons wrote, before the first observation. What can't be of a State is refused, and nothing is
// taken in.
func (s *State) Recall(text []byte) error {
	in := lessons{Estimates: scheduler.NewEstimates(), Restarts: scheduler.NewRestarts()}
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("read lessons: %w", err)
	}
	if in.Estimates == nil || in.Restarts == nil || len(in.BuiltAt) > maxLengths {
		return fmt.Errorf("read lessons: estimates or restarts are null, or there are more than %d keys", maxLengths)
	}
	if err := in.Estimates.Validate(); err != nil {
		return fmt.Errorf("read lessons: %w", err)
	}
	if err := in.Restarts.Validate(); err != nil {
		return fmt.Errorf("read lessons: %w", err)
	}
	s.estimates, s.restarts = in.Estimates, in.Restarts
	for key, at := range in.BuiltAt {
		s.builtAt[key] = time.Unix(int64(at), 0).UTC()
	}
	return nil
}

// forgetLengths forgets lengths that are out of date, or the oldest of too many. Those of known keys stay.
func (s *State) forgetLengths() {
	var old []scheduler.KeyID
	for key, at := range s.builtAt {
		if s.keys[key] != nil {
			continue
		}
		if s.now.Sub(at) > lengthsFor {
			s.forgetLength(key)
		} else {
			old = append(old, key)
		}
	}
	if more := len(s.builtAt) - maxLengths; more > 0 {
		slices.SortFunc(old, func(a, b scheduler.KeyID) int {
			return cmp.Or(s.builtAt[a].Compare(s.builtAt[b]), cmp.Compare(a, b))
		})
		for _, key := range old[:min(more, len(old))] {
			s.forgetLength(key)
		}
	}
}

func (s *State) forgetLength(key scheduler.KeyID) {
	delete(s.builtAt, key)
	s.estimates.Forget(key)
}
