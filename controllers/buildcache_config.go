// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	"github.com/pelletier/go-toml/v2"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// The generated garbage collection. BuildKit's stock policy deletes cache mounts unused for 48 hours as soon as the whole cache
// passes 512 MB, which is what makes builds cold over a weekend; so the whole list is always generated here.
//
// A rule's bound is compared with the size of the *whole* cache, not of what its filters select (BuildKit's cache manager adds up all
// records), so an order of sacrifice is an order of rising bounds. As the cache fills its volume, there give way, least recently used first:
//
//  1. above sourcesPercent: local sources and git checkouts, which are cheap to fetch again;
//  2. above layersPercent: everything that is neither a cache mount nor internal, since layers come back from a registry;
//  3. above totalPercent: everything, cache mounts included, so that the volume never fills up.
//
// No rule has a keepDuration: age alone deletes nothing. The rest of the volume, 100 − totalPercent, is head room for steps under way,
// since BuildKit collects garbage at most once a minute.
const (
	sourcesPercent = 60
	layersPercent  = 70
	totalPercent   = 80
)

// daemonConfig is the part of buildkitd.toml that the operator writes; names are BuildKit's own.
type daemonConfig struct {
	Root         string                    `toml:"root"`
	Entitlements []string                  `toml:"insecure-entitlements,omitempty"`
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
	GCPolicy       []gcPolicy `toml:"gcpolicy"`
}

type gcPolicy struct {
	All          bool     `toml:"all,omitempty"`
	Filters      []string `toml:"filters,omitempty"`
	MaxUsedSpace int64    `toml:"maxUsedSpace"` // bytes
}

type registryConfig struct {
	HTTP    bool     `toml:"http,omitempty"`
	Mirrors []string `toml:"mirrors,omitempty"`
}

// desiredConfig renders buildkitd.toml for a BuildCache. Equal specs give equal bytes.
func desiredConfig(cache *v1alpha1.BuildCache) (string, error) {
	spec := &cache.Spec.BuildKit
	config := daemonConfig{
		Root: buildkitRoot,
		GRPC: grpcConfig{Address: []string{"unix://" + socketPath}, UID: 0, GID: agentUser},
		Worker: workerConfig{OCI: ociConfig{
			Enabled:        true,
			Snapshotter:    "overlayfs",
			GC:             true,
			MaxParallelism: spec.MaxParallelism,
			GCPolicy:       desiredGCPolicy(cache.Spec.Storage.Size.Value()),
		}},
	}
	for _, e := range spec.Entitlements {
		config.Entitlements = append(config.Entitlements, string(e))
	}
	if len(spec.Registries) > 0 {
		config.Registry = map[string]registryConfig{}
	}
	for _, r := range spec.Registries {
		config.Registry[r.Host] = registryConfig{HTTP: r.Scheme == "HTTP", Mirrors: r.Mirrors}
	}
	out, err := toml.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("render %s: %w", configFile, err)
	}
	return string(out), nil
}

// desiredGCPolicy is the whole list of rules for a volume of sizeBytes.
func desiredGCPolicy(sizeBytes int64) []gcPolicy {
	share := func(percent int64) int64 { return sizeBytes / 100 * percent }
	return []gcPolicy{
		// Filters of one rule are alternatives; a comma inside one means "and".
		{Filters: []string{"type==source.local", "type==source.git.checkout"}, MaxUsedSpace: share(sourcesPercent)},
		{Filters: []string{"type!=exec.cachemount"}, MaxUsedSpace: share(layersPercent)},
		{All: true, MaxUsedSpace: share(totalPercent)},
	}
}
