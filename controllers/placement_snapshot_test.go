// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// opened is a build whose run of this key was opened at Epoch.
func opened(name, key string) v1alpha1.HLBBuild {
	b := testbuild.HLBBuild("ns", name, testbuild.WithCacheKey(key), testbuild.WithTimeout(100))
	b.UID, b.Generation = types.UID(name), 1
	status.Open(b, buildrun.New(b), envtestkit.Epoch)
	return *b
}

// placed is one that is bound to a daemon, and one that runs there too when started.
func placed(name, key, daemon string, started bool) v1alpha1.HLBBuild {
	b := opened(name, key)
	status.Place(&b, v1alpha1.PlacementStatus{Daemon: daemon}, envtestkit.Epoch)
	if started {
		status.Start(&b, "agent", envtestkit.Epoch)
	}
	return b
}

func snapshot(t *testing.T, f *fleet) (*scheduler.View, []scheduler.Request, []string) {
	t.Helper()
	if f.cache == nil {
		f.cache = testbuild.BuildCache("ns", "c", testbuild.WithReplicas(2), testbuild.WithSlots(4))
	}
	if f.now.IsZero() {
		f.now = envtestkit.Epoch.Add(10 * time.Second)
	}
	if f.memory == nil {
		params := scheduler.DefaultParams()
		f.memory = newMemory(&params)
	}
	view, queue, waiting, err := f.view()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, w := range waiting {
		names = append(names, w.build.Name)
	}
	return view, queue, names
}

func daemonIn(t *testing.T, v *scheduler.View, name string) scheduler.Daemon {
	t.Helper()
	for _, d := range v.Daemons {
		if d.Name == name {
			return d
		}
	}
	t.Fatalf("no daemon %s in the view", name)
	return scheduler.Daemon{}
}

func twoDaemons(options ...func(*v1alpha1.BuildDaemon)) []v1alpha1.BuildDaemon {
	options = append([]func(*v1alpha1.BuildDaemon){testbuild.Serving}, options...)
	return []v1alpha1.BuildDaemon{*testbuild.BuildDaemon("ns", "c", 0, options...), *testbuild.BuildDaemon("ns", "c", 1, options...)}
}

func TestSnapshotCountsSlots(t *testing.T) {
	assumed, edited, done, lost := opened("assumed", "k"), placed("edited", "k", "c-0", true), placed("done", "k", "c-0", true), placed("lost", "k", "c-0", true)
	edited.Generation = 2
	status.Succeed(&done, envtestkit.Epoch)
	status.Lose(&lost, v1alpha1.ReasonDaemonLost, "x", envtestkit.Epoch)
	f := &fleet{daemons: twoDaemons(), builds: []v1alpha1.HLBBuild{
		placed("runs", "k", "c-0", true), placed("bound", "k", "c-0", false), assumed, edited, done, lost, opened("waits", "k"), *testbuild.HLBBuild("ns", "new"),
	}}
	snapshot(t, f)
	f.memory.assume(assumed.UID, assumption{daemon: "c-1"})
	view, queue, waiting := snapshot(t, f)
	for name, want := range map[string][3]int32{"c-0": {4, 1, 1}, "c-1": {4, 0, 1}} {
		d := daemonIn(t, view, name)
		if got := [3]int32{d.Slots, d.Running, d.Reserved}; got != want {
			t.Errorf("%s has slots, running, reserved %v, want %v", name, got, want)
		}
		if int32(len(d.Busy)) != d.Running+d.Reserved {
			t.Errorf("%s has %d busy slots", name, len(d.Busy))
		}
	}
	if diff := cmp.Diff([]string{"waits"}, waiting); diff != "" || len(queue) != 1 || queue[0].UID != "waits" || queue[0].AgeSeconds != 10 {
		t.Errorf("queue is %+v (-want +got):\n%s", queue, diff)
	}
}

