// SPDX-License-Identifier: Apache-2.0

package request

import (
	"context"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// Group makes a node of kind Parallel or Sequential: children that are nil are dropped, children of the same kind are
// taken apart, and a single child stands for itself. The result is nil when nothing is left.
func Group(kind Kind, children ...*Node) *Node {
	var flat []*Node
	for _, c := range children {
		switch {
		case c == nil:
		case c.Kind == kind:
			flat = append(flat, c.Children...)
		default:
			flat = append(flat, c)
		}
	}
	switch len(flat) {
	case 0:
		return nil
	case 1:
		return flat[0]
	}
	return &Node{Kind: kind, Children: flat}
}

// Walk calls visit for n and everything under it, parents before children, children in order. It stops at the first
// error and returns it. A nil node has nothing to visit.
func (n *Node) Walk(visit func(*Node) error) error {
	if n == nil {
		return nil
	}
	if err := visit(n); err != nil {
		return err
	}
	for _, c := range n.Children {
		if err := c.Walk(visit); err != nil {
			return err
		}
	}
	return nil
}

// Leaves returns the Single and Export nodes under n, in order.
func (n *Node) Leaves() []*Node {
	var out []*Node
	n.walk(func(m *Node) {
		if m.Solve != nil {
			out = append(out, m)
		}
	})
	return out
}

func (n *Node) walk(visit func(*Node)) {
	if n == nil {
		return
	}
	visit(n)
	for _, c := range n.Children {
		c.walk(visit)
	}
}

// Walk visits the whole tree, see Node.Walk.
func (r *Request) Walk(visit func(*Node) error) error { return r.Root.Walk(visit) }

// Exports returns the exports in the tree, in order.
func (r *Request) Exports() []*Node {
	var out []*Node
	for _, leaf := range r.Root.Leaves() {
		if leaf.Kind == Export {
			out = append(out, leaf)
		}
	}
	return out
}

// Images returns the references of the images that the tree pushes, in order.
func (r *Request) Images() []string {
	var out []string
	for _, n := range r.Exports() {
		if n.Output.Attrs["push"] == "true" {
			out = append(out, n.Output.Ref)
		}
	}
	return out
}

// Needs returns what the sessions of the whole tree must offer.
func (r *Request) Needs() Needs {
	var all Needs
	for _, leaf := range r.Root.Leaves() {
		all = all.Union(leaf.Solve.Needs)
		for _, s := range leaf.Solve.Scopes {
			all = all.Union(s.needs())
		}
	}
	return all
}

func (s *Scope) needs() Needs {
	all := s.Section.Needs
	for _, imp := range s.Imports {
		if imp.Layout != nil {
			all = all.Union(imp.Layout.Needs)
		}
	}
	return all
}

// Steps returns the digests of every exec and file op of the tree, each once, in order. They are what "cached 12/14"
// counts.
func (r *Request) Steps() []digest.Digest {
	var out []digest.Digest
	seen := map[digest.Digest]bool{}
	for _, leaf := range r.Root.Leaves() {
		for _, d := range Steps(leaf.Solve.Definition) {
			if !seen[d] {
				seen[d] = true
				out = append(out, d)
			}
		}
	}
	return out
}

// Steps returns the digests of the exec and file ops of def, in the order of the definition.
func Steps(def *llb.Definition) []digest.Digest {
	var out []digest.Digest
	for _, dt := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err != nil {
			continue // not an op; the daemon says so better than a count could
		}
		if op.GetExec() != nil || op.GetFile() != nil {
			out = append(out, digest.FromBytes(dt))
		}
	}
	return out
}

// Vertex returns what the vertex with this digest is in the program, false for vertices that are not from it
// (exports, cache imports, internal ones).
func (r *Request) Vertex(d digest.Digest) (Vertex, bool) {
	r.Index()
	v, ok := r.vertices[d]
	return v, ok
}

