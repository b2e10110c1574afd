// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// content is what a test puts into a cache mount: the numbers up to last, in a file, in another one in a folder, and
// behind a link.
type content struct {
	id, sharing string
	last        int
}

// hash is that of either file.
func (c content) hash() string {
	h := sha256.New()
	for i := 1; i <= c.last; i++ {
		fmt.Fprintln(h, i)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// mounting is a program whose one step runs a script with the mounts at /m0, /m1, …
func mounting(contents []content, script func(dir string, c content) string) string {
	var lines, mounts strings.Builder
	for i, c := range contents {
		dir := fmt.Sprintf("/m%d", i)
		lines.WriteString(script(dir, c))
		fmt.Fprintf(&mounts, "\t\tcacheMount %q with option { id %q; sharing %q; }\n", dir, c.id, c.sharing)
	}
	return fmt.Sprintf("fs default() {\n\timage \"IMAGE\"\n\trun %q with option {\n%s\t}\n}\n", "set -e; "+
		lines.String()+"true", mounts.String())
}

// filling writes the contents.
func filling(contents ...content) string {
	return mounting(contents, func(dir string, c content) string {
		return fmt.Sprintf("mkdir -p %[1]s/d; seq 1 %[2]d > %[1]s/numbers; cp %[1]s/numbers %[1]s/d/copy; ln -sf ../numbers %[1]s/d/link; ", dir, c.last)
	})
}

// checking fails unless the mounts have the contents.
func checking(contents ...content) string {
	return mounting(contents, func(dir string, c content) string {
		return fmt.Sprintf("for f in numbers d/copy d/link; do echo '%[2]s  '%[1]s/$f | sha256sum -c; done; test -L %[1]s/d/link; ", dir, c.hash())
	})
}

// snapshotted is a fleet whose mounts all have a snapshot policy.
func snapshotted(name string, replicas int32) *v1alpha1.BuildCache {
	cache := newFleet(name, replicas)
	cache.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "*", Snapshot: &v1alpha1.MountSnapshotSpec{}}}
	return cache
}

// keyOn is a cache key whose first daemon in the fleet is the named one.
func keyOn(cache *v1alpha1.BuildCache, daemon, stem string) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("%s-%d", stem, i); homeOf(cache, key) == daemon {
			return key
		}
	}
}

// onKey is a build of the key on the fleet.
func onKey(cache *v1alpha1.BuildCache, name, key, program string) *v1alpha1.HLBBuild {
	b := newBuild(name, program)
	b.Spec.CacheRef.Name, b.Spec.CacheKey = cache.Name, key
	return b
}

// built is such a build, after it succeeded on the wanted daemon.
func built(t *testing.T, cache *v1alpha1.BuildCache, name, key, program, daemon string) *v1alpha1.HLBBuild {
	t.Helper()
	b := onKey(cache, name, key, program)
	run(t, b)
	succeeded(t, b)
	if got := b.Status.Placement; got.Daemon != daemon {
		t.Fatalf("%s went to %s, not to %s: %s", name, got.Daemon, daemon, got.Reason)
	}
	return b
}

// primed fails the test unless the build found a fresh daemon and had all its mounts filled from snapshots.
func primed(t *testing.T, b *v1alpha1.HLBBuild, contents ...content) {
	t.Helper()
	if c := b.Status.Cache; c == nil || !c.Fresh || len(c.ImportRefs) != 1 {
		t.Errorf("%s used the cache as %+v, want a fresh daemon and one import", b.Name, c)
	}
	if len(b.Status.Prime) != len(contents) {
		t.Errorf("%s primed %+v, want %d mounts", b.Name, b.Status.Prime, len(contents))
	}
	for _, p := range b.Status.Prime {
		if p.Outcome != v1alpha1.PrimePrimed || p.Bytes == 0 {
			t.Errorf("%s primed %+v", b.Name, p)
		}
	}
}

// warm fails the test unless the build found its mounts where they were.
func warm(t *testing.T, b *v1alpha1.HLBBuild) {
	t.Helper()
	if c := b.Status.Cache; c == nil || c.Fresh || len(c.ImportRefs) != 0 || len(b.Status.Prime) != 0 {
		t.Errorf("%s used the cache as %+v and primed %+v, want neither import nor prime", b.Name, c, b.Status.Prime)
	}
	for _, m := range b.Status.Mounts {
		if !m.Hit {
			t.Errorf("%s did not find its mount %s", b.Name, m.ID)
		}
	}
}

