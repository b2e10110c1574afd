// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"context"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// testImages are what the pods of tests would run.
var testImages = workload.Images{Operator: "operator:test", BuildKit: "buildkit:test"}

// world is a namespace with the reconcilers of fleets and their workloads, called step by step.
type world struct {
	*fleettest.World
	manager   *counting // what the reconcilers write by
	caches    *Reconciler
	workloads *workload.Reconciler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: fleettest.New(t)}
	w.Clock.SetTime(time.Now()) // it is compared with times that the API server sets
	w.manager = &counting{WithWatch: w.Client}
	w.caches = &Reconciler{
		Client: w.manager, Events: w.Events, Clock: w.Clock, Images: testImages,
		BuildsRole: "hlb-operator-agent-builds",
	}
	w.workloads = &workload.Reconciler{Client: w.manager, Events: w.Events, Clock: w.Clock, Images: testImages}
	return w
}

// counting is a client that counts writes of other than statuses.
type counting struct {
	client.WithWatch
	writes int
}

func (c *counting) Apply(ctx context.Context, o runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	c.writes++
	return c.WithWatch.Apply(ctx, o, options...)
}

func (c *counting) Patch(
	ctx context.Context, o client.Object, patch client.Patch, options ...client.PatchOption,
) error {
	c.writes++
	return c.WithWatch.Patch(ctx, o, patch, options...)
}

func (c *counting) Delete(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	c.writes++
	return c.WithWatch.Delete(ctx, o, options...)
}

// claim reads the volume claim of a daemon.
func (w *world) claim(daemon string) *corev1.PersistentVolumeClaim {
	w.T.Helper()
	return fleettest.Read(w, &corev1.PersistentVolumeClaim{ObjectMeta: w.Named(workload.ClaimName(daemon))})
}

// keep reconciles a BuildCache once and returns it as it then is.
func (w *world) keep(cache *v1alpha1.BuildCache) *v1alpha1.BuildCache {
	w.T.Helper()
	_, err := w.caches.Reconcile(w.T.Context(), fleettest.Read(w, cache))
	w.Must(err)
	return fleettest.Read(w, cache)
}

// work reconciles the workload of a daemon once.
func (w *world) work(name string) ctrl.Result {
	w.T.Helper()
	result, err := w.workloads.Reconcile(w.T.Context(), w.Daemon(name))
	w.Must(err)
	return result
}

// settle reconciles the fleet and its workloads, with what Kubernetes and agents do in between, until all is done that
// follows from the present state. Pods run and their agents report unless a daemon is among the broken.
func (w *world) settle(cache *v1alpha1.BuildCache, broken ...string) *v1alpha1.BuildCache {
	w.T.Helper()
	for range 4 {
		w.keep(cache)
		for _, d := range w.Daemons() {
			w.work(d.Name)
		}
		w.RunKubernetes(broken...)
	}
	return w.keep(cache)
}

// change edits a BuildCache's spec.
func (w *world) change(cache *v1alpha1.BuildCache, edit func(*v1alpha1.BuildCacheSpec)) *v1alpha1.BuildCache {
	w.T.Helper()
	edit(&fleettest.Read(w, cache).Spec)
	w.Must(w.Client.Update(w.T.Context(), cache))
	return cache
}
