// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

const cacheMount = "exec.cachemount"

// policy reads the garbage collection in force.
func (w *world) policy() []client.PruneInfo {
	w.t.Helper()
	workers, err := w.client.ListWorkers(context.Background())
	if err != nil || len(workers) != 1 {
		w.t.Fatalf("list workers: %d, %v", len(workers), err)
	}
	return workers[0].GCPolicy
}

// Why the operator writes the whole list: BuildKit's own first rule throws idle mounts away after two days.
func TestStockPolicyDeletesIdleMounts(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	first := w.policy()[0]
	want := client.PruneInfo{KeepDuration: 48 * time.Hour, MaxUsedSpace: 512e6}
	if diff := cmp.Diff(want, first, cmpopts.IgnoreFields(client.PruneInfo{}, "Filter")); diff != "" {
		t.Errorf("first rule (-want +got):\n%s", diff)
	}
	if !slices.Contains(first.Filter, "type=="+cacheMount) {
		t.Errorf("first rule selects %q, want cache mounts among it", first.Filter)
	}
}

func TestGivenPolicyReplacesTheStockOneAndIsReadBack(t *testing.T) {
	w := newWorld(t, buildkittest.Options{Worker: `gc = true
reservedSpace = "1GB"
[[worker.oci.gcpolicy]]
filters = ["type==source.local", "type==source.git.checkout"]
maxUsedSpace = 600000000
[[worker.oci.gcpolicy]]
filters = ["type!=exec.cachemount"]
maxUsedSpace = 700000000
[[worker.oci.gcpolicy]]
all = true
maxUsedSpace = 800000000
`})
	want := []client.PruneInfo{
		{Filter: []string{"type==source.local", "type==source.git.checkout"}, MaxUsedSpace: 600000000},
		{Filter: []string{"type!=exec.cachemount"}, MaxUsedSpace: 700000000},
		{All: true, MaxUsedSpace: 800000000},
	}
	if diff := cmp.Diff(want, w.policy(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
}

// A rule's bound is compared with the whole cache, so an order of sacrifice is an order of rising bounds.
func TestBoundIsComparedWithTheWholeCache(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("dd if=/dev/urandom of=/layer bs=1M count=30; dd if=/dev/urandom of=/c/f bs=1M count=5",
		mount("a", llb.CacheMountShared)).Root())
	rule := client.PruneInfo{Filter: []string{"type==" + cacheMount}}
	keep := func(bytes int64) []string {
		return w.prune(client.WithFilter(rule.Filter), client.WithKeepOpt(0, 0, bytes, 0))
	}
	if removed := keep(100e6); len(removed) != 0 {
		t.Errorf("below the bound %d records were removed, want none", len(removed))
	}
	// The mount alone (5 MB) is far below 20 MB, the whole cache above it.
	if removed := keep(20e6); len(removed) != 1 || len(w.mounts("a")) != 0 {
		t.Errorf("removed %v, and %d mounts remain; want the mount removed since the whole cache is above the bound",
			removed, len(w.mounts("a")))
	}
}

func TestKeepDurationDeletesWhatIsOlder(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("touch /c/f", mount("a", llb.CacheMountShared)).Root())
	filter := client.WithFilter([]string{"type==" + cacheMount})
	if removed := w.prune(filter, client.WithKeepOpt(time.Hour, 0, 0, 0)); len(removed) != 0 {
		t.Errorf("removed %v, which were used within the hour", removed)
	}
	time.Sleep(1100 * time.Millisecond) // the rule needs an age to compare with
	if removed := w.prune(filter, client.WithKeepOpt(time.Second, 0, 0, 0)); len(removed) != 1 {
		t.Errorf("removed %v, want the mount, unused for more than a second", removed)
	}
}

