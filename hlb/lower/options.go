// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"cmp"
	"context"
	"io/fs"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/request"
)

// Profile is the kind of machine that the compiler runs on.
type Profile int

const (
	// ProfileLocal is a user's own machine: a program may read its files, environment and processes.
	ProfileLocal Profile = iota
	// ProfileServer is a shared machine: whatever would touch it is refused, or redirected to what the build declares.
	ProfileServer
)

// Resolver looks up the config of an image. It answers with the reference it resolved, the digest of what the
// reference names (an index, if there is one) and the config as JSON. Gateway clients are Resolvers.
type Resolver interface {
	ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error)
}

// Solver runs solves while compiling, for the builtins that need a result then: frontend, modules that live in a
// filesystem or a git repository. Gateway clients are Solvers.
type Solver interface {
	Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error)
}

// NeedsSolver is a Solver that learns the needs of the next solves, so that their session can offer them.
type NeedsSolver interface {
	Solver
	Need(needs request.Needs) error
}

// MountNoter is a Solver or Pusher that learns the cache mounts of what was evaluated so far before each solve or push.
type MountNoter interface {
	NoteMounts(mounts []request.CacheMount)
}

// Pusher performs an export while compiling, for programs that use the digest of a dockerPush, and returns that digest.
type Pusher interface {
	Push(ctx context.Context, export *request.Node) (digest.Digest, error)
}

// Manifest is what a registry says about an image.
type Manifest struct {
	// Digest of what the reference resolves to.
	Digest digest.Digest
	// Manifest, Config and Index are JSON as the registry sent it; Index is empty when the reference names no index.
	Manifest, Config, Index string
}

// Registry looks up manifests, for the manifest builtin.
type Registry interface {
	Manifest(ctx context.Context, ref string, platform ocispecs.Platform) (Manifest, error)
}

// Host is the compiling machine, as far as a program may see it.
type Host interface {
	// Environ returns the value of an environment variable, empty if unset.
	Environ(key string) string
	// Cwd returns the working directory, an absolute path.
	Cwd() (string, error)
	// Home returns the home directory.
	Home() (string, error)
	// Platform returns operating system and architecture in Go's names.
	Platform() (os, arch string)
	// Run runs a process in dir and returns its output; a non-zero exit is an error of type *exec.ExitError.
	Run(ctx context.Context, dir string, args []string) (stdout, stderr, both []byte, err error)
	// ID identifies the machine in the ids of local sources.
	ID() string
}

// Use is what a program uses something as.
type Use string

// The uses.
const (
	UseImage    Use = "image"    // a reference, to read
	UseGit      Use = "git"      // a URL of a repository
	UseHTTP     Use = "http"     // a URL
	UseFrontend Use = "frontend" // a reference of an image, to run
	UsePush     Use = "push"     // a reference, to write
	UseCache    Use = "cache"    // a reference, to import from or export to
	// UseCacheType is a type of build cache other than registry.
	UseCacheType Use = "cacheType"
)

