// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// request is a build of one key that takes 20 s warm and 100 s cold.
func request(uid, key string) Request {
	return Request{UID: uid, Keys: []KeyUse{{ID: KeyOf("ns", key)}}, WarmSeconds: 20, ColdSeconds: 100}
}

// TestWaitSecondsPerGB has a build's only copy on a daemon that is busy for 20 s more, and a snapshot of a GB, which
// takes 10 s to bring in elsewhere.
func TestWaitSecondsPerGB(t *testing.T) {
	r := request("b", "app")
	r.Keys[0].SnapshotBytes, r.Keys[0].SnapshotFresh = 1e9, 1
	for _, c := range []struct {
		perGB float64
		phase Phase // of the daemon that has the copy
		want  Action
	}{
		{0, Ready, Run}, {2, Ready, Run}, {20, Ready, Wait}, {20, Draining, Run},
	} {
		v := viewOf(t, fleet(2, 1), nil)
		holder := &v.Daemons[Ranks(v, r.Keys[0].ID, 2)[0]]
		holder.Phase, holder.Running, holder.Busy = c.phase, 1, []Busy{{EndsAtSeconds: 20, ExpectedSeconds: 40}}
		v.Recount()
		v.Ledger.Restore(r.Keys[0].ID, Copy{Daemon: holder.ID})
		p := DefaultParams()
		p.WaitSecondsPerGB = c.perGB
		if d, err := Place(v, &r, &p); err != nil || d.Action != c.want {
			t.Errorf("%g s/GB, the holder %s: %s (%v), want %s", c.perGB, c.phase, d.String(), err, c.want)
		}
	}
}

func TestNoFitErrorCountsReasons(t *testing.T) {
	daemons := fleet(5, 1)
	for i := range 3 {
		daemons[i].Running = 1
	}
	daemons[3].Phase, daemons[4].Phase = Draining, Draining
	p := DefaultParams()
	r := request("b", "app")
	_, err := Place(viewOf(t, daemons, nil), &r, &p)
	var noFit *NoFitError
	if !errors.As(err, &noFit) {
		t.Fatalf("error is %v, want a *NoFitError", err)
	}
	if diff := cmp.Diff("0/5 daemons fit: 3 AtCapacity, 2 Draining", err.Error()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

func TestPlace(t *testing.T) {
	key := KeyOf("ns", "app")
	// home is where "app" belongs in a fleet of three.
	home := Ranks(viewOf(t, fleet(3, 2), nil), key, 3)
	cases := map[string]struct {
		change     func(v *View)
		wantAction Action
		wantWhy    Reason
		wantAt     int // index into home's order
	}{
		"a key that nobody holds goes home": {func(*View) {}, Run, HomeDaemon, 0},
		"a cordoned home hands over to the next rank": {
			func(v *View) { v.Daemons[home[0]].Phase = Cordoned }, Run, NextInRank, 1,
		},
		"a copy away from home beats home": {func(v *View) {
			v.Ledger.Restore(key, Copy{Daemon: v.Daemons[home[2]].ID})
		}, Run, WarmDaemon, 2},
		"a holder that is soon free is waited for": {func(v *View) {
			d := &v.Daemons[home[2]]
			v.Ledger.Restore(key, Copy{Daemon: d.ID})
			d.Running, d.Busy = 2, []Busy{{EndsAtSeconds: 30, ExpectedSeconds: 60},
				{EndsAtSeconds: 500, ExpectedSeconds: 600}}
		}, Wait, WaitsForWarmDaemon, 2},
		"a holder that is busy for long is left": {func(v *View) {
			d := &v.Daemons[home[2]]
			v.Ledger.Restore(key, Copy{Daemon: d.ID})
			d.Running, d.Busy = 2, []Busy{{EndsAtSeconds: 300, ExpectedSeconds: 400},
				{EndsAtSeconds: 500, ExpectedSeconds: 600}}
		}, Run, Spilled, 0},
		"a copy of an earlier volume counts for nothing": {func(v *View) {
			d := &v.Daemons[home[2]]
			d.Epoch = 7
			v.Ledger.Restore(key, Copy{Daemon: d.ID, Epoch: 6})
		}, Run, HomeDaemon, 0},
		"a holder that drains is passed over": {func(v *View) {
			v.Daemons[home[2]].Phase = Draining
			v.Ledger.Restore(key, Copy{Daemon: v.Daemons[home[2]].ID})
		}, Run, HolderDown, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v := viewOf(t, fleet(3, 2), nil)
			tc.change(v)
			v.Recount()
			p, r := DefaultParams(), request("b", "app")
			got, err := Place(v, &r, &p)
			if err != nil {
				t.Fatal(err)
			}
			type brief struct {
				Action Action
				Why    Reason
				Name   string
			}
			want := brief{tc.wantAction, tc.wantWhy, v.Daemons[home[tc.wantAt]].Name}
			if diff := cmp.Diff(want, brief{got.Action, got.Reason, got.Chosen.Name}); diff != "" {
				t.Errorf("(-want +got):\n%s\n%s", diff, got.String())
			}
		})
	}
}

// TestBytesHaveAPrice offers a build a copy that is a tenth behind and a snapshot that takes hardly less time to
// bring in.
func TestBytesHaveAPrice(t *testing.T) {
	for name, c := range map[string]struct {
		secondsPerGB float64
		want         Mode
		price        float64
	}{
		"bytes that cost nothing are pulled for a small gain":    {secondsPerGB: 0, want: Primed, price: 0},
		"bytes that cost little are pulled, and said to cost it": {secondsPerGB: .5, want: Primed, price: .5},
		"bytes that cost more than they gain are not":            {secondsPerGB: 2, want: Warm, price: 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := viewOf(t, fleet(1, 2), nil)
			r := request("b", "app")
			r.ColdSeconds = 140
			r.Keys[0].SnapshotBytes, r.Keys[0].SnapshotFresh = 10e9, 1
			v.Ledger.Restore(r.Keys[0].ID, Copy{Daemon: 1, Version: 10})
			v.Ledger.Restore(r.Keys[0].ID, Copy{Daemon: v.Daemons[0].ID, Version: 5})
			p := DefaultParams()
			// 5 s, 5 s of pulling and 0.5 s, instead of 12 s
			p.PriceSlope, p.PullSecondsPerGB, p.PrimedFactor = 0, c.secondsPerGB, 1.025
			p.RefreshSpread = 1
			got, err := Place(v, &r, &p)
			if err != nil || got.Chosen.Mode != c.want || math.Abs(got.Chosen.Cost.PriceSeconds-c.price) > 1e-9 {
				t.Errorf("%s at a price of %gs, want %s at %gs: %s (%v)", got.Chosen.Mode, got.Chosen.Cost.PriceSeconds,
					c.want, c.price, got.String(), err)
			}
		})
	}
}

