// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// listing counts lists.
type listing struct {
	*mirror
	lists int
}

func (l *listing) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	l.lists++
	return l.mirror.List(ctx, list, options...)
}

// TestRoundsReadWhatHasChanged has a manager whose informers report changes beside one that lists in each round.
func TestRoundsReadWhatHasChanged(t *testing.T) {
	t.Parallel()
	l := &listing{mirror: burst(3, 4, 5)}
	clock := envtestkit.NewClock()
	cache := testbuild.BuildCache("ns", "c", testbuild.WithReplicas(3), testbuild.WithSlots(4))
	r := &Reconciler{
		Client: l, Events: &envtestkit.Recorder{}, Clock: clock, Params: scheduler.DefaultParams(),
		changes: newChanges(),
	}
	l.changes = r.changes
	round := func() {
		t.Helper()
		clock.Step(time.Second)
		if _, err := r.Reconcile(t.Context(), cache); err != nil {
			t.Fatal(err)
		}
	}
	round()
	first := l.lists
	for i := range 4 {
		l.end(i, clock.Now())
		round()
	}
	if l.lists != first || first == 0 {
		t.Errorf("the first round made %d lists and later ones %d", first, l.lists-first)
	}
	for name, b := range l.builds {
		if status.IsWaiting(b) {
			t.Errorf("%s still waits although a slot came free for each build", name)
		}
	}
	for name, b := range l.builds { // one is deleted, and no longer counts
		delete(l.builds, name)
		l.changes.noteBuild(t.Context(), b)
		break
	}
	before := len(saved(t, r, cache).Builds)
	round()
	if after := len(saved(t, r, cache).Builds); after != before-1 {
		t.Errorf("%d builds are known after one of %d was deleted", after, before)
	}
}
