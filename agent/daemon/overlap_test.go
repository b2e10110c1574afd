// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/agent/cacheplan"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/agent/registry"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// meeting holds each of two requests until the other one has come.
type meeting struct {
	here [2]chan struct{}
	once [2]sync.Once
}

func newMeeting() *meeting {
	return &meeting{here: [2]chan struct{}{make(chan struct{}), make(chan struct{})}}
}

// attend returns false when the other one does not come.
func (m *meeting) attend(which int) bool {
	m.once[which].Do(func() { close(m.here[which]) })
	select {
	case <-m.here[1-which]:
		return true
	case <-time.After(time.Minute):
		return false
	}
}

// TestPrimingAndImportOverlap has a registry that serves the build cache only once it was asked for the mount's
// content, and the content only once it was asked for the build cache: one after the other, neither would come.
func TestPrimingAndImportOverlap(t *testing.T) {
	t.Parallel()
	m := newMounts(t)
	met := newMeeting()
	content := ""
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came := true
		switch {
		case strings.HasPrefix(r.URL.Path, "/v2/build-cache/manifests/"):
			came = met.attend(0)
		case r.Method == http.MethodGet && content != "" && strings.HasSuffix(r.URL.Path, content):
			came = met.attend(1)
		}
		if !came {
			t.Errorf("%s waited for the other one in vain", r.URL.Path)
		}
		httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: m.registry.Address}).ServeHTTP(w, r)
	}))
	defer gate.Close()
	address := strings.TrimPrefix(gate.URL, "http://")
	job := inline(fmt.Sprintf(`fs default() {
	image %q
	run "echo 1 > /before"
	run "test $(cat /c/f) = warm" with option {
		mount scratch "/c" with option {
			cache "a" "shared"
		}
	}
}
`, m.base))
	job.Registry = &v1alpha1.RegistryCacheSpec{
		Repository: address + "/build-cache", ImportPolicy: v1alpha1.ImportOnFreshDaemon,
		ExportPolicy: v1alpha1.ExportOnFreshDaemon, ExportMode: "max", ExportCompression: "zstd",
	}
	job.Plan = cacheplan.Decide(job.Registry, true, "key", "ns")

	first, bk := m.daemon()
	m.run(bk, "echo warm > /c/f", llb.CacheMountShared)
	m.snapshot(first, m.copy("shared", "1"))
	c := m.copy("shared", "")
	c.Image, _ = m.manifest("1")
	content = c.Image.Layers[0].Digest.String()
	repo, err := registry.Open(address+"/cache", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Repository = repo

	other := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{m.registry.Address, address}}))
	job.Prepare = func(ctx context.Context, mounts []daemon.Mount) {
		if len(mounts) != 1 || mounts[0].ID != c.ID {
			t.Errorf("the build's mounts are %+v", mounts)
		}
		if res, err := other.Prime(ctx, c); err != nil || res.Outcome != mountcopy.Copied {
			t.Errorf("priming: %+v, %v", res, err)
		}
	}
	build(t, other, job)
}
