// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// watch follows all builds of a fleet as a user's informer does.
type watch struct {
	f    *fleet
	mu   sync.Mutex
	seen map[string]*followed
	done int
}

// followed is what was seen of one build.
type followed struct {
	created, placed time.Time // placed is the manager's own note
	took            float64   // seconds from when the agent took it up
	ready, ended    bool
	attempt         int32
	warm            bool
}

func (f *fleet) watchBuilds() *watch {
	f.t.Helper()
	w := &watch{f: f, seen: map[string]*followed{}}
	informers, err := cache.New(f.Config, cache.Options{Scheme: f.Scheme, DefaultNamespaces: map[string]cache.Config{f.ns: {}}})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.t.Cleanup(cancel)
	informer, err := informers.GetInformer(ctx, &v1alpha1.HLBBuild{})
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { w.see(o.(*v1alpha1.HLBBuild)) },
		UpdateFunc: func(_, o any) { w.see(o.(*v1alpha1.HLBBuild)) },
	}); err != nil {
		f.t.Fatal(err)
	}
	go informers.Start(ctx) //nolint:errcheck // it ends with the test
	if !informers.WaitForCacheSync(ctx) {
		f.t.Fatal("the informer did not start")
	}
	return w
}

func (w *watch) see(b *v1alpha1.HLBBuild) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.seen[b.Name]
	if s == nil {
		s = &followed{created: time.Now()}
		w.seen[b.Name] = s
	}
	if run := b.Status.Run; run != nil && run.PlacedAt != nil && s.placed.IsZero() {
		s.placed = run.PlacedAt.Time
		s.warm = b.Status.Placement != nil && b.Status.Placement.Warm
	}
	if run := b.Status.Run; run != nil && run.FinishedAt != nil && !s.ended {
		s.ended, s.ready = true, meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionReady)
		s.attempt = run.Attempt
		if run.StartedAt != nil {
			s.took = run.FinishedAt.Sub(run.StartedAt.Time).Seconds()
		}
		w.done++
	}
}

// buildSeconds is how long all builds that have ended had their slots, together.
func (w *watch) buildSeconds() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := 0.0
	for _, s := range w.seen {
		sum += s.took
	}
	return sum
}

// awaitDone waits until so many builds have ended.
func (w *watch) awaitDone(n int, within time.Duration) {
	w.f.t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		w.mu.Lock()
		done := w.done
		w.mu.Unlock()
		if done >= n {
			return
		}
	}
	w.f.t.Fatalf("%d of %d builds have ended within %v\n%s", w.done, n, within, w.f.manager.tail())
}

// placements are the rate of placement of the builds whose names begin so, and the median and the 99th percentile of
// the seconds from when a watcher first saw them to when the manager placed them.
func (w *watch) placements(prefix string) (perSecond, p50, p99 float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var first, last time.Time
	var took []float64
	for name, s := range w.seen {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if first.IsZero() || s.placed.Before(first) {
			first = s.placed
		}
		if s.placed.After(last) {
			last = s.placed
		}
		took = append(took, max(s.placed.Sub(s.created).Seconds(), 0))
	}
	slices.Sort(took)
	return float64(len(took)-1) / last.Sub(first).Seconds(), took[len(took)/2], took[len(took)*99/100]
}

// warmShare is the part of the builds that the manager expected to find their key on their daemon.
func (w *watch) warmShare(prefix string) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	all, warm := 0, 0
	for name, s := range w.seen {
		if strings.HasPrefix(name, prefix) {
			all++
			if s.warm {
				warm++
			}
		}
	}
	return float64(warm) / float64(all)
}

// lost counts the attempts that were followed by another one.
func (w *watch) lost() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, s := range w.seen {
		if s.ended {
			n += int(s.attempt) - 1
		}
	}
	return n
}

// failed names the builds that ended without success.
func (w *watch) failed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for name, s := range w.seen {
		if s.ended && !s.ready {
			out = append(out, name)
		}
	}
	return out
}
