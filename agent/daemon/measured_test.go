// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"testing"

	"github.com/moby/buildkit/client/llb"
	"golang.org/x/sync/errgroup"
)

// TestAMountIsSeenWhileItIsMeasured has buildkitd measure a mount of many files for four who ask at once, as it does
// for its own garbage collection a moment after it starts. All must see the mount, however it is listed meanwhile.
func TestAMountIsSeenWhileItIsMeasured(t *testing.T) {
	t.Parallel()
	m := newMounts(t)
	d, bk := m.daemon()
	m.run(bk, "cd /c; seq 20000 | xargs touch", llb.CacheMountShared)
	for range 5 {
		m.run(bk, "echo x >> /c/more", llb.CacheMountShared) // its size is unknown again
		var looks errgroup.Group
		for range 4 {
			looks.Go(func() error {
				o, err := d.Observe(t.Context())
				if err == nil {
					if _, seen := o.MountBytes["ns/a"]; !seen {
						t.Errorf("a look has found the mounts %v, among %d records", o.MountBytes, o.Records)
					}
				}
				return err
			})
		}
		if err := looks.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}
