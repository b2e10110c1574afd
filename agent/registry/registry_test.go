// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	server "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/openllb/hlb-operator/agent/registry"
)

// serve is a registry that answers deletes with a status, or does them when that is 0. It returns a repository with
// the tag "one" in it.
func serve(t *testing.T, status int) *registry.Repository {
	t.Helper()
	inner := server.New()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete && status != 0 {
			w.WriteHeader(status)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	where := strings.TrimPrefix(s.URL, "http://") + "/team/cache"
	in, err := name.NewRepository(where)
	if err == nil {
		err = remote.Write(in.Tag("one"), empty.Image)
	}
	if err != nil {
		t.Fatal(err)
	}
	repo, err := registry.Open(where, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func TestWhatRegistriesSayToDeletes(t *testing.T) {
	cases := map[string]struct {
		tag         string
		status      int
		wantRefused bool
		wantErr     bool
	}{
		"a tag is deleted":              {tag: "one"},
		"a tag that is gone is as good": {tag: "two"},
		"deletes are not allowed at all": {
			tag: "one", status: http.StatusMethodNotAllowed, wantRefused: true, wantErr: true,
		},
		"deletes need other credentials": {
			tag: "one", status: http.StatusForbidden, wantRefused: true, wantErr: true,
		},
		"a registry with troubles is no refusal": {tag: "one", status: http.StatusTeapot, wantErr: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			repo := serve(t, tc.status)
			err := repo.Delete(t.Context(), tc.tag)
			if (err != nil) != tc.wantErr || errors.Is(err, registry.ErrNoDeletes) != tc.wantRefused {
				t.Errorf("the error is %v, want one: %v, and a refusal: %v", err, tc.wantErr, tc.wantRefused)
			}
			var want []string
			if tc.wantErr || tc.tag != "one" {
				want = []string{"one"}
			}
			got, err := repo.Tags(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, append([]string(nil), got...)); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTagsWithTheSameContentHaveTheSameDigest(t *testing.T) {
	repo := serve(t, 0)
	digest, err := repo.Digest(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	want, err := empty.Image.Digest()
	if err != nil || digest != want.String() {
		t.Errorf("the digest is %s, want %s (%v)", digest, want, err)
	}
	if _, err := repo.Digest(t.Context(), "none"); err == nil {
		t.Error("a tag that is not there has a digest")
	}
}
