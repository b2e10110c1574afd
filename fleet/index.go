// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
)

// index is derived from the objects and from what was learned. A cycle updates only the entries of objects that
// changed, so that ten thousand waiting builds cost little more than a pass over them.
type index struct {
	cycle      uint64
	basis      indexBasis
	ledger     *scheduler.Ledger // nil before the first observation
	view       *scheduler.View   // nil when membership or weights changed
	candidates *scheduler.RankCache
	members    []*daemonState // daemons that exist, by name
	demands    map[demandID]*demand
	queue      queue
	keeps      bool // a daemon is kept for an isolated build
}

// indexBasis is what of the BuildCache all entries depend on.
type indexBasis struct {
	uid        types.UID
	generation int64
	replicas   int32
	slots      int32
}

// buildState is what is known of a build's run, and where the build stands. Exported fields are learned.
type buildState struct {
	UID     types.UID   `json:"uid"`
	Run     string      `json:"run,omitempty"`
	Charged float64     `json:"charged,omitempty"` // slot-seconds charged to its queue, 0 before it was bound
	Ended   bool        `json:"ended,omitempty"`   // what its end shows was learned
	Assumed *assumption `json:"assumed,omitempty"`
	// UpdatedAt is when its status last got a reason for waiting, zero for never.
	UpdatedAt time.Time `json:"updatedAt,omitzero"`

	object  *v1alpha1.HLBBuild // nil for one that is over: nothing but its key matters any more
	key     string             // of the run of a build that is over
	version string             // that was taken in; empty: take it in again
	cycle   uint64             // in which it was last observed
	daemon  string             // that it has a slot of, by its status or by what was written
	entry   uint64             // its entry in the queue, 0 for none
}

// assumption is a placement that was written on top of one version of a build and may not have been observed yet. It
// holds only as long as that very version is observed. Any later one shows the placement itself or what became of it:
// a build that was taken back waits again.
type assumption struct {
	Daemon string    `json:"daemon"`
	Before string    `json:"before"` // the resource version
	Warm   bool      `json:"warm,omitempty"`
	At     time.Time `json:"at"`
}

// boundBuild is a build that holds a slot.
type boundBuild struct {
	uid             types.UID
	running         bool
	isolated        bool
	beganSeconds    float64
	expectedSeconds float64
	timeoutSeconds  float64
	keys            []scheduler.KeyUse
}

// reset empties the index. What was learned stays.
func (s *State) reset(basis indexBasis) {
	s.index = index{
		cycle:      s.cycle,
		basis:      basis,
		ledger:     scheduler.NewLedger(),
		candidates: s.candidates,
		members:    s.members,
		demands:    map[demandID]*demand{},
		queue:      newQueue(),
	}
	for _, k := range s.keys {
		k.demands = nil
	}
	for _, k := range s.builds {
		k.version, k.daemon, k.entry = "", "", 0
	}
	for _, d := range s.daemons {
		d.version, d.bound, d.noted, d.dirty, d.keptFor = "", nil, nil, true, ""
	}
}

// setPhase notes where a build stands that is new or has changed.
func (s *State) setPhase(k *buildState) {
	s.leave(k)
	b := k.object
	if k.Assumed != nil && (!status.IsWaiting(b) || k.Assumed.Before != b.ResourceVersion) {
		k.Assumed = nil
	}
	switch {
	case status.IsBound(b) && s.isOwn(b):
		s.hold(k, b.Status.Placement.Daemon)
	case status.IsWaiting(b) && k.Assumed != nil:
		s.hold(k, k.Assumed.Daemon)
	case status.IsWaiting(b):
		s.queue.add(k)
	}
}

// isOwn reports whether a build that has a placement is on a daemon of this fleet's namespace: one of another namespace
// may have the same name.
func (s *State) isOwn(b *v1alpha1.HLBBuild) bool {
	return b.DaemonName().Namespace == s.cache.Namespace
}

