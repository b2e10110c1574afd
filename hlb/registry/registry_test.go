// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/lower"
)

var amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}

// serve starts a registry on loopback and returns its host and port.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func parse(t *testing.T, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	must(t, err)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUserLooksUpImagesAndIndexes(t *testing.T) {
	host := serve(t, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	image, err := random.Image(64, 1)
	must(t, err)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	})
	must(t, remote.Write(parse(t, host+"/one:1"), image))
	must(t, remote.WriteIndex(parse(t, host+"/many:1"), index))
	manifest, err := image.RawManifest()
	must(t, err)
	config, err := image.RawConfigFile()
	must(t, err)
	raw, err := index.RawManifest()
	must(t, err)
	for name, tc := range map[string]struct {
		ref  string
		want lower.Manifest
	}{
		"a single image": {
			host + "/one:1",
			lower.Manifest{Digest: digest.FromBytes(manifest), Manifest: string(manifest), Config: string(config)},
		},
		"one of an index": {host + "/many:1",
			lower.Manifest{Digest: digest.FromBytes(raw), Manifest: string(manifest), Config: string(config),
				Index: string(raw)}},
		"by digest": {host + "/many@" + digest.FromBytes(manifest).String(),
			lower.Manifest{Digest: digest.FromBytes(manifest), Manifest: string(manifest), Config: string(config)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := User{}.Manifest(t.Context(), tc.ref, amd64)
			must(t, err)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	_, err = User{}.Manifest(t.Context(), host+"/many:1", ocispecs.Platform{OS: "linux", Architecture: "s390x"})
	if err == nil || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("a platform that the index lacks: got %v", err)
	}
}

func TestTags(t *testing.T) {
	host := serve(t, registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	image, err := random.Image(64, 1)
	must(t, err)
	for _, tag := range []string{"1.26", "1.25", "latest"} {
		must(t, remote.Write(parse(t, host+"/team/app:"+tag), image))
	}
	for most, want := range map[int][]string{1000: {"1.25", "1.26", "latest"}, 2: {"1.25", "1.26"}} {
		got, err := User{}.Tags(t.Context(), host+"/team/app", most)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("at most %d (-want +got):\n%s", most, diff)
		}
	}
	if got, err := (User{}).Tags(t.Context(), host+"/none", 9); err == nil {
		t.Errorf("a repository that is not there has %q", got)
	}
}

func TestHost(t *testing.T) {
	for ref, want := range map[string]string{
		"golang": "docker.io", "docker.io/library/golang:1": "docker.io", "r.example:5000/a/b": "r.example:5000",
		"not a reference": "",
	} {
		if got, ok := Host(ref); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", ref, got, ok)
		}
	}
}

// TestRegistriesAreAskedWithCaution asks a registry on loopback, where the library falls back to http by itself.
func TestRegistriesAreAskedWithCaution(t *testing.T) {
	var asked atomic.Int32
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Type", ocispecs.MediaTypeImageManifest)
		for range answerLimit/1024 + 1 {
			fmt.Fprint(w, strings.Repeat(" ", 1024))
		}
	}))
	ref := parse(t, host+"/app:1")
	_, err := Get(t.Context(), ref, authn.Anonymous, false, amd64)
	var plain *PlainError
	if !errors.As(err, &plain) || plain.Host != host || asked.Load() != 0 {
		t.Errorf("without leave for http: asked %d times, %v; want a PlainError", asked.Load(), err)
	}
	if _, err = Get(t.Context(), ref, authn.Anonymous, true, amd64); err == nil ||
		!strings.Contains(err.Error(), "more than 4194304 bytes") {
		t.Errorf("an answer without end: %v", err)
	}
}

func TestOnlyThisMachineMaySpeakHTTPToUsers(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "[::1]:5000": true, "10.0.0.1:5000": false,
		"docker.io": false, "localhost.example": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}
