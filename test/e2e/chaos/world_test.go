// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

const (
	namespace = "hlb-chaos"
	// buildsEach is how many builds a scenario starts, over keys cache keys.
	buildsEach, keys = 12, 5
	// requestsEach bounds the requests to the API server for each build of a scenario, Leases and events included.
	requestsEach = 150
	// patience bounds the builds of a scenario after its fault has ended, and the recovery of the fleet.
	patience = 4 * time.Minute
)

// world is the cluster, the fleet and the witness that all scenarios share.
type world struct {
	*harness.Cluster
	fleet   *v1alpha1.BuildCache
	witness *witness
	image   string // that steps run in
	random  *rand.Rand
	count   int          // of scenarios, for names
	own     atomic.Int64 // requests that the test itself has sent
	// startedWith is own when the API server was last started, 0 if the test has not started it.
	startedWith int64
}

// fleetNamed is a fleet of three.
func (w *world) fleetNamed(name string) *v1alpha1.BuildCache {
	cache := w.BuildCache(namespace, name, 3, "2Gi", "chaos-"+fmt.Sprint(time.Now().Unix()))
	cache.Spec.BuildKit.MaxConcurrentBuilds, cache.Spec.BuildKit.DrainTimeoutSeconds = 3, 60
	cache.Spec.BuildKit.StepLimits.Memory = ptr.To(resource.MustParse("128Mi"))
	harness.LimitMemory(cache, "1Gi")
	cache.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	return cache
}

// newBuild is a build whose step takes so many seconds and tells the witness.
func (w *world) newBuild(name, key string, seconds int) *v1alpha1.HLBBuild {
	program := fmt.Sprintf(
		"fs default() {\n\timage %q\n\trun %q with option {\n"+
			"\t\tcacheMount \"/cache\" with option { id %q; }\n\t}\n}\n",
		w.image, fmt.Sprintf("/step %s %s %d && echo %[2]s >> /cache/log", w.witness.address, name, seconds),
		"chaos-"+key)
	return &v1alpha1.HLBBuild{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.HLBBuildSpec{
			CacheRef: v1alpha1.CacheReference{Name: w.fleet.Name}, HLB: &v1alpha1.HLBSpec{Inline: &program},
			CacheKey: key, RetryLimit: ptr.To[int32](3), TimeoutSeconds: 300,
		},
	}
}

// create creates a build, as a client does that tries again while there is no API server.
func (w *world) create(ctx context.Context, b *v1alpha1.HLBBuild) error {
	return harness.Eventually(ctx, patience, "create "+b.Name, func(ctx context.Context) (bool, error) {
		err := w.Client.Create(ctx, b.DeepCopy())
		return err == nil || strings.Contains(err.Error(), "already exists"), nil
	})
}

// whole waits until the fleet is Ready.
func (w *world) whole(ctx context.Context) error {
	return harness.Eventually(ctx, patience, "the fleet is whole", func(ctx context.Context) (bool, error) {
		cache := w.fleet.DeepCopy()
		if err := w.Client.Get(ctx, client.ObjectKeyFromObject(cache), cache); err != nil {
			return false, nil //nolint:nilerr // the API server may be the fault
		}
		ready := meta.IsStatusConditionTrue(cache.Status.Conditions, v1alpha1.ConditionReady)
		return ready && cache.Status.ObservedGeneration == cache.Generation && cache.Status.ReadyReplicas == 3, nil
	})
}

// recovered waits until the fleet is whole and a new build has ended, and returns how long that took.
func (w *world) recovered(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := w.whole(ctx); err != nil {
		return 0, err
	}
	w.count++
	probe := w.newBuild(fmt.Sprintf("probe-%d", w.count), fmt.Sprintf("probe-%d", w.count), 0)
	if err := w.create(ctx, probe); err != nil {
		return 0, err
	}
	if !w.Ended(ctx, probe, patience) {
		return 0, fmt.Errorf("a build that was started after the fault has not ended within %s", patience)
	}
	return time.Since(began), w.Client.Delete(ctx, probe)
}

// judge counts a build that has ended, or has not.
func (w *world) judge(ctx context.Context, b *v1alpha1.HLBBuild, ended bool, r *result) error {
	v := w.witness.of(b.Name)
	note := func(what string) {
		r.Details = append(r.Details, fmt.Sprintf("%s %s: attempt %d, %d executions, %d done; %s", b.Name, what,
			b.Status.Run.Attempt, v.executions, v.done, harness.Describe(b)))
	}
	if b.Status.Run != nil && b.Status.Run.Attempt > 1 {
		r.Retried++
	}
	switch {
	case !ended:
		r.Stuck++
		note("is stuck")
		return nil
	case b.Status.Failure != nil, v.done == 0:
		r.Lost++
		note("is lost")
	default:
		r.Ended++
	}
	told, err := w.CountEvents(ctx, b, v1alpha1.ReasonSucceeded)
	if v.overlapped || told > 1 {
		r.Doubled++
		note(fmt.Sprintf("is doubled, with %d reports", told))
	}
	return err
}

// countedKinds are the kinds whose requests are counted: what builds cost.
var countedKinds = []string{"hlbbuilds", "builddaemons", "buildcaches", "leases", "events"}

// countOwn has the requests of the test itself counted, since they don't belong to what builds cost.
func (w *world) countOwn() (err error) {
	w.Config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			for _, kind := range countedKinds {
				if strings.Contains(r.URL.Path, "/"+kind) {
					w.own.Add(1)
				}
			}
			return next.RoundTrip(r)
		})
	})
	w.Client, err = client.NewWithWatch(w.Config, client.Options{Scheme: w.Client.Scheme()})
	return err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// requests is how many requests the API server has had for what builds cost, since it was started.
func (w *world) requests(ctx context.Context) int {
	text, err := w.Kubectl(ctx, "", "get", "--raw", "/metrics")
	if err != nil {
		return 0
	}
	total := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "apiserver_request_total{") {
			continue
		}
		for _, kind := range countedKinds {
			var n float64
			if strings.Contains(line, `resource="`+kind+`"`) {
				fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &n) //nolint:errcheck // it counts as none
				total += int(n)
			}
		}
	}
	return total
}

// daemonOf is the daemon that runs most of the builds, or the first one.
func (w *world) daemonOf(t *testing.T, builds []*v1alpha1.HLBBuild) string {
	t.Helper()
	counts := map[string]int{}
	best := w.fleet.Name + "-0"
	for _, b := range builds {
		now := &v1alpha1.HLBBuild{}
		if w.Client.Get(t.Context(), client.ObjectKeyFromObject(b), now) != nil || now.Status.Placement == nil ||
			meta.IsStatusConditionTrue(now.Status.Conditions, v1alpha1.ConditionFinished) {
			continue
		}
		name := now.Status.Placement.Daemon
		if counts[name]++; counts[name] > counts[best] {
			best = name
		}
	}
	return best
}
