// SPDX-License-Identifier: Apache-2.0

// Package harness puts hlb-operator on a real cluster, for the demo and the end-to-end tests: the local cluster of
// this checkout, or with CLUSTER=current the one that the current kubeconfig names.
package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hack/cluster/localcluster"
	"github.com/openllb/hlb-operator/hack/images/localimages"
	"github.com/openllb/hlb-operator/hack/toolchain"
)

// Cluster is a cluster with hlb-operator on it.
type Cluster struct {
	// Local is the local cluster; nil when the current kubeconfig's is used.
	Local *localcluster.Cluster
	// Info has the local cluster's addresses; of another cluster only Registry and Kubectl.
	Info localcluster.Info
	// Images are references by digest: operator, buildkit, busybox, golang.
	Images map[string]string
	// PlainHTTP says that Info.Registry speaks http.
	PlainHTTP bool
	Config    *rest.Config
	Client    client.WithWatch
	Log       io.Writer

	root      string
	recording *recording // nil for none
}

// Open connects to the cluster, starting the local one where that is meant.
//
// With CLUSTER=current, REGISTRY names a registry that nodes and this machine both can push to and pull from, and the
// images are pushed there; REGISTRY_HTTP=1 says that it has no TLS.
func Open(ctx context.Context, log io.Writer) (*Cluster, error) {
	root, err := toolchain.Root()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Log: log, root: root, Images: map[string]string{}}
	if os.Getenv("CLUSTER") == "current" {
		err = c.openCurrent()
	} else {
		err = c.openLocal(ctx)
	}
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register types: %w", err)
		}
	}
	c.Config.QPS, c.Config.Burst = 200, 400
	ctrl.SetLogger(logr.Discard()) // the clients have nothing to say that their errors don't
	c.Client, err = client.NewWithWatch(c.Config, client.Options{Scheme: scheme})
	return c, err
}

func (c *Cluster) openLocal(ctx context.Context) error {
	local, err := localcluster.Open(c.Log)
	if err != nil {
		return err
	}
	if err := local.Up(ctx); err != nil {
		return fmt.Errorf("bring up the local cluster: %w", err)
	}
	c.Local, c.Info, c.PlainHTTP = local, local.Info(), true
	c.Config, err = clientcmd.BuildConfigFromFlags("", local.Kubeconfig())
	return err
}

func (c *Cluster) openCurrent() error {
	c.Info.Registry = os.Getenv("REGISTRY")
	if c.Info.Registry == "" {
		return fmt.Errorf("CLUSTER=current needs REGISTRY=HOST[:PORT][/PATH], a registry that this machine and the cluster both reach")
	}
	c.PlainHTTP = os.Getenv("REGISTRY_HTTP") == "1"
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	var err error
	if c.Config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig(); err != nil {
		return fmt.Errorf("read the current kubeconfig: %w", err)
	}
	c.Info.Kubeconfig = strings.Join(rules.GetLoadingPrecedence(), ":")
	c.Info.Kubectl, err = exec.LookPath("kubectl")
	return err
}

// BuildImages builds every image and pushes what the registry lacks.
func (c *Cluster) BuildImages(ctx context.Context) error {
	builder, err := localimages.New(c.Log)
	if err != nil {
		return err
	}
	for _, name := range localimages.Names {
		image, err := builder.Image(ctx, name)
		if err != nil {
			return fmt.Errorf("build image %s: %w", name, err)
		}
		if c.Images[name], err = localimages.Push(ctx, image, c.Info.Registry+"/"+localimages.Repositories[name]+
			":dev"); err != nil {
			return fmt.Errorf("push image %s: %w", name, err)
		}
	}
	return nil
}

// Kubectl runs kubectl against the cluster and returns what it prints; stdin may be empty.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Info.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Info.Kubeconfig)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// Namespace makes a namespace that lets buildkitd's pods in: they are privileged inside their own user namespace.
func (c *Cluster) Namespace(ctx context.Context, name string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "privileged"},
	}}
	return client.IgnoreAlreadyExists(c.Client.Create(ctx, ns))
}

func (c *Cluster) logf(format string, args ...any) { fmt.Fprintf(c.Log, format+"\n", args...) }
