// SPDX-License-Identifier: Apache-2.0

// Package hlb compiles HLB programs to BuildKit's LLB. It knows nothing of Kubernetes.
//
// Compile takes source text to a Request, a tree of solves and exports; package solve runs a Request against a
// buildkitd. The passes are packages of their own: syntax and check read a module, module loads what it imports,
// lower evaluates it.
package hlb

import (
	"context"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
)

// The types of the compiler's interface, gathered from the passes.
type (
	Program    = lower.Program
	Options    = lower.Options
	Limits     = lower.Limits
	Profile    = lower.Profile
	Request    = request.Request
	Node       = request.Node
	CacheMount = request.CacheMount
	List       = diag.List
)

// Profiles, see Options.
const (
	ProfileLocal  = lower.ProfileLocal
	ProfileServer = lower.ProfileServer
)

// Compile checks and evaluates a program and returns what its targets take to build. Nothing is exported while
// compiling, except where the program uses the digest of a dockerPush. On failure the list holds what is wrong with
// the program and the request is nil; findings that do not stop the build are in Request.Warnings. Equal programs and
// options give equal requests, byte for byte, except for the values of ignoreCache.
func Compile(ctx context.Context, prog Program, opts Options) (*Request, List) {
	return lower.Compile(ctx, prog, opts)
}
