// SPDX-License-Identifier: Apache-2.0

// Package envtestkit gives tests a real API server: etcd and kube-apiserver, built from source, with this project's
// kinds installed. No kubelet and no controllers of Kubernetes run behind it, so pods never start and owned objects
// are not collected.
//
// A test package calls Main from its TestMain and Get from each test that needs the server; it starts with the first
// Get.
package envtestkit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hack/toolchain"
)

// startTimeout bounds the start and the end of one program; it is long because test machines are busy.
const startTimeout = 3 * time.Minute

// startTries is how often a start is tried: the library gives the server five seconds for its first namespace, which
// a busy machine can miss.
const startTries = 3

// Cluster is a running API server.
type Cluster struct {
	// Root is the checkout, for files below config.
	Root string
	// Config talks to the server as a member of system:masters.
	Config *rest.Config
	// Scheme knows Kubernetes' own kinds and this project's.
	Scheme *runtime.Scheme
	// Client reads and writes directly, without a cache.
	Client client.WithWatch

	env *envtest.Environment
}

var (
	once    sync.Once
	started *Cluster
	failure error
)

// Main runs a package's tests and stops the server that they started. Its result is for os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	if started == nil {
		return code
	}
	if err := started.env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the API server:", err)
		return max(code, 1)
	}
	return code
}

// Get is the package's API server; it fails the test when there is none to be had.
func Get(t testing.TB) *Cluster {
	t.Helper()
	once.Do(func() { started, failure = start() })
	if failure != nil {
		t.Fatalf("start an API server: %v", failure)
	}
	return started
}

// Scheme is a scheme with Kubernetes' own kinds and this project's.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register Kubernetes' kinds: %w", err)
	}
	return scheme, v1alpha1.AddToScheme(scheme)
}

func start() (*Cluster, error) {
	chain, err := toolchain.New(os.Stderr)
	if err != nil {
		return nil, err
	}
	programs, err := chain.Dir(context.Background(), toolchain.Kubernetes)
	if err != nil {
		return nil, err
	}
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Root: chain.Root, Scheme: scheme}
	for range startTries {
		c.env = newEnvironment(chain.Root, programs, scheme)
		if c.Config, err = c.env.Start(); err == nil {
			break
		}
		_ = c.env.Stop() // what did start; the reason of the failure matters more than this one
	}
	if err != nil {
		return nil, err
	}
	c.Client, err = client.NewWithWatch(c.Config, client.Options{Scheme: scheme})
	return c, err
}

// newEnvironment names every program and the kind of server itself, so that no variable of the environment can point
// a test elsewhere.
func newEnvironment(root, programs string, scheme *runtime.Scheme) *envtest.Environment {
	env := &envtest.Environment{
		UseExistingCluster:       ptr.To(false),
		Scheme:                   scheme,
		CRDDirectoryPaths:        []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  startTimeout,
	}
	env.CRDInstallOptions.MaxTime = startTimeout
	env.ControlPlane.GetAPIServer().Path = filepath.Join(programs, "kube-apiserver")
	env.ControlPlane.Etcd = &envtest.Etcd{Path: filepath.Join(programs, "etcd")}
	env.ControlPlane.KubectlPath = filepath.Join(programs, "kubectl")
	return env
}

// Namespace makes a namespace that no other test uses and returns its name.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	base := strings.Trim(strings.Map(inName, strings.ToLower(t.Name())), "-")
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: base[:min(len(base), 40)] + "-"}}
	if err := c.Client.Create(t.Context(), ns); err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	return ns.Name
}

func inName(r rune) rune {
	if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
		return r
	}
	return '-'
}

// As is a client that the server takes for somebody else, such as system:serviceaccount:NAMESPACE:NAME.
func (c *Cluster) As(t testing.TB, user string) client.WithWatch {
	t.Helper()
	config := c.ConfigAs(user)
	other, err := client.NewWithWatch(config, client.Options{Scheme: c.Scheme})
	if err != nil {
		t.Fatalf("make a client for %s: %v", user, err)
	}
	return other
}

// ConfigAs is Config for somebody else. A service account is also in the groups that Kubernetes puts it in.
func (c *Cluster) ConfigAs(user string) *rest.Config {
	config := rest.CopyConfig(c.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	if parts := strings.Split(user, ":"); len(parts) == 4 && strings.HasPrefix(user, "system:serviceaccount:") {
		config.Impersonate.Groups = append(config.Impersonate.Groups, "system:serviceaccounts",
			"system:serviceaccounts:"+parts[2])
	}
	return config
}
