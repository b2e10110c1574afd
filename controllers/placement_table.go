// SPDX-License-Identifier: Apache-2.0

package controllers

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

// table is the fleet as the last round saw it. A round compares the version of each object with the one in the table
// and works out anew only what belongs to those that changed, so that ten thousand waiting builds cost little more
// than looking at them. Nothing is in it that the objects themselves don't say: a table that is lost is filled again
// by the next round.
type table struct {
	round   uint64
	of      tableOf
	ledger  *scheduler.Ledger
	view    *scheduler.View // nil when membership or weights changed
	builds  map[types.UID]*knownBuild
	daemons map[string]*knownDaemon // by name; also of daemons that builds are bound to and that are gone
	demands map[demandID]*demand
}

// tableOf is what of the BuildCache all entries depend on. Another one empties the table.
type tableOf struct {
	uid        types.UID
	generation int64
	replicas   int32
	slots      int32
}

// knownBuild is what was learned of a build's run, and where the build stands.
type knownBuild struct {
	version string // resource version that the rest is about; empty: look again
	round   uint64 // in which it was last listed
	run     string
	charged float64 // slot-seconds that its queue was charged with, 0 before it was bound
	ended   bool

	daemon  string // that it is bound to, by its status or by what was written
	waits   bool
	demand  *demand
	assumed assumption
	toldAt  time.Time // when it was last told why it waits
}

// assumption is a placement that was written on top of one version of a build and may not have been seen yet. It
// holds only as long as the manager's cache shows that very version. Any later one holds the placement itself or what
// became of it: a build that was taken back waits again.
type assumption struct {
	daemon string
	before string // the resource version
	warm   bool   // the daemon is expected to hold the caches
	at     time.Time
}

// knownDaemon is a daemon's entry.
type knownDaemon struct {
	version string
	round   uint64
	at      int // position among the round's daemons, −1 when it is not among them
	dirty   bool
	is      scheduler.Daemon
	bound   []boundBuild
	made    []madeCopy        // that it may not have reported yet
	noted   []scheduler.KeyID // whose copies the ledger has for it
	pull    pullRate
	// evictSecondsPerGB is what later builds lose by each GB that is dropped there, as of the last sweep.
	evictSecondsPerGB float64
}

// boundBuild is a build that holds a slot.
type boundBuild struct {
	uid             types.UID
	running         bool
	beganSeconds    float64
	expectedSeconds float64
	timeoutSeconds  float64
	keys            []scheduler.KeyUse
}

// inLine is a waiting build.
type inLine struct {
	build *v1alpha1.HLBBuild
	known *knownBuild
}

// begin starts a round: it finds the daemons that are new, changed or gone.
func (t *table) begin(f *fleet) {
	of := tableOf{f.cache.UID, f.cache.Generation, wantedReplicas(f.cache), f.cache.Spec.BuildKit.MaxConcurrentBuilds}
	if t.ledger == nil || t.of != of {
		t.reset(of)
	}
	t.round++
	for i := range f.daemons {
		d := &f.daemons[i]
		k := t.daemon(d.Name)
		if id := f.daemonOf(d); k.round != t.round-1 || k.is.ID != id {
			t.view, k.dirty, k.is.ID = nil, true, id
		}
		k.round, k.at = t.round, i
		if k.version == "" || k.version != d.ResourceVersion {
			k.version, k.dirty = d.ResourceVersion, true
		}
	}
	for name, k := range t.daemons {
		if k.round == t.round {
			continue
		}
		if k.at >= 0 { // it has just gone
			t.view, k.at, k.made = nil, -1, nil
			t.erase(k)
		}
		if len(k.bound) == 0 {
			delete(t.daemons, name)
		}
	}
}

// reset empties the table of all that depends on the BuildCache's spec; what was learned stays.
func (t *table) reset(of tableOf) {
	t.of, t.ledger, t.view, t.demands = of, scheduler.NewLedger(), nil, map[demandID]*demand{}
	if t.builds == nil {
		t.builds, t.daemons = map[types.UID]*knownBuild{}, map[string]*knownDaemon{}
	}
	for _, k := range t.builds {
		k.version, k.daemon, k.demand = "", "", nil
	}
	for _, k := range t.daemons {
		k.version, k.bound, k.noted = "", nil, nil
	}
}

// daemon finds or makes an entry.
func (t *table) daemon(name string) *knownDaemon {
	k := t.daemons[name]
	if k == nil {
		k = &knownDaemon{at: -1}
		t.daemons[name] = k
	}
	return k
}

// stand notes where a build stands that is new or has changed.
func (m *memory) stand(f *fleet, b *v1alpha1.HLBBuild, k *knownBuild) {
	if k.daemon != "" {
		m.release(b.UID, k)
	}
	k.waits, k.demand = false, nil
	if k.assumed.daemon != "" && (!status.IsWaiting(b) || k.assumed.before != b.ResourceVersion) {
		k.assumed = assumption{}
	}
	switch {
	case status.NeedsRun(b): // its next run is about to be opened; the old one no longer counts
	case status.IsBound(b):
		m.hold(f, b, k, b.Status.Placement.Daemon)
	case status.IsWaiting(b) && k.assumed.daemon != "":
		m.hold(f, b, k, k.assumed.daemon)
	case status.IsWaiting(b):
		k.waits = true
	}
}

