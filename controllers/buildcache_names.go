// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Paths and numbers of the daemon pod, the contract between the generated pod, buildkitd and the agent.
const (
	// socketPath is buildkitd's only listener; the directory is an emptyDir of the pod.
	socketDir  = "/run/buildkit"
	socketPath = socketDir + "/buildkitd.sock"
	// buildkitRoot and agentState are two directories of the same volume.
	buildkitRoot = "/var/lib/buildkit"
	agentState   = "/var/lib/hlb-agent"
	configDir    = "/etc/buildkit"
	configFile   = "buildkitd.toml"
	tokenDir     = "/var/run/secrets/kubernetes.io/serviceaccount"

	// agentUser is the "nonroot" user of the operator's image; buildkitd gives its socket to the group of this number.
	agentUser = 65532
	// healthPort serves the agent's probes.
	healthPort = 8081
)

// agentName names the service account, role and binding of a BuildCache's agents.
func agentName(cache *v1alpha1.BuildCache) string { return cache.Name + "-agent" }

// configName names the ConfigMap with buildkitd.toml.
func configName(cache *v1alpha1.BuildCache) string { return cache.Name + "-buildkitd" }

// daemonName is the name of a daemon's pod, BuildDaemon and Lease.
func daemonName(cache string, ordinal int32) string { return fmt.Sprintf("%s-%d", cache, ordinal) }

// daemonLabels select a BuildCache's daemon pods.
func daemonLabels(cache *v1alpha1.BuildCache) map[string]string {
	return map[string]string{v1alpha1.LabelCache: cache.Name, v1alpha1.LabelComponent: v1alpha1.ComponentDaemon}
}

// wantedReplicas is spec.replicas with its default.
func wantedReplicas(cache *v1alpha1.BuildCache) int32 {
	if cache.Spec.Replicas == nil {
		return 1
	}
	return *cache.Spec.Replicas
}
