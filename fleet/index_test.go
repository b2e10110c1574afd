// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestSlotsAreCounted(t *testing.T) {
	assumed, done := opened("assumed", "k"), placed("done", "k", "c-0", true)
	lost := placed("lost", "k", "c-0", true)
	status.Succeed(&done, envtestkit.Epoch)
	status.Lose(&lost, v1alpha1.ReasonDaemonLost, "x", envtestkit.Epoch)
	f := observe(t,
		placed("runs", "k", "c-0", true), placed("bound", "k", "c-0", false), assumed, done, lost, opened("waits", "k"),
	)
	f.cycle()
	f.state.Written(Written{Placed: []Placed{{Build: nameOf(&assumed), Daemon: "c-1"}}})
	_, queue, waiting := f.view()
	for name, want := range map[string][3]int32{"c-0": {4, 1, 1}, "c-1": {4, 0, 1}} {
		d := f.daemon(name)
		if got := [3]int32{d.Slots, d.Running, d.Reserved}; got != want {
			t.Errorf("%s has slots, running, reserved %v, want %v", name, got, want)
		}
		if int32(len(d.Busy)) != d.Running+d.Reserved {
			t.Errorf("%s has %d busy slots", name, len(d.Busy))
		}
	}
	if diff := cmp.Diff([]string{"waits"}, waiting); diff != "" || len(queue) != 1 || queue[0].UID != "waits" ||
		queue[0].AgeSeconds != 10 {
		t.Errorf("queue is %+v (-want +got):\n%s", queue, diff)
	}
}

func TestTheLedgerHasReportedAndPendingCopies(t *testing.T) {
	daemons := twoDaemons()
	used := envtestkit.Epoch.Add(-time.Hour)
	testbuild.WithKey("reported", used, 3, 40)(&daemons[0])
	f := observe(t, placed("b", "made", "c-1", true))
	f.daemons = daemons
	view, _, _ := f.view()
	if got := view.Ledger.Copies(f.keyID("reported")); len(got) != 1 || got[0].Daemon != f.daemonID(0) ||
		got[0].State != scheduler.Confirmed || got[0].UsedAtSeconds != seconds(used) ||
		got[0].Epoch != scheduler.EpochOf("epoch-c-0") {
		t.Errorf("of the reported key: %+v", got)
	}
	if got := view.Ledger.Copies(f.keyID("made")); len(got) != 1 || got[0].Daemon != f.daemonID(1) ||
		got[0].State == scheduler.Confirmed {
		t.Errorf("of the key that is being made: %+v", got)
	}
	if got := view.Ledger.Copies(f.keyID("unknown")); len(got) != 0 {
		t.Errorf("of a key that nobody has: %+v", got)
	}
}

func TestRequestsHaveTheSpecOfTheirBuilds(t *testing.T) {
	daemons := twoDaemons()
	testbuild.WithKey("k", envtestkit.Epoch, 3, 40)(&daemons[0])
	b := placed("b", "k", "c-1", true)
	status.Lose(&b, v1alpha1.ReasonDiskFull, "x", envtestkit.Epoch)
	status.Retry(&b, failure.Verdict{Counts: true}, envtestkit.Epoch)
	b.Spec.Priority, b.Spec.Queue, b.Spec.Platforms = 5, "team", []string{"linux/arm64/v8"}
	earlier := placed("earlier", "k", "c-0", true)
	earlier.Status.Mounts = []v1alpha1.BuildMount{{ID: "ns/m", Bytes: 7}, {ID: "ns/n"}}
	status.Succeed(&earlier, envtestkit.Epoch)
	f := observe(t, earlier, b)
	f.daemons = daemons
	_, queue, _ := f.view()
	want := []scheduler.Request{{
		UID: "b", Queue: "team", Priority: 5, Platform: "linux/arm64", AgeSeconds: 10,
		Keys: []scheduler.KeyUse{
			{ID: f.keyID("k"), Gain: 1}, {ID: f.mountID("ns/m"), Gain: 0.25, Bytes: 7},
			{ID: f.mountID("ns/n"), Gain: 0.25},
		},
		WarmSeconds: 3, ColdSeconds: 40, FailedOn: []scheduler.DaemonID{f.daemonID(1)},
	}}
	if diff := cmp.Diff(want, queue, cmpopts.EquateApprox(0.01, 0)); diff != "" {
		t.Errorf("queue differs (-want +got):\n%s", diff)
	}
}

func TestNamespacesShareNoCaches(t *testing.T) {
	a, b := identityOf(testbuild.BuildCache("a", "c")), identityOf(testbuild.BuildCache("b", "c"))
	if a.key("k") == b.key("k") {
		t.Error("a key is the same in two namespaces")
	}
	if a.daemon(testbuild.BuildDaemon("a", "c", 0)) == b.daemon(testbuild.BuildDaemon("b", "c", 0)) {
		t.Error("daemons of two namespaces are the same")
	}
}

