// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/watches"
	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
)

// opening is a run that is opened in memory. It is written together with its build's first decision.
type opening struct {
	before, after *v1alpha1.HLBBuild
}

// observe gathers what has changed of a BuildCache since its last round, everything in the first. Objects are those of
// the manager's cache, without a copy.
func (r *Reconciler) observe(ctx context.Context, cache *v1alpha1.BuildCache, l *loop) (fleet.Observation, error) {
	obs := fleet.Observation{Now: r.Clock.Now().UTC().Round(0), Cache: cache}
	name := client.ObjectKeyFromObject(cache)
	if !slices.Equal(l.namespaces, cache.Status.Namespaces) {
		l.namespaces, l.complete = cache.Status.Namespaces, false
	}
	daemons, builds, followed := r.changes.take(name)
	if l.complete = l.complete && followed; l.complete {
		if err := r.get(ctx, &obs, daemons, builds); err != nil {
			l.complete = false // what was taken is lost: list next time
			return obs, err
		}
	} else {
		r.changes.follow(name)
		if err := r.list(ctx, &obs); err != nil {
			return obs, err
		}
		l.complete = true
	}
	l.openRuns(&obs)
	return obs, nil
}

// list reads everything.
func (r *Reconciler) list(ctx context.Context, obs *fleet.Observation) error {
	obs.Full = true
	in := client.InNamespace(obs.Cache.Namespace)
	var daemons v1alpha1.BuildDaemonList
	byLabel := client.MatchingLabels{v1alpha1.LabelCache: obs.Cache.Name}
	if err := r.Client.List(ctx, &daemons, in, byLabel, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list BuildDaemons: %w", err)
	}
	for i := range daemons.Items {
		obs.Daemons = append(obs.Daemons, &daemons.Items[i])
	}
	for _, namespace := range obs.Cache.ServedNamespaces() {
		var builds v1alpha1.HLBBuildList
		in, byField := client.InNamespace(namespace), client.MatchingFields{watches.IndexCache: obs.Cache.Name}
		if err := r.Client.List(ctx, &builds, in, byField, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list HLBBuilds: %w", err)
		}
		for i := range builds.Items {
			if b := &builds.Items[i]; belongs(b, obs.Cache) && !isLeaving(b) {
				obs.Builds = append(obs.Builds, b)
			}
		}
	}
	return nil
}

// get reads the objects of these names.
func (r *Reconciler) get(
	ctx context.Context,
	obs *fleet.Observation,
	daemons []string,
	builds []types.NamespacedName,
) error {
	for _, name := range daemons {
		d := &v1alpha1.BuildDaemon{}
		key := types.NamespacedName{Namespace: obs.Cache.Namespace, Name: name}
		err := client.IgnoreNotFound(r.Client.Get(ctx, key, d, client.UnsafeDisableDeepCopy))
		switch {
		case err != nil:
			return fmt.Errorf("get BuildDaemon: %w", err)
		case d.Labels[v1alpha1.LabelCache] == obs.Cache.Name:
			obs.Daemons = append(obs.Daemons, d)
		default: // also one that was not found
			obs.RemovedDaemons = append(obs.RemovedDaemons, name)
		}
	}
	for _, name := range builds {
		b := &v1alpha1.HLBBuild{}
		err := r.Client.Get(ctx, name, b, client.UnsafeDisableDeepCopy)
		switch {
		case apierrors.IsNotFound(err) || err == nil && (!belongs(b, obs.Cache) || isLeaving(b)):
			obs.RemovedBuilds = append(obs.RemovedBuilds, name)
		case err != nil:
			return fmt.Errorf("get HLBBuild: %w", err)
		default:
			obs.Builds = append(obs.Builds, b)
		}
	}
	return nil
}

// belongs reports whether a build is the BuildCache's to place: it names it and lies in a namespace that is admitted,
// or it got its daemon while that was so.
func belongs(b *v1alpha1.HLBBuild, cache *v1alpha1.BuildCache) bool {
	return b.CacheName() == client.ObjectKeyFromObject(cache) &&
		(cache.Admits(b.Namespace) || status.IsBound(b) && !status.NeedsRun(b))
}

// isLeaving reports whether a build asks for a run that it is not given here: because it is being deleted, or because
// it is suspended, which comes back with a run that is held, or because an attempt of it may be executing, which is to
// be released before it is placed again.
func isLeaving(b *v1alpha1.HLBBuild) bool {
	if !status.NeedsRun(b) {
		return false
	}
	_, may := attempt.Executing(b)
	return may || b.Spec.Suspend || !b.DeletionTimestamp.IsZero()
}

// openRuns opens in memory the runs that observed builds ask for. Those opened before for the same version stay as they
// are. Of several new ones, that of the older object is queued first: microseconds apart, which is what the API keeps.
func (l *loop) openRuns(obs *fleet.Observation) {
	var fresh []int
	was := l.opened
	if obs.Full {
		l.opened = map[types.NamespacedName]opening{}
	}
	for _, name := range obs.RemovedBuilds {
		delete(l.opened, name)
	}
	for i, b := range obs.Builds {
		name := client.ObjectKeyFromObject(b)
		if !status.NeedsRun(b) {
			delete(l.opened, name)
			continue
		}
		o, opened := was[name]
		if !opened || o.before.UID != b.UID || o.before.ResourceVersion != b.ResourceVersion {
			fresh = append(fresh, i)
			continue
		}
		obs.Builds[i], l.opened[name] = o.after, o
	}
	slices.SortFunc(fresh, func(i, j int) int {
		a, b := obs.Builds[i], obs.Builds[j]
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	now := obs.Now.Truncate(time.Microsecond)
	for n, i := range fresh {
		o := opening{before: obs.Builds[i], after: withOwnStatus(obs.Builds[i])}
		later := time.Duration(len(fresh)-1-n) * time.Microsecond
		attempt.Open(o.after, buildrun.New(o.after), now.Add(-later))
		obs.Builds[i], l.opened[client.ObjectKeyFromObject(o.before)] = o.after, o
	}
}

// withOwnStatus copies a build as far as its status, which is all that is changed here.
func withOwnStatus(b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
	out := *b
	out.Status = *b.Status.DeepCopy()
	return &out
}

func compare(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
