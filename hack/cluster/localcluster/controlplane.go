// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// controlPlane are the names of its processes in starting order.
var controlPlane = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "storage"}

// startAPI starts etcd and the API server where they do not run, without waiting for them.
func (c *Cluster) startAPI() error {
	for _, name := range controlPlane[:2] {
		if err := c.startControl(name); err != nil {
			return err
		}
	}
	return nil
}

// startControllers starts the rest of the control plane; the API server must answer.
func (c *Cluster) startControllers() error {
	for _, name := range controlPlane[2:] {
		if err := c.startControl(name); err != nil {
			return err
		}
	}
	return nil
}

// KillControl ends a process of the control plane at once, as a failing machine would; what it has stored stays.
func (c *Cluster) KillControl(name string) error {
	if !slices.Contains(controlPlane, name) {
		return fmt.Errorf("no process %q: there are %v", name, controlPlane)
	}
	return c.kill(name, syscall.SIGKILL, 10*time.Second)
}

// StartControl starts a process of the control plane unless it runs, and waits until the API server answers.
func (c *Cluster) StartControl(ctx context.Context, name string) error {
	if !slices.Contains(controlPlane, name) {
		return fmt.Errorf("no process %q: there are %v", name, controlPlane)
	}
	if err := c.buildTools(ctx); err != nil {
		return err
	}
	if err := c.startControl(name); err != nil {
		return err
	}
	a, err := c.api()
	if err != nil {
		return err
	}
	return c.awaitAPI(ctx, a)
}

// startControl starts one process of the control plane unless it runs.
func (c *Cluster) startControl(name string) error {
	if _, alive := c.find(name); alive {
		return nil
	}
	if name == "storage" {
		return c.spawn(name, filepath.Join(c.tools.storage, "localcsi"), "controller",
			"--kubeconfig", c.path("pki", "storage.kubeconfig"), "--nodes", c.path("nodes"))
	}
	arguments := map[string]func() []string{
		"etcd": c.etcdArguments, "kube-apiserver": c.apiserverArguments,
		"kube-controller-manager": c.controllerArguments, "kube-scheduler": c.schedulerArguments,
	}
	return c.spawn(name, append([]string{filepath.Join(c.tools.kube, name)}, arguments[name]()...)...)
}

func (c *Cluster) etcdArguments() []string {
	return []string{
		"--name=local", "--data-dir=" + c.path("etcd"), "--log-level=warn",
		"--unsafe-no-fsync", // a power failure may lose the cluster, which is made to be thrown away
		"--listen-client-urls=http://" + etcdAddress, "--advertise-client-urls=http://" + etcdAddress,
		"--listen-peer-urls=http://" + etcdPeer, "--initial-advertise-peer-urls=http://" + etcdPeer,
		"--initial-cluster=local=http://" + etcdPeer,
	}
}

func (c *Cluster) apiserverArguments() []string {
	pki := func(name string) string { return c.path("pki", name) }
	return []string{
		"--etcd-servers=http://" + etcdAddress,
		"--bind-address=" + hostIP, "--advertise-address=" + hostIP, "--secure-port=" + apiPort,
		"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
		"--client-ca-file=" + pki("ca.crt"),
		"--kubelet-client-certificate=" + pki(
			"kubelet-client.crt",
		), "--kubelet-client-key=" + pki("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + pki("tokens.pub"), "--service-account-signing-key-file=" + pki("tokens.key"),
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--proxy-client-cert-file=" + pki("front-proxy.crt"), "--proxy-client-key-file=" + pki("front-proxy.key"),
		"--requestheader-client-ca-file=" + pki("ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--endpoint-reconciler-type=lease",
		// Pods leave a dead node after 20 s, not after 5 min: the fault tests wait for it.
		"--default-not-ready-toleration-seconds=20", "--default-unreachable-toleration-seconds=20",
	}
}

func (c *Cluster) controllerArguments() []string {
	kubeconfig := c.path("pki", "controller-manager.kubeconfig")
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" +
			kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=16257", "--leader-elect=false",
		"--service-account-private-key-file=" + c.path(
			"pki",
			"tokens.key",
		), "--root-ca-file=" + c.path("pki", "ca.crt"),
		"--cluster-signing-cert-file=" + c.path(
			"pki",
			"ca.crt",
		), "--cluster-signing-key-file=" + c.path("pki", "ca.key"),
		"--use-service-account-credentials",
		// The stock limits make a new cluster's first service account wait for seconds.
		"--kube-api-qps=300", "--kube-api-burst=600",
		// A dead node is noticed within 10 s instead of 50 s; kubelets renew their lease every 2 s to match.
		"--node-monitor-period=1s", "--node-monitor-grace-period=10s",
	}
}

func (c *Cluster) schedulerArguments() []string {
	kubeconfig := c.path("pki", "scheduler.kubeconfig")
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" +
			kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=16259", "--leader-elect=false",
	}
}

// awaitAPI waits until the API server is ready. The error has the reason if it ended.
func (c *Cluster) awaitAPI(ctx context.Context, a *api) error {
	return poll(ctx, "wait for the API server", func() error {
		for _, name := range controlPlane[:2] {
			if _, alive := c.find(name); !alive {
				return fmt.Errorf("%s has ended: %s", name, c.logTail(name))
			}
		}
		return a.get(ctx, "/readyz", nil)
	})
}
