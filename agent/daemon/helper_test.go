// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bytes"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/client"

	"github.com/openllb/hlb-operator/test/kit/compiletest"
)

func TestMain(m *testing.M) {
	if serveFrontend() {
		return
	}
	compiletest.Main(m)
}

// onLog makes a progress function that closes ch when a step prints text.
func onLog(text string, ch chan struct{}) func(*client.SolveStatus) {
	var once sync.Once
	return func(s *client.SolveStatus) {
		for _, l := range s.Logs {
			if bytes.Contains(l.Data, []byte(text)) {
				once.Do(func() { close(ch) })
			}
		}
	}
}

// gitServer serves a repository with the given files over http on loopback, to user "me" with password "s3cret" only.
func gitServer(t *testing.T, files map[string]string) (url string) {
	t.Helper()
	root := t.TempDir()
	tree := filepath.Join(root, "work")
	for name, content := range files {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = tree
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=t",
			"GIT_AUTHOR_EMAIL=t@example.com",
			"GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "files")
	git("clone", "-q", "--bare", tree, filepath.Join(root, "repo.git"))
	backend := &cgi.Handler{
		Path: filepath.Join(git("--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=me"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/repo.git"
}
