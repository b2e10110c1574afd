// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// TestRegistriesAreAskedWithCaution asks a registry on loopback, where libraries fall back to http by themselves.
func TestRegistriesAreAskedWithCaution(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Type", ocispecs.MediaTypeImageManifest)
		for range answerLimit/1024 + 1 {
			fmt.Fprint(w, strings.Repeat(" ", 1024))
		}
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	for name, tc := range map[string]struct {
		hosts     []v1alpha1.RegistryHost
		want      string
		wantAsked bool
	}{
		"never over http unless the BuildCache says so": {nil, "not asked over http", false},
		"a long answer is cut":                          {[]v1alpha1.RegistryHost{{Host: host, Scheme: "HTTP"}}, "more than 4194304 bytes", true},
	} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			r := &registry{credentials: &credentials{}, hosts: tc.hosts}
			_, err := r.Manifest(t.Context(), host+"/app:1", ocispecs.Platform{OS: "linux", Architecture: "amd64"})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if (asked.Load() > 0) != tc.wantAsked {
				t.Errorf("the registry was asked %d times", asked.Load())
			}
		})
	}
}