func TestSnapshotTranslatesConditions(t *testing.T) {
	condition, ready := testbuild.WithCondition, testbuild.WithReady
	draining := condition(v1alpha1.ConditionDraining, metav1.ConditionTrue, v1alpha1.ReasonShuttingDown)
	full := condition(v1alpha1.ConditionDiskPressure, metav1.ConditionTrue, v1alpha1.ReasonVolumeNearlyFull)
	cases := map[string]struct {
		suspend bool
		change  func(*v1alpha1.BuildDaemon)
		want    scheduler.Phase
	}{
		"a serving one":                     {false, testbuild.Serving, scheduler.Ready},
		"one that never reported":           {false, func(d *v1alpha1.BuildDaemon) { d.Status.Conditions = nil }, scheduler.NotReady},
		"one whose Lease ran out":           {false, ready(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired), scheduler.NotReady},
		"one that drains":                   {false, draining, scheduler.Draining},
		"a full one":                        {false, full, scheduler.Cordoned},
		"one that is full and away":         {false, func(d *v1alpha1.BuildDaemon) { full(d); ready(metav1.ConditionFalse, "X")(d) }, scheduler.NotReady},
		"one scaled away and asleep":        {true, ready(metav1.ConditionFalse, v1alpha1.ReasonScaledDown), scheduler.Dormant},
		"one scaled away, its pod there":    {true, testbuild.Serving, scheduler.Draining},
		"one that comes back":               {false, ready(metav1.ConditionFalse, v1alpha1.ReasonScaledDown), scheduler.NotReady},
		"one whose object is being deleted": {false, func(d *v1alpha1.BuildDaemon) { d.DeletionTimestamp = &metav1.Time{Time: envtestkit.Epoch} }, scheduler.Gone},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := &fleet{cache: testbuild.BuildCache("ns", "c")}
			suspended := func(d *v1alpha1.BuildDaemon) { d.Spec.Suspend = tc.suspend }
			f.daemons = []v1alpha1.BuildDaemon{*testbuild.BuildDaemon("ns", "c", 0, testbuild.Serving, tc.change, suspended)}
			view, _, _ := snapshot(t, f)
			if got := daemonIn(t, view, "c-0").Phase; got != tc.want {
				t.Errorf("phase is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestSnapshotKnowsWhoHoldsWhat(t *testing.T) {
	daemons := twoDaemons()
	used := envtestkit.Epoch.Add(-time.Hour)
	testbuild.WithKey("reported", used, 3, 40)(&daemons[0])
	f := &fleet{daemons: daemons, builds: []v1alpha1.HLBBuild{placed("b", "made", "c-1", true)}}
	view, _, _ := snapshot(t, f)
	if got := view.Ledger.Copies(f.keyOf("reported")); len(got) != 1 || got[0].Daemon != f.daemonOf(&daemons[0]) ||
		got[0].State != scheduler.Confirmed || got[0].UsedAtSeconds != seconds(used) || got[0].Epoch != scheduler.EpochOf("epoch-c-0") {
		t.Errorf("of the reported key: %+v", got)
	}
	if got := view.Ledger.Copies(f.keyOf("made")); len(got) != 1 || got[0].Daemon != f.daemonOf(&daemons[1]) || got[0].State == scheduler.Confirmed {
		t.Errorf("of the key that is being made: %+v", got)
	}
	if got := view.Ledger.Copies(f.keyOf("unknown")); len(got) != 0 {
		t.Errorf("of a key that nobody has: %+v", got)
	}
}

func TestRequestsCarryWhatBuildsAskFor(t *testing.T) {
	daemons := twoDaemons()
	testbuild.WithKey("k", envtestkit.Epoch, 3, 40)(&daemons[0])
	b := placed("b", "k", "c-1", true)
	status.Lose(&b, v1alpha1.ReasonDiskFull, "x", envtestkit.Epoch)
	status.Retry(&b, envtestkit.Epoch)
	b.Spec.Priority, b.Spec.Queue, b.Spec.Platforms = 5, "team", []string{"linux/arm64/v8"}
	earlier := placed("earlier", "k", "c-0", true)
	earlier.Status.Mounts = []v1alpha1.BuildMount{{ID: "ns/m", Bytes: 7}, {ID: "ns/n"}}
	status.Succeed(&earlier, envtestkit.Epoch)
	f := &fleet{daemons: daemons, builds: []v1alpha1.HLBBuild{earlier, b}}
	_, queue, _ := snapshot(t, f)
	want := []scheduler.Request{{
		UID: "b", Queue: "team", Priority: 5, Platform: "linux/arm64", AgeSeconds: 10,
		Keys:        []scheduler.KeyUse{{ID: f.keyOf("k"), Gain: 1}, {ID: f.mountKey("ns/m"), Gain: 0.25, Bytes: 7}, {ID: f.mountKey("ns/n"), Gain: 0.25}},
		WarmSeconds: 3, ColdSeconds: 40, FailedOn: []scheduler.DaemonID{f.daemonOf(&daemons[1])},
	}}
	if diff := cmp.Diff(want, queue, cmpopts.EquateApprox(0.01, 0)); diff != "" {
		t.Errorf("queue differs (-want +got):\n%s", diff)
	}
}

func TestBuildsGoWhereTheirPlatformIs(t *testing.T) {
	cases := map[string]struct {
		platform string
		daemons  [2][]string
		want     string
	}{
		"a build without one goes anywhere":                 {"", [2][]string{{"linux/amd64"}, {"linux/arm64"}}, "Run"},
		"one for a platform goes there":                     {"linux/arm64", [2][]string{{"linux/amd64"}, {"linux/amd64", "linux/arm64/v8"}}, "c-1"},
		"one that nobody builds for waits":                  {"linux/riscv64", [2][]string{{"linux/amd64"}, {"linux/arm64"}}, "0/2 daemons fit: 2 WrongPlatform"},
		"one that a daemon may build for that has not said": {"linux/riscv64", [2][]string{{"linux/amd64"}, nil}, "c-1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := opened("b", "k")
			b.Spec.Platforms = []string{tc.platform}
			f := &fleet{daemons: twoDaemons(), builds: []v1alpha1.HLBBuild{b}}
			for i := range f.daemons {
				f.daemons[i].Status.Platforms = tc.daemons[i]
			}
			view, queue, _ := snapshot(t, f)
			d := scheduler.Cycle(view, queue, f.memory.params)[0]
			got := d.String()
			if d.Action == scheduler.Run {
				got = d.Action.String() + " " + d.Chosen.Name
			}
			if !strings.Contains(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestNamespacesShareNoCaches(t *testing.T) {
	a := &fleet{cache: testbuild.BuildCache("a", "c")}
	b := &fleet{cache: testbuild.BuildCache("b", "c")}
	if a.keyOf("k") == b.keyOf("k") {
		t.Error("a key is the same in two namespaces")
	}
	if a.daemonOf(testbuild.BuildDaemon("a", "c", 0)) == b.daemonOf(testbuild.BuildDaemon("b", "c", 0)) {
		t.Error("daemons of two namespaces are the same")
	}
}

func TestOnlyNewsIsWritten(t *testing.T) {
	noFit := scheduler.Decision{Action: scheduler.NoFit}
	wait := scheduler.Decision{Action: scheduler.Wait}
	told := func(d *scheduler.Decision) *v1alpha1.HLBBuild {
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
		told     time.Duration // ago, never if 0
		want     bool
	}{
		"the first answer":                          {&fresh, noFit, 0, true},
		"the first of this manager, as before":      {told(&noFit), noFit, 0, false},
		"no daemon, as before":                      {told(&noFit), noFit, time.Hour, false},
		"waiting, as before":                        {told(&wait), wait, time.Hour, false},
		"waiting for some seconds more":             {told(&wait), later, time.Hour, false},
		"waiting after there was none":              {told(&noFit), wait, retellReason, true},
		"waiting when none was told a moment ago":   {told(&noFit), wait, retellReason - 1, false},
		"no daemon for another count of causes":     {told(&noFit), busy, retellCount, true},
		"another count of causes soon after":        {told(&noFit), busy, retellCount - 1, false},
		"another count, told by an earlier manager": {told(&noFit), busy, 0, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := remembering()
			k := &knownBuild{}
			if tc.told > 0 {
				k.toldAt = f.now.Add(-tc.told)
			}
			todo := f.plan([]inLine{{tc.build, k}}, []scheduler.Decision{tc.decision})
			if got := len(todo) == 1; got != tc.want {
				t.Errorf("worth a write is %v, want %v", got, tc.want)
			}
		})
	}
}

func TestManyBuildsWithNewsAreToldInTurn(t *testing.T) {
	f := remembering()
	line := make([]inLine, 10*tellsAtOnce)
	decisions := make([]scheduler.Decision, len(line))
	for i := range line {
		b := opened(fmt.Sprint(i), "k")
		line[i] = inLine{&b, &knownBuild{}}
	}
	decisions[len(decisions)-1].Action = scheduler.Run
	if todo := f.plan(line, decisions); len(todo) != tellsAtOnce+1 || todo[0].decision.Action != scheduler.Run {
		t.Errorf("%d writes, the first to %s, want a placement and %d tellings", len(todo), todo[0].decision.Action, tellsAtOnce)
	}
	for range (len(line) - 1 - tellsAtOnce + tellsPerSecond - 1) / tellsPerSecond { // nobody is told twice before
		f.now = f.now.Add(time.Second)
		f.plan(line[:len(line)-1], decisions[:len(line)-1])
	}
	for i := range line[:len(line)-1] {
		if line[i].known.toldAt.IsZero() {
			t.Fatalf("build %d has not been told anything", i)
		}
	}
}
