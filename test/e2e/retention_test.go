// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// tagged is a repository of the cluster's registry.
type tagged struct {
	t  *testing.T
	in name.Repository
}

// withRepository gives the fleet a repository of its own.
func withRepository(t *testing.T, cache *v1alpha1.BuildCache, path string) *tagged {
	t.Helper()
	in, err := name.NewRepository(cluster.Info.Registry+"/"+path+"-"+stamp, name.Insecure)
	must(t, err)
	cache.Spec.Registry.Repository = in.Name()
	return &tagged{t, in}
}

// tags are those of the repository, sorted.
func (r *tagged) tags(ctx context.Context) []string {
	r.t.Helper()
	tags, err := remote.List(r.in, remote.WithContext(ctx))
	must(r.t, err)
	slices.Sort(tags)
	return tags
}

// foreign gives manifests that the operator pushed tags that are not its own, and returns these.
func (r *tagged) foreign() []string {
	r.t.Helper()
	var out []string
	for i, tag := range r.tags(r.t.Context()) {
		found, err := remote.Get(r.in.Tag(tag), remote.WithContext(r.t.Context()))
		must(r.t, err)
		for _, other := range []string{fmt.Sprintf("release-%d", i), cacheref.Tag("elsewhere", tag),
			cacheref.MountTag("elsewhere", tag, time.Unix(0, 0), "d-0"), "cache-" + namespace + fmt.Sprint("-", i)} {
			must(r.t, remote.Tag(r.in.Tag(other), found, remote.WithContext(r.t.Context())))
			out = append(out, other)
		}
	}
	return out
}

// snapshots are the tags of a mount's snapshots.
func (r *tagged) snapshots(c content) []string {
	r.t.Helper()
	return cacheref.MountTags(r.tags(r.t.Context()), namespace, c.id)
}

// holds waits until the repository holds just these tags.
func (r *tagged) holds(want []string, meanwhile func()) {
	r.t.Helper()
	slices.Sort(want)
	var got []string
	err := harness.Eventually(r.t.Context(), patience, "the repository holds what it should",
		func(ctx context.Context) (bool, error) {
			meanwhile()
			got = r.tags(ctx)
			return slices.Equal(got, want), nil
		})
	if err != nil {
		r.t.Fatalf("%v; it holds %q, want %q", err, got, want)
	}
}

// TestTagsOutOfUseExpire uses one key again and again and forgets another: the tags of the second go, and no others.
func TestTagsOutOfUseExpire(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := snapshotted("aged", 1)
	r := withRepository(t, cache, "e2e-aged")
	cache.Spec.Registry.Retention.MaxAgeSeconds = ptr.To[int32](45)
	makeFleet(t, cache)
	idle, used := content{"aged/idle", "shared", 1000}, content{"aged/used", "shared", 2000}
	forgotten := built(t, cache, "aged-idle", "aged-idle", filling(idle), "aged-0")
	exported(t, forgotten)
	needed := built(t, cache, "aged-used", "aged-used", filling(used), "aged-0")
	exported(t, needed)
	snapshotsOf(t, "aged-0")
	stay := append(r.foreign(), cacheref.Tag(namespace, "aged-used"))
	stay = append(stay, r.snapshots(used)...)
	if all := r.tags(t.Context()); len(all) != len(stay)+2 {
		t.Fatalf("the repository holds %q, want two tags more than %q", all, stay)
	}
	must(t, cluster.Client.Delete(t.Context(), forgotten))
	last := time.Now()
	r.holds(stay, func() {
		if time.Since(last) > 10*time.Second {
			again(t, needed)
			last = time.Now()
		}
	})
}

// TestADeletedBuildCacheTakesItsTagsAlong has two fleets share a repository, and a key. The one that deletes its tags
// takes those that only its builds used; the other one leaves everything.
func TestADeletedBuildCacheTakesItsTagsAlong(t *testing.T) {
	t.Parallel() // it mostly waits
	tidy, lax := snapshotted("tidy", 1), snapshotted("lax", 1)
	r := withRepository(t, tidy, "e2e-deleted")
	lax.Spec.Registry.Repository = tidy.Spec.Registry.Repository
	tidy.Spec.Registry.Retention.OnDelete = v1alpha1.RegistryDelete
	makeFleet(t, tidy)
	makeFleet(t, lax)
	own, shared, others := content{"deleted/own", "shared", 1000}, content{"deleted/shared", "shared",
		2000}, content{"deleted/others", "shared", 3000}
	for _, b := range []struct {
		cache *v1alpha1.BuildCache
		key   string
		holds content
	}{{tidy, "own", own}, {tidy, "both", shared}, {lax, "both", shared}, {lax, "others", others}} {
		on := b.cache.Name + "-0"
		exported(t, built(t, b.cache, b.cache.Name+"-"+b.key, "deleted-"+b.key, filling(b.holds), on))
	}
	snapshotsOf(t, "tidy-0")
	snapshotsOf(t, "lax-0")
	leaves := append(r.snapshots(own), cacheref.Tag(namespace, "deleted-own"))
	r.foreign()
	stay := slices.DeleteFunc(r.tags(t.Context()), func(tag string) bool { return slices.Contains(leaves, tag) })

	kubectl(t, "delete", "bcache/tidy", "--timeout=170s")
	r.holds(stay, func() {})
	eventTold(t, tidy, v1alpha1.ReasonOrphanedTagsDeleted)
	kubectl(t, "delete", "bcache/lax", "--timeout=170s")
	must(t,
		harness.Eventually(t.Context(), patience, "the daemon of the other fleet is gone",
			func(ctx context.Context) (bool, error) {
				err := cluster.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "lax-0"},
					&v1alpha1.BuildDaemon{})
				return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
			}))
	if got := r.tags(t.Context()); !slices.Equal(got, stay) {
		t.Errorf("after the second BuildCache the repository holds %q, want %q", got, stay)
	}
}

// eventTold waits until an event with the reason regards the object.
func eventTold(t *testing.T, o client.Object, reason string) {
	t.Helper()
	must(t, harness.Eventually(t.Context(), patience, reason+" is told", func(ctx context.Context) (bool, error) {
		var events eventsv1.EventList
		err := cluster.Client.List(ctx, &events, client.InNamespace(namespace))
		return slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool {
			return e.Regarding.UID == o.GetUID() && e.Reason == reason
		}), err
	}))
}
