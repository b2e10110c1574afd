// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/agent/registry"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
)

// Begin notes that a build is about to use mounts; State.End must follow. Those that the daemon does not hold and
// that have a policy for it are filled, several at a time, and what came of each is returned; it never fails a build.
// With refresh, those that it holds are replaced if another daemon has made a snapshot since a build last had them
// here. A mount that is being primed for another build, or ahead of builds, is waited for, and one that another build
// uses is left alone. What takes longer than the policy allows is given up. Then the mounts' own directories become
// what the build wants of new ones. The error is about the note, which holds in memory, or those.
func (m *Maker) Begin(
	ctx context.Context,
	cache *v1alpha1.BuildCache,
	epoch string,
	mounts []daemon.Mount,
	held map[string]int64,
	refresh bool,
) ([]v1alpha1.PrimeStatus, error) {
	sharing := Sharing(mounts)
	work := make([]func() *v1alpha1.PrimeStatus, 0, len(mounts))
	var filling []string
	m.mu.Lock() // so that no two builds both find a mount unused
	busy, err := m.State.Begin(epoch, sharing, m.Now())
	for _, mount := range mounts {
		one := m.primingOf(cache, mount)
		if one == nil {
			continue
		}
		if other, underWay := m.priming[mount.ID]; underWay {
			work = append(work, func() *v1alpha1.PrimeStatus { return await(ctx, other, one.limit) })
			continue
		}
		_, has := held[mount.ID]
		one.held = has && !m.State.IsUnfilled(mount.ID)
		if one.held && !refresh || busy[mount.ID] {
			continue
		}
		m.claim(mount.ID)
		filling = append(filling, mount.ID)
		work = append(work, func() *v1alpha1.PrimeStatus { return m.primeOne(ctx, cache, one) })
	}
	if len(filling) > 0 { // so that the next agent takes up a copy that was killed
		err = errors.Join(err, m.State.setUnfilled(epoch, filling...))
	}
	m.mu.Unlock()
	done := make([]*v1alpha1.PrimeStatus, len(work))
	var all sync.WaitGroup
	for i, do := range work {
		all.Go(func() { done[i] = do() })
	}
	all.Wait()
	var out []v1alpha1.PrimeStatus
	for _, status := range done {
		if status != nil {
			out = append(out, *status)
			if !isFilled(status) {
				filling = slices.DeleteFunc(filling, func(id string) bool { return id == status.ID })
			}
		}
	}
	if len(filling) > 0 {
		err = errors.Join(err, m.State.setFilled(filling...))
	}
	return out, errors.Join(err, m.setRoots(ctx, mounts, held, out))
}

// isFilled reports whether nothing is left to take up of a copy that ended, nil for one that found nothing to do.
func isFilled(status *v1alpha1.PrimeStatus) bool {
	return status == nil || status.Outcome != v1alpha1.PrimeTimedOut && status.Outcome != v1alpha1.PrimeFailed
}

// primingOf is how a mount is primed that the daemon does not hold, nil when no policy demands it or there is nowhere
// to look for a snapshot.
func (m *Maker) primingOf(cache *v1alpha1.BuildCache, mount daemon.Mount) *priming {
	namespace, written, own := mountpolicy.Written(cache.ServedNamespaces(), mount.ID)
	p := mountpolicy.For(cache.Spec.Mounts, written)
	if !own || !mountpolicy.Primes(p) || repositoryOf(p, cache.Spec.Registry) == "" {
		return nil
	}
	return &priming{
		policy:  p,
		mount:   mount,
		subject: subject{namespace, written, mount.ID},
		limit:   time.Duration(max(p.PrimeTimeoutSeconds, 1)) * time.Second,
	}
}

// claim has builds wait for a mount until primeOne has ended. m.mu is held.
func (m *Maker) claim(id string) {
	if m.priming == nil {
		m.priming = map[string]chan struct{}{}
	}
	m.priming[id] = make(chan struct{})
}

// Sharing is the mode of each mount by its id, as State.End wants it.
func Sharing(mounts []daemon.Mount) map[string]string {
	out := map[string]string{}
	for _, mount := range mounts {
		out[mount.ID] = mount.Sharing
	}
	return out
}

// await waits for a priming that is under way, which the other build reports.
func await(ctx context.Context, other <-chan struct{}, limit time.Duration) *v1alpha1.PrimeStatus {
	select {
	case <-other:
	case <-ctx.Done():
	case <-time.After(limit):
	}
	return nil
}

// priming is one mount that is to be primed.
type priming struct {
	policy  *v1alpha1.MountPolicy
	mount   daemon.Mount
	subject subject
	held    bool // there is content, to be replaced if it is older than a snapshot
	limit   time.Duration
}

// primeOne primes a mount that m.priming has an entry for. It has nothing to say of one that is new enough.
func (m *Maker) primeOne(ctx context.Context, cache *v1alpha1.BuildCache, p *priming) *v1alpha1.PrimeStatus {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		close(m.priming[p.mount.ID])
		delete(m.priming, p.mount.ID)
	}()
	began := m.Now()
	status := &v1alpha1.PrimeStatus{ID: p.mount.ID}
	err := m.fill(ctx, cache, p, status)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		status.Outcome, status.Message = v1alpha1.PrimeTimedOut, fmt.Sprintf("not done after %v", p.limit)
	case err != nil:
		status.Outcome, status.Message = v1alpha1.PrimeFailed, err.Error()
	case status.Outcome == "":
		return nil
	}
	status.DurationSeconds = int32((m.Now().Sub(began) + time.Second - 1) / time.Second)
	return status
}

// fill finds the newest snapshot and copies it into the mount.
func (m *Maker) fill(ctx context.Context, cache *v1alpha1.BuildCache, p *priming, status *v1alpha1.PrimeStatus) error {
	began := m.Now()
	c, where, err := m.copyOf(ctx, cache, p.policy, p.mount.ID, p.mount.Sharing)
	if err != nil {
		return err
	}
	tag, man, _, err := m.newest(ctx, c.Repository, p.subject.namespace, p.subject.written)
	switch {
	case err != nil:
		return fmt.Errorf("look for snapshots: %w", err)
	case p.held && !m.isNewer(p.mount.ID, tag, man):
		return nil
	case tag == "":
		status.Outcome = v1alpha1.PrimeNoSnapshot
		return nil
	}
	c.Image, c.Replace = man, p.held
	c.Timeout = max(p.limit-m.Now().Sub(began), time.Second)
	status.Ref = byDigest(where, man.Digest)
	res, err := m.Copier.Prime(ctx, c)
	if err != nil {
		return err
	}
	status.Bytes, status.Message = res.Bytes, res.Omitted.String()
	switch res.Outcome {
	case mountcopy.Held:
		status.Outcome = v1alpha1.PrimeHeld
	case mountcopy.Replaced:
		status.Outcome = v1alpha1.PrimeRefreshed
	case mountcopy.Unchanged: // new enough, as it turns out
	default:
		status.Outcome = v1alpha1.PrimePrimed
	}
	return nil
}

// isNewer reports whether a snapshot, empty for none, is another daemon's and newer than what the mount holds here.
func (m *Maker) isNewer(id, tag string, man registry.Manifest) bool {
	at, ok := cacheref.MountTagTime(tag)
	return ok && man.Annotations[annotationDaemon] != m.Daemon && at.After(m.LastUsed(id))
}
