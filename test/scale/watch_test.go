// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// watch follows all builds of a fleet as a user's informer does.
type watch struct {
	f    *fleet
	mu   sync.Mutex
	seen map[string]*followed
	done int
	// writes of statuses of builds, by what they did.
	writes map[string]int
}

// followed is what was seen of one build.
type followed struct {
	applied      time.Time // just before the request that created it
	placed       time.Time // as the manager noted it
	observed     time.Time // when its placement was seen
	status       v1alpha1.HLBBuildStatus
	took         float64 // seconds from when the agent took it up
	ready, ended bool
	attempt      int32
	warm         bool
}

func (f *fleet) watchBuilds() *watch {
	f.t.Helper()
	w := &watch{f: f, seen: map[string]*followed{}, writes: map[string]int{}}
	own := map[string]cache.Config{f.ns: {}}
	informers, err := cache.New(f.config, cache.Options{Scheme: f.Scheme, DefaultNamespaces: own})
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

// applied notes that a build is about to be created.
func (w *watch) applied(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[name] = &followed{applied: time.Now()}
}

func (w *watch) see(b *v1alpha1.HLBBuild) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.seen[b.Name]
	if did := transition(&s.status, &b.Status); did != "" {
		w.writes[did]++
	}
	s.status = b.Status
	if run := b.Status.Run; run != nil && run.PlacedAt != nil && s.placed.IsZero() {
		s.placed, s.observed = run.PlacedAt.Time, time.Now()
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

// transition names what a write of a build's status did; empty when no run changed.
func transition(before, after *v1alpha1.HLBBuildStatus) string {
	was, is := before.Run, after.Run
	if was == nil || is != nil && was.ID != is.ID {
		was = &v1alpha1.RunStatus{}
	}
	switch {
	case equality.Semantic.DeepEqual(before, after), before.Run == nil && is == nil:
		return "" // at most the defaults of a new object
	case is == nil:
		return "other"
	case was.FinishedAt == nil && is.FinishedAt != nil:
		return "ended"
	case is.Lost != nil && (was.Lost == nil || was.Lost.Attempt != is.Lost.Attempt):
		return "lost"
	case was.StartedAt == nil && is.StartedAt != nil:
		return "claimed"
	case was.PlacedAt == nil && is.PlacedAt != nil && was.ID == "":
		return "opened and placed"
	case was.PlacedAt == nil && is.PlacedAt != nil:
		return "placed"
	case was.ID == "":
		return "opened"
	case is.PlacedAt == nil:
		return "waiting"
	default:
		return "other"
	}
}

// transitions are the writes so far by what they did.
func (w *watch) transitions() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.writes)
}

// placements are the rate of placement of the builds whose names begin so, and the median and the 99th percentile of
// the milliseconds from just before their creation to when the test saw them placed.
func (w *watch) placements(prefix string) (perSecond, p50, p99 float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var first, last time.Time
	var took []time.Duration
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
		took = append(took, s.observed.Sub(s.applied))
	}
	slices.Sort(took)
	at := func(percent int) float64 { return 1000 * took[len(took)*percent/100].Seconds() }
	return float64(len(took)-1) / last.Sub(first).Seconds(), at(50), at(99)
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

func TestWritesOfAStatusAreNamedByWhatTheyDo(t *testing.T) {
	now := ptr.To(metav1.NewMicroTime(time.Unix(1_700_000_000, 0)))
	status := func(change func(*v1alpha1.RunStatus)) v1alpha1.HLBBuildStatus {
		run := &v1alpha1.RunStatus{ID: "g1", Attempt: 1}
		change(run)
		return v1alpha1.HLBBuildStatus{Run: run}
	}
	created := v1alpha1.HLBBuildStatus{ObservedGeneration: -1}
	opened := status(func(*v1alpha1.RunStatus) {})
	waiting := status(func(*v1alpha1.RunStatus) {})
	waiting.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionScheduled, Status: metav1.ConditionFalse}}
	placed := status(func(r *v1alpha1.RunStatus) { r.PlacedAt = now })
	claimed := status(func(r *v1alpha1.RunStatus) { r.PlacedAt, r.StartedAt = now, now })
	ended := status(func(r *v1alpha1.RunStatus) { r.PlacedAt, r.StartedAt, r.FinishedAt = now, now, now })
	lost := status(func(r *v1alpha1.RunStatus) {
		r.PlacedAt, r.StartedAt, r.Lost = now, now, &v1alpha1.LostAttempt{Attempt: 1}
	})
	again := status(func(r *v1alpha1.RunStatus) { r.ID = "g2" })
	cases := map[string]struct {
		before, after v1alpha1.HLBBuildStatus
		want          string
	}{
		"nothing changed":                    {opened, opened, ""},
		"the build is created":               {v1alpha1.HLBBuildStatus{}, created, ""},
		"the first run is opened":            {v1alpha1.HLBBuildStatus{}, opened, "opened"},
		"the next run is opened":             {ended, again, "opened"},
		"a run is opened and placed at once": {v1alpha1.HLBBuildStatus{}, placed, "opened and placed"},
		"a run that waits says why":          {opened, waiting, "waiting"},
		"a run that waited is placed":        {waiting, placed, "placed"},
		"an agent takes it up":               {placed, claimed, "claimed"},
		"it ends":                            {claimed, ended, "ended"},
		"its attempt is lost":                {claimed, lost, "lost"},
		"the status is cleared":              {ended, v1alpha1.HLBBuildStatus{}, "other"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := transition(&tc.before, &tc.after); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
