// SPDX-License-Identifier: Apache-2.0

//go:build bench

package benchcache

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/registry"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
	"github.com/openllb/hlb-operator/test/kit/compiletest"
	"github.com/openllb/hlb-operator/test/kit/sizingreplay"
)

// rounds is how often the copies are measured; the median counts.
const rounds = 3

// site is one daemon with what its agent would hold.
type site struct {
	bk     *buildkittest.Daemon
	daemon *daemon.Daemon
	maker  *snapshot.Maker
}

func TestMain(m *testing.M) { compiletest.Main(m) }

// bench is a registry, a BuildCache and the daemons of the measurement.
type bench struct {
	t        *testing.T
	registry *buildkittest.Registry
	cache    *v1alpha1.BuildCache
	program  string // path of cmd/mountcopy
}

func (b *bench) site(name string) *site {
	b.t.Helper()
	bk := buildkittest.Start(b.t, buildkittest.Options{Registries: []string{b.registry.Address}})
	d, err := daemon.Dial(context.Background(), "unix://"+bk.Socket, compiletest.New(b.t))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { d.Close() })
	return &site{bk: bk, daemon: d, maker: &snapshot.Maker{
		Namespace: "bench", Daemon: name, Copier: d,
		State:       snapshot.OpenState(filepath.Join(b.t.TempDir(), "state.json"), "epoch"),
		ProgramPath: b.program, Now: time.Now, Position: func(string) string { return "epoch/1" },
		DockerConfig: func(context.Context, *v1alpha1.BuildCache) ([]byte, error) { return nil, nil },
	}}
}

// build builds a program as the agent does and returns how long it took and what priming came to.
func (b *bench) build(s *site, program string) (time.Duration, []v1alpha1.PrimeStatus) {
	b.t.Helper()
	var primed []v1alpha1.PrimeStatus
	var used []daemon.Mount
	began := time.Now()
	_, err := s.daemon.Build(b.t.Context(), &daemon.Job{
		Namespace: "bench", Spec: &v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Targets: []string{"default"}}},
		Inputs: &inputs.Inputs{Filename: "build.hlb", Program: []byte(program), Secrets: map[string][]byte{}},
		Mounts: b.cache.Spec.Mounts,
		Prepare: func(ctx context.Context, mounts []daemon.Mount) {
			used = mounts
			held, err := s.daemon.Observe(ctx)
			if err != nil {
				b.t.Error(err)
				return
			}
			if primed, err = s.maker.Begin(ctx, b.cache, "epoch", mounts, held.MountBytes, false); err != nil {
				b.t.Error(err)
			}
		},
	})
	took := time.Since(began)
	if endErr := s.maker.State.End(snapshot.Sharing(used), err == nil); endErr != nil {
		b.t.Error(endErr)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return took, primed
}

// take makes a snapshot and returns how long it took.
func (b *bench) take(s *site, id string, want v1alpha1.SnapshotOutcome) (time.Duration, snapshot.Entry) {
	b.t.Helper()
	began := time.Now()
	e, err := s.maker.Take(b.t.Context(), b.cache, id)
	took := time.Since(began)
	if err != nil || e.Outcome != want {
		b.t.Fatalf("the snapshot of %s is %s: %s (%v), want %s", id, e.Outcome, e.Message, err, want)
	}
	return took, e
}

// step is a program with one step that has a cache mount at /c.
func step(image, id, script string) string {
	return fmt.Sprintf("fs default() {\n\timage %q\n\trun %q with option {\n\t\tmount scratch \"/c\" with option {\n\t\t\tcache %q \"shared\"\n\t\t}\n\t}\n}\n",
		image, ": "+id+"; "+script, id) // a mount's id is not part of what BuildKit knows a step by
}

// goBuild compiles a program of package net/http with its build cache on the mount. edition tells sources apart.
func goBuild(image string, edition int) string {
	source := fmt.Sprintf("package main\nimport (\"fmt\"; \"net/http\")\nfunc main() { fmt.Println(%d, http.ListenAndServe(\":0\", nil)) }\n", edition)
	return step(image, "go", "mkdir -p /src; cd /src; printf '%s' '"+source+
		"' > main.go; printf 'module example.com/m\\ngo 1.26\\n' > go.mod; GOCACHE=/c GOFLAGS=-buildvcs=false go build -o /out/app .")
}

