// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

type cacheSpec = v1alpha1.BuildCacheSpec

// secrets and sources are BuildCaches with those policies.
func secrets(from v1alpha1.SecretsFrom, selector *metav1.LabelSelector) func(*cacheSpec) {
	return func(s *cacheSpec) { s.SecretPolicy = &v1alpha1.SecretPolicy{From: from, Selector: selector} }
}

func sources(allowed v1alpha1.AllowedSources) func(*cacheSpec) {
	return func(s *cacheSpec) { s.AllowedSources = &allowed }
}

func allowing(from v1alpha1.NamespacesFrom, selector *metav1.LabelSelector) func(*cacheSpec) {
	return func(s *cacheSpec) {
		s.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: from, Selector: selector}
	}
}

func TestBuildCacheIsValidated(t *testing.T) {
	ns := envtestkit.Get(t).Namespace(t)
	registry := func(repository string) func(*cacheSpec) {
		return func(s *cacheSpec) { s.Registry = &v1alpha1.RegistryCacheSpec{Repository: repository} }
	}
	const noTag = "repository is host/path without a tag or digest"
	cases := map[string]struct {
		change func(*cacheSpec)
		want   string
	}{
		"a plain one is accepted":          {func(*cacheSpec) {}, ""},
		"no daemons are accepted":          {func(s *cacheSpec) { s.Replicas = ptr.To[int32](0) }, ""},
		"fewer than none are refused":      {func(s *cacheSpec) { s.Replicas = ptr.To[int32](-1) }, "spec.replicas"},
		"a thousand daemons are accepted":  {func(s *cacheSpec) { s.Replicas = ptr.To[int32](1000) }, ""},
		"more than a thousand are refused": {func(s *cacheSpec) { s.Replicas = ptr.To[int32](1001) }, "spec.replicas"},

		"namespaces by label are accepted": {
			allowing(v1alpha1.NamespacesFromSelector, &metav1.LabelSelector{}), "",
		},
		"all namespaces are accepted": {allowing(v1alpha1.NamespacesFromAll, nil), ""},
		"a selector of no source is refused": {
			allowing("", &metav1.LabelSelector{}), "selector goes with from: Selector",
		},
		"a selector beside All is refused": {
			allowing(v1alpha1.NamespacesFromAll, &metav1.LabelSelector{}), "selector goes with from: Selector",
		},
		"namespaces by label without one are refused": {allowing("Selector", nil), "selector goes with from: Selector"},
		"an unknown source of namespaces is refused":  {allowing("Some", nil), `"Same", "Selector", "All"`},

		"Secrets by label are accepted": {secrets(v1alpha1.SecretsFromSelector, &metav1.LabelSelector{}), ""},
		"all Secrets are accepted":      {secrets(v1alpha1.SecretsFromAll, nil), ""},
		"Secrets by label without one are refused": {
			secrets(v1alpha1.SecretsFromSelector, nil), "selector goes with from: Selector",
		},
		"an unknown source of Secrets is refused": {secrets("Some", nil), `"All", "Selector"`},
		"patterns of sources are accepted": {sources(v1alpha1.AllowedSources{
			Images: []string{"*", "docker.io/library/*", "alpine:3", "docker.io/*"},
			Git:    []string{"github.com/team/*", "*"}, HTTP: []string{"dl.example.com/*"},
		}), ""},
		"no sources are accepted": {sources(v1alpha1.AllowedSources{}), ""},
		"a star within an image is refused": {
			sources(v1alpha1.AllowedSources{Images: []string{"docker.io/*/app"}}), "that ends in /*",
		},
		"a star within a host is refused": {
			sources(v1alpha1.AllowedSources{Git: []string{"*.example.com/app"}}), "an entry is *",
		},
		"a scheme is refused": {
			sources(v1alpha1.AllowedSources{HTTP: []string{"https://dl.example.com/*"}}), "without the scheme",
		},
		"a host without a path is refused": {
			sources(v1alpha1.AllowedSources{Git: []string{"github.com"}}), "a host with a path",
		},
		"a star within a push is refused": {func(s *cacheSpec) {
			s.AllowedPushes = &v1alpha1.AllowedPushes{Images: []string{"r.example.com/a*"}}
		}, "that ends in /*"},
		"a star within a front end is refused": {
			func(s *cacheSpec) { s.AllowedFrontends = []string{"docker/*file"} }, "that ends in /*",
		},

		"a volume of 1Gi is accepted": {func(s *cacheSpec) { s.Storage.Size = resource.MustParse("1Gi") }, ""},
		"a smaller volume is refused": {
			func(s *cacheSpec) { s.Storage.Size = resource.MustParse("1023Mi") }, "size must be at least 1Gi",
		},
		"a storage class is accepted": {func(s *cacheSpec) { s.Storage.StorageClassName = ptr.To("fast") }, ""},
		"an empty storage class is refused": {
			func(s *cacheSpec) { s.Storage.StorageClassName = ptr.To("") }, "storageClassName",
		},
		"a retention policy is accepted": {
			func(s *cacheSpec) { s.Storage.Retention.WhenScaled = v1alpha1.RetentionDelete }, "",
		},
		"an unknown retention is refused": {
			func(s *cacheSpec) { s.Storage.Retention.WhenDeleted = "Maybe" }, `"Retain", "Delete"`,
		},

		"policies of mounts are accepted": {mountPolicies(
			v1alpha1.MountPolicy{ID: "go-build", Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever},
				Sharing: "locked"},
			v1alpha1.MountPolicy{ID: "*",
				Eviction: &v1alpha1.MountEviction{MaxSize: ptr.To(resource.MustParse("1Mi")),
					MaxAgeSeconds: ptr.To[int32](5400)}}), ""},
		"two policies of one id are refused": {
			mountPolicies(v1alpha1.MountPolicy{ID: "a"}, v1alpha1.MountPolicy{ID: "a"}), "Duplicate",
		},
		"a policy without an id is refused": {mountPolicies(v1alpha1.MountPolicy{}), "id"},
		"an unknown sharing mode is refused": {
			mountPolicies(v1alpha1.MountPolicy{ID: "a", Sharing: "Shared"}), `"shared", "private", "locked"`,
		},
		"a mount of no bytes is refused": {
			mountPolicies(v1alpha1.MountPolicy{ID: "a",
				Eviction: &v1alpha1.MountEviction{MaxSize: ptr.To(resource.MustParse("0"))}}),
			"maxSize must be more than nothing",
		},
		"an age of nothing is refused": {
			mountPolicies(v1alpha1.MountPolicy{ID: "a",
				Eviction: &v1alpha1.MountEviction{MaxAgeSeconds: ptr.To[int32](0)}}),
			"maxAgeSeconds",
		},
		"a negative age is refused": {
			mountPolicies(v1alpha1.MountPolicy{ID: "a",
				Eviction: &v1alpha1.MountEviction{MaxAgeSeconds: ptr.To[int32](-1)}}),
			"maxAgeSeconds",
		},
		"a pinned mount with an age is refused": {
			mountPolicies(v1alpha1.MountPolicy{ID: "a",
				Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever, MaxAgeSeconds: ptr.To[int32](3600)}}),
			"is never evicted",
		},
		"a pinned mount with a size is refused": {
			mountPolicies(v1alpha1.MountPolicy{ID: "a",
				Eviction: &v1alpha1.MountEviction{Policy: v1alpha1.EvictNever,
					MaxSize: ptr.To(resource.MustParse("1Gi"))}}),
			"is never evicted",
		},
		"a volume that is all mounts is refused": {
			func(s *cacheSpec) { s.Storage.GC.MountsPercent = 89 }, "at most 100 together",
		},
		"a volume for mounts mostly is accepted": {func(s *cacheSpec) {
			s.Storage.GC = v1alpha1.GCSpec{MountsPercent: 80, LayersPercent: 10, FreePercent: 10}
		}, ""},
		"less than a tenth free is refused": {func(s *cacheSpec) { s.Storage.GC.FreePercent = 9 }, "freePercent"},

		"a budget for prefetching is accepted": {prefetching("20Gi"), ""},
		"one byte an hour is accepted":         {prefetching("1"), ""},
		"a budget of nothing is refused":       {prefetching("0"), "bandwidthPerHour must be more than 0"},
		"a budget below nothing is refused":    {prefetching("-1Gi"), "bandwidthPerHour must be more than 0"},

		"privileged daemons are accepted": {
			func(s *cacheSpec) { s.BuildKit.Isolation = v1alpha1.IsolationPrivileged }, "",
		},
		"an unknown isolation is refused": {
			func(s *cacheSpec) { s.BuildKit.Isolation = "None" }, `"UserNamespace", "Privileged"`,
		},
		"64 builds at once are accepted": {func(s *cacheSpec) { s.BuildKit.MaxConcurrentBuilds = 64 }, ""},
		"65 builds at once are refused": {
			func(s *cacheSpec) { s.BuildKit.MaxConcurrentBuilds = 65 }, "maxConcurrentBuilds",
		},
		"builds below zero are refused": {
			func(s *cacheSpec) { s.BuildKit.MaxConcurrentBuilds = -1 }, "maxConcurrentBuilds",
		},
		"1024 steps at once are accepted": {func(s *cacheSpec) { s.BuildKit.MaxParallelism = 1024 }, ""},
		"1025 steps at once are refused": {
			func(s *cacheSpec) { s.BuildKit.MaxParallelism = 1025 }, "maxParallelism",
		},
		"a day to drain is accepted": {func(s *cacheSpec) { s.BuildKit.DrainTimeoutSeconds = 86400 }, ""},
		"more than a day to drain is refused": {
			func(s *cacheSpec) { s.BuildKit.DrainTimeoutSeconds = 86401 }, "drainTimeoutSeconds",
		},
		"known entitlements are accepted": {func(s *cacheSpec) {
			s.BuildKit.Entitlements = []v1alpha1.Entitlement{"network.host", "security.insecure"}
		}, ""},
		"an unknown entitlement is refused": {
			func(s *cacheSpec) { s.BuildKit.Entitlements = []v1alpha1.Entitlement{"device"} },
			`"network.host", "security.insecure"`,
		},
		"the same entitlement twice is refused": {
			func(s *cacheSpec) { s.BuildKit.Entitlements = []v1alpha1.Entitlement{"network.host", "network.host"} },
			"Duplicate",
		},
		"a registry without TLS is accepted": {
			registryHosts(v1alpha1.RegistryHost{Host: "10.0.0.1:5000", Scheme: "HTTP"}), "",
		},
		"a registry on IPv6 is accepted":    {registryHosts(v1alpha1.RegistryHost{Host: "[::1]:5000"}), ""},
		"a registry with a path is refused": {registryHosts(v1alpha1.RegistryHost{Host: "h/path"}), "host"},
		"a registry with a scheme is refused": {
			registryHosts(v1alpha1.RegistryHost{Host: "h", Scheme: "http"}), `"HTTPS", "HTTP"`,
		},
		"the same registry twice is refused": {
			registryHosts(v1alpha1.RegistryHost{Host: "h"}, v1alpha1.RegistryHost{Host: "h"}), "Duplicate",
		},
		"an empty mirror is refused": {
			registryHosts(v1alpha1.RegistryHost{Host: "h", Mirrors: []string{""}}), "mirrors",
		},
		"a cache repository is accepted":         {registry("registry.example.com:5000/team/cache"), ""},
		"a cache repository with a tag":          {registry("registry.example.com/team/cache:v1"), noTag},
		"a cache repository with a digest":       {registry("registry.example.com/team/cache@sha256:0"), noTag},
		"a cache repository that is only a host": {registry("registry.example.com"), noTag},
		"an unknown import policy is refused": {func(s *cacheSpec) {
			registry("h/r")(s)
			s.Registry.ImportPolicy = "Always"
		}, `"OnFreshDaemon", "Never"`},
		"a wait of an hour a GB is accepted": {waitingPerGB(3600), ""},
		"a longer one is refused":            {waitingPerGB(3601), "waitSecondsPerGiB"},
		"one of less than nothing is too":    {waitingPerGB(-1), "waitSecondsPerGiB"},
		"an unknown export policy is refused": {func(s *cacheSpec) {
			registry("h/r")(s)
			s.Registry.ExportPolicy = "Sometimes"
		}, `"OnFreshDaemon", "Always", "Never"`},
		"an unknown compression is refused": {func(s *cacheSpec) {
			registry("h/r")(s)
			s.Registry.ExportCompression = "xz"
		}, `"zstd", "gzip", "estargz", "uncompressed"`},
		"an unknown export mode is refused": {func(s *cacheSpec) {
			registry("h/r")(s)
			s.Registry.ExportMode = "all"
		}, `"max", "min"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cache := testbuild.BuildCache(ns, "c")
			tc.change(&cache.Spec)
			expectVerdict(t, offer(t, cache), tc.want)
		})
	}
}

func registryHosts(hosts ...v1alpha1.RegistryHost) func(*cacheSpec) {
	return func(s *cacheSpec) { s.BuildKit.Registries = hosts }
}

func TestBuildCacheNames(t *testing.T) {
	ns := envtestkit.Get(t).Namespace(t)
	cases := map[string]struct{ name, want string }{
		"48 characters leave room for ordinals": {"a" + strings.Repeat("b", 47), ""},
		"49 characters don't": {
			"a" + strings.Repeat("b", 48), "metadata.name must be at most 48 characters",
		},
		"a name that begins with a digit": {
			"1c", "metadata.name must be a DNS label that begins with a letter",
		},
		"a name with a dot": {
			"a.b", "metadata.name must be a DNS label that begins with a letter",
		},
		"a name with digits and dashes in it":      {"c-1-x", ""},
		"a single letter":                          {"c", ""},
		"a name that the server itself won't have": {"C", "RFC 1123"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { expectVerdict(t, offer(t, testbuild.BuildCache(ns, tc.name)), tc.want) })
	}
}

func TestBuildCacheStorageIsKept(t *testing.T) {
	cluster := envtestkit.Get(t)
	ns := cluster.Namespace(t)
	const class = "make a new BuildCache"
	expand := func(max string) func(*cacheSpec) {
		return func(s *cacheSpec) { s.Storage.AutoExpand = &v1alpha1.AutoExpandSpec{MaxSize: resource.MustParse(max)} }
	}
	cases := map[string]struct {
		before, after func(*cacheSpec)
		want          string
	}{
		"the size can grow": {nil, func(s *cacheSpec) { s.Storage.Size = resource.MustParse("20Gi") }, ""},
		"the size can't shrink": {
			nil, func(s *cacheSpec) { s.Storage.Size = resource.MustParse("9Gi") },
			"storage.size can't be less than what volumes have",
		},
		"it may expand by itself": {nil, expand("10Gi"), ""},
		"nor beyond what garbage collection leaves": {nil, func(s *cacheSpec) {
			expand("20Gi")(s)
			s.Storage.AutoExpand.ThresholdPercent = 80
		}, "must be less than 100 together"},
		"but not to less":           {nil, expand("9Gi"), "autoExpand.maxSize must be at least size"},
		"the size can be respelled": {nil, func(s *cacheSpec) { s.Storage.Size = resource.MustParse("10240Mi") }, ""},
		"a class can't be added": {
			nil, func(s *cacheSpec) { s.Storage.StorageClassName = ptr.To("a") },
			strings.ToUpper(class[:1]) + class[1:],
		},
		"a class can't be removed": {
			func(s *cacheSpec) { s.Storage.StorageClassName = ptr.To("a") },
			func(s *cacheSpec) { s.Storage.StorageClassName = nil }, "storageClassName can't be changed",
		},
		"a class can't be changed": {
			func(s *cacheSpec) { s.Storage.StorageClassName = ptr.To("a") },
			func(s *cacheSpec) { s.Storage.StorageClassName = ptr.To("b") }, "storageClassName can't be changed",
		},
		"everything else may change": {nil, func(s *cacheSpec) {
			s.Replicas = ptr.To[int32](5)
			s.Storage.Retention.WhenScaled = v1alpha1.RetentionDelete
		}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cache := testbuild.BuildCache(ns, "", func(c *v1alpha1.BuildCache) {
				c.GenerateName = "c-"
				if tc.before != nil {
					tc.before(&c.Spec)
				}
			})
			if err := cluster.Client.Create(t.Context(), cache); err != nil {
				t.Fatal(err)
			}
			tc.after(&cache.Spec)
			expectVerdict(t, cluster.Client.Update(t.Context(), cache, client.DryRunAll), tc.want)
		})
	}
}

func TestBuildCacheDefaults(t *testing.T) {
	cluster := envtestkit.Get(t)
	cache := &v1alpha1.BuildCache{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace(t), Name: "c"},
		Spec: cacheSpec{
			Storage:  v1alpha1.StorageSpec{Size: resource.MustParse("10Gi")},
			BuildKit: v1alpha1.BuildKitSpec{Registries: []v1alpha1.RegistryHost{{Host: "h"}}},
			Registry: &v1alpha1.RegistryCacheSpec{Repository: "h/r"},
		},
	}
	if err := cluster.Client.Create(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	want := testbuild.BuildCache("", "").Spec // builders promise the defaults
	want.BuildKit.Registries = []v1alpha1.RegistryHost{{Host: "h", Scheme: "HTTPS"}}
	want.Registry = &v1alpha1.RegistryCacheSpec{Repository: "h/r", ImportPolicy: v1alpha1.ImportOnFreshDaemon,
		ExportPolicy: v1alpha1.ExportOnFreshDaemon, ExportMode: "max", ExportCompression: "zstd",
		Retention: v1alpha1.RegistryRetentionSpec{OnDelete: v1alpha1.RegistryRetain}}
	if diff := cmp.Diff(want, cache.Spec); diff != "" {
		t.Errorf("defaults differ (-want +got):\n%s", diff)
	}
	if cache.Status.ObservedGeneration != -1 {
		t.Errorf("observedGeneration of a new object is %d, want -1", cache.Status.ObservedGeneration)
	}
}

func waitingPerGB(seconds int32) func(*cacheSpec) {
	return func(s *cacheSpec) {
		s.Registry = &v1alpha1.RegistryCacheSpec{Repository: "registry.example.com/team/cache",
			WaitSecondsPerGiB: seconds}
	}
}

func prefetching(bytesPerHour string) func(*cacheSpec) {
	return func(s *cacheSpec) {
		s.Prefetch = &v1alpha1.PrefetchSpec{BandwidthPerHour: resource.MustParse(bytesPerHour)}
	}
}

func mountPolicies(policies ...v1alpha1.MountPolicy) func(*cacheSpec) {
	return func(s *cacheSpec) { s.Mounts = policies }
}
