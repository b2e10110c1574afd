// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"io/fs"

	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/openllb/hlb-operator/agent/compile/reffs"
)

// builtFiles is a filesystem that the daemon has built, such as a git checkout. It lives as long as the gateway job of
// its reference. An error is taken for a missing file unless the job has ended: the gateway has no code for one.
func builtFiles(ctx context.Context, ref gateway.Reference) *reffs.FS {
	return &reffs.FS{Context: ctx, Ref: ref, Cause: func(err error) error {
		if ctx.Err() == nil && !isConnectionLost(err) {
			return errors.Join(fs.ErrNotExist, err)
		}
		return err
	}}
}
