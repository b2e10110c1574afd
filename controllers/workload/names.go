// SPDX-License-Identifier: Apache-2.0

// Package workload holds what a BuildDaemon runs as: a StatefulSet of one replica with a volume claim of its own. It
// renders both, finds out why a daemon's pod does not come up, and keeps the two in step with their BuildDaemon.
package workload

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Paths and numbers of the daemon pod, the contract between the generated pod, buildkitd and the agent.
const (
	// socketPath is buildkitd's only listener; the directory is an emptyDir of the pod.
	socketDir  = "/run/buildkit"
	socketPath = socketDir + "/buildkitd.sock"
	// restartFile is what the agent makes to have buildkitd restarted.
	restartFile = socketDir + "/restart-requested"
	// buildkitRoot and agentState are two directories of the same volume.
	buildkitRoot = "/var/lib/buildkit"
	agentState   = "/var/lib/hlb-agent"
	configDir    = "/etc/buildkit"
	// ConfigFile is the key of buildkitd's configuration in the fleet's ConfigMap.
	ConfigFile = "buildkitd.toml"
	tokenDir   = "/var/run/secrets/kubernetes.io/serviceaccount"

	// agentUser is the "nonroot" user of the operator's image; buildkitd gives its socket to the group of this number.
	agentUser = 65532
	// healthPort serves the agent's probes.
	healthPort = 8081

	// containerBuildkitd and containerAgent are the containers of the pod, the first one a native sidecar. Before it,
	// containerNetwork runs to its end, unless steps share the pod's network.
	containerBuildkitd = "buildkitd"
	containerAgent     = "agent"
	containerNetwork   = "network"
)

// AgentName names the service account, Role and RoleBinding of a BuildCache's agents.
func AgentName(cache string) string { return cache + "-agent" }

// ConfigName names the ConfigMap with buildkitd.toml.
func ConfigName(cache string) string { return cache + "-buildkitd" }

// DaemonName names a BuildDaemon, its Lease and its StatefulSet.
func DaemonName(cache string, ordinal int32) string { return fmt.Sprintf("%s-%d", cache, ordinal) }

// PodName names a daemon's pod, as its StatefulSet does.
func PodName(daemon string) string { return daemon + "-0" }

// ClaimName names a daemon's volume claim, as its StatefulSet does.
func ClaimName(daemon string) string { return volumeCache + "-" + PodName(daemon) }

// Ordinal is the ordinal of the daemon that an object belongs to by its label, false for an object of no daemon of the
// cache.
func Ordinal(cache string, labels map[string]string) (int32, bool) {
	digits, found := strings.CutPrefix(labels[v1alpha1.LabelDaemon], cache+"-")
	n, err := strconv.ParseInt(digits, 10, 32)
	if !found || err != nil || n < 0 || DaemonName(cache, int32(n)) != labels[v1alpha1.LabelDaemon] {
		return 0, false
	}
	return int32(n), true
}

// FleetLabels select the pods of all daemons of a BuildCache.
func FleetLabels(cache string) map[string]string {
	return map[string]string{v1alpha1.LabelCache: cache, v1alpha1.LabelComponent: v1alpha1.ComponentDaemon}
}

// DaemonLabels select the pod and the claim of one daemon.
func DaemonLabels(cache, daemon string) map[string]string {
	labels := FleetLabels(cache)
	labels[v1alpha1.LabelDaemon] = daemon
	return labels
}
