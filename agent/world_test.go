// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// fakeBuilder is a daemon whose builds do what the test says, by the inline program's text.
type fakeBuilder struct {
	mu      sync.Mutex
	builds  map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error)
	running []string // programs in the order they began
	exports []string
	pruned  []string
	// snapshots are the mounts that were snapshotted
	snapshots []string
	pingErr   error
	records   int
}

func (f *fakeBuilder) Build(ctx context.Context, job *daemon.Job) (*daemon.Outcome, error) {
	program := string(job.Inputs.Program)
	f.mu.Lock()
	f.running = append(f.running, program)
	do := f.builds[program]
	f.mu.Unlock()
	if do != nil {
		return do(ctx, job)
	}
	return &daemon.Outcome{Total: 3, Cached: 2, Mounts: []daemon.Mount{{ID: "ns/m", Target: "/m", Sharing: "shared"}}},
		nil
}

func (f *fakeBuilder) ExportCache(_ context.Context, job *daemon.Job, _ *daemon.Outcome) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exports = append(f.exports, job.Plan.Export)
	return nil
}

func (f *fakeBuilder) Ping(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pingErr
}

func (f *fakeBuilder) CheckSolve(context.Context) error { return nil }

func (f *fakeBuilder) CheckStep(context.Context, []byte) error { return nil }

func (f *fakeBuilder) Observe(context.Context) (*daemon.Observation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &daemon.Observation{Version: "v0.34.2", Platform: "linux/amd64", Platforms: make([]string, 40), Records: 1 +
		f.records, MountBytes: map[string]int64{"ns/m": 7}}, f.pingErr
}

func (f *fakeBuilder) Prune(_ context.Context, ids []string) (map[string]int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	freed := map[string]int64{}
	for _, id := range ids {
		freed[id] = 1
		f.pruned = append(f.pruned, id)
	}
	return freed, nil
}

func (f *fakeBuilder) began() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.running)
}

// world is a namespace with one daemon's objects, whose part of the manager the test plays.
type world struct {
	*envtestkit.Cluster
	t  *testing.T
	ns string
	// wrap stands between agents and the API server; nil for nothing.
	wrap func(http.RoundTripper) http.RoundTripper
}

func newWorld(t *testing.T, options ...func(*v1alpha1.BuildCache)) *world {
	t.Helper()
	w := &world{Cluster: envtestkit.Get(t), t: t}
	w.ns = w.Namespace(t)
	w.create(testbuild.BuildCache(w.ns, "cache", options...))
	w.create(testbuild.BuildDaemon(w.ns, "cache", 0))
	w.create(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-0"}})
	return w
}

func (w *world) create(o client.Object) {
	w.t.Helper()
	if err := w.Client.Create(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

// start runs an agent until stop is called, which returns what Run returned.
func (w *world) start(builder agent.Builder, podUID string, change ...func(*agent.Options)) (stop func() error) {
	w.t.Helper()
	opts := agent.DefaultOptions()
	opts.Namespace, opts.Cache, opts.Daemon, opts.PodUID, opts.Node = w.ns, "cache", "cache-0", podUID, "node-a"
	opts.StateDir, opts.HealthAddr, opts.DrainTimeout = w.t.TempDir(), "", time.Minute
	for _, c := range change {
		c(&opts)
	}
	config := rest.CopyConfig(w.Config)
	config.WrapTransport = w.wrap
	a, err := agent.New(config, opts, builder, testr.NewWithOptions(w.t, testr.Options{}))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	w.t.Cleanup(func() {
		if err := stop(); err != nil {
			w.t.Errorf("the agent ended with: %v", err)
		}
	})
	return stop
}

// bind makes a build with an open run that is placed on the daemon, as the manager does.
func (w *world) bind(name, program string, options ...func(*v1alpha1.HLBBuild)) *v1alpha1.HLBBuild {
	w.t.Helper()
	b := testbuild.HLBBuild(w.ns, name, append(options, testbuild.WithProgram(program))...)
	w.create(b)
	w.manage(b, func(b *v1alpha1.HLBBuild) {
		status.Open(b,
			v1alpha1.RunStatus{ID: "g1", Cause: v1alpha1.CauseSpecChanged, Generation: b.Generation, Key: "key-" +
				name}, time.Now())
		status.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-0", Reason: "test"}, time.Now())
	})
	return b
}

// manage changes a build's status as the manager.
func (w *world) manage(b *v1alpha1.HLBBuild, change func(*v1alpha1.HLBBuild)) {
	w.t.Helper()
	envtestkit.Eventually(w.t, func() error {
		if err := w.Client.Get(w.t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
			return err
		}
		before := b.DeepCopy()
		change(b)
		return w.Client.Status().
			Patch(w.t.Context(), b, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
}

// eventually reads a build until it is as wanted.
func (w *world) eventually(b *v1alpha1.HLBBuild, what string, ok func(*v1alpha1.HLBBuild) bool) {
	w.t.Helper()
	envtestkit.Eventually(w.t, func() error {
		if err := w.Client.Get(w.t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
			return err
		}
		if !ok(b) {
			return fmt.Errorf("%s: %s is not so: %+v", b.Name, what, b.Status)
		}
		return nil
	})
}

// until is a build that runs until its context ends, and closes begun when it begins.
func until(begun chan struct{}) func(context.Context, *daemon.Job) (*daemon.Outcome, error) {
	return func(ctx context.Context, _ *daemon.Job) (*daemon.Outcome, error) {
		close(begun)
		<-ctx.Done()
		return &daemon.Outcome{}, context.Cause(ctx)
	}
}

func await(t *testing.T, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(envtestkit.Patience):
		t.Fatalf("waited in vain for %s", what)
	}
}

func isLost(b *v1alpha1.HLBBuild) bool { return status.IsLost(b) }
