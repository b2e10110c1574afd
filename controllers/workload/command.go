// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// cgroupDir is where a container's control group is mounted.
const cgroupDir = "/sys/fs/cgroup"

// daemonCommand is the shell's command that starts buildkitd.
//
// The volume comes up owned by root. Its second directory is the agent's, who is not root; an fsGroup would do the same
// but also leave its group on every layer that buildkitd unpacks. The kernel ignores a SIGTERM that the first process
// of a container has no handler for, so the shell has one: without it, a pod that is deleted in its first moments stays
// for its whole grace period.
func daemonCommand(cache *v1alpha1.BuildCache) string {
	flags := ""
	if networkMode(cache) == v1alpha1.NetworkPreferIsolated {
		flags += networkFlags()
	}
	if cache.Spec.BuildKit.Isolation != v1alpha1.IsolationPrivileged {
		flags += cgroupFlags(cgroupDir)
	}
	return fmt.Sprintf("trap 'exit 143' TERM; rm -f %s; chown %d:%d %s && exec buildkitd --config %s/%s%s",
		restartFile, agentUser, agentUser, agentState, configDir, ConfigFile, flags)
}

// networkFlags is a shell's word that becomes flags of buildkitd: steps share the pod's network where there is none of
// their own. BuildKit's own choice is always to share it where it runs in a user namespace. Kubernetes has a meaning of
// its own for a dollar.
func networkFlags() string {
	return fmt.Sprintf(" `test -e %s || echo --oci-worker-net=host`", networkConfig)
}

// cgroupFlags is a shell's word that becomes flags of a buildkitd that runs in a user namespace. BuildKit takes it that
// it can't bound steps there, and drops their limits without a word. It can where the container's control group is its
// own, as it is with cgroup v2. Whether it is shows when controllers are passed on from there, for which neither the
// container's first process nor this one may be in it; buildkitd moves itself to init, too.
func cgroupFlags(dir string) string {
	return fmt.Sprintf(" `exec 2>/dev/null; cd %s && test -e cgroup.controllers && mkdir -p init && "+
		"echo 1 >init/cgroup.procs && echo 0 >init/cgroup.procs && echo +memory +cpu >cgroup.subtree_control && "+
		"echo --rootless=false`", dir)
}
