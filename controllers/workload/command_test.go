// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// TestBuildkitdBoundsStepsWhereItCan runs the words of the shell on folders that look like a control group.
func TestBuildkitdBoundsStepsWhereItCan(t *testing.T) {
	cases := map[string]struct {
		files, dirs []string
		want        string
	}{
		"a control group of its own": {[]string{"cgroup.controllers"}, nil, "--rootless=false"},
		"cgroup v1":                  {nil, nil, ""},
		"one that passes nothing on": {[]string{"cgroup.controllers"}, []string{"cgroup.subtree_control"}, ""},
		"one that is another's":      {[]string{"cgroup.controllers", "init"}, nil, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range tc.files {
				if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, d := range tc.dirs {
				if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.Command("/bin/sh", "-c", "echo"+cgroupFlags(dir)).CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != tc.want {
				t.Errorf("flags are %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestACommandOfBuildkitd(t *testing.T) {
	for isolation, bounds := range map[v1alpha1.Isolation]bool{
		"": true, v1alpha1.IsolationUserNamespace: true, v1alpha1.IsolationPrivileged: false,
	} {
		command := daemonCommand(testbuild.BuildCache("ns", "c", func(c *v1alpha1.BuildCache) {
			c.Spec.BuildKit.Isolation = isolation
		}))
		if got := strings.Contains(command, "--rootless=false"); got != bounds {
			t.Errorf("isolation %q: %s", isolation, command)
		}
		if strings.Contains(command, "$") {
			t.Errorf("Kubernetes would change %s", command)
		}
		if text, err := exec.Command("/bin/sh", "-n", "-c", command).CombinedOutput(); err != nil {
			t.Errorf("the shell does not take %s: %v, %s", command, err, text)
		}
	}
}
