// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"maps"
	"slices"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// pipe is a value of kind pipeline: a tree of filesystems to solve.
type pipe struct {
	// fs is set on a leaf.
	fs *filesystem
	// at is the call that made it, the zero Span for sequences.
	at diag.Span
	// parallel says how children run; a pipe without fs and children is nothing.
	parallel bool
	children []*pipe
	k        key
}

func (p *pipe) key() key { return p.k }

// parts returns the children, those of a sequence of sequences in one list: a block of n stages nests n deep on the
// left.
func (p *pipe) parts() []*pipe {
	if p.parallel || p.isNothing() {
		return p.children
	}
	var reversed []*pipe
	for ; p.fs == nil && !p.parallel && len(p.children) == 2; p = p.children[0] {
		reversed = append(reversed, p.children[1])
	}
	reversed = append(reversed, p)
	slices.Reverse(reversed)
	return reversed
}

func (p *pipe) isNothing() bool { return p.fs == nil && len(p.children) == 0 }

// solving is the pipeline that solves one filesystem.
func (e *evaluator) solving(f *filesystem, at diag.Span) *pipe {
	return &pipe{fs: f, at: at, k: e.keys.of("solve", f.k)}
}

// sequence is first, then next.
func (e *evaluator) sequence(first, next *pipe) *pipe {
	switch {
	case next.isNothing():
		return first
	case first.isNothing():
		return next
	}
	return &pipe{children: []*pipe{first, next}, k: e.keys.of("sequence", first.k, next.k)}
}

// stage is what was there, then all arguments in parallel.
func (e *evaluator) stage(c *call, cur *pipe) *pipe {
	var children []*pipe
	var ks []key
	for _, a := range c.args {
		if p := a.val.(*pipe); !p.isNothing() {
			children = append(children, p)
			ks = append(ks, p.k)
		}
	}
	if len(children) == 0 {
		return cur
	}
	return e.sequence(cur, &pipe{parallel: true, at: c.span, children: children, k: e.keys.of("parallel", ks)})
}

// tree turns a pipeline into a request tree. around is the place of what it is a part of.
func (e *evaluator) tree(p *pipe, around diag.Span) (*request.Node, error) {
	if p.at.IsValid() {
		around = p.at
	}
	if err := e.burn(around); err != nil {
		return nil, err
	}
	if p.fs != nil {
		return e.fsTree(p.fs, p.at)
	}
	kind := request.Sequential
	if p.parallel {
		kind = request.Parallel
	}
	var children []*request.Node
	for _, c := range p.parts() {
		n, err := e.tree(c, around)
		if err != nil {
			return nil, err
		}
		children = append(children, n)
	}
	return request.Group(kind, children...), nil
}

// fsTree solves a filesystem and performs the exports that hang on it.
func (e *evaluator) fsTree(f *filesystem, at diag.Span) (*request.Node, error) {
	var children []*request.Node
	for _, x := range f.pending {
		n, err := e.exportNode(x)
		if err != nil {
			return nil, err
		}
		children = append(children, n)
	}
	s, err := e.solveOf(f.image, at)
	if err != nil {
		return nil, err
	}
	children = append(children, &request.Node{Kind: request.Single, Solve: s})
	return request.Group(request.Parallel, children...), nil
}

func (e *evaluator) exportNode(x *export) (*request.Node, error) {
	if x.node != nil {
		return x.node, nil
	}
	s, err := e.solveOf(x.image, x.out.Span)
	if err != nil {
		return nil, err
	}
	out := x.out
	out.Attrs = maps.Clone(out.Attrs)
	x.node = &request.Node{Kind: request.Export, Solve: s, Output: &out}
	return x.node, nil
}

// solveOf marshals an image, once.
func (e *evaluator) solveOf(img *image, at diag.Span) (*request.Solve, error) {
	if s := e.solves[img]; s != nil {
		return s, nil
	}
	s := request.Solve{Platform: img.platform, Needs: img.needs, Span: at}
	var err error
	if s.ImageConfig, err = img.configJSON(e.ctx); err != nil {
		if late := e.timeout(at); late != nil {
			return nil, late
		}
		return nil, diag.Errorf(diag.Internal, at, "write image config: %v", err)
	}
	for _, sc := range img.scopes {
		r, err := e.requestScope(sc)
		if err != nil {
			return nil, err
		}
		s.Scopes = append(s.Scopes, r)
	}
	out, err := request.NewSolve(e.ctx, img.state(), e.uniqueID, s)
	if err != nil {
		if late := e.timeout(at); late != nil {
			return nil, late
		}
		return nil, diag.Errorf(diag.Conversion, at, "the filesystem can't be built: %v", err)
	}
	if err := e.chargeSolve(out, at); err != nil {
		return nil, err
	}
	e.solves[img] = out
	return out, nil
}

func (e *evaluator) requestScope(s *scope) (*request.Scope, error) {
	if r := e.scopeSolves[s]; r != nil {
		return r, nil
	}
	section, err := e.solveOf(s.section, s.call.span)
	if err != nil {
		return nil, err
	}
	r := &request.Scope{Section: section, Exports: s.exports, Span: s.call.span}
	for _, imp := range s.imports {
		ri := request.Import{Entry: imp.entry}
		if imp.layout != nil {
			if ri.Layout, err = e.solveOf(imp.layout, s.call.span); err != nil {
				return nil, err
			}
		}
		r.Imports = append(r.Imports, ri)
	}
	e.scopeSolves[s] = r
	return r, nil
}
