// SPDX-License-Identifier: Apache-2.0

// Package gittest serves git repositories over http to tests: a real git behind Go's own server, on an address the test
// chooses, so that build daemons on loopback or in a cluster can fetch from it.
package gittest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Repo is a repository with one branch, main, that grows by Commit. It is not safe for concurrent use.
type Repo struct {
	// URL is where it is served, as http://HOST:PORT/repo.git.
	URL string

	t    testing.TB
	work string // working tree
	bare string // what is served
}

// Serve makes an empty repository and serves it on host (an address of this machine, such as 127.0.0.1) at a free port,
// until the test ends.
func Serve(t testing.TB, host string) *Repo {
	t.Helper()
	root := t.TempDir()
	r := &Repo{t: t, work: filepath.Join(root, "work"), bare: filepath.Join(root, "served", "repo.git")}
	r.git(root, "init", "--quiet", "--initial-branch=main", r.work)
	r.git(root, "init", "--quiet", "--bare", "--initial-branch=main", r.bare)
	// A daemon may ask for a commit that is no branch's tip.
	r.git(r.bare, "config", "uploadpack.allowAnySHA1InWant", "true")

	program := filepath.Join(r.git(root, "--exec-path"), "git-http-backend")
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatalf("listen on %s: %v", host, err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: &cgi.Handler{
		Path: program,
		Env:  append(environment, "GIT_PROJECT_ROOT="+filepath.Dir(r.bare), "GIT_HTTP_EXPORT_ALL=1"),
	}}}
	server.Start()
	t.Cleanup(server.Close)
	r.URL = fmt.Sprintf("http://%s/repo.git", listener.Addr())
	return r
}

// Commit writes files (path in the tree → content; folders are made), commits them on main and returns the commit's
// full hash. Files that are not named stay as they are.
func (r *Repo) Commit(message string, files map[string]string) string {
	r.t.Helper()
	for name, content := range files {
		path := filepath.Join(r.work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	r.git(r.work, "add", "--all")
	r.git(r.work, "commit", "--quiet", "--allow-empty", "--message", message)
	r.git(r.work, "push", "--quiet", r.bare, "HEAD:main")
	return r.git(r.work, "rev-parse", "HEAD")
}

// Tag names the newest commit.
func (r *Repo) Tag(name string) {
	r.t.Helper()
	r.git(r.work, "tag", name)
	r.git(r.work, "push", "--quiet", r.bare, name)
}

// environment keeps the machine's git configuration and its users' names out of the tests.
var environment = []string{
	"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_CONFIG_COUNT=1",
	"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.com", "GIT_COMMITTER_NAME=test",
	"GIT_COMMITTER_EMAIL=test@example.com",
}

// git runs git in dir and returns what it printed, without the last line break.
func (r *Repo) git(dir string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), environment...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return strings.TrimSuffix(string(text), "\n")
}
