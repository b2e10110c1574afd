// SPDX-License-Identifier: Apache-2.0

package scheduler

import "math"

// evictionHorizonSeconds is how far ahead a reuse counts as lost by an eviction now: a working day.
const evictionHorizonSeconds = 8 * 3600

// spareShare is the part of a copy's worth that is lost where another daemon has it too: builds go to that one, and miss this one only when all slots are
// taken there.
const spareShare = 0.25

// Roomy reports whether so much of a volume is free that nobody need look for what would be evicted next.
func Roomy(freeBytes, volumeBytes int64) bool { return freeBytes > volumeBytes/4 }

// LostSeconds is what a build loses that no longer finds a copy which saves so many seconds: with a snapshot no more than priming takes. 0 bytes mean
// that there is none.
func (p *Params) LostSeconds(savedSeconds float64, snapshotBytes int64) float64 {
	if snapshotBytes <= 0 {
		return savedSeconds
	}
	return min(savedSeconds, p.PrimeFixedSeconds+float64(snapshotBytes)/p.PullBytesPerSecond)
}

// Victim is a copy that would be evicted next.
type Victim struct {
	Key   KeyID
	Copy  *Copy // nil: nothing can go. Good until the ledger's next change.
	Spare bool  // a daemon that takes builds has the key too and used it later
}

// NextVictim is the copy that the daemon at a position would evict next, of those of keys that it holds and no build uses: spare ones first, and among
// equals the one unused for longest, as package agent/gc has it.
func (v *View) NextVictim(at int, keys []KeyID) Victim {
	d := &v.Daemons[at]
	var out Victim
	for _, key := range keys {
		h := v.Ledger.keys.get(key)
		if h == nil {
			continue
		}
		i, found := h.find(d.ID)
		if !found || h.copies[i].Epoch != d.Epoch || h.copies[i].Users > 0 {
			continue
		}
		c := &h.copies[i]
		x := Victim{key, c, v.isSpare(h, c)}
		if out.Copy == nil || x.before(&out) {
			out = x
		}
	}
	return out
}

// before reports whether x is evicted before y.
func (x *Victim) before(y *Victim) bool {
	if x.Spare != y.Spare {
		return x.Spare
	}
	if x.Copy.UsedAtSeconds != y.Copy.UsedAtSeconds {
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

// EvictionPrice is what evicting a GB of the victim is expected to cost, for Daemon.EvictSecondsPerGB: the chance that it is wanted within a working day,
// times the seconds that are lost then; see LostSeconds. perSecond is the rate of builds of the key, which its copies share. Unknown sizes cost nothing.
func (v *View) EvictionPrice(x Victim, perSecond, lostSeconds float64) float64 {
	if x.Copy == nil || x.Copy.Bytes <= 0 {
		return 0
	}
	copies := float64(len(v.Ledger.Copies(x.Key)))
	price := (1 - math.Exp(-perSecond/copies*evictionHorizonSeconds)) * lostSeconds * 1e9 / float64(x.Copy.Bytes)
	if x.Spare {
		price *= spareShare
	}
	return price
}
