// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	buildkitd "github.com/moby/buildkit/cmd/buildkitd/config"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// understood is what buildkitd itself makes of the generated file.
func understood(t *testing.T, cache *v1alpha1.BuildCache) buildkitd.Config {
	t.Helper()
	text, err := Config(cache)
	if err != nil {
		t.Fatal(err)
	}
	config, err := buildkitd.Load(strings.NewReader(text))
	if err != nil {
		t.Fatalf("buildkitd refuses the file: %v\n%s", err, text)
	}
	return config
}

func TestGCPolicyIsGeneratedWhole(t *testing.T) {
	large := func(c *v1alpha1.BuildCache) { c.Spec.Storage.Size = resource.MustParse("1000Gi") }
	cache := testbuild.BuildCache("ns", "c", large)
	oci := understood(t, cache).Workers.OCI
	if oci.GC == nil || !*oci.GC {
		t.Error("garbage collection is off")
	}
	type rule struct {
		filters []string
		freeGi  int64
	}
	var got []rule
	for _, p := range oci.GCPolicy {
		if p.All || p.KeepDuration.Duration != 0 || p.MaxUsedSpace.Bytes != 0 || p.ReservedSpace.Bytes != 0 {
			t.Errorf("a rule does more than keep space free: %+v", p)
		}
		got = append(got, rule{p.Filters, p.MinFreeSpace.Bytes >> 30})
	}
	want := []rule{
		{[]string{"type==source.local", "type==source.git.checkout"}, 80},
		{[]string{"type!=exec.cachemount"}, 50},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(rule{})); diff != "" {
		t.Errorf("rules differ (-want +got):\n%s", diff)
	}
}

func TestAVolumeThatGrowsRestartsNoDaemon(t *testing.T) {
	configs := func(size string, parallel int32) (whole, restart string) {
		cache := testbuild.BuildCache("ns", "c", func(c *v1alpha1.BuildCache) {
			c.Spec.Storage.Size, c.Spec.BuildKit.MaxParallelism = resource.MustParse(size), parallel
		})
		whole, err := Config(cache)
		if err != nil {
			t.Fatal(err)
		}
		if restart, err = restartConfig(cache); err != nil {
			t.Fatal(err)
		}
		return whole, restart
	}
	small, small2 := configs("10Gi", 0)
	large, large2 := configs("20Gi", 0)
	_, other := configs("10Gi", 1)
	if small == large {
		t.Error("the rules do not follow the volume's size")
	}
	if small2 != large2 || small2 == other {
		t.Errorf("what restarts daemons differs by size: %v, by parallelism: %v; want only the latter",
			small2 != large2, small2 != other)
	}
}

func TestDaemonListensForTheAgentOnly(t *testing.T) {
	config := understood(t, testbuild.BuildCache("ns", "c"))
	if diff := cmp.Diff([]string{"unix:///run/buildkit/buildkitd.sock"}, config.GRPC.Address); diff != "" {
		t.Errorf("listeners differ (-want +got):\n%s", diff)
	}
	if config.GRPC.GID == nil || *config.GRPC.GID != 65532 || config.GRPC.UID == nil || *config.GRPC.UID != 0 {
		t.Errorf("the socket belongs to %v:%v", config.GRPC.UID, config.GRPC.GID)
	}
	w := config.Workers
	if !ptr.Deref(w.OCI.Enabled, false) || ptr.Deref(w.Containerd.Enabled, true) || w.OCI.Snapshotter != "overlayfs" {
		t.Errorf("workers are %+v", w)
	}
	if config.Root != buildkitRoot {
		t.Errorf("root is %s", config.Root)
	}
	copies := []string{"network.host"} // the agent's copies of mounts have it
	if !slices.Equal(config.Entitlements, copies) || len(config.Registries) > 0 ||
		config.Workers.OCI.MaxParallelism != 0 {
		t.Errorf("a plain spec grants %v, knows %v and bounds steps to %d",
			config.Entitlements, config.Registries, config.Workers.OCI.MaxParallelism)
	}
}

