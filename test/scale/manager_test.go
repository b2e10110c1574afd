// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// manager is the manager's process.
type manager struct {
	cmd *exec.Cmd
	log string
}

// startManager builds and starts the manager, which is stopped when the test ends.
func startManager(t *testing.T, root string, config *rest.Config) *manager {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "manager")
	build := exec.Command("go", "build", "-o", program, "./cmd/manager")
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the manager: %v\n%s", err, text)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(kubeconfigOf(config), kubeconfig); err != nil {
		t.Fatal(err)
	}
	m := &manager{log: filepath.Join(dir, "log")}
	log, err := os.Create(m.log)
	if err != nil {
		t.Fatal(err)
	}
	m.cmd = exec.Command(program, "--kubeconfig", kubeconfig, "--pod-namespace=default",
		"--operator-image=operator:test", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.cmd.Process.Kill() //nolint:errcheck // it may have ended
		m.cmd.Wait()         //nolint:errcheck // it was killed
		log.Close()
	})
	return m
}

// kubeconfigOf is a file's content for the same server and user.
func kubeconfigOf(config *rest.Config) clientcmdapi.Config {
	out := clientcmdapi.NewConfig()
	out.Clusters["test"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	out.AuthInfos["test"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData, ClientKeyData: config.KeyData,
	}
	out.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	out.CurrentContext = "test"
	return *out
}

// tail is the end of the manager's log.
func (m *manager) tail() string {
	data, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4096):])
}

// peakMiB is the manager's peak resident memory.
func (m *manager) peakMiB() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if kb, found := strings.CutPrefix(line, "VmHWM:"); found {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(kb, "kB")), 64)
			if err != nil {
				return 0
			}
			return n / 1024
		}
	}
	return 0
}
