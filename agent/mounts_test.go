// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
)

// Snapshot pretends that a mount of 7 bytes was pushed.
func (f *fakeBuilder) Snapshot(_ context.Context, c *daemon.MountCopy) (mountcopy.Result, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.snapshots = append(f.snapshots, c.ID)
	return mountcopy.Result{Outcome: mountcopy.Copied, Digest: "sha256:tree", Bytes: 7, Files: 1, Written: 7},
		"sha256:image", nil
}

// Survey pretends that no mount is empty.
func (f *fakeBuilder) Survey(context.Context, []byte, []daemon.Mount) ([]daemon.Mount, error) {
	return nil, nil
}

// SetRoot pretends that a mount has got its owner.
func (f *fakeBuilder) SetRoot(context.Context, *daemon.MountCopy, mountcopy.Root) (mountcopy.Result, error) {
	return mountcopy.Result{Outcome: mountcopy.Copied}, nil
}

// Prime pretends that a mount was filled.
func (f *fakeBuilder) Prime(context.Context, *daemon.MountCopy) (mountcopy.Result, error) {
	return mountcopy.Result{Outcome: mountcopy.Copied, Digest: "sha256:tree", Bytes: 7, Files: 1, Written: 7}, nil
}
