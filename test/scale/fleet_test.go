// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// slots of each daemon.
const slots = 4

// fleet is a BuildCache whose daemons have real agents and simulated buildkitds.
type fleet struct {
	*envtestkit.Cluster
	t       *testing.T
	ns      string
	manager *manager
	built   atomic.Int64
	busiest atomic.Int64
}

func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{Cluster: envtestkit.Get(t), t: t}
	f.ns = f.Namespace(t)
	f.manager = startManager(t, f.Root, f.Config)
	cache := testbuild.BuildCache(f.ns, "cache", testbuild.WithReplicas(int32(n)), testbuild.WithSlots(slots))
	if err := f.Client.Create(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		f.startAgent(i)
	}
	return f
}

// startAgent runs a daemon's agent once the manager has made its Lease.
func (f *fleet) startAgent(ordinal int) {
	name := fmt.Sprintf("cache-%d", ordinal)
	f.await(name+" has a Lease", func(ctx context.Context) (bool, error) {
		err := f.Client.Get(ctx, client.ObjectKey{Namespace: f.ns, Name: name}, &coordinationv1.Lease{})
		return err == nil, client.IgnoreNotFound(err)
	})
	opts := agent.DefaultOptions()
	opts.Namespace, opts.Cache, opts.Daemon, opts.PodUID, opts.Node = f.ns, "cache", name, "pod-"+name, "node"
	opts.StateDir, opts.HealthAddr, opts.DrainTimeout = f.t.TempDir(), "", time.Minute
	config := rest.CopyConfig(f.Config)
	config.QPS = -1 // as in a pod, where nothing but the server's own fairness limits a client
	a, err := agent.New(config, opts, &simulated{fleet: f, held: map[string]bool{}}, logr.Discard())
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("agent of %s: %v", name, err)
		}
	})
}

func (f *fleet) await(what string, holds func(context.Context) (bool, error)) {
	f.t.Helper()
	for deadline := time.Now().Add(*limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ok, err := holds(f.t.Context())
		if err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
		if ok {
			return
		}
	}
	f.t.Fatalf("not within %v: %s\n%s", *limit, what, f.manager.tail())
}

func (f *fleet) awaitReady(n int) {
	f.t.Helper()
	f.await("all daemons are Ready", func(ctx context.Context) (bool, error) {
		var list v1alpha1.BuildDaemonList
		err := f.Client.List(ctx, &list, client.InNamespace(f.ns))
		ready := 0
		for i := range list.Items {
			if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
				ready++
			}
		}
		return ready == n, err
	})
}

// apply creates builds from eight clients at once.
func (f *fleet) apply(n, keys int) {
	f.t.Helper()
	config := rest.CopyConfig(f.Config)
	config.QPS = -1
	c, err := client.New(config, client.Options{Scheme: f.Scheme})
	if err != nil {
		f.t.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < n; i += 8 {
				b := testbuild.HLBBuild(f.ns, fmt.Sprintf("burst-%05d", i), testbuild.WithCacheKey(fmt.Sprintf("key-%d", i%keys)))
				if err := c.Create(f.t.Context(), b); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		f.t.Fatal(err)
	default:
	}
}

// applySlowly creates builds one by one, each when the one before has long been placed.
func (f *fleet) applySlowly(n int) {
	for i := range n {
		b := testbuild.HLBBuild(f.ns, fmt.Sprintf("idle-%05d", i), testbuild.WithCacheKey(fmt.Sprintf("key-%d", i%*keys)))
		if err := f.Client.Create(f.t.Context(), b); err != nil {
			f.t.Fatal(err)
		}
		time.Sleep(*warm / 2)
	}
}

func (f *fleet) ran() int        { return int(f.built.Load()) }
func (f *fleet) mostAtOnce() int { return int(f.busiest.Load()) }

// written are requests that changed objects since the server began.
type written struct{ builds, daemons, leases, events int }

// writes counts changes of HLBBuilds and BuildDaemons, of Leases and events, by the server's own metrics.
func (f *fleet) writes() written {
	f.t.Helper()
	set, err := kubernetes.NewForConfig(f.Config)
	if err != nil {
		f.t.Fatal(err)
	}
	data, err := set.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	var w written
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		created := strings.Contains(line, `verb="POST"`) && strings.Contains(line, `resource="events"`)
		if !strings.HasPrefix(line, "apiserver_request_total{") || !created && !strings.Contains(line, `verb="PATCH"`) &&
			!strings.Contains(line, `verb="PUT"`) && !strings.Contains(line, `verb="APPLY"`) {
			continue
		}
		n, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:], 64)
		if err != nil {
			f.t.Fatalf("metric %q: %v", line, err)
		}
		switch {
		case strings.Contains(line, `resource="hlbbuilds"`):
			w.builds += int(n)
		case strings.Contains(line, `resource="builddaemons"`):
			w.daemons += int(n)
		case strings.Contains(line, `resource="leases"`):
			w.leases += int(n)
		case strings.Contains(line, `resource="events"`):
			w.events += int(n)
		}
	}
	return w
}

// simulated is a buildkitd whose builds only take time. What it does not do, nothing here asks of it.
type simulated struct {
	agent.Builder
	fleet *fleet

	mu      sync.Mutex
	held    map[string]bool
	running int64
}

// Build implements agent.Builder.
func (s *simulated) Build(ctx context.Context, job *daemon.Job) (*daemon.Outcome, error) {
	key := job.Spec.CacheKey
	s.mu.Lock()
	takes := *warm
	if !s.held[key] {
		takes *= 4
	}
	s.running++
	for most := s.fleet.busiest.Load(); s.running > most; most = s.fleet.busiest.Load() {
		s.fleet.busiest.CompareAndSwap(most, s.running)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.held[key] = true
		s.running--
		s.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
		return &daemon.Outcome{}, context.Cause(ctx)
	case <-time.After(takes):
		s.fleet.built.Add(1)
		return &daemon.Outcome{Total: 3, Cached: 2}, nil
	}
}

// Ping implements agent.Builder.
func (s *simulated) Ping(context.Context) error { return nil }

// Observe implements agent.Builder.
func (s *simulated) Observe(context.Context) (*daemon.Observation, error) {
	return &daemon.Observation{Version: "simulated", Platform: "linux/amd64", Records: 1}, nil
}

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
	m.cmd = exec.Command(program, "--kubeconfig", kubeconfig, "--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0",
		"--operator-image=operator:test")
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
	out.AuthInfos["test"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
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
