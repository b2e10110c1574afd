// SPDX-License-Identifier: Apache-2.0

package toolchain

// Set is a group of programs that share a version and a folder under bin.
type Set struct {
	name      string            // the folder's name, before the version
	module    string            // the Go module to build in, relative to the checkout
	versionOf string            // the module whose version names the folder; "" for our own programs
	programs  []program         // what to build
	links     map[string]string // symlinks to make: name → target
}

// program is one binary of a Set.
type program struct {
	name    string   // file name
	pkg     string   // package to build
	ldflags string   // linker flags beside "-s -w"; VERSION and MINOR are replaced
	tags    string   // build tags
	cgo     bool     // needs gcc and C libraries
	sources []string // folders of our own sources, relative to the module, that decide whether to build again
}

const (
	toolsModule = "hack/tools"
	buildkitMod = "github.com/moby/buildkit"
	containerd  = "github.com/containerd/containerd/v2"
	cniPlugins  = "github.com/containernetworking/plugins/plugins"

	stampBuildKit   = "-X github.com/moby/buildkit/version.Version=VERSION -X github.com/moby/buildkit/version.Package=github.com/moby/buildkit"
	stampContainerd = "-X github.com/containerd/containerd/v2/version.Version=VERSION"
	stampKubernetes = "-X k8s.io/component-base/version.gitVersion=VERSION -X k8s.io/component-base/version.gitMajor=1 " +
		"-X k8s.io/component-base/version.gitMinor=MINOR -X k8s.io/component-base/version.gitTreeState=clean " +
		"-X k8s.io/component-base/version.gitCommit=modproxy -X k8s.io/component-base/version.buildDate=1970-01-01T00:00:00Z"
	// containerd's tags leave out the snapshotters that need C libraries.
	containerdTags = "netgo osusergo static_build no_btrfs no_zfs no_devmapper"
)

// The sets. Versions stand in hack/tools/go.mod and hack/cluster/kube/go.mod, nowhere else.
var (
	// BuildKit is buildkitd and buildctl.
	BuildKit = Set{name: "buildkit", module: toolsModule, versionOf: buildkitMod, programs: []program{
		{name: "buildkitd", pkg: buildkitMod + "/cmd/buildkitd", ldflags: stampBuildKit},
		{name: "buildctl", pkg: buildkitMod + "/cmd/buildctl", ldflags: stampBuildKit},
	}}
	// Runc is a static runc with seccomp, for buildkitd and containerd alike.
	Runc = Set{name: "runc", module: toolsModule, versionOf: "github.com/opencontainers/runc", programs: []program{
		{name: "runc", pkg: "github.com/opencontainers/runc", cgo: true, tags: "seccomp osusergo netgo static_build",
			ldflags: "-X main.version=VERSION -extldflags -static"},
	}}
	// Registry is the distribution registry (`registry serve CONFIG`).
	Registry = Set{
		name:      "registry",
		module:    toolsModule,
		versionOf: "github.com/distribution/distribution/v3",
		programs: []program{
			{name: "registry", pkg: "./registry", sources: []string{"registry"}},
		},
	}
	// Containerd is containerd with its shim and ctr.
	Containerd = Set{name: "containerd", module: toolsModule, versionOf: containerd, programs: []program{
		{name: "containerd", pkg: containerd + "/cmd/containerd", tags: containerdTags, ldflags: stampContainerd},
		{
			name:    "containerd-shim-runc-v2",
			pkg:     containerd + "/cmd/containerd-shim-runc-v2",
			tags:    containerdTags,
			ldflags: stampContainerd,
		},
		{name: "ctr", pkg: containerd + "/cmd/ctr", tags: containerdTags, ldflags: stampContainerd},
	}}
	// CNI is the network plugins that containerd calls.
	CNI = Set{
		name:      "cni",
		module:    toolsModule,
		versionOf: "github.com/containernetworking/plugins",
		programs: []program{
			{name: "bridge", pkg: cniPlugins + "/main/bridge"},
			{name: "loopback", pkg: cniPlugins + "/main/loopback"},
			{name: "host-local", pkg: cniPlugins + "/ipam/host-local"},
			{name: "portmap", pkg: cniPlugins + "/meta/portmap"},
		},
	}
	// Kubernetes is the multi-call binary with all of Kubernetes and etcd, and a link for each of its names.
	Kubernetes = Set{name: "kube", module: "hack/cluster/kube", versionOf: "k8s.io/kubernetes",
		programs: []program{{name: "kube", pkg: ".", ldflags: stampKubernetes, sources: []string{"."}}},
		links: map[string]string{
			"etcd":                    "kube",
			"kube-apiserver":          "kube",
			"kube-controller-manager": "kube",
			"kube-scheduler":          "kube",
			"kubelet":                 "kube",
			"kube-proxy":              "kube",
			"kubectl":                 "kube",
		},
	}
	// Pause is the program of the pods' sandbox container.
	Pause = Set{name: "pause", module: toolsModule, programs: []program{
		{name: "pause", pkg: "./pause", sources: []string{"pause"}},
	}}
	// NodeInit is the first process of a node of the local cluster.
	NodeInit = Set{name: "nodeinit", module: ".", programs: []program{
		{
			name:    "nodeinit",
			pkg:     "./hack/cluster/nodeinit",
			sources: []string{"hack/cluster/nodeinit", "hack/cluster/nodespec"},
		},
	}}
	// Storage is the local cluster's CSI driver and provisioner.
	Storage = Set{name: "localcsi", module: "hack/cluster/kube", programs: []program{
		{name: "localcsi", pkg: "./localcsi", sources: []string{"localcsi"}},
	}}
)
