// SPDX-License-Identifier: Apache-2.0

package fleet

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

func near(got, want float64) bool { return math.Abs(got-want) <= 0.02*want }

func TestMemoryLearnsLengthsFromRuns(t *testing.T) {
	f := observe(t)
	f.cycle() // from now on ends are news
	f.builds = []v1alpha1.HLBBuild{done("cold", "k", "c-0", 80*time.Second, true),
		done("warm", "k", "c-0", 5*time.Second, false)}
	f.cycle()
	f.cycle() // the same ends once more are none
	warm, cold := f.expect("k")
	if !near(warm, 5) || !near(cold, 80) {
		t.Errorf("expects %.1f s warm and %.1f s cold, want 5 and 80", warm, cold)
	}
	failed := placed("failed", "k", "c-0", true)
	failed.Status.Cache = &v1alpha1.CacheUseStatus{}
	status.Fail(&failed, v1alpha1.FailureStatus{Reason: "StepFailed"}, envtestkit.Epoch.Add(time.Hour))
	f.builds = append(f.builds, failed)
	f.cycle()
	if again, _ := f.expect("k"); again != warm {
		t.Errorf("a failed run changed the expectation from %.1f s to %.1f s", warm, again)
	}
}

func TestANewMemoryStartsFromTheDaemonsReports(t *testing.T) {
	f := observe(t, done("old", "k", "c-0", time.Hour, true)) // is in the daemons' reports already
	testbuild.WithKey("k", envtestkit.Epoch.Add(-time.Hour), 3, 40)(&f.daemons[0])
	testbuild.WithKey("k", envtestkit.Epoch, 3, 0)(&f.daemons[1])
	view, _, _ := f.view()
	if warm, cold := f.expect("k"); !near(warm, 3) || !near(cold, 40) {
		t.Errorf("expects %.1f s warm and %.1f s cold, want 3 and 40", warm, cold)
	}
	versions := map[scheduler.DaemonID]uint32{}
	for _, c := range view.Ledger.Copies(f.keyID("k")) {
		versions[c.Daemon] = c.Version
	}
	if older, newer := versions[f.daemonID(0)], versions[f.daemonID(1)]; older != 1 || newer != 2 ||
		view.Ledger.Version(f.keyID("k")) != 2 {
		t.Errorf("the copies have seen %d and %d of %d builds", older, newer, view.Ledger.Version(f.keyID("k")))
	}
}

func TestCopiesAgeByTheBuildsTheyMiss(t *testing.T) {
	f := observe(t)
	f.cycle()
	f.builds = []v1alpha1.HLBBuild{done("a", "k", "c-0", 9*time.Second, true)}
	f.cycle()
	for i := range 3 {
		f.builds = append(f.builds, done(fmt.Sprint("b", i), "k", "c-1", 9*time.Second, false))
		f.cycle()
	}
	key := f.keyID("k")
	if got := [2]uint32{f.state.versionOf(key, "c-0"), f.state.versionOf(key, "c-1")}; got != [2]uint32{1, 4} {
		t.Errorf("the copies have seen %v builds, want 1 and 4", got)
	}
}

func TestACopyStaysBehindWhenTheNewestIsGone(t *testing.T) {
	f := observe(t)
	f.cycle()
	testbuild.WithKey("k", envtestkit.Epoch, 3, 40)(&f.daemons[0])
	f.builds = []v1alpha1.HLBBuild{done("a", "k", "c-0", 9*time.Second, true),
		done("b", "k", "c-1", 9*time.Second, false), done("c", "k", "c-1", 9*time.Second, false)}
	f.cycle()
	f.daemons = f.daemons[:1] // the fleet is scaled down, which begins a new ledger
	f.cache.Spec.Replicas = new(int32(1))
	f.cache.Generation++
	view, _, _ := f.view()
	key := f.keyID("k")
	if copies := view.Ledger.Copies(key); len(copies) != 1 || copies[0].Version != 1 || view.Ledger.Version(key) != 3 {
		t.Errorf("of %d builds the copies that are left have seen %+v, want one that has seen 1 of 3",
			view.Ledger.Version(key), copies)
	}
}

