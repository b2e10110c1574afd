// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// Request is a compiled request without its bytes, which are blobs. Solves, scopes and nodes are parts of each other,
// and shared: each stands once in Parts, after everything that it has. References to parts are their numbers from 1, 0
// for none; references to blobs are numbers from 0.
type Request struct {
	Parts       []Part               `json:"parts,omitempty"`
	Root        int                  `json:"root,omitempty"`
	Targets     []Target             `json:"targets,omitempty"`
	CacheMounts []request.CacheMount `json:"cacheMounts,omitempty"`
	Warnings    diag.List            `json:"warnings,omitempty"`
}

// Part is one of three things.
type Part struct {
	Solve *Solve `json:"solve,omitempty"`
	Scope *Scope `json:"scope,omitempty"`
	Node  *Node  `json:"node,omitempty"`
}

// Target is a request.Target.
type Target struct {
	Name  string `json:"name"`
	Root  int    `json:"root,omitempty"`
	Final int    `json:"final,omitempty"`
}

// Solve is a request.Solve.
type Solve struct {
	Ops      []DefOp           `json:"ops,omitempty"`
	Infos    []SourceInfo      `json:"infos,omitempty"`
	Sourced  bool              `json:"sourced,omitempty"` // there is a source, if only an empty one
	Config   int               `json:"config"`
	Platform ocispecs.Platform `json:"platform"`
	Needs    request.Needs     `json:"needs"`
	Scopes   []int             `json:"scopes,omitempty"`
	Span     diag.Span         `json:"span"`
}

// DefOp is an op of a definition: its bytes, its metadata and its places, as blobs; -1 for none.
type DefOp struct {
	Op       int `json:"o"`
	Metadata int `json:"m"`
	Places   int `json:"p"`
}

// SourceInfo is a text that places are in.
type SourceInfo struct {
	Filename string `json:"filename"`
	Language string `json:"language"`
	Data     int    `json:"data"`
}

// Scope is a request.Scope.
type Scope struct {
	Section int                  `json:"section"`
	Imports []Import             `json:"imports,omitempty"`
	Exports []request.CacheEntry `json:"exports,omitempty"`
	Span    diag.Span            `json:"span"`
}

// Import is a request.Import.
type Import struct {
	Entry  request.CacheEntry `json:"entry"`
	Layout int                `json:"layout,omitempty"`
}

// Node is a request.Node.
type Node struct {
	Kind     request.Kind    `json:"kind"`
	Children []int           `json:"children,omitempty"`
	Solve    int             `json:"solve,omitempty"`
	Output   *request.Output `json:"output,omitempty"`
}

// Encode returns a request as a value and its blobs. The texts of the modules are left out.
func Encode(req *request.Request) (*Request, [][]byte, error) {
	e := encoder{blobs: map[string]int{}, parts: map[any]int{}}
	out := &e.out
	var err error
	for _, t := range req.Targets {
		encoded := Target{Name: t.Name}
		if encoded.Root, err = e.node(t.Root); err != nil {
			return nil, nil, err
		}
		if encoded.Final, err = e.solve(t.Final); err != nil {
			return nil, nil, err
		}
		out.Targets = append(out.Targets, encoded)
	}
	if out.Root, err = e.node(req.Root); err != nil {
		return nil, nil, err
	}
	out.CacheMounts, out.Warnings = req.CacheMounts, req.Warnings
	return out, e.list, nil
}

type encoder struct {
	out   Request
	parts map[any]int    // by pointer
	blobs map[string]int // by content
	list  [][]byte
}

func (e *encoder) blob(b []byte) int {
	if n, known := e.blobs[string(b)]; known {
		return n
	}
	n := len(e.list)
	e.blobs[string(b)], e.list = n, append(e.list, b)
	return n
}

func (e *encoder) message(m proto.Message) (int, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return 0, fmt.Errorf("encode a definition: %w", err)
	}
	return e.blob(b), nil
}

// add numbers a part.
func (e *encoder) add(pointer any, p Part) int {
	e.out.Parts = append(e.out.Parts, p)
	e.parts[pointer] = len(e.out.Parts)
	return len(e.out.Parts)
}

func (e *encoder) node(n *request.Node) (int, error) {
	if n == nil {
		return 0, nil
	}
	if known := e.parts[n]; known > 0 {
		return known, nil
	}
	out := &Node{Kind: n.Kind, Output: n.Output}
	for _, c := range n.Children {
		child, err := e.node(c)
		if err != nil {
			return 0, err
		}
		out.Children = append(out.Children, child)
	}
	var err error
	if out.Solve, err = e.solve(n.Solve); err != nil {
		return 0, err
	}
	return e.add(n, Part{Node: out}), nil
}

func (e *encoder) scope(s *request.Scope) (int, error) {
	if known := e.parts[s]; known > 0 {
		return known, nil
	}
	out := &Scope{Exports: s.Exports, Span: s.Span}
	var err error
	if out.Section, err = e.solve(s.Section); err != nil {
		return 0, err
	}
	for _, imp := range s.Imports {
		encoded := Import{Entry: imp.Entry}
		if encoded.Layout, err = e.solve(imp.Layout); err != nil {
			return 0, err
		}
		out.Imports = append(out.Imports, encoded)
	}
	return e.add(s, Part{Scope: out}), nil
}

func (e *encoder) solve(s *request.Solve) (int, error) {
	if s == nil {
		return 0, nil
	}
	if known := e.parts[s]; known > 0 {
		return known, nil
	}
	out := &Solve{Config: e.blob(s.ImageConfig), Platform: s.Platform, Needs: s.Needs, Span: s.Span}
	for _, scope := range s.Scopes {
		n, err := e.scope(scope)
		if err != nil {
			return 0, err
		}
		out.Scopes = append(out.Scopes, n)
	}
	if err := e.definition(out, s.Definition); err != nil {
		return 0, err
	}
	return e.add(s, Part{Solve: out}), nil
}

func (e *encoder) definition(out *Solve, def *llb.Definition) error {
	var places map[string]*pb.Locations
	if def.Source != nil {
		places, out.Sourced = def.Source.Locations, true
		for _, info := range def.Source.Infos {
			out.Infos = append(out.Infos,
				SourceInfo{Filename: info.Filename, Language: info.Language, Data: e.blob(info.Data)})
		}
	}
	for _, op := range def.Def {
		id := digest.FromBytes(op)
		encoded := DefOp{Op: e.blob(op), Metadata: -1, Places: -1}
		var err error
		if md, ok := def.Metadata[id]; ok {
			if encoded.Metadata, err = e.message(md.ToPB()); err != nil {
				return err
			}
		}
		if at, ok := places[id.String()]; ok {
			if encoded.Places, err = e.message(at); err != nil {
				return err
			}
		}
		out.Ops = append(out.Ops, encoded)
	}
	return nil
}