// Limits bound what one compile may take. Zero values mean the default: the first number for ProfileServer, where
// programs are anybody's, the second for ProfileLocal, where they are only kept from taking the machine down.
type Limits struct {
	// SourceBytes is the size of one module's text. Default 1 MiB, 16 MiB.
	SourceBytes int
	// Imports is how many modules may be read. Default 64, 1,000.
	Imports int
	// ImportDepth is how far modules may import modules. Default 16, 100.
	ImportDepth int
	// CallDepth is how deep calls may nest. Default 500, 5,000.
	CallDepth int
	// Fuel is how many statements and expressions may be evaluated. Default 1,000,000 (about 2 s), 20,000,000.
	Fuel int
	// Vertices is how many LLB vertices, exports and cache contexts may be made; all definitions of a request
	// together may have ten times as many ops. Default 20,000, 1,000,000.
	Vertices int
	// OpBytes is about the size of all LLB vertices, counting texts and environments for each vertex that has them.
	// Default 64 MiB, 1 GiB.
	OpBytes int
	// StringBytes is the size of any string value, template output included. Default 4 MiB, 64 MiB.
	StringBytes int
	// TextBytes is the size of all strings that are made, looked-up image configs and manifests included. Default 64
	// MiB, 1 GiB.
	TextBytes int
	// SolveBytes is the size of one definition with its image config. Default a little under 16 MiB, the longest
	// message that BuildKit takes.
	SolveBytes int
	// RequestBytes is the size of all definitions and image configs, equal ops counted once. Default 32 MiB, 1 GiB.
	RequestBytes int
	// DefinitionBytes is the size of all definitions and image configs, ops counted for each definition that has
	// them. Default 128 MiB, 4 GiB.
	DefinitionBytes int
	// Layers is how many layers a filesystem may have, those of its base image included. Default 350. BuildKit names
	// all of them in the options of one mount, which take at most a page, 4,096 bytes: about 200 go to the rest of the
	// options, and 11 to each layer once the daemon has numbered a million of them.
	Layers int
	// CacheMounts is how many different cache mounts a request may have. Default 256, 10,000.
	CacheMounts int
	// CacheIDBytes is the length of a cache mount's id, namespace included. Default 512, 4,096.
	CacheIDBytes int
	// Wall is the time of the whole compile, with look-ups, without what is built and pushed meanwhile. Default 2
	// minutes, 1 hour.
	Wall time.Duration
}

const (
	// maxMessage leaves 64 KiB of BuildKit's longest message, 16 MiB, to what a solve takes besides.
	maxMessage = 16<<20 - 64<<10
	maxLayers  = 350
)

var defaultLimits = map[Profile]Limits{
	ProfileServer: {
		SourceBytes: 1 << 20, Imports: 64, ImportDepth: 16, CallDepth: 500, Fuel: 1_000_000, Vertices: 20_000,
		OpBytes:     64 << 20,
		StringBytes: 4 << 20, TextBytes: 64 << 20, SolveBytes: maxMessage, RequestBytes: 32 << 20,
		DefinitionBytes: 128 << 20, Layers: maxLayers, CacheMounts: 256, CacheIDBytes: 512, Wall: 2 * time.Minute,
	},
	ProfileLocal: {
		SourceBytes: 16 << 20, Imports: 1000, ImportDepth: 100, CallDepth: 5000, Fuel: 20_000_000, Vertices: 1_000_000,
		OpBytes:     1 << 30,
		StringBytes: 64 << 20, TextBytes: 1 << 30, SolveBytes: maxMessage, RequestBytes: 1 << 30,
		DefinitionBytes: 4 << 30, Layers: maxLayers, CacheMounts: 10_000, CacheIDBytes: 4096, Wall: time.Hour,
	},
}

// withDefaults fills in zero values.
func (l Limits) withDefaults(p Profile) Limits {
	def := defaultLimits[p]
	return Limits{
		SourceBytes: cmp.Or(l.SourceBytes, def.SourceBytes),
		Imports:     cmp.Or(l.Imports, def.Imports),
		ImportDepth: cmp.Or(l.ImportDepth, def.ImportDepth),
		CallDepth:   cmp.Or(l.CallDepth, def.CallDepth),
		Fuel:        cmp.Or(l.Fuel, def.Fuel),
		Vertices:    cmp.Or(l.Vertices, def.Vertices),
		OpBytes:     cmp.Or(l.OpBytes, def.OpBytes),
		StringBytes: cmp.Or(l.StringBytes, def.StringBytes),
		TextBytes:   cmp.Or(l.TextBytes, def.TextBytes),

		SolveBytes:      cmp.Or(l.SolveBytes, def.SolveBytes),
		RequestBytes:    cmp.Or(l.RequestBytes, def.RequestBytes),
		DefinitionBytes: cmp.Or(l.DefinitionBytes, def.DefinitionBytes),

		Layers:       cmp.Or(l.Layers, def.Layers),
		CacheMounts:  cmp.Or(l.CacheMounts, def.CacheMounts),
		CacheIDBytes: cmp.Or(l.CacheIDBytes, def.CacheIDBytes),
		Wall:         cmp.Or(l.Wall, def.Wall),
	}
}