func TestPruneFiltersSelectExactlyOneMount(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	tests := map[string]struct{ filter func(id string) string }{
		"by the record's id": {func(id string) string { return "id==" + w.mounts(id)[0].ID }},
		"by the mount's id": {
			func(id string) string { return fmt.Sprintf("type==%s,description~=\"\\\"%s\\\"\"", cacheMount, id) },
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, id := range []string{"go", "go-mod"} { // one id begins with the other
				w.must(w.sh("touch /c/f", mount(id, llb.CacheMountShared), salt()).Root())
			}
			want := w.mounts("go")[0].ID
			removed := w.prune(client.PruneAll, client.WithFilter([]string{tc.filter("go")}))
			if diff := cmp.Diff([]string{want}, removed); diff != "" {
				t.Errorf("removed records (-want +got):\n%s", diff)
			}
			if len(w.mounts("go-mod")) != 1 {
				t.Error("the other mount is gone")
			}
		})
	}
}

func TestMountInUseIsSkippedSilently(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	gate := llb.AddMount("/sync", llb.Scratch(), llb.AsPersistentCacheDir("sync", llb.CacheMountShared))
	running := w.start(w.sh("touch /c/f /sync/here; while [ ! -e /sync/go ]; do sleep 0.05; done",
		mount("a", llb.CacheMountShared), gate).Root())
	eventually(t, "the mount is in use", func() bool {
		found := w.mounts("a")
		return len(found) == 1 && found[0].InUse
	})
	if removed := w.prune(client.WithFilter([]string{"id==" + w.mounts("a")[0].ID})); len(removed) != 0 {
		t.Errorf("removed %v while in use", removed)
	}
	w.must(w.sh("touch /sync/go", gate).Root())
	if err := <-running; err != nil {
		t.Error(err)
	}
	if got := w.show("a"); got != "f:" {
		t.Errorf("the mount holds %q, want it whole", got)
	}
}

func TestDiskUsageDescribesAMount(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("dd if=/dev/urandom of=/c/f bs=1M count=3", mount("go-build", llb.CacheMountShared)).Root())
	w.must(w.sh("true", mount("go-build", llb.CacheMountShared)).Root())
	found := w.mounts("")
	if len(found) != 1 {
		t.Fatalf("%d mounts, want 1", len(found))
	}
	// The command is that of the first use.
	want := `cached mount /c from exec /bin/sh -ec dd if=/dev/urandom of=/c/f bs=1M count=3 with id "go-build"`
	if diff := cmp.Diff(want, found[0].Description); diff != "" {
		t.Errorf("description (-want +got):\n%s", diff)
	}
	if found[0].Size < 3<<20 || found[0].Size > 4<<20 || !found[0].Mutable || found[0].InUse {
		t.Errorf("record %+v, want 3 MiB, mutable, not in use", found[0])
	}
}

// What keeps cache mounts from BuildKit's own garbage collection: no rule selects them, however little space there is.
func TestARuleWithoutMountsLeavesThem(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("dd if=/dev/urandom of=/layer bs=1M count=5; dd if=/dev/urandom of=/c/f bs=1M count=5",
		mount("a", llb.CacheMountShared)).Root())
	removed := w.prune(client.WithFilter([]string{"type!=" + cacheMount}), client.WithKeepOpt(0, 0, 0, 1<<60))
	if len(removed) == 0 || len(w.mounts("a")) != 1 {
		t.Errorf("removed %v, %d mounts remain; want layers removed and the mount left", removed, len(w.mounts("a")))
	}
}

// Why idle mounts seem younger than they are: measuring one for the first time uses it.
func TestMeasuringAMountCountsAsAUse(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("touch /c/f", mount("a", llb.CacheMountShared)).Root())
	before := time.Now()
	time.Sleep(10 * time.Millisecond)
	w.mounts("a")                                     // measures
	used, again := w.mounts("a")[0], w.mounts("a")[0] // do not
	if used.LastUsedAt == nil || !used.LastUsedAt.After(before) {
		t.Errorf("last used at %v, want it after the build's end at %v", used.LastUsedAt, before)
	}
	if !again.LastUsedAt.Equal(*used.LastUsedAt) {
		t.Errorf("last used at %v, then at %v; want no use by a later look", used.LastUsedAt, again.LastUsedAt)
	}
}
