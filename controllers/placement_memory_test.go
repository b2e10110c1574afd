// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"math"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// remembering is a fleet of two daemons with a memory of its own.
func remembering(builds ...v1alpha1.HLBBuild) *fleet {
	params := scheduler.DefaultParams()
	return &fleet{
		cache:   testbuild.BuildCache("ns", "c", testbuild.WithReplicas(2), testbuild.WithSlots(4)),
		daemons: twoDaemons(), builds: builds, memory: newMemory(&params), now: envtestkit.Epoch.Add(10 * time.Second),
	}
}

// done is a run of the key on a daemon that took so long.
func done(name, key, daemon string, took time.Duration, fresh bool) v1alpha1.HLBBuild {
	b := placed(name, key, daemon, true)
	b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: fresh}
	status.Succeed(&b, envtestkit.Epoch.Add(took))
	return b
}

func near(got, want float64) bool { return math.Abs(got-want) <= 0.02*want }

func TestMemoryLearnsLengthsFromRuns(t *testing.T) {
	f := remembering()
	f.memory.learn(f) // from now on ends are news
	f.builds = []v1alpha1.HLBBuild{done("cold", "k", "c-0", 80*time.Second, true), done("warm", "k", "c-0", 5*time.Second, false)}
	f.memory.learn(f)
	f.memory.learn(f) // the same ends once more are none
	warm, cold := f.memory.estimates.Expect(f.keyOf("k"), scopes(""), f.memory.params)
	if !near(warm, 5) || !near(cold, 80) {
		t.Errorf("expects %.1f s warm and %.1f s cold, want 5 and 80", warm, cold)
	}
	failed := placed("failed", "k", "c-0", true)
	failed.Status.Cache = &v1alpha1.CacheUseStatus{}
	status.Fail(&failed, v1alpha1.FailureStatus{Reason: "StepFailed"}, envtestkit.Epoch.Add(time.Hour))
	f.builds = append(f.builds, failed)
	f.memory.learn(f)
	if again, _ := f.memory.estimates.Expect(f.keyOf("k"), scopes(""), f.memory.params); again != warm {
		t.Errorf("a failed run changed the expectation from %.1f s to %.1f s", warm, again)
	}
}

func TestANewMemoryStartsFromTheDaemonsReports(t *testing.T) {
	f := remembering(done("old", "k", "c-0", time.Hour, true)) // is in the daemons' reports already
	testbuild.WithKey("k", envtestkit.Epoch.Add(-time.Hour), 3, 40)(&f.daemons[0])
	testbuild.WithKey("k", envtestkit.Epoch, 3, 0)(&f.daemons[1])
	view, _, _, err := f.view()
	if err != nil {
		t.Fatal(err)
	}
	if warm, cold := f.memory.estimates.Expect(f.keyOf("k"), scopes(""), f.memory.params); !near(warm, 3) || !near(cold, 40) {
		t.Errorf("expects %.1f s warm and %.1f s cold, want 3 and 40", warm, cold)
	}
	versions := map[scheduler.DaemonID]uint32{}
	for _, c := range view.Ledger.Copies(f.keyOf("k")) {
		versions[c.Daemon] = c.Version
	}
	if older, newer := versions[f.daemonOf(&f.daemons[0])], versions[f.daemonOf(&f.daemons[1])]; older != 1 || newer != 2 || view.Ledger.Version(f.keyOf("k")) != 2 {
		t.Errorf("the copies have seen %d and %d of %d builds", older, newer, view.Ledger.Version(f.keyOf("k")))
	}
}

func TestCopiesAgeByTheBuildsTheyMiss(t *testing.T) {
	f := remembering()
	f.memory.learn(f)
	f.builds = []v1alpha1.HLBBuild{done("a", "k", "c-0", 9*time.Second, true)}
	f.memory.learn(f)
	for i := range 3 {
		f.builds = append(f.builds, done(fmt.Sprint("b", i), "k", "c-1", 9*time.Second, false))
		f.memory.learn(f)
	}
	key := f.keyOf("k")
	if got := [2]uint32{f.memory.versionOf(key, "c-0"), f.memory.versionOf(key, "c-1")}; got != [2]uint32{1, 4} {
		t.Errorf("the copies have seen %v builds, want 1 and 4", got)
	}
}

func TestACopyStaysBehindWhenTheNewestIsGone(t *testing.T) {
	f := remembering()
	f.memory.learn(f)
	testbuild.WithKey("k", envtestkit.Epoch, 3, 40)(&f.daemons[0])
	f.builds = []v1alpha1.HLBBuild{done("a", "k", "c-0", 9*time.Second, true), done("b", "k", "c-1", 9*time.Second, false), done("c", "k", "c-1", 9*time.Second, false)}
	f.memory.learn(f)
	f.daemons = f.daemons[:1] // the fleet is scaled down, which begins a new ledger
	f.cache.Spec.Replicas = new(int32(1))
	f.cache.Generation++
	view, _, _, err := f.view()
	if err != nil {
		t.Fatal(err)
	}
	key := f.keyOf("k")
	if copies := view.Ledger.Copies(key); len(copies) != 1 || copies[0].Version != 1 || view.Ledger.Version(key) != 3 {
		t.Errorf("of %d builds the copies that are left have seen %+v, want one that has seen 1 of 3", view.Ledger.Version(key), copies)
	}
}

