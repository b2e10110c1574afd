// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// contextFor is a context that outlives the test's own, for its clean-up.
func contextFor(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

func TestKubectlShowsWhatUsersAskFirst(t *testing.T) {
	build := newBuild("shown", countingProgram("shown", "one"))
	apply(t, build)
	kubectl(t, "wait", "--for=condition=Ready", "hb/shown", "--timeout=300s")
	kubectl(t, "wait", "--for=condition=Ready", "bcache/fleet", "--timeout=300s")
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{
			[]string{"get", "hb", "shown"},
			[]string{"READY", "REASON", "DAEMON", "CACHED", "True", "Succeeded", "fleet-", "0/1"},
		},
		{[]string{"get", "bcache"}, []string{"READY", "fleet", "True", "AllDaemonsReady", "2Gi"}},
		{[]string{"get", "bd"}, []string{"fleet-0", "fleet-1", "fleet-2", "DaemonServing", "n1", "n2", "n3"}},
		{[]string{"describe", "hb", "shown"}, []string{"DaemonChosen", "Succeeded"}},
		{
			[]string{"get", "bd", "-o", "yaml"},
			[]string{"isolation: UserNamespace", "volumeEpoch", "gcPolicy", "type!=exec.cachemount"},
		},
	} {
		out, lacks := "", ""
		// events are told after the status
		err := harness.Eventually(t.Context(), time.Minute, "kubectl shows it", func(context.Context) (bool, error) {
			out, lacks = kubectl(t, tc.args...), ""
			for _, want := range tc.want {
				if !strings.Contains(out, want) {
					lacks = want
				}
			}
			return lacks == "", nil
		})
		if err != nil {
			t.Errorf("kubectl %s lacks %q:\n%s", strings.Join(tc.args, " "), lacks, out)
		}
	}
}

func TestDaemonsHaveNoListenerAndNoToken(t *testing.T) {
	d := daemon(t, "fleet-0")
	if d.Status.Isolation != v1alpha1.IsolationUserNamespace {
		t.Errorf("isolation in force is %q", d.Status.Isolation)
	}
	// 8081 (1F91) is the agent's probe; nothing else may listen. 0A is the state LISTEN.
	listening := kubectl(t, "exec", harness.Pod("fleet-0"), "-c", "buildkitd", "--", "sh", "-c",
		"cat /proc/net/tcp /proc/net/tcp6 | grep ' 0A ' | grep -v ':1F91 ' || true")
	if strings.TrimSpace(listening) != "" {
		t.Errorf("the pod listens:\n%s", listening)
	}
	token := kubectl(t, "exec", harness.Pod("fleet-0"), "-c", "buildkitd", "--", "sh", "-c",
		"ls /var/run/secrets/kubernetes.io 2>&1 || true")
	if strings.Contains(token, "serviceaccount") {
		t.Errorf("buildkitd's container has a token: %s", token)
	}
}
