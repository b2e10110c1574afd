// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// trouble is how a server fails at the requests that it is about.
type trouble struct {
	method, path string // a part of the path
	status       int    // of the answer
	cut          bool   // the connection is broken off in the middle of the answer instead
}

func (f *trouble) meets(r *http.Request) bool {
	return f != nil && r.Method == f.method && strings.Contains(r.URL.Path, f.path)
}

// flaky is a server in front of another one, with a trouble that the test chooses; without one it fails at nothing.
type flaky struct {
	address string
	met     atomic.Bool
	trouble *trouble // set before anything is asked
}

// startFlaky starts a server in front of the one at address.
func startFlaky(t *testing.T, address string) *flaky {
	t.Helper()
	f := &flaky{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !f.trouble.meets(r):
			proxy.ServeHTTP(w, r)
		case f.trouble.cut:
			f.met.Store(true)
			breakOff(t, w, r.Method == http.MethodGet)
		default:
			f.met.Store(true)
			http.Error(w, "not now", f.trouble.status)
		}
	}))
	t.Cleanup(server.Close)
	f.address = server.Listener.Addr().String()
	return f
}

// breakOff resets the connection, in the middle of an answer if it begins one.
func breakOff(t *testing.T, w http.ResponseWriter, begins bool) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	if begins {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 999\r\n\r\n{")
	}
	conn.(*net.TCPConn).SetLinger(0) //nolint:errcheck // then it ends by EOF, which is as good
	conn.Close()
}

func TestRegistriesThatFailAreNoFaultOfTheBuild(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	registry.Busybox()
	const pull = "fs default() {\n\timage \"%[1]s/busybox:latest\"\n\trun \"true\"\n}\n"
	const push = "fs default() {\n\tscratch\n\tmkfile \"/a\" 0o644 \"%[1]s\"\n}\n"
	const look = "string looked() {\n\tmanifest \"%[1]s/busybox:latest\"\n}\n\n" +
		"fs default() {\n\tscratch\n\tmkfile \"/m\" 0o644 looked\n}\n"
	cases := map[string]struct {
		program string
		output  string // pushed to
		trouble trouble
		want    bool
	}{
		"a manifest is refused for want of capacity": {pull, "", trouble{"HEAD", "/manifests/", 429, false}, true},
		"a manifest is not served":                   {pull, "", trouble{"HEAD", "/manifests/", 503, false}, true},
		"a manifest is not there":                    {pull, "", trouble{"HEAD", "/manifests/", 404, false}, false},
		"a manifest is not for everybody":            {pull, "", trouble{"HEAD", "/manifests/", 403, false}, false},
		"a blob is refused for want of capacity":     {pull, "", trouble{"GET", "/blobs/", 429, false}, true},
		"a blob is not served":                       {pull, "", trouble{"GET", "/blobs/", 500, false}, true},
		"a blob breaks off":                          {pull, "", trouble{"GET", "/blobs/", 0, true}, true},
		"an upload is refused for want of capacity":  {push, "app1:1", trouble{"POST", "/uploads/", 429, false}, true},
		"an upload is not taken":                     {push, "app2:1", trouble{"POST", "/uploads/", 500, false}, true},
		"an upload breaks off":                       {push, "app3:1", trouble{"PUT", "/uploads/", 0, true}, true},
		"a pushed manifest is not taken":             {push, "app4:1", trouble{"PUT", "/manifests/", 502, false}, true},
		"a push is not permitted":                    {push, "app5:1", trouble{"POST", "/uploads/", 403, false}, false},
		"a manifest that the program reads is not served": {
			look, "", trouble{"GET", "/manifests/", 503, false}, true,
		},
		"a manifest that the program reads is not there": {
			look, "", trouble{"GET", "/manifests/", 404, false}, false,
		},
	}
	servers, addresses := map[string]*flaky{}, []string{}
	for name, tc := range cases {
		servers[name] = startFlaky(t, registry.Address)
		servers[name].trouble = &tc.trouble
		addresses = append(addresses, servers[name].address)
	}
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: addresses}))
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servers[name]
			job := inline(fmt.Sprintf(tc.program, server.address))
			job.Registries = []v1alpha1.RegistryHost{{Host: server.address, Scheme: "HTTP"}}
			if tc.output != "" {
				job.Spec.Outputs = []v1alpha1.OutputSpec{{
					Name: "app", Target: "default", Image: server.address + "/" + tc.output,
				}}
			}
			_, err := d.Build(t.Context(), job)
			if err == nil || !server.met.Load() {
				t.Fatalf("the build ended with %v, and met the trouble: %v", err, server.met.Load())
			}
			if got := daemon.IsRemoteTrouble(err); got != tc.want || daemon.IsLost(err) {
				t.Errorf("a trouble of the registry: %v, want %v; of the daemon: %v; for %v", got, tc.want,
					daemon.IsLost(err), err)
			}
		})
	}
}

func TestServersThatAreDownAreNoFaultOfTheBuild(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close() // nobody listens there any more
	address := gone.Listener.Addr().String()
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{address}}))
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not now", http.StatusServiceUnavailable)
	}))
	t.Cleanup(failing.Close)
	absent := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(absent.Close)
	git := func(address string) string {
		return fmt.Sprintf("fs default() {\n\tgit \"%s/repo.git\" \"main\"\n}\n", address)
	}
	for name, tc := range map[string]struct {
		program string
		want    bool
	}{
		"a registry":                          {fmt.Sprintf("fs default() {\n\timage %q\n}\n", address+"/app:1"), true},
		"a git server":                        {git("http://" + address), true},
		"a git server that answers so":        {git(failing.URL), true},
		"a git server without the repository": {git(absent.URL), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := d.Build(t.Context(), inline(tc.program))
			if got := daemon.IsRemoteTrouble(err); err == nil || got != tc.want || daemon.IsLost(err) {
				t.Errorf("a trouble of the server: %v, want %v; of the daemon: %v; for %v", got, tc.want,
					daemon.IsLost(err), err)
			}
		})
	}
}
