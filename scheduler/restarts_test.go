// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestRestartsAreLearnedByCause gives restarts of one cause, one after the other.
func TestRestartsAreLearnedByCause(t *testing.T) {
	steady := []float64{6, 6, 6, 6, 6, 6, 6, 6, 6, 6}
	for name, tc := range map[string]struct {
		cause     string
		seconds   []float64
		low, high float64 // of what is expected then
	}{
		"a roll-out before any was seen":            {"AgentStopped", nil, 15, 15},
		"what is no restart as a rule":              {"DiskStalled", nil, 0, 0},
		"it was one, twice":                         {"DiskStalled", []float64{40, 40}, 39, 41},
		"steady restarts outweigh the prior":        {"AgentStopped", steady, 5.9, 6.7},
		"one of an hour counts as four times usual": {"AgentStopped", append(steady, 3600), 7, 9},
		"a length below zero shows nothing":         {"LeaseExpired", []float64{-5, 0, math.NaN()}, 30, 30},
		"it never exceeds a quarter of an hour":     {"X", []float64{1e9, 1e9}, 900, 901},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRestarts()
			for _, s := range tc.seconds {
				r.Observe(tc.cause, s)
			}
			if got := r.Expect(tc.cause); got < tc.low-1e-9 || got > tc.high {
				t.Errorf("expected %.2fs, want %.1fs to %.1fs", got, tc.low, tc.high)
			}
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			again := NewRestarts()
			if err := json.Unmarshal(text, again); err != nil || again.Expect(tc.cause) != r.Expect(tc.cause) {
				t.Errorf("saved as %s and restored (%v) it expects %v", text, err, again.Expect(tc.cause))
			}
		})
	}
}

// TestNothingStartsOnADaemonThatRestarts draws fleets of which some daemons are expected back: none of them is started
// on, and none is waited for once it is late by more than ReturnPatience.
func TestNothingStartsOnADaemonThatRestarts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, false)
		p := DefaultParams()
		v := w.view(t)
		for _, d := range Cycle(v, w.queue, &p) {
			if !d.Chosen.Exists() {
				continue
			}
			daemon := &v.Daemons[d.Chosen.At]
			late := v.NowSeconds - daemon.Return.EndsAtSeconds
			switch {
			case daemon.Phase == Ready:
			case d.Action == Run:
				t.Fatalf("%s is started on %s, which is %s", d.UID, daemon.Name, daemon.Phase)
			case late > p.ReturnPatience*daemon.Return.ExpectedSeconds:
				t.Fatalf("%s waits for %s, which is %.0fs late of %.0fs", d.UID, daemon.Name, late,
					daemon.Return.ExpectedSeconds)
			case d.Reason == WaitsForWarmDaemon || d.Chosen.Cost.WaitSeconds < -late:
				t.Fatalf("%s waits %.1fs for %s: %s, which is expected back in %.1fs", d.UID,
					d.Chosen.Cost.WaitSeconds, daemon.Name, d.Reason, -late)
			}
		}
	})
}
