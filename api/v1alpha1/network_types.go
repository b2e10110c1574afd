// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// NetworkMode says which network the steps of builds have.
// +kubebuilder:validation:Enum=Isolated;PreferIsolated;Pod
type NetworkMode string

// The network modes.
const (
	// NetworkIsolated gives each step a network of its own. A pod on a node that has no such networks does not start.
	NetworkIsolated NetworkMode = "Isolated"
	// NetworkPreferIsolated is NetworkIsolated where the node has such networks, else NetworkPod.
	NetworkPreferIsolated NetworkMode = "PreferIsolated"
	// NetworkPod has all steps share the network of the daemon's pod, its loopback included.
	NetworkPod NetworkMode = "Pod"
)

// StepNetwork is the network of build steps.
// +kubebuilder:validation:XValidation:rule="!has(self.egress) || has(self.mode) && self.mode == 'Isolated'",message="egress bounds steps that have networks of their own: set mode: Isolated"
type StepNetwork struct {
	// mode: with Isolated, steps have a network of their own each, reach neither one another nor the pod's own
	// addresses, and are seen with the pod's address; a pod does not start on a node that can't do so. PreferIsolated
	// has steps share the pod's network there, and the daemon's condition StepsIsolated says why. Pod always has them
	// share it. Programs with the entitlement network.host may always ask for the pod's network.
	// +optional
	// +kubebuilder:default=PreferIsolated
	Mode NetworkMode `json:"mode,omitempty"`

	// egress lists what steps may reach, as in a NetworkPolicy; the pod's name servers always are. Unset: everything
	// but link-local addresses and the metadata services of clouds, which a step reaches only where an ipBlock lies
	// within them. An empty list: nothing. It bounds steps, not what BuildKit fetches for builds: allowedSources does.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Egress *[]EgressRule `json:"egress,omitempty"`
}

// EgressRule allows peers at ports.
type EgressRule struct {
	// to lists ranges of addresses; empty for all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	To []EgressPeer `json:"to,omitempty"`

	// ports of these; empty for all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Ports []EgressPort `json:"ports,omitempty"`
}

// EgressPeer is a range of addresses.
type EgressPeer struct {
	// ipBlock is the range.
	// +required
	IPBlock IPBlock `json:"ipBlock"`
}

// IPBlock is a range of addresses without some of them.
// +kubebuilder:validation:XValidation:rule="!has(self.except) || self.except.all(e, isCIDR(e) && isCIDR(self.cidr) && cidr(self.cidr).containsCIDR(e))",message="except must list ranges within cidr"
type IPBlock struct {
	// cidr is the range, such as 10.0.0.0/8 or 2001:db8::/32.
	// +required
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="cidr must be a range of addresses, such as 10.0.0.0/8"
	CIDR string `json:"cidr"`

	// except lists ranges within cidr that are not meant.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=43
	Except []string `json:"except,omitempty"`
}

// EgressPort is a port, or a range of them.
// +kubebuilder:validation:XValidation:rule="!has(self.endPort) || has(self.port) && self.endPort >= self.port",message="endPort needs a port that is not larger"
type EgressPort struct {
	// protocol of the port.
	// +optional
	// +kubebuilder:default=TCP
	// +kubebuilder:validation:Enum=TCP;UDP
	Protocol string `json:"protocol,omitempty"`

	// port, or the first of a range. Unset: all.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// endPort is the last port of a range.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	EndPort int32 `json:"endPort,omitempty"`
}
