// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AllowedSources are what BuildKit may fetch for builds, whoever asks for it: programs, HLBBuilds, front ends. What is
// in none of the lists is refused. They don't bind what steps fetch themselves, submodules of git repositories, and
// redirects of http sources.
type AllowedSources struct {
	// images are *, repositories, references with tag or digest, or hosts and paths that end in /*, for example
	// docker.io/library/*. An entry without tag and digest allows its whole repository. Images of allowedFrontends are
	// allowed, too. Unset: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:XValidation:rule="self == '*' || !self.contains('*') || self.endsWith('/*') && self.indexOf('*') == self.size() - 1",message="an entry is *, a reference, or a host or path that ends in /*, for example docker.io/library/*"
	Images []string `json:"images,omitempty"`

	// git are repositories: * or a host with a path, without the scheme; /* at the end stands for all below, for
	// example github.com/team/*. Unset: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:XValidation:rule="self == '*' || self.contains('/') && !self.contains('://') && (!self.contains('*') || self.endsWith('/*') && self.indexOf('*') == self.size() - 1)",message="an entry is * or a host with a path, without the scheme, for example github.com/team/app or github.com/team/*"
	Git []string `json:"git,omitempty"`

	// http are files: * or a host with a path, without the scheme; /* at the end stands for all below, for example
	// dl.example.com/*. Unset: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:XValidation:rule="self == '*' || self.contains('/') && !self.contains('://') && (!self.contains('*') || self.endsWith('/*') && self.indexOf('*') == self.size() - 1)",message="an entry is * or a host with a path, without the scheme, for example dl.example.com/tool.tar or dl.example.com/*"
	HTTP []string `json:"http,omitempty"`
}

// AllowedPushes are where builds may push to.
type AllowedPushes struct {
	// images are as allowedSources.images. Unset: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:XValidation:rule="self == '*' || !self.contains('*') || self.endsWith('/*') && self.indexOf('*') == self.size() - 1",message="an entry is *, a reference, or a host or path that ends in /*, for example registry.example.com/team/*"
	Images []string `json:"images,omitempty"`
}

// SecretsFrom says which Secrets are allowed.
// +kubebuilder:validation:Enum=All;Selector
type SecretsFrom string

// The sources of allowed Secrets.
const (
	// SecretsFromAll allows every Secret of the build's namespace.
	SecretsFromAll SecretsFrom = "All"
	// SecretsFromSelector allows Secrets by their labels.
	SecretsFromSelector SecretsFrom = "Selector"
)

// SecretPolicy says which Secrets of their namespace builds may name: for steps, for git, for registries. Who may
// create HLBBuilds can read every one of them.
//
// +kubebuilder:validation:XValidation:rule="(has(self.from) && self.from == 'Selector') == has(self.selector)",message="selector goes with from: Selector, and from: Selector needs one"
type SecretPolicy struct {
	// from is All (every Secret of the build's namespace) or Selector (those whose labels match selector).
	// +optional
	// +kubebuilder:default=All
	From SecretsFrom `json:"from,omitempty"`
	// selector matches labels of Secrets. An empty one matches every Secret.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// DeletionPolicy is what a deletion does to builds that run.
// +kubebuilder:validation:Enum=Delete;Protect
type DeletionPolicy string

// The policies.
const (
	DeletionDelete  DeletionPolicy = "Delete"
	DeletionProtect DeletionPolicy = "Protect"
)

// FinalizerProtect keeps a BuildCache with deletionPolicy Protect while its builds run.
const FinalizerProtect = "build.openllb.dev/protect"
