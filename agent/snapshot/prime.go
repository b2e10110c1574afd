// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
)

// Begin notes that a build is about to use mounts; State.End must follow. Those that the daemon does not hold and that have a policy for it are filled,
// several at a time, and what came of each is returned; it never fails a build. A mount that another build is having primed is waited for, and one that
// another build uses is left alone. What takes longer than the policy allows is given up. The error is about the note, which holds in memory.
func (m *Maker) Begin(ctx context.Context, cache *v1alpha1.BuildCache, epoch string, mounts []daemon.Mount, held map[string]int64) ([]v1alpha1.PrimeStatus, error) {
	sharing := Sharing(mounts)
	work := make([]func() *v1alpha1.PrimeStatus, 0, len(mounts))
	m.mu.Lock() // so that no two builds both find a mount unused
	busy, err := m.State.Begin(epoch, sharing, m.Now())
	for _, mount := range mounts {
		_, has := held[mount.ID]
		written, own := mountpolicy.Written(m.Namespace, mount.ID)
		p := mountpolicy.For(cache.Spec.Mounts, written)
		if has || !own || !mountpolicy.Primes(p) || repositoryOf(p, cache.Spec.Registry) == "" {
			continue
		}
		limit := time.Duration(max(p.PrimeTimeoutSeconds, 1)) * time.Second
		if other, underWay := m.priming[mount.ID]; underWay {
			work = append(work, func() *v1alpha1.PrimeStatus { return wait(ctx, other, limit) })
			continue
		}
		if busy[mount.ID] {
			continue
		}
		if m.priming == nil {
			m.priming = map[string]chan struct{}{}
		}
		m.priming[mount.ID] = make(chan struct{})
		work = append(work, func() *v1alpha1.PrimeStatus { return m.primeOne(ctx, cache, p, mount, written, limit) })
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
		}
	}
	return out, err
}

// Sharing is the mode of each mount by its id, as State.End wants it.
func Sharing(mounts []daemon.Mount) map[string]string {
	out := map[string]string{}
	for _, mount := range mounts {
		out[mount.ID] = mount.Sharing
	}
	return out
}

// wait waits for another build's priming and has nothing of its own to say.
func wait(ctx context.Context, other <-chan struct{}, limit time.Duration) *v1alpha1.PrimeStatus {
	select {
	case <-other:
	case <-ctx.Done():
	case <-time.After(limit):
	}
	return nil
}

// primeOne primes a mount that m.priming has an entry for.
func (m *Maker) primeOne(ctx context.Context, cache *v1alpha1.BuildCache, p *v1alpha1.MountPolicy, mount daemon.Mount, written string, limit time.Duration) *v1alpha1.PrimeStatus {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		close(m.priming[mount.ID])
		delete(m.priming, mount.ID)
	}()
	began := m.Now()
	status := &v1alpha1.PrimeStatus{ID: mount.ID}
	err := m.fill(ctx, cache, p, mount, written, limit, status)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		status.Outcome, status.Message = v1alpha1.PrimeTimedOut, fmt.Sprintf("not done after %v", limit)
	case err != nil:
		status.Outcome, status.Message = v1alpha1.PrimeFailed, err.Error()
	}
	status.Seconds = int32((m.Now().Sub(began) + time.Second - 1) / time.Second)
	return status
}

// fill finds the newest snapshot and copies it into the mount.
func (m *Maker) fill(ctx context.Context, cache *v1alpha1.BuildCache, p *v1alpha1.MountPolicy, mount daemon.Mount, written string, limit time.Duration, status *v1alpha1.PrimeStatus) error {
	began := m.Now()
	c, where, err := m.copyOf(ctx, cache, p, mount.ID, mount.Sharing)
	if err != nil {
		return err
	}
	tag, man, _, err := m.newest(ctx, c.Repository, written)
	if err != nil {
		return fmt.Errorf("look for snapshots: %w", err)
	}
	if tag == "" {
		status.Outcome = v1alpha1.PrimeNoSnapshot
		return nil
	}
	c.Image = man
	c.Timeout = max(limit-m.Now().Sub(began), time.Second)
	status.Ref = byDigest(where, man.Digest)
	res, err := m.Copier.Prime(ctx, c)
	if err != nil {
		return err
	}
	status.Outcome, status.Bytes = v1alpha1.PrimePrimed, res.Bytes
	if res.Outcome == mountcopy.Held {
		status.Outcome = v1alpha1.PrimeHeld
	}
	return nil
}
