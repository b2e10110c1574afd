// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	ggcr "github.com/google/go-containerregistry/pkg/v1/types"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// repo is a repository of a real registry.
type repo struct {
	t  *testing.T
	in name.Repository
}

func newRepo(t *testing.T) *repo {
	t.Helper()
	in, err := name.NewRepository(buildkittest.StartRegistry(t).Ref("team/cache"))
	if err != nil {
		t.Fatal(err)
	}
	return &repo{t, in}
}

// push gives each tag what the operator keeps under such a tag: a snapshot of the mount go, or build cache.
func (r *repo) push(tags ...string) {
	r.t.Helper()
	for _, tag := range tags {
		image := mutate.ConfigMediaType(empty.Image, "application/vnd.buildkit.cacheconfig.v0")
		if _, isMount := cacheref.MountTagTime(tag); isMount {
			ofGo := strings.TrimPrefix(cacheref.MountSubject("", "go"), "mount-") // with the hash of the id
			namespace, _, _ := strings.Cut(strings.TrimPrefix(tag, "mount-"), ofGo)
			image = r.snapshot(namespace)
		}
		r.write(tag, image)
	}
}

// snapshot is an image as that of a snapshot of the mount go.
func (r *repo) snapshot(namespace string) v1.Image {
	r.t.Helper()
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:       static.NewLayer([]byte("index"), ggcr.OCILayerZStd),
		Annotations: map[string]string{"dev.openllb.build.mount.layer": "index"},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return mutate.Annotations(image, map[string]string{
		"dev.openllb.build.mount.id": "go", "dev.openllb.build.mount.namespace": namespace,
	}).(v1.Image)
}

func (r *repo) write(tag string, image v1.Image) {
	r.t.Helper()
	if err := remote.Write(r.in.Tag(tag), image); err != nil {
		r.t.Fatal(err)
	}
}

// eventually waits until the repository holds just these tags.
func (r *repo) eventually(want ...string) {
	r.t.Helper()
	slices.Sort(want)
	envtestkit.Eventually(r.t, func() error {
		got, err := remote.List(r.in)
		slices.Sort(got)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("the repository holds %v, want %v", got, want)
		}
		return err
	})
}

// cleaned waits until the daemon says so of the registry.
func (w *world) cleaned(reason string) {
	w.t.Helper()
	envtestkit.Eventually(w.t, func() error {
		bd := &v1alpha1.BuildDaemon{}
		if err := w.Client.Get(w.t.Context(), types.NamespacedName{Namespace: w.ns, Name: "cache-0"}, bd); err != nil {
			return err
		}
		c := meta.FindStatusCondition(bd.Status.Conditions, v1alpha1.ConditionRegistryCleaned)
		if c == nil || c.Reason != reason {
			return fmt.Errorf("the condition is %+v, want %s", c, reason)
		}
		return nil
	})
}

func withRetention(repository string, spec v1alpha1.RegistryRetentionSpec) func(*v1alpha1.BuildCache) {
	return func(c *v1alpha1.BuildCache) {
		c.Finalizers = []string{"example.com/hold"}
		c.Spec.Registry = &v1alpha1.RegistryCacheSpec{Repository: repository, Retention: spec}
	}
}

func TestTagsOutOfUseAreDeletedFromTheRegistry(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	w := newWorld(t, withRetention(r.in.Name(), v1alpha1.RegistryRetentionSpec{MaxAgeSeconds: ptr.To[int32](3600)}))
	long := time.Now().Add(-48 * time.Hour)
	gone := cacheref.MountTag(w.ns, "go", long, "cache-0")
	stay := []string{"latest", cacheref.MountTag("elsewhere", "go", long, "cache-0"), cacheref.Tag(w.ns, "app"),
		cacheref.MountTag(w.ns, "go", time.Now(), "cache-0")}
	r.push(append(stay, gone)...)
	// what others have pushed under such tags stays, however old it is said to be
	foreign := []string{cacheref.MountTag(w.ns, "go", long.Add(-time.Hour), "cache-0"),
		cacheref.MountTag(w.ns, "npm", long, "cache-0")}
	r.write(foreign[0], empty.Image)
	r.write(foreign[1], r.snapshot(w.ns)) // of another mount than the tag says
	w.start(&fakeBuilder{}, "pod-1")
	r.eventually(append(stay, foreign...)...)
	w.cleaned(v1alpha1.ReasonExpiredTagsDeleted)
}

func TestADeletedBuildCacheTakesItsTagsAlong(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	w := newWorld(t, withRetention(r.in.Name(), v1alpha1.RegistryRetentionSpec{OnDelete: v1alpha1.RegistryDelete}))
	stay := []string{"latest", cacheref.Tag("elsewhere", "key-b"), cacheref.Tag(w.ns, "of another BuildCache")}
	r.push(append(stay, cacheref.Tag(w.ns, "key-b"))...)
	w.start(&fakeBuilder{}, "pod-1")
	w.eventually(w.bind("b", "program"), "the build is complete", status.IsFinal)
	cache := &v1alpha1.BuildCache{}
	if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.ns, Name: "cache"}, cache); err != nil {
		t.Fatal(err)
	}
	if err := w.Client.Delete(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	w.cleaned(v1alpha1.ReasonOrphanedTagsDeleted)
	r.eventually(stay...)
}

// refusing makes a repository behind a proxy that lets nothing be deleted.
func refusing(t *testing.T) *repo {
	t.Helper()
	host := buildkittest.StartRegistry(t).Address
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	in, err := name.NewRepository(strings.TrimPrefix(proxy.URL, "http://") + "/team/cache")
	if err != nil {
		t.Fatal(err)
	}
	return &repo{t, in}
}

func TestARefusalIsToldAnewWhenTheBuildCacheGoes(t *testing.T) {
	t.Parallel()
	r := refusing(t)
	w := newWorld(t,
		withRetention(r.in.Name(),
			v1alpha1.RegistryRetentionSpec{MaxAgeSeconds: ptr.To[int32](3600), OnDelete: v1alpha1.RegistryDelete}))
	tags := []string{cacheref.MountTag(w.ns, "go", time.Now().Add(-48*time.Hour), "cache-0"),
		cacheref.Tag(w.ns, "key-b")}
	r.push(tags...)
	w.start(&fakeBuilder{}, "pod-1")
	w.eventually(w.bind("b", "program"), "the build is complete", status.IsFinal)
	w.cleaned(v1alpha1.ReasonDeletesRefused)
	cache := &v1alpha1.BuildCache{}
	if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: w.ns, Name: "cache"}, cache); err != nil {
		t.Fatal(err)
	}
	if err := w.Client.Delete(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	w.cleaned(v1alpha1.ReasonOrphanedTagsRefused)
	r.eventually(tags...)
}

func TestARegistryThatIsAwayIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t,
		withRetention("localhost:1/team/cache", v1alpha1.RegistryRetentionSpec{MaxAgeSeconds: ptr.To[int32](3600)}))
	w.start(&fakeBuilder{}, "pod-1")
	w.cleaned(v1alpha1.ReasonCleanUpFailed)
}
