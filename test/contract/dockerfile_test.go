// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// Builds by Dockerfile share mounts with HLB programs only by these ids.
func TestMountIDsOfTheDockerfileFrontEnd(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	tests := map[string]struct {
		mount   string
		args    map[string]string
		wantIDs []string
	}{
		"a given id gets a slash in front":        {mount: "id=foo,target=/x", wantIDs: []string{"/foo"}},
		"the default is the target, with slashes": {mount: "target=/root/x", wantIDs: []string{"//root/x"}},
		"a name space stands before the slash": {
			mount: "id=foo,target=/x", args: map[string]string{"build-arg:BUILDKIT_CACHE_MOUNT_NS": "n"},
			wantIDs: []string{"n/foo"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := w.fresh(buildkittest.Options{})
			w.dockerfile("FROM "+w.busybox+"\nRUN --mount=type=cache,"+tc.mount+" true\n", tc.args)
			if diff := cmp.Diff(tc.wantIDs, w.mountIDs()); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

// A mode or owner is lowered to a base, hence to another mount; the agent must not take them for the same.
func TestDockerfileModeMakesAnotherMount(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.dockerfile("FROM "+w.busybox+"\nRUN --mount=type=cache,id=foo,target=/x touch /x/f\n"+
		"RUN --mount=type=cache,id=foo,target=/x,mode=0700,uid=7 test ! -e /x/f\n", nil)
	if n := len(w.mounts("")); n != 2 {
		t.Errorf("%d mounts, want 2: %q", n, w.mountIDs())
	}
}

// dockerfile builds a Dockerfile with the daemon's own front end.
func (w *world) dockerfile(text string, attrs map[string]string) {
	w.t.Helper()
	dir := w.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	source, err := fsutil.NewFS(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	opt := client.SolveOpt{Frontend: "dockerfile.v0", FrontendAttrs: attrs,
		LocalMounts: map[string]fsutil.FS{"context": source, "dockerfile": source}}
	if _, err := w.client.Solve(w.t.Context(), nil, opt, nil); err != nil {
		w.t.Fatal(err)
	}
}

var idInDescription = regexp.MustCompile(`with id "(.*)"$`)

// mountIDs are the ids of all the daemon's mounts, sorted.
func (w *world) mountIDs() []string {
	w.t.Helper()
	var ids []string
	for _, u := range w.mounts("") {
		if m := idInDescription.FindStringSubmatch(u.Description); m != nil {
			ids = append(ids, m[1])
		}
	}
	slices.Sort(ids)
	return ids
}
