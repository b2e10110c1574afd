// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// Kind is the language of a program.
type Kind string

// KindHLB is a program in HLB.
const KindHLB Kind = "hlb"

// Program is what to compile, and what the build declares. It is the first frame, with Source and Context as its blobs.
type Program struct {
	Kind     Kind   `json:"kind"`
	Filename string `json:"filename"`
	Source   []byte `json:"-"`
	// Context is the marshalled definition of what local reads, empty for none.
	Context []byte `json:"-"`
	// ContextApart says that Context is not the tree that the program lies in.
	ContextApart bool `json:"contextApart,omitempty"`
	// HasFiles says that there are modules beside the program, to be read by calls.
	HasFiles bool `json:"hasFiles,omitempty"`

	Targets  []string           `json:"targets,omitempty"`
	Args     map[string]string  `json:"args,omitempty"`
	Platform *ocispecs.Platform `json:"platform,omitempty"`
	// Secrets, SSH and Entitlements are those that the build may use.
	Secrets      []string `json:"secrets,omitempty"`
	SSH          []string `json:"ssh,omitempty"`
	Entitlements []string `json:"entitlements,omitempty"`
	// Namespace is put before every cache mount's id.
	Namespace string `json:"namespace,omitempty"`
}

// Op is what a Call asks for.
type Op string

// The calls. Trees are what the agent has built for the child, numbered from 1; tree 0 is the files beside the program.
const (
	// OpResolve looks up the config of the image Ref. Answer: Ref, Digest, blob config.
	OpResolve Op = "resolve"
	// OpManifest looks up the manifest of the image Ref. Answer: Digest, blobs manifest, config, index.
	OpManifest Op = "manifest"
	// OpSolve builds a definition, the first blob, or runs a front end over definitions, one for each of Inputs.
	// Answer: Tree, 0 for an empty result; blob config.
	OpSolve Op = "solve"
	// OpDefinition returns the definition of a tree. Answer: blob definition.
	OpDefinition Op = "definition"
	// OpStat looks at the file Path of a tree. Answer: Size, Mode.
	OpStat Op = "stat"
	// OpRead reads it. Answer: blob content.
	OpRead Op = "read"
	// OpPush performs the export that the frame's request consists of. Answer: Digest.
	OpPush Op = "push"
	// OpAllow asks whether the program may use Ref as Use. Answer: an error, or nothing.
	OpAllow Op = "allow"
	// OpSharing asks for the sharing mode of the cache mount with the id Ref. Answer: Text, empty for none.
	OpSharing Op = "sharing"
)

// Call is something that the child asks the agent to do.
type Call struct {
	Op  Op     `json:"op"`
	Ref string `json:"ref,omitempty"`
	Use string `json:"use,omitempty"`
	// Platform and ResolveMode are of the image, LogName is how the daemon's progress calls the look-up.
	Platform    *ocispecs.Platform `json:"platform,omitempty"`
	ResolveMode string             `json:"resolveMode,omitempty"`
	LogName     string             `json:"logName,omitempty"`

	Tree int    `json:"tree,omitempty"`
	Path string `json:"path,omitempty"`

	Frontend string            `json:"frontend,omitempty"`
	Opts     map[string]string `json:"opts,omitempty"`
	Inputs   []string          `json:"inputs,omitempty"`
	// Secrets and SSH are the ids that the solve may use, of those that the build declares.
	Secrets []string `json:"secrets,omitempty"`
	SSH     []string `json:"ssh,omitempty"`
	// Mounts are the cache mounts of what was evaluated so far, for a solve or push.
	Mounts []request.CacheMount `json:"mounts,omitempty"`

	Push *Request `json:"push,omitempty"`
}

// Answer is what came of a call.
type Answer struct {
	Error  *Error        `json:"error,omitempty"`
	Ref    string        `json:"ref,omitempty"`
	Digest digest.Digest `json:"digest,omitempty"`
	Tree   int           `json:"tree,omitempty"`
	Size   int64         `json:"size,omitempty"`
	Mode   uint32        `json:"mode,omitempty"`
	Text   string        `json:"text,omitempty"`
}

// Result is what compiling came to. It ends the conversation.
type Result struct {
	// Request is nil when the program was refused; its blobs are the frame's.
	Request *Request `json:"request,omitempty"`
	// Found is why it was refused, and what else was found.
	Found diag.List `json:"found,omitempty"`
	// Panic is the text and stack of a panic of the compiler.
	Panic string `json:"panic,omitempty"`
}

// FromChild is any frame that the child sends: one of the two is set.
type FromChild struct {
	Call   *Call   `json:"call,omitempty"`
	Result *Result `json:"result,omitempty"`
}

// ConfigKey is the metadata of a front end's result that holds the image config (exptypes.ExporterImageConfigKey). No
// other metadata crosses.
const ConfigKey = "containerimage.config"
