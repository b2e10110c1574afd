// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// manager is the manager's process. As in a pod it is started anew when it ends, which it does when it loses its
// leader election on a machine that is too busy.
type manager struct {
	t       *testing.T
	command []string
	log     *os.File
	env     []string // that its Deployment gives it
	pprof   string   // address of its profiles

	mu       sync.Mutex
	process  *os.Process // nil while none runs
	restarts int
	before   float64 // processor seconds of the processes before it
	peak     float64 // MiB, of all processes so far
}

// restartAfter is how long a manager that ended stays down.
const restartAfter = time.Second

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
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	pprof := freeAddress(t)
	m := &manager{t: t, log: log, env: deploymentEnv(t, root), pprof: pprof, command: []string{
		program, "--kubeconfig", kubeconfig, "--pod-namespace=default", "--operator-image=operator:test",
		"--metrics-bind-address=0", "--health-probe-bind-address=0", "--pprof-bind-address=" + pprof,
	}}
	ctx, cancel := context.WithCancel(context.Background())
	first, err := m.start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() { m.keepRunning(ctx, first) })
	all.Go(func() { m.watchMemory(ctx) })
	t.Cleanup(func() {
		cancel()
		m.kill()
		all.Wait()
		log.Close()
	})
	return m
}

// deploymentEnv is the constant part of the environment that config/manager gives the manager, such as GOMEMLIMIT.
func deploymentEnv(t *testing.T, root string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "config", "manager", "manager.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict(text, &deployment); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
		if variable.ValueFrom == nil {
			out = append(out, variable.Name+"="+variable.Value)
		}
	}
	return out
}

// start starts a process unless ctx is done.
func (m *manager) start(ctx context.Context) (*exec.Cmd, error) {
	cmd := exec.Command(m.command[0], m.command[1:]...)
	cmd.Stdout, cmd.Stderr = m.log, m.log
	cmd.Env = append(os.Environ(), m.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the manager: %w", err)
	}
	m.process = cmd.Process
	return cmd, nil
}

// keepRunning starts the manager anew whenever it has ended, until ctx is done.
func (m *manager) keepRunning(ctx context.Context, cmd *exec.Cmd) {
	for {
		err := cmd.Wait()
		m.mu.Lock()
		m.before += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
		m.process = nil
		m.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		m.t.Logf("the manager ended and is started anew: %v", err)
		pause(ctx, restartAfter)
		if cmd, err = m.start(ctx); err != nil {
			if ctx.Err() == nil {
				m.t.Error(err)
			}
			return
		}
		m.mu.Lock()
		m.restarts++
		m.mu.Unlock()
	}
}

// kill ends the process, if one runs.
func (m *manager) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		m.process.Kill() //nolint:errcheck // it may have ended
	}
}

// watchMemory looks at the memory of the process until ctx is done. The kernel's own count for a process that has
// ended is of no use: it begins with what the test took when it started it.
func (m *manager) watchMemory(ctx context.Context) {
	for ctx.Err() == nil {
		m.peakMiB()
		pause(ctx, time.Second)
	}
}

// peakMiB is the manager's peak resident memory so far.
func (m *manager) peakMiB() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		m.peak = max(m.peak, peakOf(m.process.Pid))
	}
	return m.peak
}

// seconds are the processor seconds that the manager has used so far.
func (m *manager) seconds() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return m.before
	}
	return m.before + secondsOf(m.process.Pid)
}

// restarted is how often the manager has been started anew.
func (m *manager) restarted() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.restarts
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
	data, err := os.ReadFile(m.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4096):])
}

// peakOf is the peak resident memory of a process in MiB, 0 when it has ended.
func peakOf(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
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
