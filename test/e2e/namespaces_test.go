// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// users is a namespace of users: the strictest Pod Security holds in it, and no daemon runs there.
const users = "hlb-e2e-users"

// makeUsers makes the namespace with a user who may edit it, and returns her arguments to kubectl.
func makeUsers(t *testing.T) []string {
	t.Helper()
	must(t, cluster.DeleteNamespace(t.Context(), users))
	kubectl(t, "create", "namespace", users)
	kubectl(t, "label", "namespace", users, "pod-security.kubernetes.io/enforce=restricted", "builds=yes")
	kubectl(t, "create", "rolebinding", "editor", "-n", users, "--clusterrole=edit", "--user=jane")
	kubectl(t, "create", "secret", "generic", "token", "-n", users, "--from-literal=value=of-users")
	t.Cleanup(func() {
		if err := cluster.DeleteNamespace(contextFor(t), users); err != nil {
			t.Error(err)
		}
	})
	return []string{"--as=jane", "-n"}
}

// TestUsersBuildOnAFleetOfAnotherNamespace has a user build who has rights in her own namespace only.
func TestUsersBuildOnAFleetOfAnotherNamespace(t *testing.T) {
	t.Parallel() // it mostly waits
	jane := makeUsers(t)
	cache := newFleet("shared", 1)
	makeFleet(t, cache)
	build := visiting("visitor")
	must(t, cluster.Client.Create(t.Context(), build))
	reason := func(want string) {
		t.Helper()
		kubectl(t, "-n", users, "wait", "hb/"+build.Name, "--timeout=60s",
			`--for=jsonpath={.status.conditions[?(@.type=="Ready")].reason}=`+want)
	}
	reason(v1alpha1.ReasonNamespaceNotAllowed)
	kubectl(t, "patch", "bcache", "shared", "--type=merge", "-p",
		`{"spec":{"allowedNamespaces":{"from":"Selector","selector":{"matchLabels":{"builds":"yes"}}}}}`)
	must(t, cluster.WaitBuild(t.Context(), build, patience))
	if m := build.Status.Mounts; len(m) != 1 || m[0].ID != users+"/seen" {
		t.Errorf("mounts are %+v, want one of the users' namespace", m)
	}
	for _, refused := range [][]string{
		{"create", "pods", namespace}, {"create", "pods/exec", namespace}, {"get", "pods/log", namespace},
		{"get", "secrets", namespace}, {"get", "hlbbuilds", namespace}, {"create", "hlbbuilds", namespace},
	} {
		out, _ := cluster.Kubectl(t.Context(), "", append(jane, refused[2], "auth", "can-i", refused[0], refused[1])...)
		if strings.TrimSpace(out) != "no" {
			t.Errorf("whoever may edit a users' namespace may %s %s in the fleet's: %s", refused[0], refused[1], out)
		}
	}
	_, err := cluster.Kubectl(t.Context(), "", append(jane, users, "run", "root", "--image=i", "--privileged")...)
	if err == nil || !strings.Contains(err.Error(), "PodSecurity") {
		t.Errorf("a privileged pod is not refused: %v", err)
	}
	kubectl(t, "label", "namespace", users, "builds-")
	must(t, harness.Eventually(t.Context(), time.Minute, "the agents' rights are taken back",
		func(ctx context.Context) (bool, error) {
			out, err := cluster.Kubectl(ctx, "", "-n", users, "get", "rolebindings", "-o", "name")
			return !strings.Contains(out, "shared"), err
		}))
}

// visiting is a build of the users' namespace on the fleet "shared", which uses a Secret of that namespace.
func visiting(name string) *v1alpha1.HLBBuild {
	build := newBuild(name, fmt.Sprintf(`fs default() {
	image "IMAGE"
	run "grep of-users /run/token && echo %s > /cache/seen" with option {
		secret "token" "/run/token"
		cacheMount "/cache" with option { id "seen"; }
	}
}
`, stamp))
	build.ObjectMeta = metav1.ObjectMeta{Namespace: users, Name: name}
	build.Spec.CacheRef = v1alpha1.CacheReference{Name: "shared", Namespace: namespace}
	build.Spec.Secrets = []v1alpha1.BuildSecret{{
		ID: "token", SecretKeyRef: v1alpha1.SecretKeyReference{Name: "token", Key: "value"},
	}}
	return build
}
