// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// slow is a build that runs long enough to be disturbed; it is given a word so that no two are the same step.
func slow(name, seconds string) *v1alpha1.HLBBuild {
	return newBuild(name,
		strings.NewReplacer("SECONDS", seconds, "NAME", name).
			Replace(`fs default() { image "IMAGE"; run "sleep SECONDS; echo NAME"; }`))
}

// running applies a build and waits until its step runs.
func running(t *testing.T, build *v1alpha1.HLBBuild) {
	t.Helper()
	apply(t, build)
	eventually(t, build, "the build runs", isRunning)
	must(t, harness.Eventually(t.Context(), patience, "its step runs", func(context.Context) (bool, error) {
		return stepRuns(t, build.Status.Placement.Daemon, build.Name)
	}))
}

// stepRuns reports whether the step of the named slow build runs on the daemon.
func stepRuns(t *testing.T, daemon, name string) (bool, error) {
	out, err := cluster.Kubectl(t.Context(), "", "-n", namespace, "exec", harness.Pod(daemon), "-c", "buildkitd", "--",
		"ps", "-o", "args")
	return strings.Contains(out, "echo "+name), err
}

func TestDeletingABuildCancelsIt(t *testing.T) {
	t.Parallel()
	build := slow("deleted", "600")
	running(t, build)
	where := build.Status.Placement.Daemon
	must(t, cluster.Client.Delete(t.Context(), build))
	must(t, harness.Eventually(t.Context(), patience, "the step has ended", func(context.Context) (bool, error) {
		runs, err := stepRuns(t, where, build.Name)
		return !runs, err
	}))
	must(t, harness.Eventually(t.Context(), patience, "the daemon is idle", func(context.Context) (bool, error) {
		return daemon(t, where).Status.RunningBuilds == 0, nil
	}))
}

func TestEditingARunningBuildStartsOver(t *testing.T) {
	build := slow("edited", "600")
	running(t, build)
	where := build.Status.Placement.Daemon
	edit(t, build, func(s *v1alpha1.HLBBuildSpec) { s.HLB.Inline = slow("quick", "0").Spec.HLB.Inline })
	await(t, build)
	succeeded(t, build)
	if h := build.Status.History; len(h) != 1 || h[0].ID != "g1" || h[0].Reason != v1alpha1.ReasonCancelled {
		t.Errorf("history is %+v, want g1 cancelled", h)
	}
	must(t, harness.Eventually(t.Context(), patience, "the old step has ended", func(context.Context) (bool, error) {
		runs, err := stepRuns(t, where, build.Name)
		return !runs, err
	}))
}

func TestABuildSurvivesTheManager(t *testing.T) {
	build := slow("orphan", "8")
	running(t, build)
	_, err := cluster.Kubectl(t.Context(), "", "-n", harness.SystemNamespace, "delete", "pod", "-l",
		"app.kubernetes.io/name=hlb-operator", "--wait=false")
	must(t, err)
	await(t, build)
	succeeded(t, build)
	if build.Status.Run.Attempt != 1 {
		t.Errorf("the build took %d attempts", build.Status.Run.Attempt)
	}
	must(t, cluster.WaitManager(t.Context()))
	next := slow("after-manager", "0")
	run(t, next)
	succeeded(t, next)
}

// TestALostDaemonCostsOneAttempt kills a daemon's pod without warning. The build is tried once more and ends well.
func TestALostDaemonCostsOneAttempt(t *testing.T) {
	build := slow("victim", "10")
	running(t, build)
	first := build.Status.Placement.Daemon
	kubectl(t, "delete", "pod", harness.Pod(first), "--grace-period=0", "--force")
	await(t, build)
	succeeded(t, build)
	if build.Status.Run.Attempt != 2 {
		t.Errorf("the build took %d attempts, want 2", build.Status.Run.Attempt)
	}
	lost := build.Status.Run.Lost
	if lost == nil || lost.Daemon != first ||
		// its agent may have been told to drain first
		lost.Reason != v1alpha1.ReasonDaemonLost && lost.Reason != v1alpha1.ReasonDaemonDraining {
		t.Errorf("the lost attempt is %+v", lost)
	}
	must(t, cluster.WaitCache(t.Context(), fleet))
}

