// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// history is a fleet that lives by chance. Its objects are replaced, never changed, as those of informers.
type history struct {
	t       testing.TB
	rnd     *rand.Rand
	now     time.Time
	version int
	born    int
	cache   *v1alpha1.BuildCache
	daemons map[string]*v1alpha1.BuildDaemon
	builds  map[string]*v1alpha1.HLBBuild
	changed map[string]bool // of both kinds, since the last observation
}

// newHistory is a fleet of n serving daemons of two slots with prefetching.
func newHistory(t testing.TB, seed uint64, n int32) *history {
	h := &history{
		t:       t,
		rnd:     rand.New(rand.NewPCG(seed, 1)),
		now:     envtestkit.Epoch,
		daemons: map[string]*v1alpha1.BuildDaemon{},
		builds:  map[string]*v1alpha1.HLBBuild{},
		changed: map[string]bool{},
	}
	h.cache = testbuild.BuildCache("ns", "c", testbuild.WithReplicas(n), testbuild.WithSlots(2))
	h.cache.UID, h.cache.Generation = "cache", 1
	h.cache.Spec.Prefetch = &v1alpha1.PrefetchSpec{BandwidthPerHour: resource.MustParse("1Ti")}
	h.cache.Spec.Queues = []v1alpha1.QueueSpec{{Name: "a", Weight: 3}}
	h.cache.Spec.Registry = &v1alpha1.RegistryCacheSpec{WaitSecondsPerGiB: 2}
	h.cache.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "m*", Prime: v1alpha1.PrimeOnFreshDaemon}}
	for i := range n {
		h.join(i)
	}
	return h
}

func (h *history) join(ordinal int32) {
	d := testbuild.BuildDaemon("ns", "c", ordinal, testbuild.Serving)
	d.UID = types.UID(fmt.Sprint("daemon-", h.version))
	d.Status.GC = &v1alpha1.GCStatus{MountsBudgetBytes: 6e9}
	h.putDaemon(d)
}

func (h *history) stamp(m *metav1.ObjectMeta) {
	h.version++
	m.ResourceVersion = strconv.Itoa(h.version)
	h.changed[m.Name] = true
}

func (h *history) putDaemon(d *v1alpha1.BuildDaemon) {
	h.stamp(&d.ObjectMeta)
	h.daemons[d.Name] = d
}

func (h *history) putBuild(b *v1alpha1.HLBBuild) {
	h.stamp(&b.ObjectMeta)
	h.builds[b.Name] = b
}

// pick is one of the objects that fit, as a copy; nil for none.
func pick[T interface{ DeepCopy() T }](h *history, from map[string]T, fits func(T) bool) (out T) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if fits(from[name]) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return out
	}
	return from[names[h.rnd.IntN(len(names))]].DeepCopy()
}

// happen lets one thing happen.
func (h *history) happen() {
	switch p := h.rnd.IntN(100); {
	case p < 35:
		h.arrive()
	case p < 60:
		h.end()
	case p < 70:
		h.report()
	case p < 76:
		h.lose()
	case p < 82:
		h.turn()
	case p < 85:
		h.replace()
	case p < 88:
		h.resize()
	case p < 91:
		if b := pick(h, h.builds, status.IsFinal); b != nil {
			delete(h.builds, b.Name)
			h.changed[b.Name] = true
		}
	default:
		h.now = h.now.Add(time.Duration(h.rnd.IntN(4000)) * time.Second / 20)
	}
	h.now = h.now.Add(time.Duration(1+h.rnd.IntN(4000)) * time.Millisecond)
}

// arrive creates a build, with its run opened.
func (h *history) arrive() {
	h.born++
	key := fmt.Sprint("key-", h.rnd.IntN(1+h.rnd.IntN(12)))
	b := testbuild.HLBBuild("ns", fmt.Sprintf("b%05d", h.born), testbuild.WithCache("c"), testbuild.WithCacheKey(key))
	b.UID, b.Generation = types.UID(b.Name), 1
	b.Spec.Queue = []string{"", "a", "b"}[h.rnd.IntN(3)]
	b.Spec.Priority = int32(h.rnd.IntN(2))
	status.Open(b, buildrun.New(b), h.now.Truncate(time.Microsecond))
	h.putBuild(b)
}

// end ends a bound build, mostly well.
func (h *history) end() {
	b := pick(h, h.builds, status.IsBound)
	if b == nil {
		return
	}
	if b.Status.Run.StartedAt == nil {
		status.Start(b, "agent", h.now)
	} else if h.rnd.IntN(8) == 0 {
		status.Fail(b, v1alpha1.FailureStatus{Reason: v1alpha1.ReasonSolveFailed}, h.now)
	} else {
		b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: h.rnd.IntN(3) == 0}
		for i := range h.rnd.IntN(3) {
			id := fmt.Sprint("ns/m-", b.Spec.CacheKey, "-", i)
			mount := v1alpha1.BuildMount{ID: id, Sharing: v1alpha1.MountShared, Bytes: int64(i+1) * 1e9}
			b.Status.Mounts = append(b.Status.Mounts, mount)
			if b.Status.Cache.Fresh {
				b.Status.Prime = append(b.Status.Prime, v1alpha1.PrimeStatus{
					ID: id, Outcome: v1alpha1.PrimePrimed, Bytes: mount.Bytes,
					DurationSeconds: int32(2 + h.rnd.IntN(20)),
				})
			}
		}
		if h.rnd.IntN(4) == 0 {
			b.Status.Cache.ExportRef = "r/x:cache"
		}
		status.Succeed(b, h.now)
	}
	h.putBuild(b)
}

