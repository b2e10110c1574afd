// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// startHostileRegistry serves images that never end, and returns its address.
func startHostileRegistry(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(hostile), ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(l) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// hostile answers for two repositories: the layer of "endless" has no end, and "silent" says nothing at all.
func hostile(rw http.ResponseWriter, r *http.Request) {
	config := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` +
		digest.FromString("layer").String() + `"]}}`
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},`+
		`"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`, types.OCIManifestSchema1, types.OCIConfigJSON,
		digest.FromString(config), len(config), types.OCIUncompressedLayer, digest.FromString("layer"), int64(1)<<40)
	switch {
	case r.URL.Path == "/v2/":
		return
	case strings.HasPrefix(r.URL.Path, "/v2/silent/"):
		<-r.Context().Done()
	case strings.Contains(r.URL.Path, "/manifests/"):
		rw.Header().Set("Content-Type", string(types.OCIManifestSchema1))
		rw.Header().Set("Docker-Content-Digest", digest.FromString(manifest).String())
		fmt.Fprint(rw, manifest)
	case strings.HasSuffix(r.URL.Path, digest.FromString(config).String()):
		fmt.Fprint(rw, config)
	default:
		for r.Context().Err() == nil {
			if _, err := rw.Write(make([]byte, 32<<10)); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}
