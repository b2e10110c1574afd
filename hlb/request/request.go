// SPDX-License-Identifier: Apache-2.0

// Package request holds what compiling a target yields: a tree of solves and exports. It is plain data. Building it
// takes no daemon, and package solve runs it.
package request

import (
	"sync"

	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// Kind says what a Node is.
type Kind int

const (
	// Single is one filesystem to evaluate.
	Single Kind = iota
	// Export is one filesystem to evaluate and hand out: to a registry, a directory, a tarball.
	Export
	// Parallel is children that may run at the same time, in any order.
	Parallel
	// Sequential is children that run one after another.
	Sequential
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	return [...]string{"single", "export", "parallel", "sequential"}[k]
}

// Request is the outcome of compiling one or more targets. It is not changed after Compile returned it, so it may be
// read from several goroutines; only package solve's Run may use its needs.
type Request struct {
	// Root is the tree, nil when there is nothing to solve.
	Root *Node
	// Targets are the subtrees of the targets, in the order asked for. They are parts of Root before it was flattened.
	Targets []Target
	// Sources are the texts of every module read, keyed by the file name that spans use.
	Sources map[string][]byte
	// CacheMounts are the cache mounts of everything in the tree, each (id, target, sharing) once, in order of
	// evaluation.
	CacheMounts []CacheMount
	// Warnings are findings that do not stop the build, such as deprecated forms.
	Warnings diag.List

	indexOnce sync.Once
	vertices  map[digest.Digest]Vertex // names and places of what came from the program
	own       map[digest.Digest]bool   // all that came from the program
}

// Target is the subtree of one target.
type Target struct {
	// Name as it was asked for.
	Name string
	// Root is the target's tree, nil when there is nothing to solve.
	Root *Node
	// Final is the solve of the target's own filesystem; nil for targets that are not of kind fs.
	Final *Solve
}

// Node is one node of the tree. Leaves (Single and Export) have a Solve, the others have Children.
type Node struct {
	Kind     Kind
	Children []*Node
	// Solve is the filesystem of a leaf. Never nil for Single and Export.
	Solve *Solve
	// Output says where an Export goes, nil otherwise.
	Output *Output
}

// Solve is one filesystem, ready for a daemon.
type Solve struct {
	// Definition is the marshalled graph. It has no ops for an empty filesystem.
	Definition *llb.Definition
	// ImageConfig is the OCI image config as JSON, with operating system and architecture filled in.
	ImageConfig []byte
	// Platform the filesystem is built for.
	Platform ocispecs.Platform
	// Needs is what the solve's session must offer, those of all inputs included.
	Needs Needs
	// Scopes are the cache contexts that apply, inner ones before outer ones.
	Scopes []*Scope
	// Span is the place in the program that the filesystem came from.
	Span diag.Span
}

// Empty reports whether there is nothing to run.
func (s *Solve) Empty() bool { return s == nil || len(s.Definition.Def) == 0 }

// Needs is what solving takes besides the definition. Lists are sorted and hold no duplicates.
type Needs struct {
	Secrets      []Secret
	SSH          []SSH
	Locals       []Local
	Entitlements []string
}

// Secret is a secret mount's source.
type Secret struct {
	// ID is what the definition calls it.
	ID string
	// Path is the file to read, empty when the embedding program provides the secret under ID.
	Path string
}

// SSH is an agent or a raw socket to forward.
type SSH struct {
	// ID is what the definition calls it.
	ID string
	// Paths are the socket of one agent or key files; empty for the environment's agent, or when the embedding program
	// provides the agent under ID.
	Paths []string
	// Raw asks for plain forwarding of the unix socket in Paths instead of the agent protocol.
	Raw bool
	// Dial is a host:port to connect to for each connection to the socket; empty for sockets and agents.
	Dial string
	// Declared is true when the embedding program provides the agent under ID.
	Declared bool
}

// Local is a directory that the session uploads.
type Local struct {
	// Name is what the definition calls it.
	Name string
	// Dir is the directory on this machine.
	Dir string
}

// Output says where an export goes.
type Output struct {
	// Type is BuildKit's exporter: image, docker, local, tar or oci.
	Type string
	// Attrs are the exporter's attributes, as BuildKit documents them.
	Attrs map[string]string
	// Ref is the image reference, empty for exports without one.
	Ref string
	// Path is the file or directory on this machine, empty for images, standard output and loading into Docker.
	Path string
	// Stdout asks to write to the standard output of the embedding program.
	Stdout bool
	// Load asks to pipe the image into the Docker engine of this machine.
	Load bool
	// InlineCache embeds cache metadata in the pushed image.
	InlineCache bool
	// EStargzBase is the canonical reference of the base image when its layers must be checked for eStargz, or empty.
	EStargzBase string
	// Digest is set when the export already happened while compiling, because the program uses its digest.
	Digest digest.Digest
	// Target is the target it belongs to when the embedding program asked for it, empty when the HLB program did.
	Target string
	// Span is the call that asked for it.
	Span diag.Span
}

// CacheEntry is one place of BuildKit's result cache.
type CacheEntry struct {
	Type  string
	Attrs map[string]string
}

// Scope is a cacheContext: a section of the program with places its results are imported from and exported to.
type Scope struct {
	// Section is what the scope covers.
	Section *Solve
	Imports []Import
	Exports []CacheEntry
	// Span is the cacheContext call.
	Span diag.Span
}

// Import is a cache to import: either an entry, or a filesystem with an OCI layout at its root that the session serves.
type Import struct {
	Entry  CacheEntry
	Layout *Solve
}

// CacheMount is a cache mount of some run.
type CacheMount struct {
	// ID as the daemon knows it, with the namespace.
	ID string
	// Target is the mount point.
	Target string
	// Sharing is shared, private or locked.
	Sharing string
	// Span is the option that asks for it.
	Span diag.Span
	// Root is what the mount's own directory is to be as long as nothing but the daemon has made it, nil for what the
	// daemon makes. The embedding program sets it.
	Root *MountRoot
}

// MountRoot is the owner and mode of a mount's own directory.
type MountRoot struct {
	UID, GID int
	Mode     uint32
}

// Vertex is the place of a vertex of the definition in the program.
type Vertex struct {
	// Name is how the step is shown.
	Name string
	// Span is the innermost call; Callers are the calls around it, innermost first.
	Span    diag.Span
	Callers []diag.Span
}
