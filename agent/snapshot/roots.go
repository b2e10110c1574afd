// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// setRoots has the own directories of mounts be what the build wants of new ones, so that the users of its steps can
// write there. What was done before holds for as long as the daemon holds the mount and nothing was copied into it.
// A mount that could not be set stays as it is: the build may do without.
func (m *Maker) setRoots(
	ctx context.Context, mounts []daemon.Mount, held map[string]int64, primed []v1alpha1.PrimeStatus,
) error {
	done := map[string]bool{}
	for _, mount := range mounts {
		e, _ := m.State.Entry(mount.ID)
		_, has := held[mount.ID]
		done[mount.ID] = mount.Root == nil || has && e.Root == mount.Root.String()
	}
	for i := range primed {
		if o := primed[i].Outcome; o == v1alpha1.PrimePrimed || o == v1alpha1.PrimeRefreshed {
			done[primed[i].ID] = false
		}
	}
	errs := make([]error, len(mounts))
	var all sync.WaitGroup
	for i, mount := range mounts {
		if mount.Root != nil && !done[mount.ID] {
			all.Go(func() { errs[i] = m.setRoot(ctx, mount) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

func (m *Maker) setRoot(ctx context.Context, mount daemon.Mount) error {
	program, err := m.LoadProgram()
	if err == nil {
		c := &daemon.MountCopy{ID: mount.ID, Sharing: mount.Sharing, Program: program, Patience: patience}
		_, err = m.Copier.SetRoot(ctx, c, *mount.Root)
	}
	if err != nil {
		return fmt.Errorf("set the owner of cache mount %s: %w", mount.ID, err)
	}
	return m.State.note(mount.ID, func(e *Entry) { e.Root = mount.Root.String() })
}