func TestAHotKeyIsWantedTwice(t *testing.T) {
	f := observe(t)
	testbuild.WithKey("hot", envtestkit.Epoch, 60, 300)(&f.daemons[0])
	for i := range 300 { // 300 builds of a minute in half an hour keep more than four slots busy
		b := opened(fmt.Sprint("b", i), "hot")
		b.UID = types.UID(b.Name)
		f.builds = append(f.builds, b)
	}
	f.cycle()
	for range 2 { // two sweeps must ask
		f.now = f.now.Add(sweepInterval)
		f.cycle()
	}
	view, queue, _ := f.view()
	record := scheduler.NewRecord(view, queue[:1], &f.state.params, nil)
	if len(record.Keys) != 1 || record.Keys[0].Replicas < 2 {
		t.Errorf("the hot key's entry is %+v, want two copies or more", record.Keys)
	}
	newReplica := 0
	for _, d := range scheduler.Cycle(view, queue, &f.state.params) {
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
	f := observe(t, greedy)
	f.cycle()
	for _, queue := range []string{"greedy", "modest"} {
		b := opened(queue, queue)
		b.Spec.Queue = queue
		f.builds = append(f.builds, b)
	}
	view, queue, waiting := f.view()
	for i := range view.Daemons { // one slot left
		view.Daemons[i].Slots = view.Daemons[i].Running + view.Daemons[i].Reserved
	}
	view.Daemons[0].Slots++
	view.Recount()
	decisions := scheduler.Cycle(view, queue, &f.state.params)
	for i := range decisions {
		if runs := decisions[i].Action == scheduler.Run; runs != (waiting[i] == "modest") {
			t.Errorf("the build of queue %s: %s", waiting[i], decisions[i].String())
		}
	}
}

// TestQueuesShareByTheirWeights has queues a and b each hold a slot and each have a build wait for the last one.
func TestQueuesShareByTheirWeights(t *testing.T) {
	for heavy, light := range map[string]string{"a": "b", "b": "a"} {
		t.Run(heavy, func(t *testing.T) {
			f := observe(t)
			f.cache.Spec.Queues = []v1alpha1.QueueSpec{{Name: heavy, Weight: 3}, {Name: light, Weight: 1}}
			for _, queue := range []string{"a", "b"} {
				running, waiting := placed("runs-"+queue, "k", "c-0", true), opened(queue, queue)
				running.Spec.Queue, waiting.Spec.Queue = queue, queue
				f.builds = append(f.builds, running, waiting)
			}
			view, queue, waiting := f.view()
			for i := range view.Daemons { // one slot left
				view.Daemons[i].Slots = view.Daemons[i].Running + view.Daemons[i].Reserved
			}
			view.Daemons[0].Slots++
			view.Recount()
			decisions := scheduler.Cycle(view, queue, &f.state.params)
			for i := range decisions {
				if runs := decisions[i].Action == scheduler.Run; runs != (waiting[i] == heavy) {
					t.Errorf("the build of queue %s: %s", waiting[i], decisions[i].String())
				}
			}
		})
	}
}

func TestMemoryForgetsKeysThatNobodyHas(t *testing.T) {
	f := observe(t)
	f.cycle()
	f.builds = []v1alpha1.HLBBuild{done("a", "k", "c-0", 9*time.Second, true)}
	f.cycle()
	f.builds, f.now = nil, f.now.Add(2*sweepInterval)
	f.cycle()
	if len(f.state.keys) != 0 || len(f.state.builds) != 0 {
		t.Errorf("still knows %d keys and %d builds", len(f.state.keys), len(f.state.builds))
	}
}

func TestACopyCountsBeforeItIsReported(t *testing.T) {
	f := observe(t)
	f.cycle()
	f.builds = []v1alpha1.HLBBuild{done("a", "k", "c-1", 9*time.Second, true)}
	copies := func(after time.Duration) int {
		t.Helper()
		f.now = envtestkit.Epoch.Add(after)
		view, _, _ := f.view()
		return len(view.Ledger.Copies(f.keyID("k")))
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
