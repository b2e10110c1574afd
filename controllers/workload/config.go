// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"slices"

	"github.com/pelletier/go-toml/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/gcrules"
	"github.com/openllb/hlb-operator/internal/sizing"
)

// daemonConfig is the part of buildkitd.toml that the operator writes; names are BuildKit's own.
type daemonConfig struct {
	Root         string                    `toml:"root"`
	Entitlements []string                  `toml:"insecure-entitlements"`
	GRPC         grpcConfig                `toml:"grpc"`
	Worker       workerConfig              `toml:"worker"`
	Registry     map[string]registryConfig `toml:"registry,omitempty"`
}

type grpcConfig struct {
	Address []string `toml:"address"`
	UID     int      `toml:"uid"`
	GID     int      `toml:"gid"`
}

type workerConfig struct {
	OCI        ociConfig        `toml:"oci"`
	Containerd containerdConfig `toml:"containerd"`
}

type containerdConfig struct {
	Enabled bool `toml:"enabled"`
}

type ociConfig struct {
	Enabled        bool       `toml:"enabled"`
	Snapshotter    string     `toml:"snapshotter"`
	GC             bool       `toml:"gc"`
	MaxParallelism int32      `toml:"max-parallelism,omitempty"`
	NetworkMode    string     `toml:"networkMode"`
	CNIConfigPath  string     `toml:"cniConfigPath"`
	CNIBinaryPath  string     `toml:"cniBinaryPath"`
	GCPolicy       []gcPolicy `toml:"gcpolicy"`
}

type gcPolicy struct {
	Filters      []string `toml:"filters"`
	MinFreeSpace int64    `toml:"minFreeSpace"` // bytes
}

type registryConfig struct {
	HTTP    bool     `toml:"http,omitempty"`
	Mirrors []string `toml:"mirrors,omitempty"`
}

// Config renders buildkitd.toml for a BuildCache. Equal specs give equal bytes. Errors are about
// spec.buildkit.extraConfig.
func Config(cache *v1alpha1.BuildCache) (string, error) {
	spec := &cache.Spec.BuildKit
	config := daemonConfig{
		Root: buildkitRoot,
		// what builds may have of it is spec.buildkit.entitlements; the agent's copies of mounts need this one
		Entitlements: []string{string(v1alpha1.EntitlementNetworkHost)},
		GRPC:         grpcConfig{Address: []string{"unix://" + socketPath}, UID: 0, GID: agentUser},
		Worker: workerConfig{OCI: ociConfig{
			Enabled:        true,
			Snapshotter:    "overlayfs",
			GC:             true,
			MaxParallelism: spec.MaxParallelism,
			GCPolicy:       gcPolicies(ptr.To(sizing.VolumeSize(cache)).Value()),
		}},
	}
	config.Worker.OCI.setNetwork(networkMode(cache))
	if slices.Contains(spec.Entitlements, v1alpha1.EntitlementSecurityInsecure) {
		config.Entitlements = append(config.Entitlements, string(v1alpha1.EntitlementSecurityInsecure))
	}
	if len(spec.Registries) > 0 {
		config.Registry = map[string]registryConfig{}
	}
	for _, r := range spec.Registries {
		config.Registry[r.Host] = registryConfig{HTTP: r.Scheme == "HTTP", Mirrors: r.Mirrors}
	}
	out, err := toml.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("render %s: %w", ConfigFile, err)
	}
	return withExtra(string(out), spec.ExtraConfig)
}

// gcPolicies is the whole list of rules for a volume of sizeBytes. BuildKit's stock policy deletes cache mounts
// unused for 48 hours as soon as its cache passes 512 MB, which is what makes builds cold over a weekend, so the list
// is never left to it.
func gcPolicies(sizeBytes int64) []gcPolicy {
	var out []gcPolicy
	for _, rule := range gcrules.Backstop(sizeBytes) {
		out = append(out, gcPolicy{Filters: rule.Filters, MinFreeSpace: rule.MinFreeBytes})
	}
	return out
}

// restartConfig is the part of the configuration whose change restarts the daemons: all but the bounds that are
// derived from the volume's size, so that a volume that grows does not cost its running builds. These follow at the
// next start.
func restartConfig(cache *v1alpha1.BuildCache) (string, error) {
	sized := cache.DeepCopy()
	sized.Spec.Storage.Size, sized.Status.Storage = resource.MustParse("1Gi"), nil
	return Config(sized)
}
