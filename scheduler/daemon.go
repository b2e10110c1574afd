// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"math"
	"slices"
)

// Phase is the state of a daemon's life. Only a Ready daemon is given builds.
type Phase uint8

// The phases of a daemon. The zero value takes no builds, so a forgotten field is safe.
const (
	NotReady Phase = iota // its pod or agent is not known to be up
	Ready                 // takes builds
	Cordoned              // finishes what it runs, takes nothing new
	Draining              // as Cordoned, and about to stop
	Dormant               // scaled down with its volume kept
	Gone                  // scaled down without its volume
)

var phaseNames = [...]string{"NotReady", "Ready", "Cordoned", "Draining", "Dormant", "Gone"}

// String is the phase's name as users see it.
func (p Phase) String() string { return nameOf(phaseNames[:], uint8(p)) }

// MarshalText writes the phase by name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a phase by name.
func (p *Phase) UnmarshalText(text []byte) error {
	at, err := indexOf("phase", phaseNames[:], text)
	*p = Phase(at)
	return err
}

// Daemon is one daemon at the instant of the View: identity, limits and current builds.
type Daemon struct {
	// ID is DaemonOf(pool, ordinal) and Name what users call it. Both are unique in a View.
	ID   DaemonID `json:"id,string"`
	Name string   `json:"name"`
	// Weight is the daemon's share of homes in thousandths of an ordinary daemon's. For 0, NewView takes 1000 times a
	// power of two by VolumeBytes, relative to the fleet's median.
	Weight uint32 `json:"weight,omitempty"`
	Phase  Phase  `json:"phase"`
	// Platforms it can build for, for example "linux/amd64"; empty means any.
	Platforms []string `json:"platforms,omitempty"`
	Epoch     Epoch    `json:"epoch,string,omitempty"`
	// Slots is how many builds it may run at once. Running builds were observed; Reserved ones are bound to it and not
	// yet observed. Running + Reserved may exceed Slots only after Slots was lowered.
	Slots    int32 `json:"slots"`
	Running  int32 `json:"running,omitempty"`
	Reserved int32 `json:"reserved,omitempty"`
	// KeptFor is the UID of the only request that may run there; empty for any. The caller gives it a slot when nothing
	// else runs.
	KeptFor string `json:"keptFor,omitempty"`
	// Busy has an entry for each running or reserved build, in any order. Missing entries count as builds of unknown
	// length.
	Busy []Busy `json:"busy,omitempty"`
	// Utilisation is the recent mean of the part of its slots that was taken, 0..1; see Usage.
	Utilisation float64 `json:"utilisation,omitempty"`
	// TypicalSeconds is the mean length of its builds, weighted by the time they take; 0: unknown.
	TypicalSeconds float64 `json:"typicalSeconds,omitempty"`
	// VolumeBytes is the capacity of its volume for caches (0: unknown), FreeBytes what can be stored before an
	// eviction.
	VolumeBytes int64 `json:"volumeBytes,omitempty"`
	FreeBytes   int64 `json:"freeBytes,omitempty"`
	// EvictSecondsPerGB is what evicting one GB (1e9 bytes) of its copies is expected to cost later builds. See
	// EvictionPrice.
	EvictSecondsPerGB float64 `json:"evictSecondsPerGB,omitempty"`
	// PullBytesPerSecond is its measured rate of restoring caches; 0 means Params.PullBytesPerSecond.
	PullBytesPerSecond float64 `json:"pullBytesPerSecond,omitempty"`
	// Return is when a daemon that restarts with its volume is expected to take builds again, and how long it is away
	// as a rule. Builds of Busy that end later have a slot of it then. The zero value: not expected back soon.
	Return Busy `json:"return,omitzero"`
}

// Busy is one occupied slot.
type Busy struct {
	EndsAtSeconds   float64 `json:"endsAtSeconds"`   // expected instant of its end; may lie in the past
	ExpectedSeconds float64 `json:"expectedSeconds"` // expected whole length
}

// freeSlots returns how many builds can start now; it is negative if Slots was lowered.
func (d *Daemon) freeSlots() int32 { return d.Slots - d.Running - d.Reserved }

// supports reports whether d can build for platform. Any daemon supports the empty platform.
func (d *Daemon) supports(platform string) bool {
	return platform == "" || len(d.Platforms) == 0 || slices.Contains(d.Platforms, platform)
}

// slotWait returns how long until a slot of d is free, in seconds.
func (d *Daemon) slotWait(nowSeconds float64, p *Params) float64 {
	if d.freeSlots() > 0 && d.Phase == Ready {
		return 0
	}
	return d.busyWait(nowSeconds, p)
}

// busyWait is slotWait without a free slot. It is a function of its own so that slotWait is inlined.
func (d *Daemon) busyWait(nowSeconds float64, p *Params) float64 {
	if d.Phase != Ready {
		return d.returnWait(nowSeconds, p)
	}
	soonest := math.Inf(1)
	if len(d.Busy) < int(d.Running+d.Reserved) || len(d.Busy) == 0 {
		soonest = p.UnknownSeconds
	}
	for i := range d.Busy {
		if left := d.Busy[i].remaining(nowSeconds, p); left < soonest {
			soonest = left
		}
	}
	return soonest
}

// isReturning reports whether d restarts and is worth waiting for. It is no longer when it is overdue by ReturnPatience
// times the length of a restart: something else is wrong with it then.
func (d *Daemon) isReturning(nowSeconds float64, p *Params) bool {
	r := &d.Return
	return (d.Phase == NotReady || d.Phase == Draining) && r.ExpectedSeconds > 0 &&
		nowSeconds <= r.EndsAtSeconds+p.ReturnPatience*r.ExpectedSeconds
}

// returnWait is slotWait of a daemon that restarts: more than 0, since nothing can start there now.
func (d *Daemon) returnWait(nowSeconds float64, p *Params) float64 {
	back := d.Return.remaining(nowSeconds, p)
	first, taken := d.takenAfterReturn()
	if taken < int(d.Slots) || taken == 0 {
		return back
	}
	return max(back, d.Busy[first].remaining(nowSeconds, p))
}

// takenAfterReturn returns how many slots are still taken when d is back, and which of these is free first.
func (d *Daemon) takenAfterReturn() (first, taken int) {
	for i := range d.Busy {
		if d.Busy[i].EndsAtSeconds <= d.Return.EndsAtSeconds {
			continue
		}
		if taken == 0 || d.Busy[i].EndsAtSeconds < d.Busy[first].EndsAtSeconds {
			first = i
		}
		taken++
	}
	return first, taken
}

// remaining returns how long a running build is still expected to take: at least OverdueShare × max(expected length,
// time it has run). Lengths have a heavy tail, so the longer a build has run beyond its expected end, the longer it is
// likely to go on. Without this bound, builds wait for a slot that does not come free.
func (b *Busy) remaining(nowSeconds float64, p *Params) float64 {
	left, whole := b.EndsAtSeconds-nowSeconds, b.ExpectedSeconds
	if left < 0 {
		whole -= left
	}
	if least := p.OverdueShare * whole; least > left {
		return least
	}
	return left
}
