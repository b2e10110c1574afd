// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// hostile is a build with a shell command of its own, on the key of the first of the builds. It is not counted among
// the builds, and has to fail for the reason.
func (w *world) hostile(t *testing.T, name, command string) *v1alpha1.HLBBuild {
	t.Helper()
	w.count++
	b := w.newBuild(fmt.Sprintf("%s-%d", name, w.count), "key-0", 0)
	program := fmt.Sprintf("fs default() {\n\timage %q\n\trun %q\n}\n", w.image, command)
	b.Spec.HLB.Inline = &program
	must(t, w.create(t.Context(), b))
	return b
}

// failsWith waits until a hostile build has failed for the reason.
func (w *world) failsWith(ctx context.Context, b *v1alpha1.HLBBuild, reason string) error {
	ended := w.Ended(ctx, b, patience)
	if f := b.Status.Failure; !ended || f == nil || f.Reason != reason {
		return fmt.Errorf("want the build to fail with %s, have: %s", reason, harness.Describe(b))
	}
	return w.Client.Delete(ctx, b)
}

// stepOutOfMemory runs a step that takes memory until it is killed.
func stepOutOfMemory(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	hog := w.hostile(t, "hog", "tail /dev/zero")
	ctx := context.WithoutCancel(t.Context())
	return func() error { return w.failsWith(ctx, hog, v1alpha1.ReasonOutOfMemory) }
}

// daemonOutOfMemory puts a process that takes all memory into the container of buildkitd, which the kernel kills first.
func daemonOutOfMemory(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	pid := target(t, w, builds, "buildkitd")
	hog := exec.CommandContext(t.Context(), "sh", "-c", "sleep 0.5; exec dd if=/dev/zero of=/dev/null bs=2G")
	must(t, hog.Start())
	group, err := harness.MemoryGroup(pid)
	must(t, err)
	for file, text := range map[string]string{
		fmt.Sprintf("/proc/%d/oom_score_adj", pid): "1000",
		filepath.Join(group, "cgroup.procs"):       fmt.Sprint(hog.Process.Pid),
	} {
		must(t, os.WriteFile(file, []byte(text), 0o644))
	}
	killed := func(context.Context) (bool, error) { return syscall.Kill(pid, 0) != nil, nil }
	began := time.Now()
	err = harness.Eventually(t.Context(), time.Minute, "buildkitd is killed for want of memory", killed)
	t.Logf("buildkitd was killed after %s", time.Since(began))
	hog.Process.Kill() //nolint:errcheck // the kernel may have been faster
	hog.Wait()         //nolint:errcheck // it was killed
	must(t, err)
	return nil
}

// poison kills the buildkitd of one build whenever it runs, as a build does that takes all of a node's memory.
func poison(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	p := w.hostile(t, "poison", "sleep 300")
	for n := int32(1); n <= 3; n++ {
		what := fmt.Sprintf("attempt %d of the poison build runs", n)
		must(t, harness.Eventually(t.Context(), patience, what, func(ctx context.Context) (bool, error) {
			err := w.Client.Get(ctx, client.ObjectKeyFromObject(p), p)
			return meta.IsStatusConditionTrue(p.Status.Conditions, v1alpha1.ConditionRunning) &&
				p.Status.Run.Attempt == n, err
		}))
		on := harness.Pod(p.Status.Placement.Daemon)
		send(t, process(t, w, namespace, func() (string, error) { return on, nil }, "buildkitd"), syscall.SIGKILL)
	}
	ctx := context.WithoutCancel(t.Context())
	return func() error { return w.failsWith(ctx, p, v1alpha1.ReasonPoisonBuild) }
}

// deleteGuests deletes a namespace whose builds run on the fleet of another one. It has to be gone, and their steps
// ended, in less than a minute.
func deleteGuests(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	const guests = namespace + "-guests"
	ctx := context.WithoutCancel(t.Context())
	must(t, w.Namespace(ctx, guests))
	var builds []*v1alpha1.HLBBuild
	for i := range 4 {
		b := w.newBuild(fmt.Sprintf("guest-%d", i), fmt.Sprintf("guest-%d", i), 300)
		b.Namespace, b.Spec.CacheRef.Namespace = guests, namespace
		must(t, w.create(ctx, b))
		builds = append(builds, b)
	}
	must(t, harness.Eventually(ctx, patience, "a guest builds", func(context.Context) (bool, error) {
		return w.living(builds, 3*time.Second) > 0, nil
	}))
	began := time.Now()
	return func() error {
		err := w.DeleteNamespace(ctx, guests)
		if took := time.Since(began); took > time.Minute {
			err = errors.Join(err, fmt.Errorf("the namespace was gone after %s", took))
		}
		time.Sleep(5 * time.Second)
		if n := w.living(builds, 3*time.Second); n > 0 {
			err = errors.Join(err, fmt.Errorf("%d steps of deleted builds go on", n))
		}
		return err
	}
}

// living counts the builds of which the witness has heard within the time.
func (w *world) living(builds []*v1alpha1.HLBBuild, within time.Duration) (n int) {
	for _, b := range builds {
		if v := w.witness.of(b.Name); time.Since(v.last) < within {
			n++
		}
	}
	return n
}
