// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
	"github.com/openllb/hlb-operator/internal/status"
)

const (
	// peersRead bounds the BuildDaemons that are read at a time. Larger fleets are known in part: a copy that is not
	// seen is not taken for one.
	peersRead = 32
	// peersLast is for how long what was read is taken to hold: a copy is used or not over hours.
	peersLast = 5 * time.Minute
	// peersTimeout bounds one reading: pruning waits for it.
	peersTimeout = 10 * time.Second
)

// peers knows which cache mounts other daemons of the fleet hold. It reads them only when it is asked. It is not safe
// for concurrent use.
type peers struct {
	reader client.Reader
	opts   Options
	now    func() time.Time

	readAt time.Time
	used   map[string]time.Time
}

// lastUses is when builds last had copies of mounts on other daemons that serve, the latest of each, by id without
// base state. With an error it is what was read so far.
func (p *peers) lastUses(ctx context.Context, replicas int32) (map[string]time.Time, error) {
	if p.used != nil && p.now().Sub(p.readAt) < peersLast {
		return p.used, nil
	}
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	used := map[string]time.Time{}
	own := int32(0)
	for ordinal := range replicas {
		if daemonName(p.opts, ordinal) == p.opts.Daemon {
			own = ordinal
		}
	}
	for step := range min(replicas-1, peersRead) {
		bd, err := readDaemon(ctx, p.reader, p.opts, (own+1+step)%replicas)
		if err != nil {
			return used, err
		}
		if bd == nil || !status.StartsBuilds(bd) {
			continue // without one the fleet is being scaled
		}
		for i := range bd.Status.Mounts {
			m := &bd.Status.Mounts[i]
			// Without bytes it is still being made; one that no build has had yet was brought in, and may be older
			// than the copy it was made from.
			if id := mountpolicy.Unbased(m.ID); m.Bytes > 0 && m.Uses > 0 && m.LastUsed != nil &&
				m.LastUsed.After(used[id]) {
				used[id] = m.LastUsed.Time
			}
		}
	}
	p.used, p.readAt = used, p.now()
	return used, nil
}

// daemonName is the name of the daemon of an ordinal in the agent's fleet.
func daemonName(opts Options, ordinal int32) string { return fmt.Sprintf("%s-%d", opts.Cache, ordinal) }

// readDaemon reads the BuildDaemon of an ordinal in the agent's fleet, nil when the fleet has none: agents may read
// those of their fleet, and no others.
func readDaemon(ctx context.Context, reader client.Reader, opts Options, ordinal int32) (*v1alpha1.BuildDaemon, error) {
	bd := &v1alpha1.BuildDaemon{}
	name := types.NamespacedName{Namespace: opts.Namespace, Name: daemonName(opts, ordinal)}
	err := reader.Get(ctx, name, bd)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the BuildDaemon %s: %w", name.Name, err)
	}
	return bd, nil
}
