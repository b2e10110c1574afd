// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// TestADaemonIsDeletedInMidRound has a daemon go after some of a round's builds were bound to it and before others
// are. One of its builds had been taken up before. Each build ends once, on a daemon that is there, and only the one
// that had begun loses an attempt.
func TestADaemonIsDeletedInMidRound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(3, 4)
	begun := w.open("begun", testbuild.WithCacheKey("begun"))
	w.place(cache)
	w.Start(begun)
	gone := begun.Status.Placement.Daemon
	builds := []*v1alpha1.HLBBuild{begun}
	for i := range 3 { // some whose home is the daemon that goes
		key := fleettest.KeyAt(t, cache, gone, i)
		builds = append(builds, w.open(fmt.Sprintf("there%d", i), testbuild.WithCacheKey(key)))
	}
	for i := range 5 {
		builds = append(builds, w.open(fmt.Sprintf("b%d", i), testbuild.WithCacheKey(fmt.Sprintf("k%d", i))))
	}
	runs := map[string]string{}
	for _, b := range builds {
		runs[b.Name] = b.Status.Run.ID
	}

	var once sync.Once
	w.placement.Client = interceptor.NewClient(w.Client, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
			options ...client.SubResourcePatchOption) error {
			err := c.SubResource(sub).Patch(ctx, o, p, options...)
			if b := o.(*v1alpha1.HLBBuild); err == nil && b.Status.Placement != nil &&
				b.Status.Placement.Daemon == gone {
				once.Do(func() {
					err = c.Delete(ctx, testbuild.BuildDaemon(w.NS, "cache", fleettest.Ordinal(gone)))
				})
			}
			return err
		},
	})
	w.place(cache)
	w.placement.Client = w.Client
	if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.NS, Name: gone},
		&v1alpha1.BuildDaemon{}); !apierrors.IsNotFound(err) {
		t.Fatalf("no build of the round went to %s, so it was not deleted in mid-round: %v", gone, err)
	}

	ended := map[string]int{}
	for range 10 { // the manager and the agents take turns
		for _, b := range builds {
			w.step(b)
		}
		w.Clock.Step(time.Second)
		w.place(cache)
		for _, b := range builds {
			if fleettest.Read(w, b); !status.IsBound(b) || b.Status.Placement.Daemon == gone {
				continue
			}
			w.Start(b)
			w.Report(b, func(b *v1alpha1.HLBBuild) { status.Succeed(b, w.Clock.Now()) })
			ended[b.Name]++
		}
	}
	for _, b := range builds {
		run := b.Status.Run
		if ended[b.Name] != 1 || run.FinishedAt == nil || run.ID != runs[b.Name] {
			t.Errorf("%s ended %d times; its run is %+v", b.Name, ended[b.Name], run)
		}
		if attempts := map[bool]int32{true: 2, false: 1}[b == begun]; run.Attempt != attempts ||
			(run.Lost != nil) != (b == begun) {
			t.Errorf("%s had %d attempts, want %d; lost: %+v", b.Name, run.Attempt, attempts, run.Lost)
		}
	}
	if bound := w.Bound(); len(bound) != 0 {
		t.Errorf("still bound: %v", bound)
	}
}
