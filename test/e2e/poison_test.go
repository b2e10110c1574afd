// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// TestAPoisonBuildRunsAloneAndFails kills buildkitd whenever one build runs, as a build does that takes all memory. The
// build beside it may not be tried again by its own retryLimit, and ends well.
func TestAPoisonBuildRunsAloneAndFails(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := newFleet("poisoned", 2)
	makeFleet(t, cache)
	victim := cache.Name + "-0"
	poison := onKey(cache, "poison", keyOn(cache, victim, "poison"), sleeping(600, "poison"))
	beside := onKey(cache, "poison-beside", keyOn(cache, victim, "beside"), sleeping(20, "beside"))
	beside.Spec.RetryLimit = ptr.To[int32](0)
	apply(t, poison)
	apply(t, beside)
	eventually(t, beside, "the innocent runs", isRunning)
	for n := int32(1); n <= 3; n++ {
		eventually(t, poison, fmt.Sprintf("attempt %d of the poison build runs", n), func(b *v1alpha1.HLBBuild) bool {
			return isRunning(b) && b.Status.Run.Attempt == n
		})
		if alone := poison.Status.Run.Isolated; alone != (n == 3) {
			t.Errorf("attempt %d runs alone: %v", n, alone)
		}
		pid, err := cluster.Process(t.Context(), namespace, harness.Pod(poison.Status.Placement.Daemon), "buildkitd")
		must(t, err)
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	await(t, poison)
	if f := poison.Status.Failure; f == nil || f.Reason != v1alpha1.ReasonPoisonBuild {
		t.Errorf("the poison build ended with %+v", f)
	}
	if n := len(poison.Status.Run.Attempts); n != 2 {
		t.Errorf("%d attempts before the last are in its status, want 2", n)
	}
	await(t, beside)
	succeeded(t, beside)
	if run := beside.Status.Run; run.Attempt == 1 || run.Attempt-run.UncountedAttempts != 1 {
		t.Errorf("the innocent had %d attempts, of which %d did not count", run.Attempt, run.UncountedAttempts)
	}
}
