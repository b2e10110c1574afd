// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/hlb/solve"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// TestAStepHasItsLimits has a step take more memory than it may, beside a step of another build that takes what it may.
func TestAStepHasItsLimits(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))
	taking := func(mib int, name string, limits daemon.StepLimits) *daemon.Job {
		job := inline(fmt.Sprintf(
			"fs default() {\n\timage %q\n\trun \"echo %s; dd if=/dev/zero of=/dev/null bs=%dM count=20\"\n}\n",
			registry.Busybox(), name, mib))
		job.Steps = limits
		return job
	}
	bounded := daemon.StepLimits{MemoryBytes: 64 << 20, MilliCPU: 500}
	build(t, d, taking(1, "pulls the image", bounded))

	var neighbours errgroup.Group
	neighbours.Go(func() error {
		_, err := d.Build(t.Context(), taking(32, "the neighbour", bounded))
		return err
	})
	_, err := d.Build(t.Context(), taking(256, "the hog", bounded))
	var step *solve.StepError
	if !errors.As(err, &step) || step.ExitCode != 137 {
		t.Errorf("a step over its memory ended with %v, want exit code 137", err)
	}
	if err := neighbours.Wait(); err != nil {
		t.Errorf("a step beside it: %v", err)
	}
	build(t, d, taking(256, "the hog", daemon.StepLimits{}))
	if again := build(t, d, taking(256, "the hog", bounded)); again.Cached != again.Total {
		t.Errorf("with limits %d of %d steps are cached that ran without", again.Cached, again.Total)
	}
}
