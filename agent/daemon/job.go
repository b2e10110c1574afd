// SPDX-License-Identifier: Apache-2.0

// Package daemon is everything the agent says to its buildkitd: builds, exports of build cache, and questions about
// its state.
package daemon

import (
	"context"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/agent/cacheplan"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// Job is all that one attempt's build takes. Nothing of it is read from the cluster any more.
type Job struct {
	// Namespace scopes cache mounts and the registry cache.
	Namespace string
	Spec      *v1alpha1.HLBBuildSpec
	Inputs    *inputs.Inputs
	// Registry is the BuildCache's registry cache, nil for none; Plan is what to do about it.
	Registry *v1alpha1.RegistryCacheSpec
	Plan     cacheplan.Plan
	// Registries says how particular registries are reached, as buildkitd is configured.
	Registries []v1alpha1.RegistryHost
	// Mounts are the BuildCache's policies of cache mounts.
	Mounts []v1alpha1.MountPolicy
	// Entitlements are those that the BuildCache grants.
	Entitlements []string
	// Steps bound what each step of the build may use.
	Steps StepLimits
	// Frontends are the images that the BuildCache lets programs run as front ends.
	Frontends []string
	// IsVisiting is set for a build of another namespace than the BuildCache's. Of the BuildCache's credentials it has
	// those for the registry cache only.
	IsVisiting bool
	// Prepare is called with the program's cache mounts once it has compiled, before anything of it is built, while
	// the registry cache is imported. It is not called when nothing is built. Nil means there is nothing to prepare.
	Prepare func(ctx context.Context, mounts []Mount)
	// Progress is called with every status message, one call at a time. Nil means nobody looks.
	Progress func(*client.SolveStatus)
}

// Outcome is what a build did, as far as it came.
type Outcome struct {
	// Total and Cached count exec and file operations, each once; both 0 when the program did not compile.
	Total, Cached int
	// Mounts are the cache mounts, each id once.
	Mounts []Mount
	// Outputs are the images pushed, each reference once.
	Outputs []v1alpha1.OutputStatus
	// ImportErrors say, by reference, why a planned import of the registry cache brought nothing.
	ImportErrors map[string]string

	request *hlb.Request
}

// Mount is a cache mount that a build used. Sharing is shared, private or locked.
type Mount struct {
	ID, Target, Sharing string
	// Root is what the build wants the mount's own directory to be, nil for what the daemon makes of it.
	Root *mountcopy.Root
}

// platformOf is the platform that a build asks for, nil for the daemon's own. The API has checked how it is written.
func platformOf(spec *v1alpha1.HLBBuildSpec) *ocispecs.Platform {
	p, err := platforms.Parse(spec.Platform())
	if spec.Platform() == "" || err != nil {
		return nil
	}
	return &p
}

// CompileError says that the program has errors; at least one diagnostic is one.
type CompileError struct {
	Diagnostics diag.List
}

func (e *CompileError) Error() string { return e.Diagnostics.Error() }

// DisconnectedError says that the daemon went away while the compiler was looking something up.
type DisconnectedError struct {
	Message string
}

func (e *DisconnectedError) Error() string { return e.Message }

// SourceError says that the program or its context can't be read.
type SourceError struct {
	What string
	Err  error
}

func (e *SourceError) Error() string { return e.What + ": " + e.Err.Error() }

// Unwrap returns the daemon's error.
func (e *SourceError) Unwrap() error { return e.Err }

// CredentialError says that a Secret's content is not what it must be. It never quotes the content.
type CredentialError struct {
	What string
}

func (e *CredentialError) Error() string { return e.What }

// PushError says that an image could not be pushed, though its filesystem was built.
type PushError struct {
	Err error
}

func (e *PushError) Error() string { return e.Err.Error() }

// Unwrap returns the daemon's error.
func (e *PushError) Unwrap() error { return e.Err }
