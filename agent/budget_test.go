// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// TestBudgetsFollowTheVolume has autoExpand raise the size under a running agent: what would have been pruned at
// first has room. The volume is a folder of this machine's disk, which bounds a size that is larger still.
func TestBudgetsFollowTheVolume(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *v1alpha1.BuildCache) {
		c.Spec.Storage.AutoExpand = &v1alpha1.AutoExpandSpec{MaxSize: resource.MustParse("1Pi"), ThresholdPercent: 70,
			StepPercent: 25}
	})
	h := &holder{}
	h.put(w.ns, "a", 4<<30)
	w.start(h, "pod-a", func(o *agent.Options) { o.ObserveEvery = 100 * time.Millisecond })
	var bd v1alpha1.BuildDaemon
	budget := func(capacity func() int64) {
		t.Helper()
		envtestkit.Eventually(t, func() error {
			if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "cache-0"}, &bd); err != nil {
				return err
			}
			want, gc := capacity(), bd.Status.GC
			if gc == nil || gc.CapacityBytes != want || gc.MountsBudgetBytes != want/100*50 ||
				gc.LayersBudgetBytes != want/100*30 || gc.FreeBytes != want/100*20 {
				return fmt.Errorf("budgets are %+v, want those of %d bytes", gc, want)
			}
			return nil
		})
	}
	grow := func(size string) {
		t.Helper()
		cache := &v1alpha1.BuildCache{}
		if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "cache"}, cache); err != nil {
			t.Fatal(err)
		}
		cache.Status.Storage = &v1alpha1.StorageStatus{Size: resource.MustParse(size)}
		if err := w.Client.Status().Update(t.Context(), cache); err != nil {
			t.Fatal(err)
		}
	}
	budget(func() int64 { return 10 << 30 })
	grow("20Gi")
	budget(func() int64 { return 20 << 30 })
	h.put(w.ns, "b", 4<<30) // 8 of what are now 10 GiB for mounts, and were 5
	envtestkit.Eventually(t, func() error {
		if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "cache-0"}, &bd); err != nil {
			return err
		}
		if len(bd.Status.Mounts) != 2 || bd.Status.GC.LastPrune != nil {
			return fmt.Errorf("mounts are %+v, last prune %+v; want both there", bd.Status.Mounts,
				bd.Status.GC.LastPrune)
		}
		return nil
	})
	grow("1Pi")
	budget(func() int64 { return bd.Status.CapacityBytes })
}
