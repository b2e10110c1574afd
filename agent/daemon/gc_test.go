// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/gcrules"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// roomy is a world in which nothing needs to be pruned.
func roomy() gc.Input {
	const tib = 1 << 40
	return gc.Input{
		Namespaces: []string{"ns"}, Now: time.Now(), Volume: gc.Volume{CapacityBytes: tib, FreeBytes: tib},
		Budget: gc.Budget{CapacityBytes: tib, MountsBytes: tib, LayersBytes: tib},
	}
}

// collect does what the agent does after a look, and returns the cache mounts pruned, sorted.
func collect(t *testing.T, d *daemon.Daemon, w gc.Input) []string {
	t.Helper()
	seen := observe(t, d)
	w.Records = seen.Cache
	plan := gc.Plan(w)
	var ids, mounts []string
	for _, v := range plan {
		ids = append(ids, v.ID)
	}
	freed, err := d.Prune(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range plan {
		if _, gone := freed[v.ID]; gone && v.Mount != "" {
			mounts = append(mounts, v.Mount)
		}
	}
	slices.Sort(mounts)
	return mounts
}

func observe(t *testing.T, d *daemon.Daemon) *daemon.Observation {
	t.Helper()
	seen, err := d.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func held(t *testing.T, d *daemon.Daemon) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(observe(t, d).MountBytes))
}

// filling is a program that writes so many MiB into each cache mount, one step a mount.
func filling(image string, mib map[string]int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "fs default() {\n\timage %q\n", image)
	for _, id := range slices.Sorted(maps.Keys(mib)) {
		fmt.Fprintf(&b,
			"\trun \"dd if=/dev/urandom of=/c/f bs=1M count=%d\" with option {\n\t\tmount scratch \"/c\" with option {\n\t\t\tcache %q \"shared\"\n\t\t}\n\t}\n", mib[id], id)
	}
	return b.String() + "}\n"
}

func TestMountsArePrunedByTheirPolicies(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))
	build(t, d, inline(filling(registry.Busybox(), map[string]int{"big": 5, "pinned": 4, "small": 1})))
	w := roomy()
	w.Policies = []v1alpha1.MountPolicy{{
		ID: "pinned", Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever},
	}, {ID: "*", Eviction: &v1alpha1.MountEviction{MaxSize: ptr.To(resource.MustParse("3Mi"))}}}
	if diff := cmp.Diff([]string{"ns/big"}, collect(t, d, w)); diff != "" {
		t.Errorf("pruned with a size of 3Mi (-want +got):\n%s", diff)
	}
	w.Budget.MountsBytes, w.Budget.LayersBytes = 0, 0
	if diff := cmp.Diff([]string{"ns/small"}, collect(t, d, w)); diff != "" {
		t.Errorf("pruned without any budget (-want +got):\n%s", diff)
	}
	seen := observe(t, d)
	if diff := cmp.Diff([]string{"ns/pinned"}, held(t, d)); diff != "" || seen.Bytes != seen.MountBytes["ns/pinned"] {
		t.Errorf("%d bytes are left, of which mounts (-want +got):\n%s%v", seen.Bytes, diff, seen.MountBytes)
	}
}

func TestAMountInUseIsNotPruned(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))
	build(t, d, inline(filling(registry.Busybox(), map[string]int{"m": 2})))
	idle := observe(t, d)
	job := inline(fmt.Sprintf(`fs default() {
	image %q
	run "echo running; cat /c/f > /dev/null; sleep 5; test -s /c/f" with option {
		mount scratch "/c" with option {
			cache "m" "shared"
		}
	}
}
`, registry.Busybox()))
	begun, done := make(chan struct{}), make(chan error, 1)
	job.Progress = onLog("running", begun)
	go func() {
		_, err := d.Build(t.Context(), job)
		done <- err
	}()
	select {
	case <-begun:
	case err := <-done:
		t.Fatalf("the build ended early: %v", err)
	}
	var mount string
	for _, r := range idle.Cache {
		if r.Mount != "" {
			mount = r.ID
		}
	}
	freed, err := d.Prune(t.Context(), []string{mount}) // as by a plan from a look before the build
	if err != nil || len(freed) != 0 {
		t.Errorf("pruned %v, %v; want nothing, without an error", freed, err)
	}
	if err := <-done; err != nil {
		t.Errorf("the build lost its mount: %v", err)
	}
	if freed, err := d.Prune(t.Context(), []string{mount}); err != nil || freed[mount] < 2<<20 {
		t.Errorf("afterwards pruned %v, %v; want the mount's 2 MiB", freed, err)
	}
}