func TestAHotKeyIsWantedTwice(t *testing.T) {
	f := remembering()
	testbuild.WithKey("hot", envtestkit.Epoch, 60, 300)(&f.daemons[0])
	for i := range 300 { // 300 builds of a minute in half an hour keep more than four slots busy
		b := opened(fmt.Sprint("b", i), "hot")
		b.UID = types.UID(b.Name)
		f.builds = append(f.builds, b)
	}
	f.memory.learn(f)
	for range 2 { // two sweeps must ask
		f.now = f.now.Add(sweepEvery)
		f.memory.learn(f)
	}
	view, queue, _, err := f.view()
	if err != nil {
		t.Fatal(err)
	}
	record := scheduler.NewRecord(view, queue[:1], f.memory.params, nil)
	if len(record.Keys) != 1 || record.Keys[0].Replicas < 2 {
		t.Errorf("the hot key's entry is %+v, want two copies or more", record.Keys)
	}
	newReplica := 0
	for _, d := range scheduler.Cycle(view, queue, f.memory.params) {
		if d.Action == scheduler.Run && d.Reason == scheduler.NewReplica {
			newReplica++
		}
	}
	if newReplica == 0 {
		t.Error("no build is placed to make the second copy")
	}
}

func TestQueuesAreChargedForTheirBuilds(t *testing.T) {
	greedy := placed("running", "k", "c-0", true)
	greedy.Spec.Queue = "greedy"
	f := remembering(greedy)
	f.memory.learn(f)
	for _, queue := range []string{"greedy", "modest"} {
		b := opened(queue, queue)
		b.Spec.Queue = queue
		f.builds = append(f.builds, b)
	}
	view, queue, waiting, err := f.view()
	if err != nil {
		t.Fatal(err)
	}
	for i := range view.Daemons { // one slot left
		view.Daemons[i].Slots = view.Daemons[i].Running + view.Daemons[i].Reserved
	}
	view.Daemons[0].Slots++
	view.Recount()
	decisions := scheduler.Cycle(view, queue, f.memory.params)
	for i := range decisions {
		if runs := decisions[i].Action == scheduler.Run; runs != (waiting[i].build.Name == "modest") {
			t.Errorf("the build of queue %s: %s", waiting[i].build.Name, decisions[i].String())
		}
	}
}

// TestQueuesShareByTheirWeights has queues a and b each hold a slot and each have a build wait for the last one.
func TestQueuesShareByTheirWeights(t *testing.T) {
	for heavy, light := range map[string]string{"a": "b", "b": "a"} {
		t.Run(heavy, func(t *testing.T) {
			f := remembering()
			f.cache.Spec.Queues = []v1alpha1.QueueSpec{{Name: heavy, Weight: 3}, {Name: light, Weight: 1}}
			for _, queue := range []string{"a", "b"} {
				running, waiting := placed("runs-"+queue, "k", "c-0", true), opened(queue, queue)
				running.Spec.Queue, waiting.Spec.Queue = queue, queue
				f.builds = append(f.builds, running, waiting)
			}
			view, queue, waiting, err := f.view()
			if err != nil {
				t.Fatal(err)
			}
			for i := range view.Daemons { // one slot left
				view.Daemons[i].Slots = view.Daemons[i].Running + view.Daemons[i].Reserved
			}
			view.Daemons[0].Slots++
			view.Recount()
			decisions := scheduler.Cycle(view, queue, f.memory.params)
			for i := range decisions {
				if runs := decisions[i].Action == scheduler.Run; runs != (waiting[i].build.Name == heavy) {
					t.Errorf("the build of queue %s: %s", waiting[i].build.Name, decisions[i].String())
				}
			}
		})
	}
}

func TestMemoryForgetsKeysThatNobodyHas(t *testing.T) {
	f := remembering()
	f.memory.learn(f)
	f.builds = []v1alpha1.HLBBuild{done("a", "k", "c-0", 9*time.Second, true)}
	f.memory.learn(f)
	f.builds, f.now = nil, f.now.Add(2*sweepEvery)
	f.memory.learn(f)
	if len(f.memory.freshness) != 0 || len(f.memory.builds) != 0 {
		t.Errorf("still knows %d keys and %d builds", len(f.memory.freshness), len(f.memory.builds))
	}
}

func TestACopyCountsBeforeItIsReported(t *testing.T) {
	f := remembering()
	f.memory.learn(f)
	f.builds = []v1alpha1.HLBBuild{done("a", "k", "c-1", 9*time.Second, true)}
	copies := func(after time.Duration) int {
		t.Helper()
		f.now = envtestkit.Epoch.Add(after)
		view, _, _, err := f.view()
		if err != nil {
			t.Fatal(err)
		}
		return len(view.Ledger.Copies(f.keyOf("k")))
	}
	if got := copies(10 * time.Second); got != 1 {
		t.Errorf("%d copies are known right after the build, want 1", got)
	}
	f.daemons[1].Status.VolumeEpoch = "another"
	if got := copies(11 * time.Second); got != 0 {
		t.Errorf("%d copies are known after the volume was lost, want 0", got)
	}
	f.daemons[1].Status.VolumeEpoch = "epoch-c-1"
	if got := copies(9*time.Second + reportWithin + time.Second); got != 0 {
		t.Errorf("%d copies are known although the daemon has not reported it, want 0", got)
	}
}
