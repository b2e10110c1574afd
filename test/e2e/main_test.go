// SPDX-License-Identifier: Apache-2.0

// Package e2e runs real builds on a real cluster: three nodes, real kubelets, real buildkitd daemons, a real
// registry. Nothing is faked. Most tests share one fleet and run one after the other; those with a fleet of their own
// that mostly wait run at once at the end. Each uses cache keys and names of its own.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

const (
	namespace = "hlb-e2e"
	// patience is a generous bound on one build; none takes more than seconds on an idle machine.
	patience = 5 * time.Minute
)

// cluster and fleet are shared by all tests.
var (
	cluster *harness.Cluster
	fleet   *v1alpha1.BuildCache
	// stamp makes references in the registry different in each run, which may find the registry of an earlier one.
	stamp = fmt.Sprint(time.Now().Unix())
)

func TestMain(m *testing.M) {
	if os.Getenv(frontendVariable) != "" { // inside a build, see frontendImage
		if err := serveFrontend(); err != nil {
			fmt.Fprintln(os.Stderr, "front end:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := setUp(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "set up the cluster:", err)
		os.Exit(1)
	}
	// Parallel tests have fleets of their own and mostly wait, so that more of them than processors run at once.
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, "set the number of parallel tests:", err)
		os.Exit(1)
	}
	code := m.Run()
	// What placement decided in all tests must come out again.
	first := client.ObjectKey{Namespace: namespace, Name: fleet.Name + "-0"}
	if err := cluster.Replay(context.Background(), first); err != nil {
		fmt.Fprintln(os.Stderr, "replay the recording of placement:", err)
		code = 1
	}
	if code == 0 {
		if err := cluster.DeleteNamespace(context.Background(), namespace); err != nil {
			fmt.Fprintln(os.Stderr, "clean up:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func setUp(ctx context.Context) error {
	var err error
	if cluster, err = harness.Open(ctx, os.Stderr); err != nil {
		return err
	}
	if cluster.Local == nil {
		return errors.New("these tests kill nodes and registries, so they need the local cluster: unset CLUSTER")
	}
	// nodes that a run which was broken off has drained
	if _, err := cluster.Kubectl(ctx, "", "uncordon", "--selector=kubernetes.io/os=linux"); err != nil {
		return err
	}
	if err := cluster.RecordPlacement(); err != nil {
		return err
	}
	if err := cluster.Install(ctx); err != nil {
		return err
	}
	if err := cluster.DeleteNamespace(ctx, namespace); err != nil {
		return err
	}
	if err := cluster.Namespace(ctx, namespace); err != nil {
		return err
	}
	fleet = newFleet("fleet", 3)
	if err := cluster.Client.Create(ctx, fleet); err != nil {
		return err
	}
	return cluster.WaitCache(ctx, fleet)
}

// newFleet is a fleet of small volumes whose daemons run three builds each.
func newFleet(name string, replicas int32) *v1alpha1.BuildCache {
	cache := cluster.BuildCache(namespace, name, replicas, "2Gi", "e2e-cache-"+stamp)
	cache.Spec.AllowedFrontends = []string{cluster.Info.Registry + "/e2e-builtins-" + stamp + "-front"}
	cache.Spec.BuildKit.MaxConcurrentBuilds, cache.Spec.BuildKit.DrainTimeoutSeconds = 3, 120
	return cache
}

// makeFleet creates the fleet, waits until it is Ready, and deletes it when the test ends.
func makeFleet(t *testing.T, cache *v1alpha1.BuildCache) {
	t.Helper()
	must(t, cluster.Client.Create(t.Context(), cache))
	t.Cleanup(func() {
		if err := cluster.Client.Delete(contextFor(t), cache); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	must(t, cluster.WaitCache(t.Context(), cache))
}

// newBuild is a build of an inline program on the fleet. IMAGE in the program stands for the busybox image.
func newBuild(name, program string) *v1alpha1.HLBBuild {
	text := strings.ReplaceAll(program, "IMAGE", cluster.Images["busybox"])
	return &v1alpha1.HLBBuild{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: v1alpha1.HLBBuildSpec{
			CacheRef: v1alpha1.CacheReference{Name: fleet.Name}, HLB: &v1alpha1.HLBSpec{Inline: &text},
			RetryLimit: ptr.To[int32](3),
		},
	}
}

// apply creates the build and removes it when the test ends.
func apply(t *testing.T, build *v1alpha1.HLBBuild) {
	t.Helper()
	must(t, cluster.Client.Create(t.Context(), build))
	t.Cleanup(func() {
		if err := cluster.Client.Delete(context.WithoutCancel(t.Context()), build); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
}

// run applies the build and waits until its run has ended.
func run(t *testing.T, build *v1alpha1.HLBBuild) {
	t.Helper()
	apply(t, build)
	await(t, build)
}

// await waits until the build's current run has ended, and checks that tools read the end as what it is.
func await(t *testing.T, build *v1alpha1.HLBBuild) {
	t.Helper()
	must(t, cluster.WaitBuild(t.Context(), build, patience))
	want := status.CurrentStatus
	if build.Status.Failure != nil {
		want = status.FailedStatus
	}
	if got := envtestkit.Kstatus(t, build); got != want {
		t.Errorf("kstatus reads %s, want %s; %s", got, want, harness.Describe(build))
	}
}

// edit changes the build's spec.
func edit(t *testing.T, build *v1alpha1.HLBBuild, change func(*v1alpha1.HLBBuildSpec)) {
	t.Helper()
	must(t, cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(build), build))
	before := build.DeepCopy()
	change(&build.Spec)
	must(t, cluster.Client.Patch(t.Context(), build, client.MergeFrom(before)))
}

// requestRun asks for another run of the build as it is.
func requestRun(t *testing.T, build *v1alpha1.HLBBuild) {
	t.Helper()
	must(t, cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(build), build))
	before := build.DeepCopy()
	metav1.SetMetaDataAnnotation(&build.ObjectMeta, v1alpha1.AnnotationRequestedAt, time.Now().Format(time.RFC3339Nano))
	must(t, cluster.Client.Patch(t.Context(), build, client.MergeFrom(before)))
}

// succeeded fails the test unless the build's run went well.
func succeeded(t *testing.T, build *v1alpha1.HLBBuild) {
	t.Helper()
	if build.Status.Failure != nil {
		t.Fatalf("build failed: %s", harness.Describe(build))
	}
}

// failedWith fails the test unless the run failed for the reason, and returns the failure.
func failedWith(t *testing.T, build *v1alpha1.HLBBuild, reason string) *v1alpha1.FailureStatus {
	t.Helper()
	f := build.Status.Failure
	if f == nil || f.Reason != reason {
		t.Fatalf("want the run to fail with %s, have: %s", reason, harness.Describe(build))
	}
	return f
}

// eventually waits until the condition holds for the build as the API has it.
func eventually(t *testing.T, build *v1alpha1.HLBBuild, what string, holds func(*v1alpha1.HLBBuild) bool) {
	t.Helper()
	must(t, harness.Eventually(t.Context(), patience, what, func(ctx context.Context) (bool, error) {
		if err := cluster.Client.Get(ctx, client.ObjectKeyFromObject(build), build); err != nil {
			return false, err
		}
		return holds(build), nil
	}))
}

func isRunning(b *v1alpha1.HLBBuild) bool {
	return meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionRunning)
}

// daemon reads the BuildDaemon that the build is or was on.
func daemon(t *testing.T, name string) *v1alpha1.BuildDaemon {
	t.Helper()
	d := &v1alpha1.BuildDaemon{}
	must(t, cluster.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, d))
	return d
}

// kubectl runs kubectl in the tests' namespace.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cluster.Kubectl(t.Context(), "", append([]string{"-n", namespace}, args...)...)
	must(t, err)
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logPath is where the log of a build's attempt is in its daemon's containers.
func logPath(b *v1alpha1.HLBBuild) string { return "/var/lib/hlb-agent/logs/" + b.Status.Log.File }