// hold notes that a build has a slot of a daemon.
func (m *memory) hold(f *fleet, b *v1alpha1.HLBBuild, k *knownBuild, daemon string) {
	began := f.now
	switch run := b.Status.Run; {
	case run.StartedAt != nil:
		began = run.StartedAt.Time
	case run.PlacedAt != nil:
		began = run.PlacedAt.Time
	case !k.assumed.at.IsZero():
		began = k.assumed.at
	}
	k.daemon = daemon
	d := m.daemon(daemon)
	d.dirty = true
	warm := k.assumed.warm || b.Status.Placement != nil && b.Status.Placement.Warm
	demand := m.demandOf(f, b)
	held := boundBuild{
		uid: b.UID, running: b.Status.Run.StartedAt != nil, beganSeconds: seconds(began), expectedSeconds: demand.cold,
		timeoutSeconds: float64(b.Spec.TimeoutSeconds), keys: demand.keys,
	}
	if warm {
		held.expectedSeconds = demand.warm
	}
	if k.charged == 0 {
		k.charged = held.expectedSeconds
		m.shares.Begin(b.Spec.Queue, k.charged)
	}
	d.bound = append(d.bound, held)
}

// release frees the slot that a build held.
func (t *table) release(uid types.UID, k *knownBuild) {
	d := t.daemon(k.daemon)
	d.bound = slices.DeleteFunc(d.bound, func(b boundBuild) bool { return b.uid == uid })
	d.dirty, k.daemon = true, ""
}

// assume notes that a build was bound, until that is seen.
func (m *memory) assume(uid types.UID, made assumption) {
	if k := m.builds[uid]; k != nil {
		k.assumed, k.version = made, ""
	}
}

// refresh brings view and ledger up to the round.
func (m *memory) refresh(f *fleet) error {
	for i := range f.daemons {
		k := m.daemons[f.daemons[i].Name]
		if !k.dirty {
			continue
		}
		k.dirty = false
		m.note(f, &f.daemons[i], k)
		if m.view == nil {
			continue
		}
		at, _ := m.view.Position(k.is.ID)
		weight := m.view.Daemons[at].Weight
		m.view.Daemons[at] = k.is
		m.view.Daemons[at].Weight = weight
	}
	if m.view != nil && m.view.WeightsChanged() {
		m.view = nil
	}
	if m.view == nil {
		all := make([]scheduler.Daemon, 0, len(f.daemons))
		for i := range f.daemons {
			all = append(all, m.daemons[f.daemons[i].Name].is)
		}
		view, err := scheduler.NewView(all, m.ledger, seconds(f.now))
		if err != nil {
			return fmt.Errorf("view of %d daemons: %w", len(all), err)
		}
		view.Shares = m.shares
		m.hot.Apply(m.ledger)
		m.candidates.Follow(view)
		m.view = view
	}
	m.view.NowSeconds = seconds(f.now)
	m.usage.Observe(m.view)
	return nil
}

// note describes a daemon and writes what it holds, and what its builds are making, into the ledger in place of what
// was there for it.
func (m *memory) note(f *fleet, d *v1alpha1.BuildDaemon, k *knownDaemon) {
	m.erase(k)
	k.is = f.daemon(d)
	k.is.PullBytesPerSecond, k.is.EvictSecondsPerGB = k.pull.bytesPerSecond, k.evictSecondsPerGB
	f.eachCopy(d, k.made, func(key scheduler.KeyID, c scheduler.Copy) {
		m.ledger.Restore(key, c)
		if fresh := m.freshness[key]; fresh != nil {
			m.ledger.Advance(key, fresh.version)
		}
		k.noted = append(k.noted, key)
	})
	slices.SortFunc(k.bound, func(a, b boundBuild) int {
		return cmp.Or(cmp.Compare(a.beganSeconds, b.beganSeconds), cmp.Compare(a.uid, b.uid))
	})
	for _, b := range k.bound {
		if b.running {
			k.is.Running++
		} else {
			k.is.Reserved++
		}
		ends := b.beganSeconds + b.expectedSeconds
		k.is.Busy = append(k.is.Busy, scheduler.Busy{EndsAtSeconds: ends, ExpectedSeconds: b.expectedSeconds})
		for i := range b.keys {
			m.ledger.Begin(b.keys[i].ID, k.is.ID, k.is.Epoch, b.beganSeconds, ends, b.beganSeconds+b.timeoutSeconds)
			k.noted = append(k.noted, b.keys[i].ID)
		}
	}
}

// erase takes a daemon out of the ledger.
func (t *table) erase(k *knownDaemon) {
	for _, key := range k.noted {
		t.ledger.Drop(key, k.is.ID)
	}
	k.noted = k.noted[:0]
}
