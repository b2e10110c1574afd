// SPDX-License-Identifier: Apache-2.0

package health

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

var epoch = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// ago is a check that is under way for so long.
func ago(d time.Duration) Check { return Check{Began: epoch.Add(-d)} }

// tooOld is the error of a buildkitd that lacks features.
type tooOld struct{}

func (tooOld) Error() string { return "too old" }
func (tooOld) Skew()         {}

func TestJudge(t *testing.T) {
	outages := func(ago ...time.Duration) []time.Time {
		var out []time.Time
		for _, d := range ago {
			out = append(out, epoch.Add(-d))
		}
		return out
	}
	failed := func(n int) Check { return Check{Failures: n, Last: errors.New("broken")} }
	cases := map[string]struct {
		state       State
		wantReason  string
		lost        bool
		restart     bool
		lapse       bool
		wantMessage string
	}{
		"nothing was checked yet":         {},
		"checks are under way":            {state: State{Disk: ago(11 * time.Second), Solve: ago(11 * time.Second)}},
		"a step may take longer":          {state: State{Step: ago(29 * time.Second)}},
		"two errors are not enough":       {state: State{Solve: failed(2), Disk: failed(2)}},
		"errors of steps are not counted": {state: State{Step: failed(9)}},
		"a buildkitd that is too old gets no builds at once, and is not restarted": {
			state:      State{Solve: Check{Failures: 1, Last: fmt.Errorf("check: %w", tooOld{})}},
			wantReason: v1alpha1.ReasonVersionSkew,
		},
		"a slow disk takes the daemon out": {
			state: State{Disk: ago(12 * time.Second)}, wantReason: v1alpha1.ReasonDiskStalled,
		},
		"a stalled disk has the Lease lapse, and restarts nothing": {
			state:      State{Disk: ago(20 * time.Second), Solve: ago(time.Minute)},
			wantReason: v1alpha1.ReasonDiskStalled, lost: true, lapse: true,
		},
		"a slow solve takes the daemon out": {
			state: State{Solve: ago(12 * time.Second)}, wantReason: v1alpha1.ReasonDaemonStuck,
		},
		"a solve without an end restarts buildkitd": {
			state: State{Solve: ago(20 * time.Second)}, wantReason: v1alpha1.ReasonDaemonStuck,
			lost: true, restart: true,
		},
		"a solve that was given up counts until one succeeds": {
			state: State{Solve: Check{Unanswered: true}}, wantReason: v1alpha1.ReasonDaemonStuck,
			lost: true, restart: true,
		},
		"a step without an end restarts buildkitd": {
			state: State{Step: ago(30 * time.Second)}, wantReason: v1alpha1.ReasonDaemonStuck,
			lost: true, restart: true,
		},
		"errors in a row take the daemon out": {
			state: State{Solve: failed(3)}, wantReason: v1alpha1.ReasonDaemonStuck,
			wantMessage: "buildkitd can't solve a trivial operation: broken",
		},
		"a volume that refuses writes": {
			state: State{Disk: failed(3)}, wantReason: v1alpha1.ReasonDiskStalled,
			wantMessage: "The volume takes no writes: broken",
		},
		"one outage has no cool-down": {state: State{Outages: outages(time.Second)}},
		"the second has one": {
			state: State{Outages: outages(time.Minute, 14*time.Second)}, wantReason: v1alpha1.ReasonCoolingDown,
			wantMessage: "The daemon was out 2 times within an hour, and takes builds again from 12:00:01 on",
		},
		"which ends":                     {state: State{Outages: outages(time.Minute, 15*time.Second)}},
		"an outage is forgotten in time": {state: State{Outages: outages(time.Hour, time.Second)}},
		"the third costs twice the second": {
			state: State{Outages: outages(9*time.Minute, time.Minute, 30*time.Second)},
		},
		"the third": {
			state:      State{Outages: outages(9*time.Minute, time.Minute, 29*time.Second)},
			wantReason: v1alpha1.ReasonCoolingDown,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Judge(tc.state, DefaultLimits(), epoch)
			if got.Reason != tc.wantReason || got.Lost != tc.lost || got.Restart != tc.restart ||
				got.Lapse != tc.lapse {
				t.Errorf("the verdict is %+v", got)
			}
			if tc.wantMessage != "" && got.Message != tc.wantMessage {
				t.Errorf("the message is %q, want %q", got.Message, tc.wantMessage)
			}
			if got.IsHealthy() != (got.Message == "") {
				t.Errorf("reason %q has message %q", got.Reason, got.Message)
			}
		})
	}
}

func TestACheckEnds(t *testing.T) {
	broken := errors.New("broken")
	limit := 12 * time.Second
	cases := map[string]struct {
		before Check
		err    error
		want   Check
	}{
		"a success wipes all":     {Check{Began: epoch, Unanswered: true, Failures: 2, Last: broken}, nil, Check{}},
		"an error is counted":     {ago(time.Second), broken, Check{Failures: 1, Last: broken}},
		"a late error is silence": {ago(limit), broken, Check{Unanswered: true, Failures: 1, Last: broken}},
		"an early error after silence is no answer yet": {
			Check{Began: epoch, Unanswered: true}, broken, Check{Unanswered: true, Failures: 1, Last: broken},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := tc.before
			got.end(tc.err, limit, epoch)
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestAPausedProcessAccusesNobody: whatever was under way when the process was stopped, no time of the pause counts.
func TestAPausedProcessAccusesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		within := func(label string) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(DefaultLimits().Out)-1).Draw(t, label))
		}
		s := State{Disk: ago(within("disk")), Solve: ago(within("solve")), Step: ago(within("step"))}
		stopped := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "stopped"))
		if got := Judge(Resumed(s, stopped), DefaultLimits(), epoch.Add(stopped)); !got.IsHealthy() {
			t.Errorf("after a stop of %s: %+v", stopped, got)
		}
	})
}

// TestCoolDownIsBounded: a daemon that works is back within five minutes, however often it was out.
func TestCoolDownIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s State
		at := epoch
		for range rapid.IntRange(0, outagesKept).Draw(t, "outages") {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "between")))
			s.Outages = append(s.Outages, at)
		}
		if got := Judge(s, DefaultLimits(), at.Add(lastCoolDown)); !got.IsHealthy() {
			t.Errorf("after %s: %+v", lastCoolDown, got)
		}
	})
}