// explain says of a daemon what may be the reasons for a failure of the test, if it has failed.
func explain(t *testing.T, name string) {
	t.Helper()
	if t.Failed() {
		t.Log(kubectl(t, "get", "bd/"+name, "-o", "jsonpath={.status.mounts}{.status.gc}"),
			kubectl(t, "logs", harness.Pod(name), "-c", "agent"),
			kubectl(t, "exec", harness.Pod(name), "-c", "buildkitd", "--", "buildctl", "du", "--verbose"))
	}
}

// snapshotsOf asks a daemon for its first snapshots and returns what it says of each mount, by id, once all are made.
func snapshotsOf(t *testing.T, name string) map[string]v1alpha1.MountSnapshotStatus {
	t.Helper()
	kubectl(t, "annotate", "bd/"+name, "--overwrite", v1alpha1.AnnotationSnapshotAt+"="+
		time.Now().Format(time.RFC3339Nano))
	out := map[string]v1alpha1.MountSnapshotStatus{}
	defer explain(t, name)
	must(t,
		harness.Eventually(t.Context(), patience, "the mounts of "+name+" are snapshotted",
			func(context.Context) (bool, error) {
				mounts := daemon(t, name).Status.Mounts
				for _, m := range mounts {
					if m.Snapshot == nil || m.Snapshot.Ref == "" {
						return false, nil
					}
					out[m.ID] = *m.Snapshot
				}
				return len(mounts) > 0, nil
			}))
	return out
}

// TestMountsOutliveTheirDaemonAndVolume fills mounts, has them snapshotted on request, changes one, and scales their
// daemon away for good, which snapshots it once more. The next build finds every mount on another daemon, to the
// byte.
func TestMountsOutliveTheirDaemonAndVolume(t *testing.T) {
	t.Parallel() // it mostly waits
	snap := snapshotted("snap", 2)
	snap.Spec.Storage.Retention.WhenScaled = v1alpha1.RetentionDelete
	makeFleet(t, snap)
	key := keyOn(snap, "snap-1", "kept")
	contents := []content{{
		"kept/shared", "shared", 100000,
	}, {"kept/locked", "locked", 50000}, {"kept/still", "shared", 70000}}
	b := built(t, snap, "fill-first", key, filling(contents...), "snap-1")
	for _, p := range b.Status.Prime {
		if p.Outcome != v1alpha1.PrimeNoSnapshot {
			t.Errorf("the first build primed %+v", p)
		}
	}
	exported(t, b)
	before := snapshotsOf(t, "snap-1")
	contents[0].last = 200000
	built(t, snap, "fill-second", key, filling(contents[0]), "snap-1")

	cordon(t, "snap-1")
	kubectl(t, "scale", "bcache/snap", "--replicas=1")
	gone(t, "snap-1")
	b = built(t, snap, "check", key, checking(contents...), "snap-0")
	primed(t, b, contents...)

	// Whoever finds nothing changed has compared the whole trees' digests.
	after := snapshotsOf(t, "snap-0")
	if len(before) != len(contents) || len(after) != len(contents) {
		t.Fatalf("snapshots are of %d and %d mounts, want %d", len(before), len(after), len(contents))
	}
	for i, c := range contents {
		id := namespace + "/" + c.id
		if after[id].Outcome != v1alpha1.SnapshotUnchanged {
			t.Errorf("%s is %+v on the other daemon, want it unchanged", id, after[id])
		}
		if same := after[id].Digest == before[id].Digest; same != (i > 0) {
			t.Errorf("%s has digest %s, had %s: equal %v", id, after[id].Digest, before[id].Digest, same)
		}
	}
}

// gone waits until a daemon is gone with its pod and its volume's claim.
func gone(t *testing.T, name string) {
	t.Helper()
	must(t,
		harness.Eventually(t.Context(), patience, name+" is gone with its volume",
			func(ctx context.Context) (bool, error) {
				out, err := cluster.Kubectl(ctx, "", "-n", namespace, "get", "pods,pvc,bd", "-o", "name")
				for _, line := range strings.Fields(out) {
					switch _, object, _ := strings.Cut(line, "/"); object {
					case name, harness.Pod(name), harness.Claim(name):
						return false, err
					}
				}
				return err == nil, err
			}))
}
