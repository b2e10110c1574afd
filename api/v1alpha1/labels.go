// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Labels and annotations that the operator sets or reads. All carry the group's name as prefix.
const (
	// LabelCache is on everything that belongs to a BuildCache; its value is the BuildCache's name.
	LabelCache = "build.openllb.dev/cache"
	// LabelComponent tells the parts of a BuildCache apart; daemon pods carry ComponentDaemon.
	LabelComponent = "build.openllb.dev/component"
	// LabelDaemon is on the pod, claim and StatefulSet of a BuildDaemon; its value is the BuildDaemon's name.
	LabelDaemon = "build.openllb.dev/daemon"
	// ComponentDaemon is LabelComponent's value on daemon pods.
	ComponentDaemon = "daemon"
	// AnnotationRequestedAt on an HLBBuild asks for a new run whenever its value changes; an RFC 3339 time by
	// convention.
	AnnotationRequestedAt = "build.openllb.dev/requestedAt"
	// AnnotationPodHash on a daemon's pod identifies all of its template but the agent's image: a pod with another
	// value is replaced.
	AnnotationPodHash = "build.openllb.dev/pod-hash"
	// AnnotationAgentImage on a daemon's pod is the image that its agent is to run, as the operator knows it: admission
	// may have rewritten the container's.
	AnnotationAgentImage = "build.openllb.dev/agent-image"
	// AnnotationReplacedAgent on a daemon's pod is the ID of the agent's container whose image was changed in place,
	// which the kubelet has yet to replace.
	AnnotationReplacedAgent = "build.openllb.dev/replaced-agent"
	// AnnotationUpdating is on a BuildDaemon that took builds when its pod was replaced by a roll-out, until it takes
	// builds again.
	AnnotationUpdating = "build.openllb.dev/updating"
	// AnnotationCacheUID on a volume claim is the UID of the BuildCache that last used it. A claim of another one was
	// retained when that was deleted.
	AnnotationCacheUID = "build.openllb.dev/cache-uid"
	// AnnotationOwner is on an object that the operator made in another namespace than its owner's, where owner
	// references don't reach: KIND/NAMESPACE/NAME of the owner.
	AnnotationOwner = "build.openllb.dev/owner"
	// AnnotationAppliedHash on an object that the operator applies is a hash of what it applied.
	AnnotationAppliedHash = "build.openllb.dev/applied-hash"
)

// FieldPlacementDaemon is the selectable field by which an agent watches only the HLBBuilds bound to its daemon.
const FieldPlacementDaemon = "status.placement.daemon"
