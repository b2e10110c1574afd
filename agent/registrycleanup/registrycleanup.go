// SPDX-License-Identifier: Apache-2.0

// Package registrycleanup deletes tags from the registry as the BuildCache's retention demands. Only the fleet's first
// ready daemon does, since one is enough.
package registrycleanup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/registry"
	"github.com/openllb/hlb-operator/agent/retention"
	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

const (
	// checkEvery is how often the agent checks whether the registry is to be cleaned up.
	checkEvery = 2 * time.Second
	// cleanTimeout bounds one clean-up, well below the five minutes that the deletion of a BuildCache waits for it.
	cleanTimeout = 2 * time.Minute
	// retryPause is the pause after a clean-up that failed.
	retryPause = 20 * time.Second
	// longestPause is the longest pause between clean-ups of expired tags.
	longestPause = time.Hour
)

// Cleaner cleans the registry up. It is used by one goroutine.
type Cleaner struct {
	Self   self.Self
	Client client.Reader // reads from the cache
	Live   client.Reader // reads from the API server
	// HasLease reports whether the agent holds its Lease.
	HasLease  func() bool
	FirstSeen *retention.FirstSeen
	Board     *board.Board
	Events    events.EventRecorder
	Log       logr.Logger
	Now       func() time.Time
	// Clock is the time by the API server's clock, which tags expire by. Nil means Now.
	Clock func() time.Time

	deleting bool              // the BuildCache is being deleted
	next     time.Time         // no clean-up before it
	last     *metav1.Condition // nil before the first clean-up
}

// Run cleans up when it is due until ctx is done.
func (c *Cleaner) Run(ctx context.Context) error {
	wait.UntilWithContext(ctx, c.check, checkEvery)
	return nil
}

// check cleans up once if that is due and this daemon's task.
func (c *Cleaner) check(ctx context.Context) {
	cache, err := c.Self.BuildCache(ctx, c.Client)
	if err != nil || !c.HasLease() || !c.isDue(cache) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, cleanTimeout)
	defer cancel()
	daemons, first, err := c.fleet(ctx, !cache.DeletionTimestamp.IsZero())
	if err == nil && !first {
		c.next = c.Now().Add(retryPause)
		return
	}
	var gone []string
	if err == nil {
		gone, err = c.clean(ctx, cache, daemons)
	}
	c.finish(ctx, cache, gone, err)
}

// isDue reports whether the registry is to be cleaned up now.
func (c *Cleaner) isDue(cache *v1alpha1.BuildCache) bool {
	if cache.Spec.Registry == nil {
		return false
	}
	keep, deleting := cache.Spec.Registry.Retention, !cache.DeletionTimestamp.IsZero()
	if deleting && !c.deleting {
		c.deleting, c.next = true, time.Time{}
	}
	switch {
	case c.Now().Before(c.next):
		return false
	case deleting:
		return keep.OnDelete == v1alpha1.RegistryDelete &&
			(c.last == nil || c.last.Reason != v1alpha1.ReasonOrphanedTagsDeleted)
	}
	return keep.MaxAgeSeconds != nil
}

// fleet reads the BuildDaemons of the BuildCache, lowest ordinal first. first reports whether this daemon is the first
// that starts builds; of a BuildCache that is deleted, no daemon does, and it is the first that is ready.
func (c *Cleaner) fleet(ctx context.Context, deleting bool) (daemons []v1alpha1.BuildDaemon, first bool, err error) {
	if daemons, err = c.Self.Members(ctx, c.Live, 0); err != nil {
		return nil, false, err
	}
	for i := range daemons {
		if d := &daemons[i]; status.StartsBuilds(d) || deleting && status.IsReady(d) {
			return daemons, daemons[i].Name == c.Self.Daemon, nil
		}
	}
	return daemons, false, nil
}

// clean deletes what is planned in each repository of the BuildCache, and returns what it has deleted even with an
// error.
func (c *Cleaner) clean(
	ctx context.Context, cache *v1alpha1.BuildCache, daemons []v1alpha1.BuildDaemon,
) ([]string, error) {
	in := retention.Input{Namespace: c.Self.Namespace, Served: cache.ServedNamespaces(), Now: c.Now()}
	if c.Clock != nil {
		in.Now = c.Clock()
	}
	var builds []v1alpha1.HLBBuild
	for _, namespace := range in.Served {
		var list v1alpha1.HLBBuildList
		if err := c.Live.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("list builds of namespace %s: %w", namespace, err)
		}
		builds = append(builds, list.Items...)
	}
	config, err := inputs.DockerConfig(ctx, c.Live, c.Self.Namespace, cache.Spec.Registry)
	if err != nil {
		return nil, err
	}
	in.Gather(c.Self.Cache, daemons, builds)
	var gone []string
	var failed []error
	for _, where := range repositories(cache) {
		repo, err := registry.Open(where, config, cache.Spec.BuildKit.Registries)
		if err == nil {
			err = c.cleanOne(ctx, cache, in, where, repo, &gone)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", where, err))
		}
	}
	return gone, errors.Join(failed...)
}

