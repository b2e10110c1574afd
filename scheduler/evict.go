// SPDX-License-Identifier: Apache-2.0

package scheduler

import "math"

// evictionHorizonSeconds is how far ahead a reuse counts as lost by an eviction now: a working day.
const evictionHorizonSeconds = 8 * 3600

// spareShare is the part of a copy's worth that is lost where another daemon has it too: builds go to that one, and
// miss this one only when all slots are taken there.
const spareShare = 0.25

// Roomy reports whether so much of a volume is free that nobody need look for what would be evicted next.
func Roomy(freeBytes, volumeBytes int64) bool { return freeBytes > volumeBytes/4 }

// LostSeconds is what a build loses that no longer finds a copy which saves so many seconds: with a snapshot no more
// than priming takes. 0 bytes mean that there is none.
func (p *Params) LostSeconds(savedSeconds float64, snapshotBytes int64) float64 {
	if snapshotBytes <= 0 {
		return savedSeconds
	}
	return min(savedSeconds, p.PrimeFixedSeconds+float64(snapshotBytes)/p.PullBytesPerSecond)
}

// Held is a key that a daemon holds. LostSeconds is what its next build loses without it, 0 if that is not known; see
// Params.LostSeconds.
type Held struct {
	Key         KeyID
	LostSeconds float64
}

// Victim is a copy that would be evicted next.
type Victim struct {
	Key         KeyID
	Copy        *Copy // nil: nothing can go. Good until the ledger's next change.
	LostSeconds float64
	Spare       bool // a daemon that takes builds has the key too and used it later

	score float64 // among those that are spare, or not, the highest goes first
}

// EvictionScore orders copies of which neither or each is spare: the highest goes first. It is the time since the
// last use, one second at least, over the root of the copy's worth, which is the seconds that are lost for each byte
// that is gained.
func EvictionScore(idleSeconds, worthPerByte float64) float64 {
	return max(idleSeconds, 1) / math.Sqrt(worthPerByte)
}

// NextVictim is the copy that the daemon at a position would evict next, of those of keys that it holds and no build
// uses, as package agent/gc has it: spare ones first, and of equals the one with the highest EvictionScore.
func (v *View) NextVictim(at int, held []Held) Victim {
	d := &v.Daemons[at]
	var all []Victim
	for _, x := range held {
		h := v.Ledger.keys.get(x.Key)
		if h == nil {
			continue
		}
		i, found := h.find(d.ID)
		if !found || h.copies[i].Epoch != d.Epoch || h.copies[i].Users > 0 {
			continue
		}
		c := &h.copies[i]
		all = append(all, Victim{Key: x.Key, Copy: c, LostSeconds: x.LostSeconds, Spare: v.isSpare(h, c)})
	}
	mean := meanWorth(all)
	var out Victim
	for i := range all {
		x := &all[i]
		worth, known := x.worth()
		if !known {
			worth = mean
		}
		x.score = EvictionScore(v.NowSeconds-x.Copy.UsedAtSeconds, worth)
		if out.Copy == nil || x.before(&out) {
			out = *x
		}
	}
	return out
}

// worth is the seconds that are lost for each byte that is gained by evicting x.
func (x *Victim) worth() (perByte float64, known bool) {
	if x.LostSeconds <= 0 || x.Copy.Bytes <= 0 {
		return 0, false
	}
	return x.LostSeconds / float64(x.Copy.Bytes), true
}

// meanWorth is what copies are taken for whose worth is not known.
func meanWorth(all []Victim) float64 {
	lost, bytes := 0.0, 0.0
	for i := range all {
		if _, known := all[i].worth(); known {
			lost, bytes = lost+all[i].LostSeconds, bytes+float64(all[i].Copy.Bytes)
		}
	}
	if bytes == 0 {
		return 1
	}
	return lost / bytes
}

// before reports whether x is evicted before y.
func (x *Victim) before(y *Victim) bool {
	switch {
	case x.Spare != y.Spare:
		return x.Spare
	case x.score != y.score:
		return x.score > y.score
	case x.Copy.UsedAtSeconds != y.Copy.UsedAtSeconds:
		return x.Copy.UsedAtSeconds < y.Copy.UsedAtSeconds
	}
	return x.Key < y.Key
}

// isSpare reports whether a daemon that takes builds has a copy of the key that was used later than c.
func (v *View) isSpare(h *holding, c *Copy) bool {
	for i := range h.copies {
		o := &h.copies[i]
		if o.Daemon == c.Daemon || o.State == Pending || o.UsedAtSeconds <= c.UsedAtSeconds {
			continue
		}
		if at, known := v.position(o.Daemon); known && v.Daemons[at].Phase == Ready && v.Daemons[at].Epoch == o.Epoch {
			return true
		}
	}
	return false
}

// EvictionPrice is what evicting a GB of the victim is expected to cost, for Daemon.EvictSecondsPerGB: the chance
// that it is wanted within a working day, times the seconds that are lost then. perSecond is the rate of builds of
// the key, which its copies share. Unknown sizes cost nothing.
func (v *View) EvictionPrice(x Victim, perSecond float64) float64 {
	if x.Copy == nil || x.Copy.Bytes <= 0 {
		return 0
	}
	copies := float64(len(v.Ledger.Copies(x.Key)))
	price := (1 - math.Exp(-perSecond/copies*evictionHorizonSeconds)) * x.LostSeconds * 1e9 / float64(x.Copy.Bytes)
	if x.Spare {
		price *= spareShare
	}
	return price
}
