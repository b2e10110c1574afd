// SPDX-License-Identifier: Apache-2.0

package scheduler

import "testing"

// TestCopiesAreMadeForLaterBuilds looks at one full daemon that holds a key and a free one that does not.
func TestCopiesAreMadeForLaterBuilds(t *testing.T) {
	for name, c := range map[string]struct {
		utilisation, perSecond float64
		free                   bool // the holder has a slot
		want                   Action
		warm                   bool
	}{
		"a wanted key on a crowded daemon gets its copy": {utilisation: .9, perSecond: .1, want: Run},
		"a rare key waits": {utilisation: .9, perSecond: 1e-6, want: Wait, warm: true},
		"a wanted key on a daemon that is seldom full waits": {
			utilisation: .1, perSecond: .001, want: Wait, warm: true,
		},
		"a free warm daemon wins however many builds are expected": {
			utilisation: .9, perSecond: 10, free: true, want: Run, warm: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			daemons := fleet(4, 2)
			r := request("b", "app")
			v := viewOf(t, daemons, nil)
			home := Ranks(v, r.Keys[0].ID, 1)[0]
			d := &v.Daemons[home]
			d.Utilisation, d.TypicalSeconds = c.utilisation, 100
			if !c.free {
				d.Running = 2
				d.Busy = []Busy{{EndsAtSeconds: 20, ExpectedSeconds: 60}, {EndsAtSeconds: 30, ExpectedSeconds: 60}}
			}
			v.Ledger.Restore(r.Keys[0].ID, Copy{Daemon: d.ID})
			v.Ledger.SetRate(r.Keys[0].ID, c.perSecond)
			v.Recount()
			p := DefaultParams()
			got, err := Place(v, &r, &p)
			if err != nil {
				t.Fatal(err)
			}
			if got.Action != c.want || (got.Chosen.Mode == Warm) != c.warm {
				t.Errorf("got %s: %s", got.Action, got.String())
			}
		})
	}
}

func TestUsageRemembersAnHour(t *testing.T) {
	v := viewOf(t, fleet(1, 4), nil)
	u := NewUsage()
	v.Daemons[0].Running, v.Daemons[0].Busy = 2, []Busy{{ExpectedSeconds: 40}, {ExpectedSeconds: 80}}
	u.Observe(v)
	v.NowSeconds = usageHalfLifeSeconds
	v.Daemons[0].Running, v.Daemons[0].Busy = 0, nil
	u.Observe(v)
	if got := v.Daemons[0].Utilisation; got < .2499 || got > .2501 {
		t.Errorf("half of the slots taken for a half-life count as %.4f, want 0.25", got)
	}
	if got := v.Daemons[0].TypicalSeconds; got < 59.9 || got > 60.1 {
		t.Errorf("builds of 40 s and 80 s are typically %.1f s long, want 60", got)
	}
}

func TestOneShortColdBuildDoesNotMakeCachesWorthless(t *testing.T) {
	e, p := NewEstimates(), DefaultParams()
	key := KeyOf("ns", "app")
	e.Observe(key, nil, Cold, 60, &p) // it ended early
	for range 10 {
		e.Observe(key, nil, Warm, 30, &p)
		e.Observe(key, nil, Warm, 120, &p)
	}
	if warm, cold := e.Expect(key, nil, &p); cold < 1.3*warm {
		t.Errorf("warm %.0fs, cold %.0fs: one pair must not outweigh the prior ratio", warm, cold)
	}
}

// TestASecondCopyIsKeptUpToDate looks at a key that a crowded full daemon holds, of which two more builds are
// expected, in a fleet that is busy everywhere.
func TestASecondCopyIsKeptUpToDate(t *testing.T) {
	for name, c := range map[string]struct {
		keep float64
		want Action
	}{
		"what later builds lose by it does not count": {keep: 0, want: Run},
		"what later builds lose by it is too much":    {keep: 10, want: Wait},
	} {
		t.Run(name, func(t *testing.T) {
			r := request("b", "app")
			v := viewOf(t, fleet(4, 2), nil)
			for i := range v.Daemons {
				v.Daemons[i].Utilisation, v.Daemons[i].TypicalSeconds = .5, 100
			}
			d := &v.Daemons[Ranks(v, r.Keys[0].ID, 1)[0]]
			d.Utilisation, d.Running = .9, 2
			d.Busy = []Busy{{EndsAtSeconds: 20, ExpectedSeconds: 60}, {EndsAtSeconds: 30, ExpectedSeconds: 60}}
			v.Ledger.Restore(r.Keys[0].ID, Copy{Daemon: d.ID})
			v.Ledger.SetRate(r.Keys[0].ID, .00026)
			v.Recount()
			p := DefaultParams()
			p.KeepShare, p.StalePerVersion, p.HorizonSeconds, p.PriceSlope = c.keep, .1, 7200, .5
			got, err := Place(v, &r, &p)
			if err != nil || got.Action != c.want {
				t.Errorf("got %s, want %s: %s (%v)", got.Action, c.want, got.String(), err)
			}
		})
	}
}