func TestBenchCache(t *testing.T) {
	r := buildkittest.StartRegistry(t)
	program := filepath.Join(t.TempDir(), "mountcopy")
	if err := os.WriteFile(program, buildkittest.Copier(t), 0o755); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, registry: r, program: program, cache: &v1alpha1.BuildCache{Spec: v1alpha1.BuildCacheSpec{
		Registry: &v1alpha1.RegistryCacheSpec{Repository: r.Ref("cache")},
		Mounts: []v1alpha1.MountPolicy{{ID: "*", PrimeTimeoutSeconds: 120, Snapshot: &v1alpha1.MountSnapshotSpec{
			Keep: 3, OnDrain: ptr.To(true),
		}}},
	}}}
	out := results(t)
	t.Run("copies", func(t *testing.T) { b.in(t).measureCopies(out) })
	t.Run("builds", func(t *testing.T) { b.in(t).measureBuilds(out) })
	t.Run("sizing", func(*testing.T) { out["sizingMaxErrorPoints"] = sizingreplay.MaxErrorPoints(1) })
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
	if file := os.Getenv("BENCH_OUT"); file != "" && !t.Failed() {
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, limit := range map[string]float64{
		"primedOfCold": 0.35, "snapshotOfTarZstd": 2, "primeOfTarZstd": 2, "unchangedSeconds": 0.3,
		"changedBytesFraction": 0.05,
		"sizingMaxErrorPoints": 2,
	} {
		if out[name] > limit {
			t.Errorf("%s is %.3f, want at most %v", name, out[name], limit)
		}
	}
	if out["goCacheBytes"] < 80e6 {
		t.Errorf("the build cache of the go build has %.0f bytes, want at least 80 MB", out["goCacheBytes"])
	}
}

