// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// holder is a daemon with a cache.
type holder struct {
	fakeBuilder
	cache []gc.Record // guarded by fakeBuilder.mu
}

func (h *holder) Observe(context.Context) (*daemon.Observation, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pingErr != nil {
		return nil, h.pingErr
	}
	o := &daemon.Observation{Version: "v0.34.2", Platform: "linux/amd64", Records: 1 + len(h.cache), Cache: h.cache,
		MountBytes: map[string]int64{}}
	for _, r := range h.cache {
		o.Bytes += r.Bytes
		if r.Mount != "" {
			o.MountBytes[r.Mount] += r.Bytes
		}
	}
	return o, nil
}

func (h *holder) Prune(_ context.Context, ids []string) (map[string]int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	freed := map[string]int64{}
	h.cache = slices.DeleteFunc(h.cache, func(r gc.Record) bool {
		if !slices.Contains(ids, r.ID) {
			return false
		}
		freed[r.ID] = r.Bytes
		return true
	})
	return freed, nil
}

// put adds what a build left.
func (h *holder) put(ns, id string, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cache = append(h.cache, gc.Record{ID: "r-" + id, Mount: ns + "/" + id, Bytes: bytes, LastUsed: time.Now()})
}

// pruned waits until the daemon tells of mounts that it has pruned, and returns them.
func (w *world) pruned() []string {
	w.t.Helper()
	return w.tells("mounts were pruned", func(s *v1alpha1.BuildDaemonStatus) bool {
		return s.GC != nil && s.GC.LastPrune != nil
	}).Status.GC.LastPrune.Mounts
}

func TestAMountOverItsSizeIsPrunedAndItsKeyFresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *v1alpha1.BuildCache) {
		c.Spec.Mounts = []v1alpha1.MountPolicy{{
			ID: "big", Eviction: &v1alpha1.MountEviction{MaxSize: ptr.To(resource.MustParse("10Mi"))},
		}, {ID: "pinned", Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever}}}
	})
	h := &holder{}
	uses := func(id string, bytes int64) func(context.Context, *daemon.Job) (*daemon.Outcome, error) {
		return func(context.Context, *daemon.Job) (*daemon.Outcome, error) {
			h.put(w.ns, id, bytes)
			return &daemon.Outcome{Total: 1, Mounts: []daemon.Mount{{ID: w.ns + "/" + id, Target: "/m"}}}, nil
		}
	}
	h.builds = map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"small": uses("big", 9<<20), "grown": uses("big", 11<<20), "pinned": uses("pinned", 900<<20),
	}
	w.start(h, "pod-a", func(o *agent.Options) { o.ObserveEvery = 100 * time.Millisecond })
	isDone := func(b *v1alpha1.HLBBuild) bool {
		return meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionSucceeded)
	}
	w.eventually(w.bind("keeps", "pinned"), "done", isDone)
	w.eventually(w.bind("grows", "grown"), "done", isDone)

	bd := &v1alpha1.BuildDaemon{}
	envtestkit.Eventually(t, func() error {
		if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "cache-0"}, bd); err != nil {
			return err
		}
		if bd.Status.GC == nil || bd.Status.GC.LastPrune == nil || len(bd.Status.Mounts) != 1 {
			return fmt.Errorf("nothing was pruned yet: %+v", bd.Status)
		}
		if len(bd.Status.Keys) != 1 || bd.Status.Keys[0].Key != "key-keeps" {
			return fmt.Errorf("keys are %+v, want only that of the pinned mount", bd.Status.Keys)
		}
		return nil
	})
	pruned := bd.Status.GC.LastPrune
	if diff := cmp.Diff([]string{w.ns + "/big"}, pruned.Mounts); diff != "" || pruned.Bytes != 11<<20 ||
		!slices.Equal(pruned.Reasons, []v1alpha1.PruneReason{v1alpha1.PruneTooLarge}) {
		t.Errorf("last prune: %+v, mounts (-want +got):\n%s", pruned, diff)
	}
	m := bd.Status.Mounts[0]
	if m.ID != w.ns+"/pinned" || m.Bytes != 900<<20 || m.LastUsed == nil || m.FirstUsed == nil || m.Uses != 1 ||
		!slices.Equal(m.Users, []string{"key-keeps"}) || m.Policy != "pinned" {
		t.Errorf("the mount that is left: %+v", m)
	}
	if gc := bd.Status.GC; gc.CapacityBytes != 10<<30 || gc.MountsBudgetBytes < 5<<30-100 || gc.MountsBytes != 900<<20 {
		t.Errorf("the budgets of 10Gi: %+v", gc)
	}
	if s := bd.Status.Sizing; s == nil || s.Accesses != 1 && s.Accesses != 2 {
		t.Errorf("advice on the size: %+v", bd.Status.Sizing)
	}

	small := w.bind("small", "small", func(b *v1alpha1.HLBBuild) {})
	w.eventually(small, "done", isDone)
	if small.Status.Cache == nil || !small.Status.Cache.Fresh {
		t.Errorf("cache of the next build: %+v, want it fresh", small.Status.Cache)
	}
	envtestkit.Eventually(t, func() error {
		told := &eventsv1.EventList{}
		if err := w.Client.List(t.Context(), told, client.InNamespace(w.ns)); err != nil {
			return err
		}
		reasons := map[string]string{}
		for _, e := range told.Items {
			if e.Regarding.Name == "cache-0" {
				reasons[e.Reason] = e.Note
			}
		}
		if reasons[v1alpha1.ReasonPruned] != fmt.Sprintf("TooLarge: pruned cache mount %s/big of 11 MiB", w.ns) ||
			reasons[v1alpha1.ReasonGCPolicyDiffers] == "" {
			return errors.New("the daemon's events are " + fmt.Sprint(reasons))
		}
		return nil
	})
}
