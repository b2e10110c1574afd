// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// mirror lists objects from memory as the manager's cache does, and keeps what is written. It stands in for the API
// server in benchmarks, which are about the loop's own work.
type mirror struct {
	client.Client
	mu      sync.Mutex
	version int
	changes *changes // that informers would report to; nil for none
	daemons []*v1alpha1.BuildDaemon
	builds  map[string]*v1alpha1.HLBBuild
}

func (m *mirror) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(options)
	shared := o.UnsafeDisableDeepCopy != nil && *o.UnsafeDisableDeepCopy
	var found []runtime.Object
	add := func(object runtime.Object) {
		if !shared {
			object = object.DeepCopyObject()
		}
		found = append(found, object)
	}
	switch list.(type) {
	case *v1alpha1.BuildDaemonList:
		for _, d := range m.daemons {
			add(d)
		}
	case *v1alpha1.HLBBuildList:
		for _, b := range m.builds {
			add(b)
		}
	}
	return apimeta.SetList(list, found)
}

func (m *mirror) Get(_ context.Context, name client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch o := o.(type) {
	case *v1alpha1.BuildDaemon:
		for _, d := range m.daemons {
			if d.Name == name.Name {
				*o = *d
				return nil
			}
		}
	case *v1alpha1.HLBBuild:
		if b := m.builds[name.Name]; b != nil {
			*o = *b
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, name.Name)
}

func (m *mirror) Status() client.SubResourceWriter {
	return mirrorStatus{SubResourceWriter: nil, mirror: m}
}

type mirrorStatus struct {
	client.SubResourceWriter
	mirror *mirror
}

func (s mirrorStatus) Patch(_ context.Context, object client.Object, _ client.Patch,
	_ ...client.SubResourcePatchOption) error {
	s.mirror.put(object.(*v1alpha1.HLBBuild).DeepCopy())
	return nil
}

func (m *mirror) put(b *v1alpha1.HLBBuild) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.version++
	b.ResourceVersion = strconv.Itoa(m.version)
	m.builds[b.Name] = b
	if m.changes != nil {
		m.changes.noteBuild(context.Background(), b)
	}
}

// burst is a fleet whose slots are all taken, with so many builds more.
func burst(daemons, queued, keys int) *mirror {
	m := &mirror{builds: map[string]*v1alpha1.HLBBuild{}}
	next := 0
	build := func() *v1alpha1.HLBBuild {
		key := testbuild.WithCacheKey(fmt.Sprint("key-", next%keys))
		b := testbuild.HLBBuild("ns", fmt.Sprintf("b%06d", next), testbuild.WithCache("c"), key)
		b.UID, b.Generation = types.UID(b.Name), 1
		next++
		status.Open(b, buildrun.New(b), envtestkit.Epoch.Add(-time.Duration(next)*time.Millisecond))
		return b
	}
	for i := range daemons {
		d := testbuild.BuildDaemon("ns", "c", int32(i), testbuild.Serving)
		for k := range 64 {
			testbuild.WithKey(fmt.Sprint("key-", (i*7+k*13)%keys), envtestkit.Epoch, 60, 300)(d)
		}
		for k := range 32 {
			d.Status.Mounts = append(d.Status.Mounts,
				v1alpha1.MountUse{ID: fmt.Sprint("ns/mount-", (i+k)%200), Bytes: 1 << 30})
		}
		m.version++
		d.ResourceVersion = strconv.Itoa(m.version)
		m.daemons = append(m.daemons, d)
		for range 4 {
			b := build()
			status.Place(b, v1alpha1.PlacementStatus{Daemon: d.Name, Warm: true}, envtestkit.Epoch)
			status.Start(b, "agent", envtestkit.Epoch)
			m.put(b)
		}
	}
	for range queued {
		b := build()
		status.Wait(b, v1alpha1.ReasonWaitingForDaemon, "told before", envtestkit.Epoch)
		m.put(b)
	}
	return m
}

// end finishes one running build, and has its daemon report it.
func (m *mirror) end(i int, now time.Time) {
	d := m.daemons[i%len(m.daemons)].DeepCopy()
	for _, b := range m.builds {
		if status.IsBound(b) && b.Status.Placement.Daemon == d.Name {
			b = b.DeepCopy()
			b.Status.Cache = &v1alpha1.CacheUseStatus{}
			if b.Status.Run.StartedAt == nil {
				status.Start(b, "agent", now)
			}
			status.Succeed(b, now)
			m.put(b)
			break
		}
	}
	m.version++
	d.ResourceVersion = strconv.Itoa(m.version)
	m.daemons[i%len(m.daemons)] = d
	if m.changes != nil {
		m.changes.noteDaemon(context.Background(), d)
	}
}

// TestALargeQueueIsDecidedAsASmallOne compares the rounds that only look for what can start with those that look at
// every build.
func TestALargeQueueIsDecidedAsASmallOne(t *testing.T) {
	t.Parallel()
	m := burst(10, 1050, 200)
	clock := envtestkit.NewClock()
	cache := testbuild.BuildCache("ns", "c", testbuild.WithReplicas(10), testbuild.WithSlots(4))
	r := &Reconciler{Client: m, Events: &envtestkit.Recorder{}, Clock: clock, Params: scheduler.DefaultParams(),
		Explain: &Explanations{}}
	bound := func() map[string]string {
		out := map[string]string{}
		for name, b := range m.builds {
			if status.IsBound(b) {
				out[name] = b.Status.Placement.Daemon
			}
		}
		return out
	}
	for i := range 12 {
		m.end(i, clock.Now())
		kept := maps.Clone(m.builds)
		m.builds = maps.Clone(kept)
		// whose first round looks at every build
		fresh := &Reconciler{Client: m, Events: r.Events, Clock: clock, Params: r.Params}
		if _, err := fresh.Reconcile(t.Context(), cache); err != nil {
			t.Fatal(err)
		}
		want := bound()
		m.builds = kept
		clock.Step(20 * time.Millisecond)
		if _, err := r.Reconcile(t.Context(), cache); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(len(want), len(bound())); diff != "" {
			t.Errorf("round %d fills another number of slots than a new manager would (-new +got):\n%s", i, diff)
		}
	}
	if n := len(r.Explain.rounds); n != 1 {
		t.Errorf("%d rounds within ¼ s are explained, want 1", n)
	}
}

// BenchmarkRound is one round after one build has ended, with thousands waiting.
func BenchmarkRound(b *testing.B) {
	for _, size := range []struct{ daemons, queued int }{{100, 100}, {100, 10_000}, {1000, 10_000}} {
		b.Run(fmt.Sprintf("daemons=%d/queued=%d", size.daemons, size.queued), func(b *testing.B) {
			m := burst(size.daemons, size.queued, 20*size.daemons) // three copies of each key
			now := envtestkit.NewClock()
			cache := testbuild.BuildCache("ns", "c", testbuild.WithReplicas(int32(size.daemons)),
				testbuild.WithSlots(4))
			cache.UID = types.UID("cache")
			r := &Reconciler{Client: m, Events: &envtestkit.Recorder{}, Clock: now, Params: scheduler.DefaultParams(),
				Explain: &Explanations{}}
			r.changes = newChanges()
			m.changes = r.changes
			round := func() {
				if _, err := r.Reconcile(b.Context(), cache); err != nil {
					b.Fatal(err)
				}
			}
			round()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				now.Step(50 * time.Millisecond)
				m.end(i, now.Now())
				b.StartTimer()
				round()
			}
		})
	}
}
