// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/fleet/record"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// TestRoundsAreRecordedAndReplayed has a loop live through builds and a restart.
func TestRoundsAreRecordedAndReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(2, 1)
	dir, rounds := t.TempDir(), 0
	for manager := range 2 {
		recorder, err := record.Open(dir, 1<<20)
		w.Must(err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- recorder.Start(ctx) }()
		w.restart()
		w.placement.Recorder = recorder
		for i := range 3 {
			b := w.Build(fmt.Sprintf("b%d-%d", manager, i), testbuild.WithCacheKey("app"))
			w.place(cache)
			w.Clock.Step(time.Second)
			w.Start(b)
			w.place(cache)
			w.Clock.Step(time.Minute)
			w.Report(b, func(b *v1alpha1.HLBBuild) {
				b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: i == 0}
				status.Succeed(b, w.Clock.Now())
			})
			w.place(cache)
			rounds += 3
		}
		stop()
		w.Must(<-ended)
	}
	p := record.Player{}
	w.Must(p.Play(dir))
	if p.Cycles != rounds || p.Skipped != 0 || len(p.Differences) > 0 {
		t.Errorf("%d of %d rounds were replayed and %d skipped, with the differences %q",
			p.Cycles, rounds, p.Skipped, p.Differences)
	}
}
