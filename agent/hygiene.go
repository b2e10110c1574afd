// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/registry"
	"github.com/openllb/hlb-operator/agent/retention"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

const (
	// hygieneEvery is how often the agent asks itself whether the registry is to be cleaned up.
	hygieneEvery = 2 * time.Second
	// hygieneTimeout bounds one clean-up, well below the five minutes that the deletion of a BuildCache waits for it.
	hygieneTimeout = 2 * time.Minute
	// hygieneRetry is the pause after one that failed.
	hygieneRetry = 20 * time.Second
	// hygienePause is the longest pause between looks for expired tags.
	hygienePause = time.Hour
)

// hygiene deletes from the registry what the BuildCache's retention says. Only the fleet's first ready daemon does,
// since one is enough.
type hygiene struct {
	*worker
	memory   *retention.Memory
	deleting bool      // the BuildCache is being deleted
	next     time.Time // no clean-up before it

	mu   sync.Mutex
	last *metav1.Condition // nil before the first clean-up
}

func newHygiene(w *worker) *hygiene {
	return &hygiene{worker: w, memory: retention.OpenMemory(filepath.Join(w.opts.StateDir, "retention.json"))}
}

// run cleans up when it is due until ctx is done.
func (h *hygiene) run(ctx context.Context) {
	looks := time.NewTicker(hygieneEvery)
	defer looks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-looks.C:
			h.look(ctx)
		}
	}
}

// condition of the last clean-up, nil for none.
func (h *hygiene) condition() *metav1.Condition {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// look cleans up once if that is due and this daemon's task.
func (h *hygiene) look(ctx context.Context) {
	cache := h.inventory.buildCache(ctx)
	if _, held := h.lease.Session(); !held || cache == nil || cache.Spec.Registry == nil {
		return
	}
	keep, deleting := cache.Spec.Registry.Retention, !cache.DeletionTimestamp.IsZero()
	if deleting && !h.deleting {
		h.deleting, h.next = true, time.Time{}
	}
	last := h.condition()
	switch {
	case h.now().Before(h.next):
		return
	case !deleting && keep.MaxAgeSeconds == nil, deleting && keep.OnDelete != v1alpha1.RegistryDelete:
		return
	case deleting && last != nil && last.Reason == v1alpha1.ReasonOrphanedTagsDeleted:
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hygieneTimeout)
	defer cancel()
	daemons, first, err := h.fleet(ctx)
	if err == nil && !first {
		h.next = h.now().Add(hygieneRetry)
		return
	}
	reason, gone := v1alpha1.ReasonExpiredTagsDeleted, []string(nil)
	if deleting {
		reason = v1alpha1.ReasonOrphanedTagsDeleted
	}
	if err == nil {
		gone, err = h.clean(ctx, cache, daemons)
	}
	h.note(cache, reason, gone, err)
}

// fleet reads the BuildDaemons of the BuildCache, lowest ordinal first, and reports whether this one is the first that
// is in service.
func (h *hygiene) fleet(ctx context.Context) (daemons []v1alpha1.BuildDaemon, first bool, err error) {
	ready := false
	for ordinal := int32(0); ; ordinal++ {
		d, err := readDaemon(ctx, h.live, h.opts, ordinal)
		if err != nil {
			return nil, false, err
		}
		if d == nil {
			return daemons, first, nil
		}
		if !ready && status.StartsBuilds(d) {
			ready, first = true, d.Name == h.opts.Daemon
		}
		daemons = append(daemons, *d)
	}
}

// clean deletes what is planned in each repository of the BuildCache, and returns what it has deleted even with an
// error.
func (h *hygiene) clean(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	daemons []v1alpha1.BuildDaemon,
) ([]string, error) {
	var builds v1alpha1.HLBBuildList
	if err := h.live.List(ctx, &builds, client.InNamespace(h.opts.Namespace)); err != nil {
		return nil, fmt.Errorf("list builds: %w", err)
	}
	config, err := inputs.DockerConfig(ctx, h.live, h.opts.Namespace, cache.Spec.Registry)
	if err != nil {
		return nil, err
	}
	world := retention.World{Namespace: h.opts.Namespace, Now: h.now()}
	world.Gather(h.opts.Cache, daemons, builds.Items)
	var gone []string
	var failed []error
	for _, where := range repositories(cache) {
		repo, err := registry.Open(where, config, cache.Spec.BuildKit.Registries)
		if err == nil {
			err = h.cleanOne(ctx, cache, world, where, repo, &gone)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", where, err))
		}
	}
	return gone, errors.Join(failed...)
}

// cleanOne deletes what is planned in one repository and adds it to gone.
func (h *hygiene) cleanOne(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	world retention.World,
	where string,
	repo *registry.Repository,
	gone *[]string,
) error {
	names, err := repo.Tags(ctx)
	if err != nil {
		return err
	}
	world.Tags, err = h.memory.Look(
		where,
		h.opts.Namespace,
		names,
		func(tag string) (string, error) { return repo.Digest(ctx, tag) },
		world.Now,
	)
	if err != nil {
		h.log.Info("Since when tags are as they are was not written", "reason", err.Error())
	}
	var plan []string
	if cache.DeletionTimestamp.IsZero() {
		plan = retention.Expired(world, maxAge(cache))
	} else {
		plan = retention.Orphaned(world)
	}
	for _, tag := range plan {
		if err := repo.Delete(ctx, tag); err != nil {
			return fmt.Errorf("delete %s: %w", tag, err)
		}
		*gone = append(*gone, where+":"+tag)
	}
	return nil
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

// note keeps how a clean-up went for the status, says when the next is due, and tells what was deleted.
func (h *hygiene) note(cache *v1alpha1.BuildCache, reason string, gone []string, err error) {
	c := metav1.Condition{
		Type: v1alpha1.ConditionRegistryCleaned, Status: metav1.ConditionTrue, Reason: reason, Message: "Nothing is left to delete in the registry",
	}
	pause := hygieneRetry
	switch {
	case errors.Is(err, registry.ErrNoDeletes):
		c.Status, c.Reason, c.Message, pause = metav1.ConditionFalse, v1alpha1.ReasonDeletesRefused, err.Error(), hygienePause
		if h.deleting { // news to the manager, which waits for it, also where deletes were refused before
			c.Reason = v1alpha1.ReasonOrphanedTagsRefused
		}
	case err != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonCleanUpFailed, err.Error()
	case cache.Spec.Registry.Retention.MaxAgeSeconds != nil:
		pause = min(hygienePause, max(maxAge(cache)/4, time.Second))
	}
	h.next = h.now().Add(pause)
	h.mu.Lock()
	h.last = &c
	h.mu.Unlock()
	h.inventory.kick()
	bd := &v1alpha1.BuildDaemon{}
	if len(gone) == 0 || h.client.Get(h.life, h.inventory.name(), bd) != nil {
		return
	}
	h.log.Info("Deleted tags from the registry", "reason", reason, "tags", gone)
	write.Send(h.events, write.TagsDeleted(bd, reason, gone))
}

// maxAge is how long tags stay; the BuildCache must have a bound.
func maxAge(cache *v1alpha1.BuildCache) time.Duration {
	return time.Duration(*cache.Spec.Registry.Retention.MaxAgeSeconds) * time.Second
}