func TestOnlyUpdatesOfReasonsAreWritten(t *testing.T) {
	noFit := scheduler.Decision{Action: scheduler.NoFit}
	wait := scheduler.Decision{Action: scheduler.Wait}
	updated := func(d *scheduler.Decision) *v1alpha1.HLBBuild {
		b := opened("b", "k")
		status.Wait(&b, waitReason(d), d.String(), envtestkit.Epoch)
		return &b
	}
	later := wait
	later.Chosen.Cost.WaitSeconds = 5
	busy := scheduler.Decision{Action: scheduler.NoFit, Daemons: 1}
	fresh := opened("b", "k")
	cases := map[string]struct {
		build    *v1alpha1.HLBBuild
		decision scheduler.Decision
		age      time.Duration // of the latest update by this manager, 0 for none
		want     bool
	}{
		"the first answer":                         {&fresh, noFit, 0, true},
		"the first of this manager, as before":     {updated(&noFit), noFit, 0, false},
		"no daemon, as before":                     {updated(&noFit), noFit, time.Hour, false},
		"waiting, as before":                       {updated(&wait), wait, time.Hour, false},
		"waiting for some seconds more":            {updated(&wait), later, time.Hour, false},
		"waiting after there was none":             {updated(&noFit), wait, minReasonInterval, true},
		"waiting soon after there was none":        {updated(&noFit), wait, minReasonInterval - 1, false},
		"no daemon for another count of causes":    {updated(&noFit), busy, minCountInterval, true},
		"another count of causes soon after":       {updated(&noFit), busy, minCountInterval - 1, false},
		"another count after an earlier manager's": {updated(&noFit), busy, 0, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := waiting(*tc.build)
			if tc.age > 0 {
				s.builds[nameOf(tc.build)].UpdatedAt = s.now.Add(-tc.age)
			}
			todo := s.selectWrites([]scheduler.Decision{tc.decision})
			if got := len(todo) == 1; got != tc.want {
				t.Errorf("worth a write is %v, want %v", got, tc.want)
			}
		})
	}
}

func TestManyBuildsThatWaitAreUpdatedInTurn(t *testing.T) {
	builds := make([]v1alpha1.HLBBuild, 10*waitUpdatesBurst)
	for i := range builds {
		builds[i] = opened(fmt.Sprint(i), "k")
	}
	s := waiting(builds...)
	decisions := make([]scheduler.Decision, len(builds))
	if todo := s.selectWrites(decisions); len(todo) != waitUpdatesBurst {
		t.Errorf("%d writes, want %d updates", len(todo), waitUpdatesBurst)
	}
	// none is updated twice
	for range (len(builds) - waitUpdatesBurst + waitUpdatesPerSecond - 1) / waitUpdatesPerSecond {
		s.now = s.now.Add(time.Second)
		s.selectWrites(decisions)
	}
	for i, p := range s.queue.builds {
		if p.build.UpdatedAt.IsZero() {
			t.Fatalf("build %d was never updated", i)
		}
	}
}

func TestBuildsOfAQueueThatMovesAreUpdatedLater(t *testing.T) {
	cases := map[string]struct {
		waiting   int // beside the one that is placed
		waited    time.Duration
		sincePlan time.Duration // since the placement
		want      int
	}{
		"a short queue is updated at once": {shortQueue, time.Second, 0, shortQueue},
		"a long one that moves is not":     {shortQueue + 1, time.Second, 0, 0},
		"one that has just moved is not":   {shortQueue + 1, time.Second, movingInterval - 1, 0},
		"one that moves no more is": {
			shortQueue + 1, time.Second, movingInterval, shortQueue + 1,
		},
		"builds that have waited for long are, in a burst": {2 * waitUpdatesBurst, movingWait, 0, waitUpdatesBurst},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			builds := make([]v1alpha1.HLBBuild, tc.waiting)
			for i := range builds {
				builds[i] = opened(fmt.Sprint(i), "k")
			}
			s := waiting(builds...)
			for i := range builds {
				builds[i].Status.Run.QueuedAt.Time = s.now.Add(-tc.waited)
			}
			s.placedAt = s.now.Add(-tc.sincePlan)
			if got := len(s.selectWrites(make([]scheduler.Decision, tc.waiting))); got != tc.want {
				t.Errorf("%d updates, want %d", got, tc.want)
			}
		})
	}
}

// waiting is a State whose queue has these builds, ten seconds after Epoch.
func waiting(builds ...v1alpha1.HLBBuild) *State {
	s := New(scheduler.DefaultParams())
	s.now, s.queue = envtestkit.Epoch.Add(10*time.Second), newQueue()
	for i := range builds {
		k := &buildState{UID: builds[i].UID, object: &builds[i]}
		s.builds[nameOf(&builds[i])] = k
		s.queue.add(k)
	}
	s.queue.settle(func(*pendingBuild) scheduler.Request { return scheduler.Request{} })
	return s
}
