// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"math"
	"testing"
)

// TestNextVictim has daemon 0 hold the keys a, b and c, used in that order.
func TestNextVictim(t *testing.T) {
	a, b, c := KeyOf("ns", "a"), KeyOf("ns", "b"), KeyOf("ns", "c")
	for name, tc := range map[string]struct {
		change func(v *View)
		want   KeyID // 0: none
	}{
		"the one unused for longest goes":                 {func(*View) {}, a},
		"a copy that was used later elsewhere goes first": {func(v *View) { v.put(b, 1, Copy{UsedAtSeconds: 9}) }, b},
		"of two spare ones the older goes": {func(v *View) {
			v.put(b, 1, Copy{UsedAtSeconds: 9})
			v.put(c, 1, Copy{UsedAtSeconds: 9})
		}, b},
		"the newer copy is not the spare one":     {func(v *View) { v.put(b, 1, Copy{UsedAtSeconds: 1}) }, a},
		"one that is still being made is no copy": {func(v *View) { v.put(b, 1, Copy{UsedAtSeconds: 9, State: Pending}) }, a},
		"one on a daemon that drains is out of reach": {func(v *View) {
			v.put(b, 1, Copy{UsedAtSeconds: 9})
			v.Daemons[1].Phase = Draining
		}, a},
		"one on a volume that is gone is gone": {func(v *View) {
			v.put(b, 1, Copy{UsedAtSeconds: 9})
			v.Daemons[1].Epoch = 7
		}, a},
		"what a build uses stays":         {func(v *View) { v.put(a, 0, Copy{UsedAtSeconds: 1, Users: 1}) }, b},
		"what is on another volume stays": {func(v *View) { v.Daemons[0].Epoch = 7 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := viewOf(t, fleet(2, 2), nil)
			for i, key := range []KeyID{a, b, c} {
				v.put(key, 0, Copy{UsedAtSeconds: float64(i + 1)})
			}
			tc.change(v)
			got := v.NextVictim(0, []Held{{Key: c}, {Key: b}, {Key: KeyOf("ns", "elsewhere")}, {Key: a}})
			if got.Key != tc.want || (got.Copy == nil) != (tc.want == 0) {
				t.Errorf("victim %+v, want %v of a %v b %v c %v", got, tc.want, a, b, c)
			}
		})
	}
}

// TestTheCopyThatIsWorthLeastGoes has four copies that were last used at second 0, 50, 50 and 50.
func TestTheCopyThatIsWorthLeastGoes(t *testing.T) {
	old, a, b, c := KeyOf("ns", "old"), KeyOf("ns", "a"), KeyOf("ns", "b"), KeyOf("ns", "c")
	held := func(lostOld, lostA, lostB, lostC float64) []Held {
		return []Held{{old, lostOld}, {a, lostA}, {b, lostB}, {c, lostC}}
	}
	for name, tc := range map[string]struct {
		bytes [4]int64
		held  []Held
		want  KeyID
	}{
		"all are alike, so the oldest goes":                       {[4]int64{1e9, 1e9, 1e9, 1e9}, held(60, 60, 60, 60), old},
		"one of five times the size goes before one twice as old": {[4]int64{1e9, 5e9, 1e9, 1e9}, held(60, 60, 60, 60), a},
		"unless it saves as much more":                            {[4]int64{1e9, 5e9, 1e9, 1e9}, held(60, 300, 60, 60), old},
		"one that saves a fifth goes first":                       {[4]int64{1e9, 1e9, 1e9, 1e9}, held(60, 60, 12, 60), b},
		"what one saves that is not known is the mean":            {[4]int64{1e9, 9e9, 1e9, 1e9}, held(60, 0, 60, 12), c},
		"nothing is known, so the oldest goes":                    {[4]int64{1e9, 9e9, 2e9, 1e9}, held(0, 0, 0, 0), old},
		"nor is it without sizes":                                 {[4]int64{}, held(60, 12, 12, 12), old},
	} {
		t.Run(name, func(t *testing.T) {
			v := viewOf(t, fleet(1, 2), nil)
			v.NowSeconds = 100
			for i, x := range tc.held {
				v.put(x.Key, 0, Copy{UsedAtSeconds: float64(min(i, 1) * 50), Bytes: tc.bytes[i]})
			}
			if got := v.NextVictim(0, tc.held); got.Key != tc.want {
				t.Errorf("victim %+v, want %v of old %v a %v b %v c %v", got, tc.want, old, a, b, c)
			}
		})
	}
}

// put writes a copy on the daemon at a position.
func (v *View) put(key KeyID, at int, c Copy) {
	c.Daemon = v.Daemons[at].ID
	v.Ledger.Restore(key, c)
}

func TestEvictionPrice(t *testing.T) {
	const once = 1.0 / (8 * 3600) // a working day
	for name, c := range map[string]struct {
		perSecond float64
		others    int // other copies of the key
		bytes     int64
		spare     bool
		want      float64
	}{
		"a copy that is wanted for certain costs all it saves": {perSecond: 1, bytes: 1e9, want: 60},
		"it is by the GB":                            {perSecond: 1, bytes: 2e9, want: 30},
		"one that nobody wants costs nothing":        {bytes: 1e9},
		"one wanted once a working day, in the mean": {perSecond: once, bytes: 1e9, want: 60 * (1 - 1/math.E)},
		"two copies share the builds":                {perSecond: once, others: 1, bytes: 1e9, want: 60 * (1 - math.Exp(-.5))},
		"a spare one is worth a quarter":             {perSecond: 1, others: 1, bytes: 1e9, spare: true, want: 15},
		"an unknown size costs nothing":              {perSecond: 1},
	} {
		t.Run(name, func(t *testing.T) {
			v := viewOf(t, fleet(3, 2), nil)
			key := KeyOf("ns", "app")
			for at := range 1 + c.others {
				v.put(key, at, Copy{Bytes: c.bytes})
			}
			x := Victim{Key: key, Copy: &v.Ledger.Copies(key)[0], LostSeconds: 60, Spare: c.spare}
			if got := v.EvictionPrice(x, c.perSecond); math.Abs(got-c.want) > 1e-9 {
				t.Errorf("%g seconds a GB, want %g", got, c.want)
			}
		})
	}
	if got := viewOf(t, fleet(1, 1), nil).EvictionPrice(Victim{}, 1); got != 0 {
		t.Errorf("nothing to evict costs %g", got)
	}
}

func TestLostSeconds(t *testing.T) {
	p := DefaultParams() // 5 s and 5 s a GB
	for _, c := range []struct {
		saved         float64
		snapshotBytes int64
		want          float64
	}{
		{60, 0, 60},   // must be made again
		{60, 1e9, 10}, // is primed
		{3, 1e9, 3},   // is not worth priming
	} {
		if got := p.LostSeconds(c.saved, c.snapshotBytes); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("a copy that saves %g s with a snapshot of %d bytes: %g s are lost, want %g", c.saved, c.snapshotBytes, got, c.want)
		}
	}
}

func TestRoomy(t *testing.T) {
	if Roomy(25, 100) || !Roomy(26, 100) || Roomy(0, 0) {
		t.Error("want more than a quarter free to be roomy")
	}
}
