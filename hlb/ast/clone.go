// SPDX-License-Identifier: Apache-2.0

package ast

// Clone returns a copy of m that shares no node with it, only the source and the comments, which nothing rewrites.
func Clone(m *Module) *Module {
	c := *m
	c.Decls = each(m.Decls, cloneDecl)
	return &c
}

func each[T any](list []T, clone func(T) T) []T {
	if list == nil {
		return nil
	}
	out := make([]T, len(list))
	for i, e := range list {
		out[i] = clone(e)
	}
	return out
}

// shallow copies what p points to; nil stays nil.
func shallow[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

func cloneDecl(d Decl) Decl {
	switch d := d.(type) {
	case *Import:
		c := *d
		c.Name, c.Operand = shallow(d.Name), cloneExpr(d.Operand)
		return &c
	case *Export:
		c := *d
		c.Name = shallow(d.Name)
		return &c
	case *Func:
		c := *d
		c.Type, c.Name = shallow(d.Type), shallow(d.Name)
		c.Params, c.Effects, c.Body = cloneParams(d.Params), cloneParams(d.Effects), cloneBlock(d.Body)
		return &c
	}
	return d
}

func cloneParams(l *ParamList) *ParamList {
	c := shallow(l)
	if c != nil {
		c.Params = each(l.Params, func(p *Param) *Param {
			q := *p
			q.Variadic, q.Type, q.Name = shallow(p.Variadic), shallow(p.Type), shallow(p.Name)
			return &q
		})
	}
	return c
}

func cloneBlock(b *Block) *Block {
	c := shallow(b)
	if c != nil {
		c.Stmts = each(b.Stmts, cloneStmt)
	}
	return c
}

func cloneStmt(s Stmt) Stmt {
	switch s := s.(type) {
	case *LitStmt:
		c := *s
		c.Value = cloneLiteral(s.Value)
		return &c
	case *CallStmt:
		c := *s
		c.Callee, c.Args, c.As = cloneName(s.Callee), each(s.Args, cloneExpr), cloneAs(s.As)
		if s.With != nil {
			c.With = &With{At: s.With.At, Operand: cloneExpr(s.With.Operand)}
		}
		return &c
	}
	return s
}

func cloneAs(a *As) *As {
	c := shallow(a)
	if c == nil {
		return nil
	}
	c.Name, c.List = shallow(a.Name), shallow(a.List)
	if c.List != nil {
		c.List.Binds = each(a.List.Binds, func(b *Bind) *Bind {
			return &Bind{At: b.At, Effect: shallow(b.Effect), Target: shallow(b.Target)}
		})
	}
	return c
}

func cloneName(n *Name) *Name {
	c := *n
	c.Ident, c.Member = shallow(n.Ident), shallow(n.Member)
	return &c
}

func cloneExpr(e Expr) Expr {
	switch e := e.(type) {
	case *BlockLit:
		return &BlockLit{At: e.At, Type: shallow(e.Type), Body: cloneBlock(e.Body)}
	case *CallExpr:
		c := *e
		c.Callee, c.List = cloneName(e.Callee), shallow(e.List)
		if c.List != nil {
			c.List.Args = each(e.List.Args, cloneExpr)
		}
		return &c
	case Literal:
		return cloneLiteral(e)
	}
	return e
}

func cloneLiteral(l Literal) Literal {
	switch l := l.(type) {
	case *IntLit:
		return shallow(l)
	case *BoolLit:
		return shallow(l)
	case *RawStringLit:
		return shallow(l)
	case *StringLit:
		return &StringLit{At: l.At, Parts: each(l.Parts, clonePart)}
	case *HeredocLit:
		c := *l
		c.Parts = each(l.Parts, clonePart)
		return &c
	}
	return l
}

func clonePart(p Part) Part {
	if in, ok := p.(*Interp); ok {
		return &Interp{At: in.At, Value: cloneExpr(in.Value)}
	}
	return p
}