// cleanOne deletes what is planned in one repository and adds it to gone.
func (c *Cleaner) cleanOne(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	in retention.Input,
	where string,
	repo *registry.Repository,
	gone *[]string,
) error {
	names, err := repo.Tags(ctx)
	if err != nil {
		return err
	}
	digest := func(tag string) (string, error) { return repo.Digest(ctx, tag) }
	in.Tags, err = c.FirstSeen.Observe(where, in.Served, names, digest, in.Now)
	if err != nil {
		c.Log.Error(err, "Failed to write when tags were first seen")
	}
	var plan []string
	if cache.DeletionTimestamp.IsZero() {
		plan = retention.Expired(in, maxAge(cache))
	} else {
		plan = retention.Orphaned(in)
	}
	for _, tag := range plan {
		if len(*gone) >= maxDeletes && cache.DeletionTimestamp.IsZero() {
			return errMore
		}
		man, found, err := repo.Manifest(ctx, tag)
		if err != nil {
			return fmt.Errorf("look at %s: %w", tag, err)
		}
		if !found || !isOwn(&man, tag) {
			continue
		}
		if err := repo.Delete(ctx, tag); err != nil {
			return fmt.Errorf("delete %s: %w", tag, err)
		}
		*gone = append(*gone, where+":"+tag)
	}
	return nil
}

// maxDeletes bounds the tags that one clean-up of expired tags deletes, so that one that goes wrong is noticed in time.
const maxDeletes = 100

// errMore: a clean-up has made all the deletions that it may.
var errMore = fmt.Errorf("%d tags were deleted, and more are due; they are deleted by the next clean-ups", maxDeletes)

// isOwn reports whether what a tag stands for is what the operator writes under such a tag.
func isOwn(man *registry.Manifest, tag string) bool {
	if _, isMount := cacheref.MountTagTime(tag); isMount {
		return snapshot.IsOwn(*man, tag)
	}
	return man.IsBuildCache()
}

// repositories that the operator writes to for a BuildCache, each once, sorted.
func repositories(cache *v1alpha1.BuildCache) []string {
	out := []string{cache.Spec.Registry.Repository}
	for _, m := range cache.Spec.Mounts {
		if m.Snapshot != nil && m.Snapshot.Repository != "" {
			out = append(out, m.Snapshot.Repository)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// finish publishes how a clean-up went, sets when the next is due, and sends an event about what was deleted. A
// clean-up that failed has its event when the condition is written.
func (c *Cleaner) finish(ctx context.Context, cache *v1alpha1.BuildCache, gone []string, err error) {
	condition, pause := c.describe(cache, err)
	c.next = c.Now().Add(pause)
	c.last = &condition
	c.Board.SetRegistryCleaned(&condition)
	if len(gone) == 0 {
		return
	}
	c.Log.Info("Deleted tags from the registry", "reason", deletionReason(cache), "tags", gone)
	if bd, err := c.Self.BuildDaemon(context.WithoutCancel(ctx), c.Client); err == nil {
		write.Send(c.Events, write.TagsDeleted(bd, deletionReason(cache), gone))
	}
}

// describe returns the condition after a clean-up and the pause before the next one.
func (c *Cleaner) describe(cache *v1alpha1.BuildCache, err error) (metav1.Condition, time.Duration) {
	out := metav1.Condition{
		Type: v1alpha1.ConditionRegistryCleaned, Status: metav1.ConditionTrue, Reason: deletionReason(cache),
		Message: "Nothing is left to delete in the registry",
	}
	switch {
	case errors.Is(err, errMore):
		out.Message = err.Error()
		return out, retryPause
	case errors.Is(err, registry.ErrNoDeletes):
		out.Status, out.Reason = metav1.ConditionFalse, v1alpha1.ReasonDeletesRefused
		out.Message = "Tags were not deleted: " + err.Error()
		if c.deleting { // a reason of its own, because the manager waits for it, also where deletes were refused before
			out.Reason = v1alpha1.ReasonOrphanedTagsRefused
		}
		return out, longestPause
	case err != nil:
		out.Status, out.Reason = metav1.ConditionFalse, v1alpha1.ReasonCleanUpFailed
		out.Message = "The registry could not be cleaned up: " + err.Error()
	case cache.Spec.Registry.Retention.MaxAgeSeconds != nil:
		return out, min(longestPause, max(maxAge(cache)/4, time.Second))
	}
	return out, retryPause
}

// deletionReason is the reason for which tags are deleted.
func deletionReason(cache *v1alpha1.BuildCache) string {
	if cache.DeletionTimestamp.IsZero() {
		return v1alpha1.ReasonExpiredTagsDeleted
	}
	return v1alpha1.ReasonOrphanedTagsDeleted
}

// maxAge is how long tags stay; the BuildCache must have a bound.
func maxAge(cache *v1alpha1.BuildCache) time.Duration {
	return time.Duration(*cache.Spec.Registry.Retention.MaxAgeSeconds) * time.Second
}
