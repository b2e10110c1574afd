// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// The bounds of a daemon that does not work: it gets no builds after outWithin, which is 20 seconds and what a busy
// machine takes for the rest, and buildkitd is killed killedWithin later.
const (
	outWithin    = 40 * time.Second
	killedWithin = time.Minute
)

// struckFleet is a fleet of two. The daemon victim holds a mount of a key, and a slow build runs on it.
type struckFleet struct {
	cache  *v1alpha1.BuildCache
	victim string
	held   content
	key    string
	struck *v1alpha1.HLBBuild
}

func makeStruckFleet(t *testing.T, name string) *struckFleet {
	t.Helper()
	f := &struckFleet{cache: snapshotted(name, 2), victim: name + "-0", held: content{name + "/held", "shared", 30000}}
	makeFleet(t, f.cache)
	f.key = keyOn(f.cache, f.victim, name)
	exported(t, built(t, f.cache, name+"-fill", f.key, filling(f.held), f.victim))
	f.struck = onKey(f.cache, name+"-struck", keyOn(f.cache, f.victim, name+"-struck"), sleeping(8, "struck"))
	apply(t, f.struck)
	eventually(t, f.struck, "it runs", isRunning)
	if f.struck.Status.Placement.Daemon != f.victim {
		t.Fatalf("the running build is on %s", f.struck.Status.Placement.Daemon)
	}
	return f
}

// isWarm checks that the victim has what it held.
func (f *struckFleet) isWarm(t *testing.T) {
	t.Helper()
	warm(t, built(t, f.cache, f.cache.Name+"-check", f.key, checking(f.held), f.victim))
}

// out waits until a daemon takes no builds and returns the reason.
func out(t *testing.T, name string) string {
	t.Helper()
	began, reason := time.Now(), ""
	must(t, harness.Eventually(t.Context(), outWithin, name+" is out", func(context.Context) (bool, error) {
		ready := meta.FindStatusCondition(daemon(t, name).Status.Conditions, v1alpha1.ConditionReady)
		reason = ready.Reason
		return ready.Status != "True", nil
	}))
	t.Logf("%s was out after %s: %s", name, time.Since(began).Round(time.Second), reason)
	return reason
}

// elsewhere waits for the end of a build that a daemon has lost.
func elsewhere(t *testing.T, struck *v1alpha1.HLBBuild, victim string) {
	t.Helper()
	await(t, struck)
	succeeded(t, struck)
	lost := struck.Status.Run.Lost
	if struck.Status.Run.Attempt != 2 || lost == nil || lost.Daemon != victim ||
		struck.Status.Placement.Daemon == victim {
		t.Errorf("the build ended on %s in attempt %d, lost %+v; want its second attempt elsewhere",
			struck.Status.Placement.Daemon, struck.Status.Run.Attempt, lost)
	}
	toldOnce(t, struck)
}

// restarts is how often buildkitd has restarted in a daemon's pod.
func restarts(t *testing.T, name string) int32 {
	t.Helper()
	pod := &corev1.Pod{}
	must(t, cluster.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: harness.Pod(name)}, pod))
	for _, s := range pod.Status.InitContainerStatuses {
		if s.Name == "buildkitd" {
			return s.RestartCount
		}
	}
	return 0
}

// TestAStuckBuildkitdIsRestarted stops buildkitd, which then answers nobody and hears no SIGTERM. Its build is tried
// again elsewhere, and the daemon is killed and comes back with all that it held.
func TestAStuckBuildkitdIsRestarted(t *testing.T) {
	t.Parallel() // it mostly waits
	f := makeStruckFleet(t, "stuck")
	victim := f.victim
	before := daemon(t, victim)
	pid, err := cluster.Process(t.Context(), namespace, harness.Pod(victim), "buildkitd")
	must(t, err)
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	stopped := time.Now()

	out(t, victim)
	must(t, harness.Eventually(t.Context(), killedWithin, "buildkitd is killed", func(context.Context) (bool, error) {
		return syscall.Kill(pid, 0) != nil, nil
	}))
	t.Logf("buildkitd was killed %s after it was stopped", time.Since(stopped).Round(time.Second))
	elsewhere(t, f.struck, victim)
	serving(t, victim)
	if n := restarts(t, victim); n != 1 {
		t.Errorf("buildkitd has restarted %d times, want once", n)
	}
	after := daemon(t, victim)
	if after.Status.VolumeEpoch != before.Status.VolumeEpoch || after.Status.AgentID != before.Status.AgentID {
		t.Errorf("the daemon came back with epoch %s and agent %s, had %s and %s", after.Status.VolumeEpoch,
			after.Status.AgentID, before.Status.VolumeEpoch, before.Status.AgentID)
	}
	f.isWarm(t)
}

// TestAStalledDiskMovesBuilds freezes a daemon's volume: neither buildkitd nor the agent can write anything. Builds are
// tried again elsewhere, and the daemon is back with what it held once the volume is.
func TestAStalledDiskMovesBuilds(t *testing.T) {
	t.Parallel() // it mostly waits
	f := makeStruckFleet(t, "stalled")
	victim := f.victim
	pid, err := cluster.Process(t.Context(), namespace, harness.Pod(victim), "buildkitd")
	must(t, err)
	thaw, err := harness.Freeze(pid, "/var/lib/buildkit")
	must(t, err)
	t.Cleanup(func() { thaw() }) //nolint:errcheck // it is thawed already unless the test has failed

	out(t, victim)
	elsewhere(t, f.struck, victim)
	must(t, thaw())
	serving(t, victim)
	f.isWarm(t)
}

// serving waits until a daemon takes builds.
func serving(t *testing.T, name string) {
	t.Helper()
	must(t, harness.Eventually(t.Context(), patience, name+" takes builds", func(context.Context) (bool, error) {
		return meta.IsStatusConditionTrue(daemon(t, name).Status.Conditions, v1alpha1.ConditionReady), nil
	}))
}