// results are those of an earlier run, so that -run may measure a part anew.
func results(t *testing.T) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	if text, err := os.ReadFile(os.Getenv("BENCH_OUT")); err == nil {
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// in is the bench for a part of the test.
func (b *bench) in(t *testing.T) *bench {
	part := *b
	part.t = t
	return &part
}

// measureBuilds compares a go build on a daemon that has nothing, on one that has built it before, and on one that
// was primed.
func (b *bench) measureBuilds(out map[string]float64) {
	image := b.registry.Golang()
	first := b.site("a")
	cold, _ := b.build(first, goBuild(image, 1))
	warm, _ := b.build(first, goBuild(image, 2))
	_, e := b.take(first, "bench/go", v1alpha1.SnapshotPushed)
	primed, statuses := b.build(b.site("b"), goBuild(image, 2))
	if len(statuses) != 1 || statuses[0].Outcome != v1alpha1.PrimePrimed {
		b.t.Fatalf("priming came to %+v", statuses)
	}
	out["coldSeconds"], out["warmSeconds"], out["primedSeconds"] = cold.Seconds(), warm.Seconds(), primed.Seconds()
	out["primedOfCold"], out["goCacheBytes"] = primed.Seconds()/cold.Seconds(), float64(e.Bytes)
}

// What the files of the mount hold: what a toolchain consists of, which packs as the caches of compilers do, or
// noise, which does not pack at all.
const (
	compiled = `while find "$(go env GOROOT)" -type f | sort | xargs cat; do :; done 2>/dev/null | head -c 220000000 > /all; ` +
		`i=0; while [ $i -lt 5000 ]; do dd if=/all of=$i bs=44000 skip=$i count=1 2>/dev/null; i=$((i+1)); done; rm /all`
	noise = "i=0; while [ $i -lt 5000 ]; do head -c 44000 /dev/urandom > $i; i=$((i+1)); done"
)

// measureCopies measures 5,000 files of 44,000 bytes each.
func (b *bench) measureCopies(out map[string]float64) {
	image := b.registry.Golang()
	first, other := b.site("c"), b.site("d")
	in := map[string][]float64{}
	for round := range rounds {
		id := fmt.Sprintf("copy-%d", round)
		b.build(first, step(image, id, "mkdir -p /c/tree; cd /c/tree; "+compiled))
		b.measureCopy(first, other, image, id, func(name string, seconds float64) {
			in[name] = append(in[name], seconds)
		})
	}
	b.build(first, step(image, "noise", "mkdir -p /c/tree; cd /c/tree; "+noise))
	b.measureCopy(first, other, image, "noise", func(name string, seconds float64) {
		out["noise"+strings.ToUpper(name[:1])+name[1:]] = seconds
	})
	b.build(first,
		step(image, "copy-0", "cd /c/tree; for f in $(ls | head -n 50); do head -c 44000 /dev/urandom > $f; done"))
	took, e := b.take(first, "bench/copy-0", v1alpha1.SnapshotPushed)
	for name, seconds := range in {
		out[name] = median(seconds)
	}
	out["changedSeconds"], out["changedBytesFraction"] = took.Seconds(), b.pushedFraction(e.Ref)
}

// measureCopy snapshots a mount, primes another daemon and snapshots it again as it is. The copies are compared with
// tar and zstd of the same tree, which run before and after them: a machine's speed changes.
func (b *bench) measureCopy(first, other *site, image, id string, note func(name string, seconds float64)) {
	tar := b.tarZstd(first, image, id).Seconds()
	unix.Sync()
	took, e := b.take(first, "bench/"+id, v1alpha1.SnapshotPushed)
	if e.Bytes < 220e6 {
		b.t.Fatalf("the mount %s has %d bytes", id, e.Bytes)
	}
	note("snapshotSeconds", took.Seconds())
	unix.Sync()
	began := time.Now()
	statuses, err := other.maker.Begin(b.t.Context(), b.cache, "epoch",
		[]daemon.Mount{{ID: "bench/" + id, Target: "/c", Sharing: "shared"}}, nil, false)
	primed := time.Since(began)
	note("primeSeconds", primed.Seconds())
	if err != nil || len(statuses) != 1 || statuses[0].Outcome != v1alpha1.PrimePrimed {
		b.t.Fatalf("priming came to %+v (%v)", statuses, err)
	}
	tar = (tar + b.tarZstd(first, image, id).Seconds()) / 2
	note("tarZstdSeconds", tar)
	note("snapshotOfTarZstd", took.Seconds()/tar)
	note("primeOfTarZstd", primed.Seconds()/tar)
	// The mark of tarZstd has come and gone: only times are new.
	took, _ = b.take(first, "bench/"+id, v1alpha1.SnapshotPushed)
	note("timesChangedSeconds", took.Seconds())
	took, _ = b.take(first, "bench/"+id, v1alpha1.SnapshotUnchanged)
	note("unchangedSeconds", took.Seconds())
	b.build(first, step(image, id, "true; test -d /c/tree"))
	took, _ = b.take(first, "bench/"+id, v1alpha1.SnapshotUnchanged)
	note("usedAndUnchangedSeconds", took.Seconds())
}

// tarZstd packs the same tree with tar and zstd -1, where the daemon keeps it.
func (b *bench) tarZstd(s *site, image, id string) time.Duration {
	b.t.Helper()
	mark := fmt.Sprint("mark-", time.Now().UnixNano()) // a step that is known would not run
	b.build(s, step(image, id, "touch /c/"+mark))
	found, err := filepath.Glob(filepath.Join(s.bk.Root, "runc-*", "snapshots", "snapshots", "*", "fs", mark))
	if err != nil || len(found) != 1 {
		b.t.Fatalf("the mount is at %v (%v)", found, err)
	}
	tree := filepath.Dir(found[0])
	if err := os.Remove(found[0]); err != nil {
		b.t.Fatal(err)
	}
	unix.Sync() // what the disk has still to take of others' work
	began := time.Now()
	cmd := exec.Command("sh", "-c", "tar -C \"$1\" -cf - . | zstd -1 -q -f -o \"$2\"", "sh", tree,
		filepath.Join(b.t.TempDir(), "tree.tar.zst"))
	if text, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("tar: %v\n%s", err, text)
	}
	return time.Since(began)
}

// pushedFraction is the share of a snapshot's new layers, the top one and the index, in all its bytes.
func (b *bench) pushedFraction(ref string) float64 {
	b.t.Helper()
	repo, err := registry.Open(b.registry.Ref("cache"), nil, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	man, found, err := repo.Manifest(b.t.Context(), ref[len(b.registry.Ref("cache"))+1:])
	n := len(man.Layers)
	if err != nil || !found || n < 3 {
		b.t.Fatalf("the snapshot %s has layers %v (%v)", ref, man.Layers, err)
	}
	var all int64
	for _, l := range man.Layers {
		all += l.Size
	}
	return float64(man.Layers[n-1].Size+man.Layers[n-2].Size) / float64(all)
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