// leave takes a build out of the queue, or frees the slot that it has.
func (s *State) leave(k *buildState) {
	s.queue.remove(k)
	if k.daemon == "" {
		return
	}
	d := s.daemon(k.daemon)
	d.bound = slices.DeleteFunc(d.bound, func(b boundBuild) bool { return b.uid == k.UID })
	d.dirty, k.daemon = true, ""
	if d.object == nil && len(d.bound) == 0 {
		delete(s.daemons, d.Name)
	}
}

// hold notes that a build has a slot of a daemon.
func (s *State) hold(k *buildState, daemon string) {
	b, began := k.object, s.now
	switch run := b.Status.Run; {
	case run.StartedAt != nil:
		began = run.StartedAt.Time
	case run.PlacedAt != nil:
		began = run.PlacedAt.Time
	case k.Assumed != nil:
		began = k.Assumed.At
	}
	k.daemon = daemon
	d := s.daemon(daemon)
	d.dirty = true
	warm := k.Assumed != nil && k.Assumed.Warm || b.Status.Placement != nil && b.Status.Placement.Warm
	demand := s.demandOf(b)
	held := boundBuild{
		uid:             b.UID,
		running:         b.Status.Run.StartedAt != nil,
		isolated:        b.Status.Run.Isolated,
		beganSeconds:    seconds(began),
		expectedSeconds: demand.cold,
		timeoutSeconds:  float64(b.Spec.TimeoutSeconds),
		keys:            demand.keys,
	}
	if warm {
		held.expectedSeconds = demand.warm
	}
	if k.Charged == 0 {
		k.Charged = held.expectedSeconds
		s.shares.Begin(b.Spec.Queue, k.Charged)
	}
	d.bound = append(d.bound, held)
}

// refresh brings view and ledger up to the cycle.
func (s *State) refresh() error {
	for _, d := range s.members {
		if !d.dirty {
			continue
		}
		d.dirty = false
		s.describe(d)
		if s.view == nil {
			continue
		}
		at, _ := s.view.Position(d.is.ID)
		weight := s.view.Daemons[at].Weight
		s.view.Daemons[at] = d.is
		s.view.Daemons[at].Weight = weight
	}
	if s.view != nil && s.view.WeightsChanged() {
		s.view = nil
	}
	if s.view == nil {
		all := make([]scheduler.Daemon, 0, len(s.members))
		for _, d := range s.members {
			all = append(all, d.is)
		}
		view, err := scheduler.NewView(all, s.ledger, seconds(s.now))
		if err != nil {
			return fmt.Errorf("view of %d daemons: %w", len(all), err)
		}
		view.Shares = s.shares
		s.hot.Apply(s.ledger)
		s.candidates.Follow(view)
		s.view = view
	}
	s.view.NowSeconds = seconds(s.now)
	s.usage.Observe(s.view)
	return nil
}

// describe updates a daemon of the view, and its copies in the ledger: those that it reports, and those that its builds
// are making.
func (s *State) describe(d *daemonState) {
	s.forget(d)
	d.is = s.daemonOf(d.object)
	d.is.PullBytesPerSecond, d.is.EvictSecondsPerGB = d.Pull.BytesPerSecond, d.EvictSecondsPerGB
	s.noteCopies(d)
	slices.SortFunc(d.bound, func(a, b boundBuild) int {
		return cmp.Or(cmp.Compare(a.beganSeconds, b.beganSeconds), cmp.Compare(a.uid, b.uid))
	})
	for _, b := range d.bound {
		if b.running {
			d.is.Running++
		} else {
			d.is.Reserved++
		}
		ends := b.beganSeconds + b.expectedSeconds
		d.is.Busy = append(d.is.Busy, scheduler.Busy{EndsAtSeconds: ends, ExpectedSeconds: b.expectedSeconds})
		for i := range b.keys {
			s.ledger.Begin(b.keys[i].ID, d.is.ID, d.is.Epoch, b.beganSeconds, ends, b.beganSeconds+b.timeoutSeconds)
			d.noted = append(d.noted, b.keys[i].ID)
		}
	}
	d.is.Return = s.returnOf(d)
	isolate(d)
}

// forget takes a daemon out of the ledger.
func (s *State) forget(d *daemonState) {
	for _, key := range d.noted {
		s.ledger.Drop(key, d.is.ID)
	}
	d.noted = d.noted[:0]
}
