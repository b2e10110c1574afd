// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Labels and annotations that the operator sets or reads. All carry the group's name as prefix.
const (
	// LabelCache is on everything that belongs to a BuildCache; its value is the BuildCache's name.
	LabelCache = "build.openllb.dev/cache"
	// LabelComponent tells the parts of a BuildCache apart; daemon pods carry ComponentDaemon.
	LabelComponent = "build.openllb.dev/component"
	// ComponentDaemon is LabelComponent's value on daemon pods.
	ComponentDaemon = "daemon"
	// AnnotationRequestedAt on an HLBBuild asks for a new run whenever its value changes; an RFC 3339 time by
	// convention.
	AnnotationRequestedAt = "build.openllb.dev/requestedAt"
	// AnnotationConfigHash on the pod template rolls the daemons when their generated configuration changes.
	AnnotationConfigHash = "build.openllb.dev/config-hash"
	// AnnotationAppliedHash on an object that the operator applies is a hash of what it applied.
	AnnotationAppliedHash = "build.openllb.dev/applied-hash"
)

// FieldPlacementDaemon is the selectable field by which an agent watches only the HLBBuilds bound to its daemon.
const FieldPlacementDaemon = "status.placement.daemon"
