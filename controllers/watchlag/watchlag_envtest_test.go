// SPDX-License-Identifier: Apache-2.0

package watchlag_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/watchlag"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// wire is the connection of a manager to the API server. It can hold back what watches bring, and fail requests.
type wire struct {
	next http.RoundTripper

	mu   sync.Mutex
	open *sync.Cond // broadcast when held changes
	held bool
	down bool
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	down := w.down
	w.mu.Unlock()
	if down {
		return nil, errors.New("the API server is down")
	}
	response, err := w.next.RoundTrip(r)
	if err == nil && r.URL.Query().Get("watch") != "" {
		response.Body = &heldBody{response.Body, w}
	}
	return response, err
}

func (w *wire) set(held, down bool) {
	w.mu.Lock()
	w.held, w.down = held, down
	w.mu.Unlock()
	w.open.Broadcast()
}

// heldBody brings what it reads no sooner than the wire is open.
type heldBody struct {
	io.ReadCloser
	wire *wire
}

func (b *heldBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.wire.mu.Lock()
	for b.wire.held {
		b.wire.open.Wait()
	}
	b.wire.mu.Unlock()
	return n, err
}

// rig is a probe of a real cache behind a wire, and the Lease of one daemon.
type rig struct {
	t     *testing.T
	probe *watchlag.Probe
	wire  *wire
	cache cache.Cache
	admin client.Client
	lease *coordinationv1.Lease
}

func newRig(t *testing.T) *rig {
	t.Helper()
	cluster := envtestkit.Get(t)
	r := &rig{t: t, admin: cluster.Client, wire: &wire{}}
	r.wire.open = sync.NewCond(&r.wire.mu)
	r.lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: cluster.Namespace(t), Name: "c-0", Labels: map[string]string{v1alpha1.LabelCache: "c"},
	}}
	r.lease.Spec.RenewTime = &metav1.MicroTime{Time: envtestkit.Epoch}
	if err := r.admin.Create(t.Context(), r.lease); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(cluster.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { r.wire.next = next; return r.wire })
	scheme, err := envtestkit.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]cache.Config{r.lease.Namespace: {}}
	if r.cache, err = cache.New(config, cache.Options{Scheme: scheme, DefaultNamespaces: in}); err != nil {
		t.Fatal(err)
	}
	live, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { r.wire.set(false, false); cancel() })
	go r.cache.Start(ctx) //nolint:errcheck // it ends with the test
	if !r.cache.WaitForCacheSync(t.Context()) {
		t.Fatal("the cache does not fill")
	}
	r.probe = &watchlag.Probe{Cache: r.cache, Live: live}
	r.waitSeen()
	return r
}

// renew has the daemon's agent renew its Lease, later by its clock.
func (r *rig) renew(later time.Duration) {
	r.t.Helper()
	r.lease.Spec.RenewTime = &metav1.MicroTime{Time: r.lease.Spec.RenewTime.Add(later)}
	if err := r.admin.Update(r.t.Context(), r.lease); err != nil {
		r.t.Fatal(err)
	}
}

// waitSeen waits until the cache shows the newest renewal.
func (r *rig) waitSeen() {
	r.t.Helper()
	envtestkit.Eventually(r.t, func() error {
		seen := &coordinationv1.Lease{}
		if err := r.cache.Get(r.t.Context(), client.ObjectKeyFromObject(r.lease), seen); err != nil {
			return err
		}
		if !seen.Spec.RenewTime.Equal(r.lease.Spec.RenewTime) {
			return errors.New("the renewal was not seen yet")
		}
		return nil
	})
}

// look has the probe look so many times, and reports whether the manager is ready then.
func (r *rig) look(times int) bool {
	for range times {
		r.probe.Look(r.t.Context())
	}
	return r.probe.Check(nil) == nil
}

// TestAManagerBehindItsWatchIsNotReady holds back what a watch brings.
func TestAManagerBehindItsWatchIsNotReady(t *testing.T) {
	for name, tc := range map[string]struct {
		lag       time.Duration
		looks     int
		wantReady bool
	}{
		"ten seconds behind is usual":             {10 * time.Second, 3, true},
		"a minute behind is not, seen once":       {time.Minute, 1, true},
		"a minute behind, seen twice, is too far": {time.Minute, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if !r.look(2) {
				t.Fatal("it is not ready although its watch is in time")
			}
			r.wire.set(true, false)
			r.renew(tc.lag)
			if got := r.look(tc.looks); got != tc.wantReady {
				t.Fatalf("ready: %v, want %v: %v", got, tc.wantReady, r.probe.Check(nil))
			}
			r.wire.set(false, false)
			r.waitSeen()
			if !r.look(1) {
				t.Errorf("it caught up and is not ready: %v", r.probe.Check(nil))
			}
		})
	}
}

// TestReadinessOutlivesTheAPIServer fails all requests: what is not known changes no verdict.
func TestReadinessOutlivesTheAPIServer(t *testing.T) {
	r := newRig(t)
	r.wire.set(false, true)
	if !r.look(5) {
		t.Error("a manager whose API server is down is not ready")
	}
	r.wire.set(true, false)
	r.renew(time.Minute)
	if r.look(2) {
		t.Fatal("it is ready although its watch is a minute behind")
	}
	r.wire.set(true, true)
	if r.look(5) {
		t.Error("a manager that was behind is ready because its API server is down")
	}
}