// Program is what to compile.
type Program struct {
	// Filename is how spans call the file. Modules are looked up relative to its directory.
	Filename string
	// Source is the program's text.
	Source []byte
	// Files holds the modules beside it, with Filename a path inside it. Nil means the machine's own files for
	// ProfileLocal, and no modules for ProfileServer.
	Files fs.FS
}

// Options say how to compile. The zero value compiles the target "default" offline for this machine's user.
type Options struct {
	// Targets are the names to build, default "default".
	Targets []string
	// Args are values for the string, int and bool parameters of the targets, by parameter name. Each must be a
	// parameter of one of the targets.
	Args map[string]string
	// Platform is what filesystems are built for unless the program says otherwise. Default linux on this machine's
	// architecture.
	Platform *ocispecs.Platform
	Profile  Profile

	// Resolver loads image configs. Without it images have empty configs.
	Resolver Resolver
	// Solver runs what must be solved while compiling. Without it such builtins are diagnostics.
	Solver Solver
	// Pusher performs dockerPush while compiling where its digest is used. Without it that is a diagnostic.
	Pusher Pusher
	// Registry serves the manifest builtin. Without it the builtin is a diagnostic, except that digest and config
	// come from Resolver if there is one.
	Registry Registry
	// DockerEngine says that the daemon is the BuildKit inside of Docker Engine, which neither writes OCI or Docker
	// tarballs nor converts to eStargz, and imports no modules from git. Programs that want that get a diagnostic.
	DockerEngine bool
	// Host is the machine that ProfileLocal programs see. Nil means this one.
	Host Host

	// Context is what local "…" reads in ProfileServer; nil makes local a diagnostic.
	Context *llb.State
	// ContextApart says that Context is not the tree that the program lies in, so that paths start at its root and
	// not at the program's directory.
	ContextApart bool
	// ContextNeeds is what solving Context takes.
	ContextNeeds request.Needs
	// Secrets and SSH are the ids that the build declares, for ProfileServer: secret "name" "/path" must name one of
	// Secrets, ssh uses the agent "default" or the one that localPaths names.
	Secrets, SSH []string
	// KnownSSHHosts are lines of a known_hosts file for git over ssh. Without them ssh remotes are refused in
	// ProfileServer.
	KnownSSHHosts string

	// Vendor has the vendored modules of a program on this machine, nil if there are none. Programs that come with a
	// tree of their own, as Program.Files or Context, have them there in module.VendorDir.
	Vendor *module.Vendor

	// CacheMountNamespace is put before every cache mount id. Servers set one per tenant.
	CacheMountNamespace string
	// CacheMountSharing gives the sharing mode (shared, private or locked) of cacheMounts for which the program gives
	// none, by their id with the namespace before it, and false for ids without a policy: those get the mode
	// that is advised for their directory. Nil has none.
	CacheMountSharing func(id string) (mode string, ok bool)
	// Allow returns an error unless a program may use something, named as the program does. An error that is a
	// *diag.Diagnostic without a place gets one. Nil allows all.
	Allow func(use Use, what string) error
	// DisableProgramCaches makes cacheContext do nothing.
	DisableProgramCaches bool
	// AllowedEntitlements are the entitlements a program may ask for: network.host, security.insecure. ProfileLocal
	// allows all.
	AllowedEntitlements []string

	Limits Limits
	// Trace collects the statements that are evaluated. Nil collects none.
	Trace *Trace
	// IDSource makes the random values of ignoreCache. Nil means BuildKit's random ids.
	IDSource func() string
}