// Has reports whether the vertex with this digest is of the program. Others are the daemon's own, such as exports.
func (r *Request) Has(d digest.Digest) bool {
	r.Index()
	return r.own[d]
}

// Index reads the places of all vertices out of the definitions, once. Vertex does so when first called; most
// requests succeed and never need it.
func (r *Request) Index() {
	r.indexOnce.Do(func() {
		r.vertices, r.own = map[digest.Digest]Vertex{}, map[digest.Digest]bool{}
		for _, leaf := range r.Root.Leaves() {
			r.index(leaf.Solve)
			for _, s := range leaf.Solve.Scopes {
				r.index(s.Section)
				for _, imp := range s.Imports {
					if imp.Layout != nil {
						r.index(imp.Layout)
					}
				}
			}
		}
	})
}

func (r *Request) index(s *Solve) {
	src := s.Definition.Source
	for d, md := range s.Definition.Metadata {
		r.own[d] = true
		if _, done := r.vertices[d]; done {
			continue
		}
		v := Vertex{Name: md.Description["llb.customname"]}
		if src != nil && src.Locations[d.String()] != nil {
			for i, loc := range src.Locations[d.String()].Locations {
				span := toSpan(src.Infos[loc.SourceIndex].Filename, loc.Ranges)
				if i == 0 {
					v.Span = span
				} else {
					v.Callers = append(v.Callers, span)
				}
			}
		}
		if v.Name != "" || v.Span != (diag.Span{}) {
			r.vertices[d] = v
		}
	}
}

func toSpan(file string, ranges []*pb.Range) diag.Span {
	span := diag.Span{File: file}
	if len(ranges) > 0 {
		r := ranges[0]
		span.Start = diag.Position{Line: int(r.Start.Line), Column: int(r.Start.Character)}
		span.End = diag.Position{Line: int(r.End.Line), Column: int(r.End.Character)}
	}
	return span
}

// Union returns the needs of both, sorted and without duplicates.
func (n Needs) Union(m Needs) Needs {
	return Needs{
		Secrets:      union(n.Secrets, m.Secrets, func(s Secret) string { return s.ID }),
		SSH:          union(n.SSH, m.SSH, func(s SSH) string { return s.ID }),
		Locals:       union(n.Locals, m.Locals, func(l Local) string { return l.Name }),
		Entitlements: union(n.Entitlements, m.Entitlements, func(e string) string { return e }),
	}
}

func union[T any](a, b []T, key func(T) string) []T {
	if len(b) == 0 {
		return a
	}
	if len(a) == 0 {
		return b
	}
	seen := map[string]bool{}
	var out []T
	for _, v := range slices.Concat(a, b) {
		if !seen[key(v)] {
			seen[key(v)] = true
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(x, y T) int { return strings.Compare(key(x), key(y)) })
	return out
}

// String renders the tree's shape on one line, for tests and logs: "sequential(single, parallel(single, export image
// r))".
func (n *Node) String() string {
	if n == nil {
		return "nothing"
	}
	switch n.Kind {
	case Single:
		return "single"
	case Export:
		return n.Output.String()
	}
	parts := make([]string, len(n.Children))
	for i, c := range n.Children {
		parts[i] = c.String()
	}
	return n.Kind.String() + "(" + strings.Join(parts, ", ") + ")"
}

// String renders the export for people: "export docker app:1 out.tar".
func (o *Output) String() string {
	words := []string{"export", o.Type}
	for _, w := range []string{o.Ref, o.Path} {
		if w != "" {
			words = append(words, w)
		}
	}
	if o.Stdout {
		words = append(words, "-")
	}
	return strings.Join(words, " ")
}

// NewSolve marshals state into s and returns it. The unique id is for local sources that bring none of their own.
func NewSolve(ctx context.Context, state llb.State, uniqueID string, s Solve) (*Solve, error) {
	def, err := state.Marshal(ctx, llb.Platform(s.Platform), llb.LocalUniqueID(uniqueID))
	if err != nil {
		return nil, err
	}
	s.Definition = def
	return &s, nil
}
