// SPDX-License-Identifier: Apache-2.0

package snapshot_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/registry"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

const mount = "ns/go"

var used = []daemon.Mount{{ID: mount, Target: "/c", Sharing: "shared"}}

// world is a registry and a BuildCache whose mounts are snapshotted and primed.
type world struct {
	t        *testing.T
	registry *buildkittest.Registry
	base     string
	cache    *v1alpha1.BuildCache
	program  string
	clock    time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	r := buildkittest.StartRegistry(t)
	w := &world{t: t, registry: r, base: r.Busybox(), program: filepath.Join(t.TempDir(), "mountcopy"),
		clock: time.Now()}
	if err := os.WriteFile(w.program, buildkittest.Copier(t), 0o755); err != nil {
		t.Fatal(err)
	}
	w.cache = &v1alpha1.BuildCache{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: v1alpha1.BuildCacheSpec{
		Registry: &v1alpha1.RegistryCacheSpec{Repository: r.Ref("team/cache")},
		Mounts: []v1alpha1.MountPolicy{
			{ID: "go", PrimeTimeoutSeconds: 60, Snapshot: &v1alpha1.MountSnapshotSpec{Keep: 2}},
		},
	}}
	return w
}

// site is a daemon with its agent's Maker.
type site struct {
	*snapshot.Maker
	w       *world
	client  *client.Client
	refresh bool
	used    time.Time // when the mount was last used
}

func (w *world) site(name string) *site {
	w.t.Helper()
	bk := buildkittest.Start(w.t, buildkittest.Options{Registries: []string{w.registry.Address}})
	d, err := daemon.Dial(context.Background(), "unix://"+bk.Socket)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	s := &site{w: w, client: bk.Client()}
	s.Maker = &snapshot.Maker{
		Daemon: name, Copier: d,
		State:       snapshot.OpenState(filepath.Join(w.t.TempDir(), "state.json"), "epoch"),
		ProgramPath: w.program, Position: func(string) string { return "epoch/1" },
		// so that no two tags are equal
		Now:          func() time.Time { w.clock = w.clock.Add(time.Second); return w.clock },
		DockerConfig: func(context.Context, *v1alpha1.BuildCache) ([]byte, error) { return nil, nil },
		LastUsed:     func(string) time.Time { return s.used },
	}
	return s
}

// use does what a build does: it notes the mount, has it primed, runs a script with it and notes the end.
func (s *site) use(script string) []v1alpha1.PrimeStatus {
	s.w.t.Helper()
	records, err := s.client.DiskUsage(s.w.t.Context())
	if err != nil {
		s.w.t.Fatal(err)
	}
	held := map[string]int64{}
	if slices.ContainsFunc(records, func(r *client.UsageInfo) bool { return strings.Contains(r.Description, mount) }) {
		held[mount] = 1
	}
	primed, err := s.Begin(s.w.t.Context(), s.w.cache, "epoch", used, held, s.refresh)
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.run(script)
	if err := s.State.End(snapshot.Sharing(used), true); err != nil {
		s.w.t.Fatal(err)
	}
	s.used = s.Now()
	return primed
}

func (s *site) run(script string) {
	s.w.t.Helper()
	state := llb.Image(s.w.base).
		Run(llb.Args([]string{"/bin/sh", "-ec", script}), llb.AddEnv("SALT", time.Now().String()),
			llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir(mount, llb.CacheMountShared))).Root()
	def, err := state.Marshal(s.w.t.Context())
	if err == nil {
		_, err = s.client.Solve(s.w.t.Context(), def, client.SolveOpt{}, nil)
	}
	if err != nil {
		s.w.t.Fatal(err)
	}
}

func (s *site) take(want v1alpha1.SnapshotOutcome) snapshot.Entry {
	s.w.t.Helper()
	e, err := s.Take(s.w.t.Context(), s.w.cache, mount)
	if err != nil || e.Outcome != want {
		s.w.t.Fatalf("the snapshot is %s: %s (%v), want %s", e.Outcome, e.Message, err, want)
	}
	return e
}

// tags are those of the repository, sorted.
func (w *world) tags() []string {
	w.t.Helper()
	repo, err := registry.Open(w.cache.Spec.Registry.Repository, nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	tags, err := repo.Tags(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(tags)
	return tags
}

func outcome(t *testing.T, primed []v1alpha1.PrimeStatus, want v1alpha1.PrimeOutcome) {
	t.Helper()
	if len(primed) != 1 || primed[0].ID != mount || primed[0].Outcome != want {
		t.Fatalf("priming came to %+v, want %s", primed, want)
	}
}