// age makes a stopped daemon believe that its cache mounts were last used so long ago.
func age(t *testing.T, root string, by time.Duration) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(root, "runc-overlayfs", "metadata_v2.db"), 0o600,
		&bbolt.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	aged := 0
	err = db.Update(func(tx *bbolt.Tx) error {
		records := tx.Bucket([]byte("_main"))
		return records.ForEachBucket(func(id []byte) error {
			record := records.Bucket(id)
			if !strings.Contains(string(record.Get([]byte("cache.recordType"))), "exec.cachemount") {
				return nil
			}
			aged++
			return record.Put([]byte("cache.lastUsedAt"),
				fmt.Appendf(nil, `{"value":%d}`, time.Now().Add(-by).UnixNano()))
		})
	})
	if err != nil || aged == 0 {
		t.Fatalf("%d records aged, %v", aged, err)
	}
}

// backstop is the operator's configuration of a worker on a volume of sizeBytes.
func backstop(sizeBytes int64) string {
	text := "gc = true\n"
	for _, rule := range gcrules.Backstop(sizeBytes) {
		text += "[[worker.oci.gcpolicy]]\nfilters = [\"" + strings.Join(rule.Filters, `", "`) + "\"]\nminFreeSpace = " +
			fmt.Sprint(rule.MinFreeBytes) + "\n"
	}
	return text
}

// The case that this project is about: a mount idle over a weekend, on a daemon that was busy with other things. Both
// daemons hold the same and come to life with the same pressure: more than the 512 MB above which stock settings act.
// Ours believes its volume to be full, and its budget for layers is spent, so that all of its garbage collection
// acts, too.
func TestIdleMountsStayWhereStockSettingsLoseThem(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	image := registry.Busybox()
	const never = 1 << 55 // a volume of 32 PiB always lacks free space
	daemons := map[string]*buildkittest.Daemon{
		"stock": buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}),
		"ours": buildkittest.Start(t,
			buildkittest.Options{Registries: []string{registry.Address}, Worker: backstop(never)}),
	}
	for _, bk := range daemons {
		d := dial(t, bk)
		build(t, d, inline(filling(image, map[string]int{"idle": 20})))
		build(t, d,
			inline(fmt.Sprintf("fs default() {\n\timage %q\n\trun \"dd if=/dev/zero of=/layer bs=1M count=560\"\n}\n",
				image)))
		observe(t, d) // measures the mount: doing so later would count as a use of it
		bk.Kill()
		age(t, bk.Root, 49*time.Hour)
		bk.Restart()
	}
	stock, ours := dial(t, daemons["stock"]), dial(t, daemons["ours"])
	if !gcrules.Honours(observe(t, ours).Rules, never) || gcrules.Honours(observe(t, stock).Rules, never) {
		t.Errorf("rules read back: ours %+v, stock %+v", observe(t, ours).Rules, observe(t, stock).Rules)
	}
	// BuildKit collects garbage once a minute.
	for deadline := time.Now().Add(3 * time.Minute); len(held(t, stock)) > 0 ||
		observe(t, ours).Bytes > 400<<20; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatalf("stock settings keep %v; ours hold %d MiB", held(t, stock), observe(t, ours).Bytes>>20)
		}
	}
	w := roomy()
	w.Budget.LayersBytes = 0
	collect(t, ours, w)
	if diff := cmp.Diff([]string{"ns/idle"}, held(t, ours)); diff != "" {
		t.Errorf("our mounts (-want +got):\n%s", diff)
	}
}
