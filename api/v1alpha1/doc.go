// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the kinds of build.openllb.dev/v1alpha1: BuildCache (a fleet of buildkitd daemons),
// BuildDaemon (one of them, standing for its volume) and HLBBuild (one declarative build). It names things; it acts
// on nothing.
//
// +kubebuilder:object:generate=true
// +groupName=build.openllb.dev
package v1alpha1
