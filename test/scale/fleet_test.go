// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// slots of each daemon.
const slots = 4

// fleet is a BuildCache whose daemons have real agents and simulated buildkitds, in a cluster with other tenants.
type fleet struct {
	*envtestkit.Cluster
	t       *testing.T
	ns      string
	manager *manager
	built   atomic.Int64
	busiest atomic.Int64

	// What the test itself sends, for other tenants too, and what all agents send, is counted apart.
	test, agents sender
	config       *rest.Config // the test's
	client       client.Client
}

// newFleet is a fleet whose manager and agents have yet to start.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{Cluster: envtestkit.Get(t), t: t}
	f.ns = f.Namespace(t)
	f.config = f.test.config(f.Config)
	var err error
	if f.client, err = client.New(f.config, client.Options{Scheme: f.Scheme}); err != nil {
		t.Fatal(err)
	}
	return f
}

// start runs the manager and n agents, and waits until all daemons are Ready.
func (f *fleet) start(n int) {
	f.t.Helper()
	f.manager = startManager(f.t, f.Root, f.Config)
	cache := testbuild.BuildCache(f.ns, "cache", testbuild.WithReplicas(int32(n)), testbuild.WithSlots(slots))
	if err := f.client.Create(f.t.Context(), cache); err != nil {
		f.t.Fatal(err)
	}
	for i := range n {
		f.startAgent(i)
	}
	f.await("all daemons are Ready", func(ctx context.Context) (bool, error) {
		daemons, err := f.daemons(ctx)
		ready := 0
		for i := range daemons {
			if meta.IsStatusConditionTrue(daemons[i].Status.Conditions, v1alpha1.ConditionReady) {
				ready++
			}
		}
		return ready == n, err
	})
}

// startAgent runs a daemon's agent once the manager has made its Lease.
func (f *fleet) startAgent(ordinal int) {
	name := fmt.Sprintf("cache-%d", ordinal)
	f.await(name+" has a Lease", func(ctx context.Context) (bool, error) {
		err := f.client.Get(ctx, client.ObjectKey{Namespace: f.ns, Name: name}, &coordinationv1.Lease{})
		return err == nil, client.IgnoreNotFound(err)
	})
	opts := agent.DefaultOptions()
	opts.Namespace, opts.Cache, opts.Daemon, opts.PodUID, opts.Node = f.ns, "cache", name, "pod-"+name, "node"
	opts.StateDir, opts.HealthAddr, opts.DrainTimeout = f.t.TempDir(), "", time.Minute
	a, err := agent.New(f.agents.config(f.Config), opts, &simulated{fleet: f, held: map[string]bool{}}, logr.Discard())
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("agent of %s: %v", name, err)
		}
	})
}

func (f *fleet) await(what string, holds func(context.Context) (bool, error)) {
	f.t.Helper()
	for deadline := time.Now().Add(*limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ok, err := holds(f.t.Context())
		if err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
		if ok {
			return
		}
	}
	f.t.Fatalf("not within %v: %s\n%s", *limit, what, f.manager.tail())
}

// daemons are the BuildDaemons of the fleet.
func (f *fleet) daemons(ctx context.Context) ([]v1alpha1.BuildDaemon, error) {
	var list v1alpha1.BuildDaemonList
	err := f.client.List(ctx, &list, client.InNamespace(f.ns))
	return list.Items, err
}

// apply creates builds from eight clients at once.
func (f *fleet) apply(w *watch, n, keys int) {
	f.t.Helper()
	f.createAll(n, func(ctx context.Context, i int) error {
		return f.applyOne(ctx, w, fmt.Sprintf("burst-%05d", i), i%keys)
	})
}

// applySlowly creates builds one by one, each when the one before has long been placed.
func (f *fleet) applySlowly(w *watch, n int) {
	f.t.Helper()
	for i := range n {
		if err := f.applyOne(f.t.Context(), w, fmt.Sprintf("single-%05d", i), i%*keys); err != nil {
			f.t.Fatal(err)
		}
		time.Sleep(*warm / 2)
	}
}

func (f *fleet) applyOne(ctx context.Context, w *watch, name string, key int) error {
	w.applied(name)
	return f.client.Create(ctx, testbuild.HLBBuild(f.ns, name, testbuild.WithCacheKey(fmt.Sprintf("key-%d", key))))
}

// touchDaemons changes the status of every BuildDaemon, as an agent does when its volume fills.
func (f *fleet) touchDaemons() {
	f.t.Helper()
	daemons, err := f.daemons(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range daemons {
		before := daemons[i].DeepCopy()
		daemons[i].Status.UsedBytes += 1 << 20
		if err := f.client.Status().Patch(f.t.Context(), &daemons[i], client.MergeFrom(before)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// drift changes the content of a ConfigMap of the BuildCache and waits until the manager has mended it.
func (f *fleet) drift() {
	f.t.Helper()
	var list corev1.ConfigMapList
	err := f.client.List(f.t.Context(), &list, client.InNamespace(f.ns), client.HasLabels{v1alpha1.LabelCache})
	if err != nil {
		f.t.Fatal(err)
	}
	if len(list.Items) == 0 {
		f.t.Fatal("the BuildCache has no ConfigMap that could drift")
	}
	drifted := &list.Items[0]
	wanted := drifted.DeepCopy()
	for key := range drifted.Data {
		drifted.Data[key] = "as nobody wants it"
	}
	if err := f.client.Patch(f.t.Context(), drifted, client.MergeFrom(wanted)); err != nil {
		f.t.Fatal(err)
	}
	f.await("the ConfigMap is mended", func(ctx context.Context) (bool, error) {
		err := f.client.Get(ctx, client.ObjectKeyFromObject(drifted), drifted)
		return maps.Equal(drifted.Data, wanted.Data), err
	})
}

func (f *fleet) ran() int        { return int(f.built.Load()) }
func (f *fleet) mostAtOnce() int { return int(f.busiest.Load()) }

// simulated is a buildkitd whose builds only take time. What it does not do, nothing here asks of it.
type simulated struct {
	agent.Builder
	fleet *fleet

	mu      sync.Mutex
	held    map[string]bool
	running int64
}

// Build implements agent.Builder.
func (s *simulated) Build(ctx context.Context, job *daemon.Job) (*daemon.Outcome, error) {
	key := job.Spec.CacheKey
	s.mu.Lock()
	takes := *warm
	if !s.held[key] {
		takes *= 4
	}
	s.running++
	for most := s.fleet.busiest.Load(); s.running > most; most = s.fleet.busiest.Load() {
		s.fleet.busiest.CompareAndSwap(most, s.running)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.held[key] = true
		s.running--
		s.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
		return &daemon.Outcome{}, context.Cause(ctx)
	case <-time.After(takes):
		s.fleet.built.Add(1)
		return &daemon.Outcome{Total: 3, Cached: 2}, nil
	}
}

// Ping implements agent.Builder.
func (s *simulated) Ping(context.Context) error { return nil }

// CheckSolve implements agent.Builder.
func (s *simulated) CheckSolve(context.Context) error { return nil }

// CheckStep implements agent.Builder.
func (s *simulated) CheckStep(context.Context, []byte) error { return nil }

// Observe implements agent.Builder.
func (s *simulated) Observe(context.Context) (*daemon.Observation, error) {
	return &daemon.Observation{Version: "simulated", Platform: "linux/amd64", Records: 1}, nil
}
