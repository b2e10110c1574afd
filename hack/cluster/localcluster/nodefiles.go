// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/hack/cluster/nodespec"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	kubeletDir       = "/var/lib/kubelet"
)

// sharedFolders maps folders that programs insist on to the folder that holds a node's own; each node mounts its own
// there.
var sharedFolders = map[string]string{
	kubeletDir:            "kubelet",
	"/var/lib/cni":        "cni",
	"/var/log/pods":       "pods",
	"/var/log/containers": "containers",
}

// nodePath joins names below a node's folder.
func (c *Cluster) nodePath(node string, names ...string) string {
	return c.path(append([]string{"nodes", node}, names...)...)
}

// writeNodeFiles writes every file and folder the i-th node needs.
func (c *Cluster) writeNodeFiles(i int) error {
	node := Nodes[i]
	for _, dir := range []string{"kubelet", "cni", "pods", "containers", "containerd", "scratch", "volumes",
		"network"} {
		if err := os.MkdirAll(c.nodePath(node, dir), 0o755); err != nil {
			return err
		}
	}
	spec, err := json.MarshalIndent(c.nodeSpec(i), "", "  ")
	if err != nil {
		return err
	}
	kubelet, err := yamlText(c.kubeletConfig(node))
	if err != nil {
		return err
	}
	network, err := json.Marshal(networkConfig(i))
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"node.json":                 spec,
		"kubelet.yaml":              kubelet,
		"network/10-local.conflist": network,
		"containerd.toml":           []byte(c.containerdConfig(node)),
	}
	for _, r := range registries {
		files["registries/"+r.address+"/hosts.toml"] = fmt.Appendf(
			nil,
			"server = \"http://%s\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
			r.address,
			r.address,
		)
	}
	for name, text := range files {
		if err := writeFile(c.nodePath(node, name), text); err != nil {
			return err
		}
	}
	return nil
}

// nodeSpec is the i-th node's configuration for nodeinit.
func (c *Cluster) nodeSpec(i int) nodespec.Config {
	node := Nodes[i]
	in := func(names ...string) string { return c.nodePath(node, names...) }
	spec := nodespec.Config{
		Hostname: node, Scratch: in("scratch"), Address: nodeIP(i) + networkBits, Gateway: hostIP,
		Routes: map[string]string{}, Binds: map[string]string{},
		Path: strings.Join(
			[]string{c.tools.containerd, c.tools.runc, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			":",
		),
	}
	for j := range Nodes {
		if j != i {
			spec.Routes[podSubnet(j)] = nodeIP(j)
		}
	}
	for target, folder := range sharedFolders {
		spec.Binds[target] = in(folder)
	}
	ctr := filepath.Join(c.tools.containerd, "ctr")
	spec.Daemons = []nodespec.Daemon{
		{
			Args: []string{filepath.Join(c.tools.containerd, "containerd"), "--config", in("containerd.toml")},
			Log:  in("containerd.log"),
		},
		{Args: []string{filepath.Join(c.tools.kube, "kube-proxy"), "--kubeconfig", c.path("pki", "proxy.kubeconfig"),
			"--proxy-mode=nftables", "--cluster-cidr=" + podRange, "--hostname-override=" + node,
			"--conntrack-max-per-core=0"}, Log: in("kube-proxy.log")},
		{
			Args: []string{
				filepath.Join(c.tools.storage, "localcsi"),
				"node",
				"--name",
				node,
				"--volumes",
				in("volumes"),
				"--kubelet",
				kubeletDir,
			},
			Log: in("storage.log"),
		},
		{Args: []string{filepath.Join(c.tools.kube, "kubelet"), "--config", in("kubelet.yaml"),
			"--kubeconfig", c.path("pki", "node-"+node+".kubeconfig"), "--hostname-override", node, "--node-ip",
			nodeIP(i)},
			Log: in("kubelet.log"), After: containerdSocket,
			Prepare: [][]string{
				{ctr, "--address", containerdSocket, "--namespace", "k8s.io", "images", "import", c.path("pause.tar")},
			}},
	}
	return spec
}

// kubeletConfig is the KubeletConfiguration of a node.
func (c *Cluster) kubeletConfig(node string) map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + cgroupPrefix + node, "failSwapOn": false,
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true},
			"x509": map[string]any{"clientCAFile": c.path("pki", "ca.crt")},
		},
		"authorization": map[string]any{"mode": "Webhook"},
		"tlsCertFile": c.path(
			"pki",
			"serving-"+node+".crt",
		), "tlsPrivateKeyFile": c.path("pki", "serving-"+node+".key"),
		"resolvConf": "/etc/resolv.conf", "serializeImagePulls": false, "volumeStatsAggPeriod": "5s",
		"syncFrequency": "10s", // how soon a grown claim reaches the node
		// Failures are noticed in seconds, see controllerArguments.
		"nodeStatusUpdateFrequency": "2s", "nodeLeaseDurationSeconds": 8,
		// The machine's disk is not the cluster's to clean.
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		"evictionHard": map[string]any{
			"memory.available":  "100Mi",
			"nodefs.available":  "1%",
			"imagefs.available": "1%",
		},
	}
}

// networkConfig is the CNI configuration of the i-th node: a bridge with the node's share of the pod range.
func networkConfig(i int) map[string]any {
	return map[string]any{
		"cniVersion": "1.0.0", "name": "local",
		"plugins": []any{
			map[string]any{
				"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
				"ipam": map[string]any{
					"type":   "host-local",
					"ranges": []any{[]any{map[string]any{"subnet": podSubnet(i)}}},
					"routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
				},
			},
			map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}},
		},
	}
}

// containerdConfig is containerd's configuration of a node.
func (c *Cluster) containerdConfig(node string) string {
	return fmt.Sprintf(`version = 3
root = %[1]q
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs"]

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = %[2]q
[plugins."io.containerd.cri.v1.images".registry]
  config_path = %[3]q
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = [%[4]q]
  conf_dir = %[5]q
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = %[6]q
  SystemdCgroup = false
`, c.nodePath(node, "containerd"), pauseImage, c.nodePath(node, "registries"), c.tools.cni, c.nodePath(node, "network"), filepath.Join(c.tools.runc, "runc"))
}

// makeMountPoints makes the folders of sharedFolders that the host lacks and notes them, so that Down can remove them.
func (c *Cluster) makeMountPoints() error {
	noted, err := c.mountPoints()
	if err != nil {
		return err
	}
	for target := range sharedFolders {
		err := os.Mkdir(target, 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("make the mount point %s: %w", target, err)
		}
		noted = append(noted, target)
	}
	slices.Sort(noted)
	return writeFile(c.path("mountpoints"), []byte(strings.Join(slices.Compact(noted), "\n")))
}

// mountPoints are the folders that makeMountPoints has made on the host.
func (c *Cluster) mountPoints() ([]string, error) {
	text, err := os.ReadFile(c.path("mountpoints"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}
