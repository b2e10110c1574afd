// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// die has a daemon die under its builds and come back.
func (w *world) die(daemon string, builds []*v1alpha1.HLBBuild) {
	w.T.Helper()
	w.SetDaemon(fleettest.Ordinal(daemon), testbuild.WithReady(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired))
	w.SetHolder(daemon, attempt.Taken)
	for _, b := range builds {
		w.step(b)
	}
	w.SetDaemon(fleettest.Ordinal(daemon), testbuild.Serving)
	w.SetHolder(daemon, fleettest.AgentOf(daemon))
	w.Clock.Step(2 * time.Minute)
}

// TestAPoisonBuildIsFoundAndTheInnocentsEnd has a build kill each daemon that it runs on, with others beside it that
// may be tried once more only.
func TestAPoisonBuildIsFoundAndTheInnocentsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(2, 4)
	poison := w.open("poison", testbuild.WithCacheKey("k"), testbuild.WithRetryLimit(1))
	builds := []*v1alpha1.HLBBuild{poison}
	for _, name := range []string{"a", "b", "c"} {
		builds = append(builds, w.open(name, testbuild.WithCacheKey("k"), testbuild.WithRetryLimit(1)))
	}
	deaths, alone := 0, false
	for round := 0; !status.IsFinal(fleettest.Read(w, poison)); round++ {
		if round == 10 {
			t.Fatalf("after %d deaths the poison build is %+v", deaths, poison.Status.Run)
		}
		for _, b := range builds {
			w.step(b)
		}
		w.place(cache)
		var running []*v1alpha1.HLBBuild
		for _, b := range builds {
			if fleettest.Read(w, b); status.IsBound(b) {
				w.Start(b)
				running = append(running, b)
			}
		}
		if !status.IsBound(fleettest.Read(w, poison)) { // it waits for those that run
			for _, b := range running {
				w.Report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
			}
			continue
		}
		daemon := poison.Status.Placement.Daemon
		alone = poison.Status.Run.Isolated
		deaths++
		for _, b := range running {
			if b.Status.Placement.Daemon != daemon {
				w.Report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
			} else if alone && b.Name != "poison" {
				t.Errorf("%s runs beside the suspect", b.Name)
			}
		}
		w.die(daemon, running)
	}
	fleettest.ExpectState(t, poison, v1alpha1.ReasonPoisonBuild, kstatus.FailedStatus)
	if deaths != 3 || !alone {
		t.Errorf("it took %d deaths, alone at last: %v", deaths, alone)
	}
	told := map[string]bool{}
	for _, e := range w.Events.Take() {
		if e.Object != "poison" && strings.Contains(e.Note, "other builds ran there too (3)") {
			told[e.Object] = true
		}
	}
	if len(told) != 3 {
		t.Errorf("the innocents that were told are %v, want all three", told)
	}
	for _, b := range builds[1:] {
		if fleettest.Read(w, b); status.IsFinal(b) && b.Status.Failure != nil {
			t.Errorf("%s failed: %+v", b.Name, b.Status.Failure)
		} else if counted := status.CountedAttempts(b.Status.Run); counted != 1 {
			t.Errorf("%s has used up retries: %d attempts count", b.Name, counted)
		}
	}
	if n := len(poison.Status.Run.Attempts); n != 2 {
		t.Errorf("%d earlier attempts are in the status, want 2", n)
	}
}
