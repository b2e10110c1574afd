// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ImportPolicy says when the registry cache is read.
// +kubebuilder:validation:Enum=OnFreshDaemon;Never
type ImportPolicy string

// The import policies.
const (
	ImportOnFreshDaemon ImportPolicy = "OnFreshDaemon"
	ImportNever         ImportPolicy = "Never"
)

// ExportPolicy says when the registry cache is written.
// +kubebuilder:validation:Enum=OnFreshDaemon;Always;Never
type ExportPolicy string

// The export policies.
const (
	ExportOnFreshDaemon ExportPolicy = "OnFreshDaemon"
	ExportAlways        ExportPolicy = "Always"
	ExportNever         ExportPolicy = "Never"
)

// RegistryCacheSpec says where the registry cache lives and when it is used.
type RegistryCacheSpec struct {
	// repository to keep cache manifests in, without a tag: registry.example.com/team/build-cache. The operator
	// writes only tags that begin with "cache-", one a namespace and cache key.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="!self.contains('@') && self.contains('/') && !self.substring(self.lastIndexOf('/')).contains(':')",message="repository is host/path without a tag or digest, for example registry.example.com/team/build-cache"
	Repository string `json:"repository"`

	// secretRef names a Secret of type kubernetes.io/dockerconfigjson with credentials for the repository.
	// +optional
	SecretRef *LocalObjectReference `json:"secretRef,omitempty"`

	// importPolicy selects when a build reads the cache.
	// +optional
	// +kubebuilder:default=OnFreshDaemon
	ImportPolicy ImportPolicy `json:"importPolicy,omitempty"`

	// exportPolicy selects when the cache is written: after builds that landed on a daemon fresh for their key, always,
	// or never. Exports are best-effort: they never fail a build.
	// +optional
	// +kubebuilder:default=OnFreshDaemon
	ExportPolicy ExportPolicy `json:"exportPolicy,omitempty"`

	// exportMode max exports every step, min only those of the result.
	// +optional
	// +kubebuilder:default=max
	// +kubebuilder:validation:Enum=max;min
	ExportMode string `json:"exportMode,omitempty"`

	// exportCompression of the exported layers.
	// +optional
	// +kubebuilder:default=zstd
	// +kubebuilder:validation:Enum=zstd;gzip;estargz;uncompressed
	ExportCompression string `json:"exportCompression,omitempty"`

	// waitSecondsPerGiB is how many seconds longer a build waits for a daemon that has its cache mounts rather than
	// have another daemon pull copies, for each GiB of snapshots. It saves traffic where the registry is slow or
	// metered, and costs time. 0: a build waits no longer than is quicker.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	WaitSecondsPerGiB int32 `json:"waitSecondsPerGiB,omitempty"`

	// retention says how long what the operator writes there stays.
	// +optional
	// +kubebuilder:default={}
	Retention RegistryRetentionSpec `json:"retention,omitempty"`
}

// RegistryHost says how one registry is reached by buildkitd and the agent.
type RegistryHost struct {
	// host is the registry's host name with its port, as in image references.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9.\-\[\]:]+$`
	Host string `json:"host"`

	// scheme is HTTPS, or HTTP for a registry without TLS.
	// +optional
	// +kubebuilder:default=HTTPS
	// +kubebuilder:validation:Enum=HTTPS;HTTP
	Scheme string `json:"scheme,omitempty"`

	// mirrors are tried before the registry itself, in this order; each is a host with an optional path.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	Mirrors []string `json:"mirrors,omitempty"`
}