// lose has a started build lose its attempt, and try again.
func (h *history) lose() {
	b := pick(h, h.builds, func(b *v1alpha1.HLBBuild) bool {
		return status.IsBound(b) && b.Status.Run.StartedAt != nil
	})
	if b == nil {
		return
	}
	status.Lose(b, v1alpha1.ReasonDaemonLost, "gone", h.now)
	status.Retry(b, failure.Verdict{Counts: true}, h.now)
	h.putBuild(b)
}

// report has a daemon report keys, mounts, snapshots and what came of prefetches.
func (h *history) report() {
	d := pick(h, h.daemons, func(*v1alpha1.BuildDaemon) bool { return true })
	if d == nil {
		return
	}
	d.Status.CapacityBytes = int64(10+h.rnd.IntN(10)) << 30
	d.Status.Keys, d.Status.Mounts = nil, nil
	for i := range h.rnd.IntN(6) {
		last := h.now.Add(-time.Duration(h.rnd.IntN(3600)) * time.Second).Truncate(time.Second)
		testbuild.WithKey(fmt.Sprint("key-", i), last, int32(5+h.rnd.IntN(20)), int32(60+h.rnd.IntN(200)))(d)
		used := metav1.NewTime(last)
		m := v1alpha1.MountUse{ID: fmt.Sprintf("ns/m-key-%d-0", i), Bytes: 1e9, LastUsed: &used}
		if h.rnd.IntN(2) == 0 {
			m.Snapshot = &v1alpha1.MountSnapshotStatus{
				Outcome: v1alpha1.SnapshotPushed, Time: used, Ref: "r/x@sha256:1", Bytes: int64(1+h.rnd.IntN(3)) * 1e8,
			}
		}
		d.Status.Mounts = append(d.Status.Mounts, m)
	}
	d.Status.UsedBytes = int64(h.rnd.IntN(10)) << 30
	d.Status.GC.MountsBytes = int64(len(d.Status.Mounts)) * 1e9
	d.Status.GC.NextEviction = &v1alpha1.NextEviction{ID: "ns/m-key-0-0", Bytes: 1e9, LostSeconds: 60}
	d.Status.Prefetch = nil
	for _, q := range d.Spec.Prefetch {
		if h.rnd.IntN(2) == 0 {
			d.Status.Prefetch = append(d.Status.Prefetch, v1alpha1.PrefetchStatus{
				PrimeStatus: v1alpha1.PrimeStatus{ID: q.ID, Outcome: v1alpha1.PrimePrimed}, RequestedAt: q.RequestedAt,
			})
		}
	}
	h.putDaemon(d)
}

// turn has a daemon stop serving, or serve again.
func (h *history) turn() {
	d := pick(h, h.daemons, func(*v1alpha1.BuildDaemon) bool { return true })
	if d == nil {
		return
	}
	status, reason := metav1.ConditionTrue, v1alpha1.ReasonDaemonServing
	if h.rnd.IntN(2) == 0 {
		status, reason = metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable
	}
	testbuild.WithReady(status, reason)(d)
	h.putDaemon(d)
}

// replace removes a daemon, or adds one.
func (h *history) replace() {
	ordinal := int32(h.rnd.IntN(6))
	d := h.daemons[fmt.Sprint("c-", ordinal)]
	if d == nil {
		h.join(ordinal)
		return
	}
	delete(h.daemons, d.Name)
	h.changed[d.Name] = true
}

// resize changes the BuildCache's spec.
func (h *history) resize() {
	h.cache = h.cache.DeepCopy()
	h.cache.Generation++
	h.cache.Spec.Replicas = new(int32(2 + h.rnd.IntN(5)))
	h.cache.Spec.BuildKit.MaxConcurrentBuilds = int32(1 + h.rnd.IntN(3))
}

// observe returns what has changed since the last observation, or everything.
func (h *history) observe(full bool) fleet.Observation {
	obs := fleet.Observation{Now: h.now, Cache: h.cache, Full: full}
	names := slices.Sorted(maps.Keys(h.changed))
	if full {
		names = append(slices.Sorted(maps.Keys(h.daemons)), slices.Sorted(maps.Keys(h.builds))...)
	}
	for _, name := range names {
		d, b := h.daemons[name], h.builds[name]
		switch {
		case d != nil:
			obs.Daemons = append(obs.Daemons, d)
		case b != nil:
			obs.Builds = append(obs.Builds, b)
		case name[0] == 'c':
			obs.RemovedDaemons = append(obs.RemovedDaemons, name)
		default:
			obs.RemovedBuilds = append(obs.RemovedBuilds, types.NamespacedName{Namespace: "ns", Name: name})
		}
	}
	clear(h.changed)
	return obs
}

// write writes what a cycle decided, except for some, as conflicts do, and returns what arrived.
func (h *history) write(w *fleet.Writes) fleet.Written {
	out := fleet.Written{At: h.now}
	for i := range w.Builds {
		if h.rnd.IntN(10) == 0 {
			continue
		}
		b := w.Builds[i].Build.DeepCopy()
		w.Builds[i].Apply(b, h.now)
		h.putBuild(b)
		if w.Builds[i].IsPlacement() {
			out.Placed = append(out.Placed, w.Builds[i].Placed())
		}
	}
	for i := range w.Prefetch {
		d := w.Prefetch[i].Daemon.DeepCopy()
		d.Spec.Prefetch = w.Prefetch[i].Requests
		h.putDaemon(d)
		out.Prefetch = append(out.Prefetch, w.Prefetch[i].Added...)
	}
	return out
}
