// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
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
	ended := w.ended(ctx, b, patience)
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

// daemonOutOfMemory runs a process beside buildkitd, in its container, that takes all memory and is the last to be
// killed.
func daemonOutOfMemory(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	victim := harness.Pod(w.daemonOf(t, builds))
	pid := process(t, w, namespace, func() (string, error) { return victim, nil }, "buildkitd")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := w.Kubectl(ctx, "", "-n", namespace, "exec", victim, "-c", "buildkitd", "--", "/bin/sh", "-c",
		"echo -900 > /proc/self/oom_score_adj || exit; tail /dev/zero")
	if err == nil || syscall.Kill(pid, 0) == nil {
		t.Fatalf("buildkitd was not killed: %v", err)
	}
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
