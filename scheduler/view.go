// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// View is a fleet at one instant and what is believed of its caches. Change Daemons' fields freely between calls,
// then Recount; membership changes need a new View.
type View struct {
	// Daemons is sorted by identity; positions stay valid for the life of the View.
	Daemons []Daemon
	// Ledger is shared with later views of the same fleet.
	Ledger *Ledger
	// Candidates remembers the rendezvous order of keys. Nil means it is computed for each placement.
	RankCache *RankCache
	// Shares says whose turn it is among queues. Nil means all have had the same.
	Shares *Shares
	// NowSeconds is the instant, on the clock of Busy and Copy.
	NowSeconds float64
	// Queued is how many builds wait for a daemon. It is part of the load; Round sets it from the queue it is given.
	Queued int

	ranking ranking
	ids     []DaemonID // of Daemons, side by side for finding; see index
	starts  []int32
	shift   uint
	assumed assumptions
	slots   int64   // of daemons that take builds
	perSlot float64 // 1/slots
	busy    int64   // running and reserved there
	open    int64   // builds that could start now
}

// NewView orders a copy of daemons and puts a ledger beside them; nil is a ledger that knows nothing. It refuses two
// daemons of one identity or name, and negative numbers of slots and builds.
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
		if d.Weight == 0 {
			d.Weight = unitWeight
		}
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
	v.index()
	v.ranking = newRanking(v.Daemons)
	v.Recount()
	return v, nil
}

// Recount brings the load up to date after fields of Daemons were changed.
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

// Position is the place of a daemon in Daemons, or false if it is not in the fleet.
func (v *View) Position(id DaemonID) (int, bool) {
	at, found := v.position(id)
	return int(at), found
}

// position is Position for one who looks often: identities are hashes, so that their first bits nearly tell where
// they are.
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

// index prepares position: starts has an entry for each value of the first bits, of which there are twice as many as
// daemons or more.
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

// must is the position of a daemon that is known to be in the fleet.
func (v *View) knownPosition(id DaemonID) int32 {
	at, _ := v.position(id)
	return at
}

// Load is the demand for slots over their number: those that are taken, and the builds that are queued as far as they
// are queued for want of a slot. While many slots are free, builds wait for one warm daemon by choice and take
// nothing from others; counting them would raise the price for everybody and keep a hot key from getting its second
// copy, which makes it wait more. So the queue counts by the eighth power of the share that is taken: by 0.02 at 60%,
// by 0.43 at 90%. A fleet without slots is fully loaded.
func (v *View) Load() float64 {
	if v.slots == 0 {
		return 1
	}
	taken := float64(v.busy) * v.perSlot
	squared := taken * taken
	fourth := squared * squared
	return taken + float64(v.Queued)*v.perSlot*fourth*fourth
}

// assumptions are placements of the round under way, of which the ledger does not know yet, as lists by key.
type assumptions struct {
	head map[KeyID]int32 // index+1 of the key's newest item
	item []assumption
}

// assumption is a copy that a build placed in this round will use or make.
type assumption struct {
	daemon        DaemonID
	endsAtSeconds float64
	next          int32 // index+1 of the key's next item
}

// add notes that a build using key was placed on daemon.
func (a *assumptions) add(key KeyID, daemon DaemonID, endsAtSeconds float64) {
	if a.head == nil {
		a.head = map[KeyID]int32{}
	}
	a.item = append(a.item, assumption{daemon: daemon, endsAtSeconds: endsAtSeconds, next: a.head[key]})
	a.head[key] = int32(len(a.item))
}

// of is when the last assumed build of key on daemon ends, and how many there are.
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
