// SPDX-License-Identifier: Apache-2.0

package gittest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServedRepositoryIsCloned(t *testing.T) {
	r := Serve(t, "127.0.0.1")
	first := r.Commit("one", map[string]string{"a/f": "1"})
	r.Tag("v1")
	second := r.Commit("two", map[string]string{"a/f": "2", "g": "new"})
	tests := map[string]struct {
		args []string
		want string
	}{
		"the branch holds the newest commit": {want: second},
		"a tag holds its own":                {args: []string{"--branch", "v1"}, want: first},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "clone")
			args := append(append([]string{"-c", "advice.detachedHead=false", "clone", "--quiet"}, tc.args...), r.URL,
				dir)
			if text, err := exec.Command("git", args...).CombinedOutput(); err != nil {
				t.Fatalf("clone: %v\n%s", err, text)
			}
			if diff := cmp.Diff(tc.want, r.git(dir, "rev-parse", "HEAD")); diff != "" {
				t.Errorf("commit (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(filepath.Join(dir, "a/f")); err != nil {
				t.Error(err)
			}
		})
	}
}