// TestScalingDownAndUp takes two daemons away, of which one was cordoned, and brings them back: a build that runs on
// one of them is waited for, and a daemon that comes back is as warm as it went.
func TestScalingDownAndUp(t *testing.T) {
	build := onOrdinal(t, "fleet-2")
	epoch := daemon(t, "fleet-2").Status.VolumeEpoch
	cordon(t, "fleet-2")
	kubectl(t, "scale", "bcache/fleet", "--replicas=1")
	await(t, build)
	succeeded(t, build)
	if build.Status.Run.Attempt != 1 {
		t.Errorf("the build took %d attempts: scaling down did not wait for it", build.Status.Run.Attempt)
	}
	must(t, cluster.WaitCache(t.Context(), reread(t)))
	if d := daemon(t, "fleet-2"); meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionReady) {
		t.Error("fleet-2 is Ready after it was scaled away")
	}
	if fleet.Status.ReadyReplicas != 1 {
		t.Errorf("%d daemons are ready, want 1", fleet.Status.ReadyReplicas)
	}
	kubectl(t, "scale", "bcache/fleet", "--replicas=3")
	must(t, cluster.WaitCache(t.Context(), reread(t)))
	uncordon(t, "fleet-2")
	back := daemon(t, "fleet-2")
	if back.Status.VolumeEpoch != epoch || epoch == "" {
		t.Errorf("the volume epoch is %q, was %q", back.Status.VolumeEpoch, epoch)
	}
	requestRun(t, build)
	await(t, build)
	succeeded(t, build)
	if got := build.Status.Placement.Daemon; got != "fleet-2" {
		t.Errorf("the key went to %s, its warm daemon is fleet-2", got)
	}
	if s := build.Status.Steps; s.Cached != s.Total {
		t.Errorf("steps are %s on the daemon that came back", s.Display)
	}
}

// onOrdinal runs builds of different keys until one of them runs on the named daemon.
func onOrdinal(t *testing.T, name string) *v1alpha1.HLBBuild {
	t.Helper()
	for i := range 40 {
		build := slow("scale-"+string(rune('a'+i%26))+string(rune('a'+i/26)), "8")
		apply(t, build)
		eventually(t, build, "the build is placed", func(b *v1alpha1.HLBBuild) bool {
			return b.Status.Placement != nil
		})
		if build.Status.Placement.Daemon == name {
			eventually(t, build, "the build runs", isRunning)
			return build
		}
		must(t, cluster.Client.Delete(t.Context(), build))
	}
	t.Fatalf("none of 40 keys has its home on %s", name)
	return nil
}

func reread(t *testing.T) *v1alpha1.BuildCache {
	t.Helper()
	must(t, cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(fleet), fleet))
	return fleet
}

// TestARollOutWaitsForBuilds changes the daemons' configuration while a build runs.
func TestARollOutWaitsForBuilds(t *testing.T) {
	build := slow("rolled", "10")
	running(t, build)
	before := reread(t).DeepCopy()
	fleet.Spec.BuildKit.MaxParallelism = 8
	must(t, cluster.Client.Patch(t.Context(), fleet, client.MergeFrom(before)))
	await(t, build)
	succeeded(t, build)
	if build.Status.Run.Attempt != 1 {
		t.Errorf("the build took %d attempts: the roll-out did not wait for it", build.Status.Run.Attempt)
	}
	must(t, cluster.WaitCache(t.Context(), fleet))
	config := kubectl(t, "exec", harness.Pod(build.Status.Placement.Daemon), "-c", "buildkitd", "--", "cat",
		"/etc/buildkit/buildkitd.toml")
	if !strings.Contains(config, "max-parallelism = 8") {
		t.Errorf("the daemon's configuration is still\n%s", config)
	}
}
