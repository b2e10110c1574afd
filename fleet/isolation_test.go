// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// isolated is a fleet under load of which some builds run alone.
type isolated struct {
	*observed
	rt *rapid.T
	n  int
}

// arrive queues a build.
func (f *isolated) arrive(alone bool) {
	f.n++
	b := opened(fmt.Sprintf("b%d", f.n), rapid.SampledFrom([]string{"x", "y", "z"}).Draw(f.rt, "key"))
	b.Status.Run.Isolated = alone
	b.Status.Run.QueuedAt = metav1.NewMicroTime(f.now)
	f.builds = append(f.builds, b)
}

// write decides, and writes to the builds what follows. It returns those that were written.
func (f *observed) write() (written []*v1alpha1.HLBBuild) {
	f.t.Helper()
	for n, w := range f.cycle().Builds {
		at := slices.IndexFunc(f.builds, func(b v1alpha1.HLBBuild) bool { return b.UID == w.Build.UID })
		after := f.builds[at].DeepCopy()
		w.Apply(after, f.now)
		after.ResourceVersion = fmt.Sprint(f.now.UnixNano(), n)
		f.builds[at] = *after
		written = append(written, after)
	}
	return written
}

// round decides, writes the placements and checks what came of it.
func (f *isolated) round() {
	f.now = f.now.Add(time.Second)
	f.write()
	on := map[string][]*v1alpha1.HLBBuild{}
	for i := range f.builds {
		if b := &f.builds[i]; status.IsBound(b) {
			on[b.Status.Placement.Daemon] = append(on[b.Status.Placement.Daemon], b)
		}
	}
	for daemon, builds := range on {
		for _, b := range builds {
			if b.Status.Run.Isolated && len(builds) > 1 {
				f.rt.Fatalf("%s is alone, and on %s with %d others", b.Name, daemon, len(builds)-1)
			}
		}
	}
	kept := 0
	for _, d := range f.state.view.Daemons {
		if d.KeptFor != "" {
			kept++
		}
	}
	if most := max(1, len(f.daemons)/isolationShare); kept > most {
		f.rt.Fatalf("%d of %d daemons are closed, want %d at most", kept, len(f.daemons), most)
	}
}

// finish ends one of the builds that run, the oldest.
func (f *isolated) finish() {
	for i := range f.builds {
		if b := &f.builds[i]; status.IsBound(b) {
			f.builds = slices.Delete(f.builds, i, i+1)
			return
		}
	}
}

// waiting counts the builds that wait to run alone.
func (f *isolated) waiting() (n int) {
	for i := range f.builds {
		if b := &f.builds[i]; b.Status.Run.Isolated && status.IsWaiting(b) {
			n++
		}
	}
	return n
}

func TestNothingRunsBesideABuildThatRunsAlone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := &isolated{observed: observe(t), rt: rt}
		n := rapid.IntRange(1, 9).Draw(rt, "daemons")
		f.cache = testbuild.BuildCache("ns", "c", testbuild.WithReplicas(int32(n)),
			testbuild.WithSlots(rapid.Int32Range(1, 3).Draw(rt, "slots")))
		f.daemons = nil
		for i := range n {
			f.daemons = append(f.daemons, *testbuild.BuildDaemon("ns", "c", int32(i), testbuild.Serving))
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0:
				f.arrive(true)
			case 4:
				f.state = New(f.state.params) // another manager
			case 1, 2:
				f.arrive(false)
			default:
				f.finish()
			}
			f.round()
		}
		for rounds := 0; f.waiting() > 0; rounds++ { // the load goes on
			if rounds > 200 {
				rt.Fatalf("%d builds still wait to run alone", f.waiting())
			}
			f.arrive(false)
			f.finish()
			f.round()
		}
	})
}

func TestThePlaceInTheQueueIsWrittenSeldom(t *testing.T) {
	f := observe(t)
	f.cache.Spec.BuildKit.MaxConcurrentBuilds = 0
	f.daemons = f.daemons[:0]
	const waiting = 12
	for i := range waiting {
		b := opened(fmt.Sprintf("b%02d", i), "x")
		b.Status.Run.QueuedAt = metav1.NewMicroTime(envtestkit.Epoch.Add(time.Duration(i) * time.Second))
		f.builds = append(f.builds, b)
	}
	f.now = envtestkit.Epoch.Add(time.Minute)
	last, places := f.builds[waiting-1].Name, []int32{}
	for range waiting { // every two minutes, the first of the queue leaves it
		for range 12 {
			for _, b := range f.write() {
				if b.Name == last {
					places = append(places, b.Status.Run.QueuePosition)
				}
			}
			f.now = f.now.Add(10 * time.Second)
		}
		f.builds = f.builds[1:]
	}
	if want := []int32{12, 6, 3, 1}; !slices.Equal(places, want) {
		t.Errorf("the last build of %d was written with the places %v, want %v", waiting, places, want)
	}
}

func TestAPlaceInTheQueueIsThatOfService(t *testing.T) {
	f := observe(t)
	for i := range f.daemons {
		testbuild.WithReady(metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable)(&f.daemons[i])
	}
	late, urgent := opened("late", "x"), opened("urgent", "x")
	first := opened("first", "x")
	first.Status.Run.QueuedAt = metav1.NewMicroTime(envtestkit.Epoch.Add(-time.Minute))
	urgent.Spec.Priority = 5
	f.builds = []v1alpha1.HLBBuild{late, first, urgent}
	got := map[string]int32{}
	for _, w := range f.cycle().Builds {
		if w.Decision.Action == scheduler.Run {
			t.Fatalf("%s is placed", w.Build.Name)
		}
		got[w.Build.Name] = w.Decision.Position
	}
	if got["urgent"] != 1 || got["first"] != 2 || got["late"] != 3 {
		t.Errorf("places are %v, want urgent, first, late", got)
	}
}