func TestSpecReachesTheDaemon(t *testing.T) {
	config := understood(t, testbuild.BuildCache("ns", "c", func(c *v1alpha1.BuildCache) {
		c.Spec.BuildKit.Entitlements = []v1alpha1.Entitlement{
			v1alpha1.EntitlementNetworkHost, v1alpha1.EntitlementSecurityInsecure,
		}
		c.Spec.BuildKit.MaxParallelism = 9
		c.Spec.BuildKit.Registries = []v1alpha1.RegistryHost{
			{Host: "10.0.0.1:5000", Scheme: "HTTP"}, {
				Host: "docker.io", Scheme: "HTTPS", Mirrors: []string{"m/docker.io", "n"},
			},
		}
	}))
	if diff := cmp.Diff([]string{"network.host", "security.insecure"}, config.Entitlements); diff != "" {
		t.Errorf("entitlements differ (-want +got):\n%s", diff)
	}
	if config.Workers.OCI.MaxParallelism != 9 {
		t.Errorf("steps are bounded to %d, want 9", config.Workers.OCI.MaxParallelism)
	}
	if r := config.Registries["10.0.0.1:5000"]; r.PlainHTTP == nil || !*r.PlainHTTP {
		t.Errorf("the registry without TLS is %+v", r)
	}
	r := config.Registries["docker.io"]
	if r.PlainHTTP != nil && *r.PlainHTTP {
		t.Error("a registry with TLS is reached without")
	}
	if diff := cmp.Diff([]string{"m/docker.io", "n"}, r.Mirrors); diff != "" {
		t.Errorf("mirrors differ (-want +got):\n%s", diff)
	}
}

func TestEqualSpecsGiveEqualBytes(t *testing.T) {
	hosts := func(names ...string) string {
		text, err := Config(testbuild.BuildCache("ns", "c", func(c *v1alpha1.BuildCache) {
			for _, n := range names {
				c.Spec.BuildKit.Registries = append(c.Spec.BuildKit.Registries, v1alpha1.RegistryHost{Host: n})
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for range 20 {
		if hosts("a", "b", "c", "d") != hosts("d", "c", "b", "a") {
			t.Fatal("the order of registries changes the file, and would roll the daemons")
		}
	}
}

func TestExtraConfigGoesBelowTheOperators(t *testing.T) {
	extra := func(text string) func(*v1alpha1.BuildCache) {
		return func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.ExtraConfig = text }
	}
	config := understood(t, testbuild.BuildCache("ns", "c", extra(`
root = "/elsewhere"
insecure-entitlements = ["security.insecure"]
[grpc]
debugAddress = "0.0.0.0:6060"
[dns]
nameservers = ["10.0.0.53"]
[worker.oci]
snapshotter = "native"
noProcessSandbox = true
[worker.containerd]
enabled = true
`)))
	if config.Root != buildkitRoot || slices.Contains(config.Entitlements, "security.insecure") ||
		config.GRPC.DebugAddress != "" ||
		config.Workers.OCI.Snapshotter != "overlayfs" || ptr.Deref(config.Workers.Containerd.Enabled, true) {
		t.Errorf("what the operator sets was changed: %+v", config)
	}
	if config.DNS == nil || len(config.DNS.Nameservers) != 1 || !config.Workers.OCI.NoProcessSandbox {
		t.Errorf("what the operator leaves open was not set: %+v", config)
	}
	for name, text := range map[string]string{
		"a rule of garbage collection":    "[[worker.oci.gcpolicy]]\nall = true",
		"garbage collection switched off": "[worker.oci]\ngc = false",
		"what is no TOML":                 "dns = [",
	} {
		if _, err := Config(testbuild.BuildCache("ns", "c", extra(text))); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
