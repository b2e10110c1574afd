// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/agent/registry"
)

// endless is a registry whose answers never end. Its blobs are redirected to /store.
func endless(t *testing.T, pages bool) *registry.Repository {
	t.Helper()
	page := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v2/":
			return
		case pages:
			page++
			w.Header().Set("Link", fmt.Sprintf(`</v2/team/cache/tags/list?last=%d>; rel="next"`, page))
			fmt.Fprint(w, `{"tags":["a"]}`)
			return
		case strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, "/store", http.StatusTemporaryRedirect)
			return
		case r.URL.Path != "/store":
			io.WriteString(w, `{"tags":["`) //nolint:errcheck // the other end gives up
		}
		for piece := []byte(strings.Repeat("a", 1<<16)); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	repo, err := registry.Open(strings.TrimPrefix(s.URL, "http://")+"/team/cache", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func TestARegistryThatSendsWithoutEndIsGivenUp(t *testing.T) {
	const size = 32 << 20 // more than any other answer may have
	cases := map[string]struct {
		pages bool
		read  func(*registry.Repository) error
	}{
		"a page of tags": {read: func(r *registry.Repository) error { _, err := r.Tags(t.Context()); return err }},
		"pages of tags": {pages: true, read: func(r *registry.Repository) error {
			_, err := r.Tags(t.Context())
			return err
		}},
		"a blob, of which its size is read": {read: func(r *registry.Repository) error {
			blob, err := r.Blob(t.Context(), ocispecs.Descriptor{Digest: digest.FromString("a"), Size: size})
			if err != nil {
				return err
			}
			defer blob.Close()
			n, err := io.Copy(io.Discard, blob)
			if n != size {
				return fmt.Errorf("%d bytes were read: %w", n, err)
			}
			return err
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if err := tc.read(endless(t, tc.pages)); !errors.Is(err, registry.ErrTooLarge) ||
				strings.Contains(err.Error(), "bytes were read") {
				t.Errorf("the error is %v, want %v", err, registry.ErrTooLarge)
			}
		})
	}
}
