// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

func registryDown(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	if err := w.Local.StopRegistry("registry"); err != nil {
		t.Fatal(err)
	}
	return func() error { return w.Local.StartRegistry(context.WithoutCancel(t.Context()), "registry") }
}

// registryAnswers has a server in the registry's place that answers everything with a code, or with 0 breaks each
// connection off in the middle of an answer.
func registryAnswers(code int) func(*testing.T, *world, []*v1alpha1.HLBBuild) func() error {
	return func(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
		back := registryDown(t, w, builds)
		server, err := serveAt(w.Info.Registry, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			if code != 0 {
				rw.WriteHeader(code)
				return
			}
			rw.Header().Set("Content-Length", "1000")
			fmt.Fprint(rw, "half")
			panic(http.ErrAbortHandler)
		}))
		if err != nil {
			t.Fatal(errors.Join(err, back()))
		}
		return func() error { return errors.Join(server.Close(), back()) }
	}
}

// registrySlow has a proxy in the registry's place that waits before each answer, and passes bodies on slowly.
func registrySlow(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	const behind = "127.0.0.1:15000"
	back := registryDown(t, w, builds)
	ctx := context.WithoutCancel(t.Context())
	must(t, w.Local.StartRegistryAt(ctx, "registry", behind))
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind})
	proxy.ModifyResponse = func(r *http.Response) error {
		time.Sleep(2 * time.Second)
		r.Body = &slowBody{ReadCloser: r.Body}
		return nil
	}
	server, err := serveAt(w.Info.Registry, proxy)
	must(t, err)
	return func() error {
		return errors.Join(server.Close(), w.Local.StopRegistry("registry"), back())
	}
}

// slowBody gives 1 MiB a second.
type slowBody struct{ io.ReadCloser }

func (s *slowBody) Read(p []byte) (int, error) {
	time.Sleep(50 * time.Millisecond)
	return s.ReadCloser.Read(p[:min(len(p), 50<<10)])
}

// registryFull has the registry run on a volume without any room.
func registryFull(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	back := registryDown(t, w, builds)
	end, err := w.Local.FillRegistry(t.Context(), "registry")
	if err != nil {
		t.Fatal(errors.Join(err, back()))
	}
	return func() error { return errors.Join(end(), back()) }
}

// serveAt serves at an address that may be followed by a path.
func serveAt(registry string, handler http.Handler) (*http.Server, error) {
	address, _, _ := strings.Cut(registry, "/")
	var l net.Listener
	err := harness.Eventually(context.Background(), 10*time.Second, "listen at "+address,
		func(context.Context) (bool, error) {
			var err error
			l, err = net.Listen("tcp", address)
			return err == nil, nil //nolint:nilerr // the registry was killed a moment ago
		})
	if err != nil {
		return nil, err
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: handler}
	go server.Serve(l) //nolint:errcheck // it ends with Close
	return server, nil
}
