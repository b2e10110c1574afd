// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// smallVolume mounts a file system of 40 MiB and 1000 inodes.
func smallVolume(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=40m,nr_inodes=1000"); err != nil {
		t.Fatalf("mount a file system (as root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// tree is a daemon whose records are folders.
type tree struct {
	holder
	dir string
}

// Prune removes the folders of records.
func (d *tree) Prune(ctx context.Context, ids []string) (map[string]int64, error) {
	freed, err := d.holder.Prune(ctx, ids)
	for id := range freed {
		if err := os.RemoveAll(filepath.Join(d.dir, id)); err != nil {
			return nil, err
		}
	}
	return freed, err
}

// fill makes a record of files, in use.
func (d *tree) fill(t *testing.T, id string, files int, bytesEach int64) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(d.dir, id), 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range files {
		if err := os.WriteFile(filepath.Join(d.dir, id, fmt.Sprint(n)), make([]byte, bytesEach), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cache = append(d.cache, gc.Record{ID: id, Class: gc.Layer, Bytes: int64(files) * bytesEach, InUse: true})
}

// release ends the use of all records.
func (d *tree) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.cache {
		d.cache[i].InUse = false
	}
}

func TestAFullVolumeIsCordonedUntilPruningHelps(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		files     int
		bytesEach int64
		reason    string
		prune     v1alpha1.PruneReason
	}{
		"few bytes are left":  {1, 37 << 20, v1alpha1.ReasonVolumeNearlyFull, v1alpha1.PruneLayersOverBudget},
		"few inodes are left": {930, 1 << 10, v1alpha1.ReasonInodesNearlyFull, v1alpha1.PruneLowInodes},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			volume := smallVolume(t)
			d := &tree{dir: filepath.Join(volume, "cache")}
			w.start(d, "pod", func(o *agent.Options) {
				o.StateDir, o.ObserveEvery = filepath.Join(volume, "state"), 200*time.Millisecond
			})
			bd := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-0"}}
			w.WaitCondition(t, bd, v1alpha1.ConditionDiskPressure, metav1.ConditionFalse, v1alpha1.ReasonVolumeHasSpace)
			d.fill(t, "step", tc.files, tc.bytesEach)
			w.WaitCondition(t, bd, v1alpha1.ConditionDiskPressure, metav1.ConditionTrue, tc.reason)
			d.release()
			w.WaitCondition(t, bd, v1alpha1.ConditionDiskPressure, metav1.ConditionFalse, v1alpha1.ReasonVolumeHasSpace)
			envtestkit.Eventually(t, func() error {
				if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(bd), bd); err != nil {
					return err
				}
				s := bd.Status
				if s.GC == nil || s.GC.LastPrune == nil || s.GC.LastPrune.Reasons[0] != tc.prune ||
					s.GC.CapacityBytes != 40<<20 || s.CapacityInodes != 1000 || s.UsedInodes != 1000 &&
					s.UsedInodes != 0 {
					return fmt.Errorf("garbage collection: %+v; %d of %d inodes", s.GC, s.UsedInodes, s.CapacityInodes)
				}
				return nil
			})
		})
	}
}