// TestARefreshMovesWhatDiffers: a copy that is a fifth behind lacks a fifth, which lies in layers with other files.
func TestARefreshMovesWhatDiffers(t *testing.T) {
	for name, c := range map[string]struct {
		spread float64
		copied CopyState
		want   float64 // seconds of set-up
	}{
		"only what it lacks":                                     {spread: 1, want: 5 + 2},
		"what it lacks lies among the same":                      {spread: 2.5, want: 5 + 5},
		"never more than all":                                    {spread: 50, want: 5 + 10},
		"one that is being made has nothing to compare with yet": {spread: 1, copied: Pending, want: 5 + 10},
	} {
		t.Run(name, func(t *testing.T) {
			v := viewOf(t, fleet(1, 2), nil)
			r := request("b", "app")
			r.WarmSeconds, r.ColdSeconds = 100, 1100
			r.Keys[0].SnapshotBytes, r.Keys[0].SnapshotFresh = 2e9, 1
			v.Ledger.Restore(r.Keys[0].ID, Copy{Daemon: 1, Version: 20})
			here := Copy{Daemon: v.Daemons[0].ID, Version: 10, State: c.copied}
			if c.copied == Pending {
				here.Users, here.ReleaseAtSeconds, here.ExpiresAtSeconds = 1, 1e6, 1e6
			}
			v.Ledger.Restore(r.Keys[0].ID, here)
			p := DefaultParams()
			p.RefreshSpread = c.spread
			got, err := Place(v, &r, &p)
			if err != nil || got.Chosen.Mode != Primed || math.Abs(got.Chosen.Cost.SetupSeconds-c.want) > 1e-9 {
				t.Errorf("set-up of %gs, want %gs: %s (%v)", got.Chosen.Cost.SetupSeconds, c.want, got.String(), err)
			}
		})
	}
}
