// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"encoding/json"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestProcessIsFoundWhileItRunsAndKilledOnce(t *testing.T) {
	c := &Cluster{Dir: t.TempDir()}
	if err := c.spawn("sleeper", "/bin/sleep", "600"); err != nil {
		t.Fatal(err)
	}
	p, alive := c.find("sleeper")
	if !alive {
		t.Fatal("the process is not found")
	}
	if err := c.kill("sleeper", syscall.SIGTERM, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := identify(p.Pid); err == nil {
		t.Error("the process runs on")
	}
	if err := c.kill("sleeper", syscall.SIGTERM, time.Minute); err != nil {
		t.Errorf("a second kill: %v, want nothing to do", err)
	}
}

// After a reboot or a crash the recorded number may be somebody else's.
func TestReusedProcessNumberIsNotOurs(t *testing.T) {
	self, err := identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(*process)
		want   bool
	}{
		"the same process is ours":                  {change: func(*process) {}, want: true},
		"one that started at another time is not":   {change: func(p *process) { p.Start++ }},
		"one of an earlier boot of the machine, no": {change: func(p *process) { p.Boot = "x" }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := &Cluster{Dir: t.TempDir()}
			recorded := self
			tc.change(&recorded)
			text, err := json.Marshal(recorded)
			if err != nil {
				t.Fatal(err)
			}
			if err := writeFile(c.path("pids", "p"), text); err != nil {
				t.Fatal(err)
			}
			if _, got := c.find("p"); got != tc.want {
				t.Errorf("found: %v, want %v", got, tc.want)
			}
		})
	}
}

func TestKubeconfigAndCertificatesAreMadeOnce(t *testing.T) {
	c := &Cluster{Dir: t.TempDir()}
	read := func() string {
		t.Helper()
		if err := c.makePKI(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.api(); err != nil { // reads key, certificate and CA
			t.Fatal(err)
		}
		text, err := os.ReadFile(c.Kubeconfig())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if first, second := read(), read(); first != second {
		t.Error("a second run made another kubeconfig")
	}
}
