// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// TestAFullQueueIsTold has more builds than the limit wait for the one slot. A waiting build has its position written
// once, and costs no write while nothing happens.
func TestAFullQueueIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	cache.Spec.Queue = &v1alpha1.QueueLimits{MaxPending: 2}
	w.Must(w.Client.Update(t.Context(), cache))
	running := w.Build("b0")
	w.place(cache)
	w.Start(running)
	builds := []*v1alpha1.HLBBuild{running}
	for i := 1; i <= 4; i++ {
		w.Clock.Step(time.Second)
		builds = append(builds, w.Build(fmt.Sprintf("b%d", i)))
		w.place(cache)
	}
	says := func() (out []string) {
		for _, b := range builds {
			fleettest.Read(w, b)
			ready := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
			out = append(out, fmt.Sprintf("%s %d", ready.Reason, b.Status.Run.QueuePosition))
		}
		return out
	}
	want := []string{"Solving 0", "NoDaemonFits 1", "NoDaemonFits 2", "QueueFull 3", "QueueFull 4"}
	if diff := cmp.Diff(want, says()); diff != "" {
		t.Errorf("reasons and places (-want +got):\n%s", diff)
	}
	fleettest.ExpectState(t, builds[4], v1alpha1.ReasonQueueFull, kstatus.InProgressStatus)
	version := builds[4].ResourceVersion
	for range 12 {
		w.Clock.Step(10 * time.Second)
		w.place(cache)
	}
	if fleettest.Read(w, builds[4]).ResourceVersion != version {
		t.Error("a build is written again although nothing has happened")
	}
	w.Report(running, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
	for range 2 {
		w.Clock.Step(61 * time.Second)
		w.place(cache)
	}
	want = []string{"Succeeded 0", "AwaitingAgent 0", "NoDaemonFits 1", "NoDaemonFits 2", "QueueFull 4"}
	if diff := cmp.Diff(want, says()); diff != "" {
		t.Errorf("after one has ended (-want +got):\n%s", diff)
	}
}

// TestASuspectIsPlacedAlone writes what an isolated build waits for.
func TestASuspectIsPlacedAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 4)
	other := w.Build("other")
	w.place(cache)
	w.Start(other)
	suspect := w.Build("suspect", testbuild.WithCacheKey("k"))
	w.place(cache)
	w.Start(suspect)
	w.Report(suspect, func(b *v1alpha1.HLBBuild) {
		status.Lose(b, v1alpha1.ReasonOutOfMemory, "no memory", w.Clock.Now())
		status.Retry(b, failure.Verdict{Counts: true, Isolate: true}, w.Clock.Now())
	})
	later := w.Build("later")
	w.place(cache)
	for _, b := range []*v1alpha1.HLBBuild{suspect, later} {
		if fleettest.Read(w, b); status.IsBound(b) {
			t.Errorf("%s is placed while another build runs: %+v", b.Name, b.Status.Placement)
		}
	}
	w.Report(other, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
	w.place(cache)
	if !status.IsBound(fleettest.Read(w, suspect)) || status.IsBound(fleettest.Read(w, later)) {
		t.Errorf("on the empty daemon, the suspect is placed: %v, and the other one: %v", status.IsBound(suspect),
			status.IsBound(later))
	}
}
