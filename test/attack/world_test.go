// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

const (
	// namespace has the fleet and the neighbour's builds, attackers builds that attack.
	namespace, attackers = "hlb-attacked", "hlb-attackers"
	// patience is a generous bound on one build.
	patience = 3 * time.Minute
)

// neighbourly is the neighbour's program: it uses a cache mount in which nobody else may write.
const neighbourly = `fs default() {
	image "IMAGE"
	run "echo WORD; test ! -e /cache/taken && echo WORD >> /cache/log" with option {
		cacheMount "/cache" with option { id "shared"; }
	}
}
`

// world is the cluster and the one daemon that everybody shares.
type world struct {
	*harness.Cluster
	fleet *v1alpha1.BuildCache
	// hostile is the address of a registry that means ill.
	hostile string
	podIP   string // of the daemon's pod
	count   int    // of attacks, for names
}

// newWorld installs the operator and makes the fleet.
func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := t.Context()
	c, err := harness.Open(ctx, os.Stderr)
	must(t, err)
	if c.Local == nil {
		t.Fatal("these tests read what processes of nodes use, so they need the local cluster: unset CLUSTER")
	}
	w := &world{Cluster: c}
	must(t, c.Install(ctx))
	for _, name := range []string{attackers, namespace} {
		must(t, c.DeleteNamespace(ctx, name))
		must(t, c.Namespace(ctx, name))
		t.Cleanup(func() { // the fleet's namespace first
			if err := c.DeleteNamespace(context.Background(), name); err != nil {
				t.Error(err)
			}
		})
	}
	w.fleet = c.BuildCache(namespace, "fleet", 1, "2Gi", "attacked-"+fmt.Sprint(time.Now().Unix()))
	w.fleet.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	w.fleet.Spec.BuildKit.MaxConcurrentBuilds = 3
	// The limit of steps holds where BuildKit can set it: in a user namespace on nodes with cgroup v2 only. The
	// container's holds everywhere.
	w.fleet.Spec.BuildKit.StepLimits.Memory = ptr.To(resource.MustParse("128Mi"))
	harness.LimitMemory(w.fleet, "1Gi")
	w.fleet.Spec.SecretPolicy = &v1alpha1.SecretPolicy{From: v1alpha1.SecretsFromSelector,
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"use": "builds"}}}
	host, _, _ := strings.Cut(c.Info.Registry, ":")
	w.hostile = startHostileRegistry(t, host)
	w.fleet.Spec.BuildKit.Registries = append(w.fleet.Spec.BuildKit.Registries,
		v1alpha1.RegistryHost{Host: w.hostile, Scheme: "HTTP"})
	must(t, c.Client.Create(ctx, w.fleet))
	must(t, c.WaitCache(ctx, w.fleet))
	pod := &corev1.Pod{}
	must(t, c.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: harness.Pod(w.fleet.Name + "-0")}, pod))
	w.podIP = pod.Status.PodIP
	must(t, c.Client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: attackers, Name: "not-for-builds"},
		StringData: map[string]string{"token": "hush"},
	}))
	return w
}

// newBuild is a build of a program, in which IMAGE stands for an image with a shell and CACHE for the repository of the
// fleet's registry cache, HOSTILE for the hostile registry and PODIP for the address of the daemon's pod.
func (w *world) newBuild(namespace, name, program string) *v1alpha1.HLBBuild {
	text := strings.NewReplacer("IMAGE", w.Images["busybox"], "CACHE", w.fleet.Spec.Registry.Repository, "HOSTILE",
		w.hostile, "PODIP", w.podIP).Replace(program)
	return &v1alpha1.HLBBuild{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.HLBBuildSpec{
			CacheRef: v1alpha1.CacheReference{Name: w.fleet.Name, Namespace: w.fleet.Namespace},
			HLB:      &v1alpha1.HLBSpec{Inline: &text}, TimeoutSeconds: 30, RetryLimit: ptr.To[int32](0),
			ActiveDeadlineSeconds: ptr.To[int32](60),
		},
	}
}

// memory is the memory of a container, as its cgroup counts it.
type memory struct{ file string }

// agentMemory begins to measure the memory of the agent's container.
func (w *world) agentMemory(t *testing.T) memory {
	t.Helper()
	pid, err := w.Process(t.Context(), namespace, harness.Pod(w.fleet.Name+"-0"), "agent")
	must(t, err)
	group, err := harness.MemoryGroup(pid)
	must(t, err)
	m := memory{filepath.Join(group, "memory.max_usage_in_bytes")}
	if _, err := os.Stat(m.file); err == nil {
		must(t, os.WriteFile(m.file, []byte("0"), 0o644))
		return m
	}
	// version 2 has the peak of all attacks so far: it can't be begun anew before Linux 6.12
	return memory{filepath.Join(group, "memory.peak")}
}

// peak is the most that was in use, in MiB.
func (m memory) peak(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(m.file)
	must(t, err)
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	must(t, err)
	return int(n >> 20)
}
