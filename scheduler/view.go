// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// View is a fleet at one instant with the belief about its caches. The fields of Daemons may be changed between calls,
// followed by Recount; a change of membership or weights needs a new View.
type View struct {
	// Daemons is sorted by identity; positions stay valid for the life of the View.
	Daemons []Daemon
	// Ledger is shared with later views of the same fleet.
	Ledger *Ledger
	// RankCache has the rendezvous order of keys. If nil, the order is computed for each placement.
	RankCache *RankCache
	// Shares orders the queues. If nil, all queues have equal weight and no history.
	Shares *Shares
	// NowSeconds is the instant, on the clock of Busy and Copy.
	NowSeconds float64
	// Queued is how many builds wait for a daemon. It is part of the load; Cycle sets it.
	Queued int

	ranking   ranking
	ids       []DaemonID // of Daemons, in one slice for searching; see index
	starts    []int32
	shift     uint
	assumed   assumptions
	slots     int64   // of ready daemons
	perSlot   float64 // 1/slots
	busy      int64   // running and reserved on them
	open      int64   // builds that could start now
	weighting volumeWeighting
}

// HasAlternative reports whether another daemon than id is in service for the platform, whether or not it has a slot.
func (v *View) HasAlternative(id DaemonID, platform string) bool {
	return slices.ContainsFunc(v.Daemons, func(d Daemon) bool {
		return d.ID != id && d.Phase == Ready && d.supports(platform)
	})
}

// NewView returns a view of a sorted copy of daemons with a ledger; a nil ledger is empty. Daemons without a weight get
// one by their volume; see WeightsChanged. It returns an error for two daemons with one identity or name, and for
// negative slots or builds.
func NewView(daemons []Daemon, ledger *Ledger, nowSeconds float64) (*View, error) {
	if ledger == nil {
		ledger = NewLedger()
	}
	v := &View{
		Daemons:    slices.Clone(daemons),
		Ledger:     ledger,
		NowSeconds: nowSeconds,
		ids:        make([]DaemonID, 0, len(daemons)),
	}
	slices.SortFunc(
		v.Daemons,
		func(a, b Daemon) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name)) },
	)
	names := make(map[string]bool, len(daemons))
	for i := range v.Daemons {
		d := &v.Daemons[i]
		if i > 0 && v.Daemons[i-1].ID == d.ID || names[d.Name] {
			return nil, fmt.Errorf("daemon %q is in the fleet twice, by name or identity", d.Name)
		}
		if d.Slots < 0 || d.Running < 0 || d.Reserved < 0 {
			return nil, fmt.Errorf(
				"daemon %q has %d slots, %d running and %d reserved; none may be negative",
				d.Name,
				d.Slots,
				d.Running,
				d.Reserved,
			)
		}
		names[d.Name] = true
		v.ids = append(v.ids, d.ID)
	}
	v.weigh()
	v.index()
	v.ranking = newRanking(v.Daemons)
	v.Recount()
	return v, nil
}

// Recount updates the load after fields of Daemons were changed.
func (v *View) Recount() {
	v.slots, v.busy, v.open = 0, 0, 0
	for i := range v.Daemons {
		d := &v.Daemons[i]
		if d.Phase != Ready {
			continue
		}
		v.slots += int64(d.Slots)
		v.busy += int64(d.Running + d.Reserved)
		v.open += int64(max(d.freeSlots(), 0))
	}
	v.perSlot = 1 / float64(v.slots) // not used without slots
}

// Position returns the index of a daemon in Daemons, or false if it is not in the fleet.
func (v *View) Position(id DaemonID) (int, bool) {
	at, found := v.position(id)
	return int(at), found
}

// position is Position for frequent use. Identities are hashes, so their first bits give the approximate index.
func (v *View) position(id DaemonID) (int32, bool) {
	if len(v.ids) == 0 {
		return 0, false
	}
	for i := v.starts[uint64(id)>>v.shift]; int(i) < len(v.ids); i++ {
		if at := v.ids[i]; at >= id {
			return i, at == id
		}
	}
	return 0, false
}

// index prepares position: starts has an entry for each value of the first bits, at least twice as many as daemons.
func (v *View) index() {
	n := bits.Len(uint(2 * len(v.ids)))
	v.shift = uint(64 - n)
	v.starts = make([]int32, 1<<n)
	at := 0
	for b := range v.starts {
		for at < len(v.ids) && uint64(v.ids[at])>>v.shift < uint64(b) {
			at++
		}
		v.starts[b] = int32(at)
	}
}

// knownPosition returns the position of a daemon that is in the fleet.
func (v *View) knownPosition(id DaemonID) int32 {
	at, _ := v.position(id)
	return at
}

// Load returns the demand for slots over their number n:
//
//	taken/n + queued/n × (taken/n)⁸
//
// The power discounts builds that wait for a warm daemon while slots are free: they take nothing from others, and a
// higher price would keep a hot key from its second copy. Queued builds count by 0.02 at 60 % taken and by 0.43 at 90
// %. A fleet without slots is fully loaded.
func (v *View) Load() float64 {
	if v.slots == 0 {
		return 1
	}
	taken := float64(v.busy) * v.perSlot
	squared := taken * taken
	fourth := squared * squared
	return taken + float64(v.Queued)*v.perSlot*fourth*fourth
}

// assumptions are the placements of the current cycle, which the ledger does not have yet, as lists by key.
type assumptions struct {
	head map[KeyID]int32 // index+1 of the key's newest item
	item []assumption
}

// assumption is a copy that a build placed in this cycle uses or makes.
type assumption struct {
	daemon        DaemonID
	endsAtSeconds float64
	next          int32 // index+1 of the key's next item
}

// add records that a build with key was placed on daemon.
func (a *assumptions) add(key KeyID, daemon DaemonID, endsAtSeconds float64) {
	if a.head == nil {
		a.head = map[KeyID]int32{}
	}
	a.item = append(a.item, assumption{daemon: daemon, endsAtSeconds: endsAtSeconds, next: a.head[key]})
	a.head[key] = int32(len(a.item))
}

// lookup returns how many assumed builds of key there are on daemon, and when the last of them ends.
func (a *assumptions) lookup(key KeyID, daemon DaemonID) (endsAtSeconds float64, users int32) {
	if len(a.item) == 0 {
		return 0, 0
	}
	for i := a.head[key]; i != 0; i = a.item[i-1].next {
		if it := &a.item[i-1]; it.daemon == daemon {
			endsAtSeconds = max(endsAtSeconds, it.endsAtSeconds)
			users++
		}
	}
	return endsAtSeconds, users
}
