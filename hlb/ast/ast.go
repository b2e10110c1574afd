// SPDX-License-Identifier: Apache-2.0

// Package ast holds the syntax tree of HLB. Every node knows its span, and lists keep the comments written inside
// them, so a formatter can print what the parser read. A tree is never changed once built; passes that rewrite work
// on a Clone.
package ast

import "github.com/openllb/hlb-operator/hlb/diag"

// Node is any node of the tree.
type Node interface {
	// Span is the stretch of source the node was read from, without trailing terminators and comments.
	Span() diag.Span
}

// At gives a node its span.
type At struct{ Where diag.Span }

// Span returns where the node stands.
func (a At) Span() diag.Span { return a.Where }

// Module is one file.
type Module struct {
	At
	File     string
	Source   []byte
	Decls    []Decl     // in source order
	Comments []*Comment // those directly at module level, in source order
}

// Comment is one `#` remark, without its newline. Text starts with "#" and carries no trailing blanks.
type Comment struct {
	At
	Text string
}

// Ident is one identifier. Name may hold colons, as in "option::run".
type Ident struct {
	At
	Name string
}

// Decl is a declaration: *Import, *Export or *Func.
type Decl interface {
	Node
	decl()
}

// Import names a module. It is `import Name from Operand`, or in its deprecated form `import Name "path"`.
type Import struct {
	At
	Name       *Ident
	Deprecated bool // no `from`; Operand is a *StringLit then
	Operand    Expr // of kind string or fs
}

// Export makes a name of this module usable by modules that import it.
type Export struct {
	At
	Name *Ident
}

// Func declares a function.
type Func struct {
	At
	Doc     string // text of the comment group that ends directly above, without "#"; lines joined by "\n"
	Type    *Ident
	Name    *Ident
	Params  *ParamList
	Effects *ParamList // of the `binds` clause; nil without one
	Body    *Block     // nil if only the signature is declared
}

// Kind is the kind of the function's value as declared.
func (f *Func) Kind() Kind { return Kind(f.Type.Name) }

// Variadic reports whether the last parameter takes any number of values.
func (f *Func) Variadic() bool {
	n := len(f.Params.Params)
	return n > 0 && f.Params.Params[n-1].Variadic != nil
}

// ParamList is a parenthesised list of parameters or effects.
type ParamList struct {
	At
	Params   []*Param
	Comments []*Comment
}

// Param is one parameter of a function, or one effect of its `binds` clause.
type Param struct {
	At
	Variadic *Ident // the word `variadic`; nil without it
	Type     *Ident
	Name     *Ident
}

// Kind is the kind of the parameter as declared; for a variadic one, of each value.
func (p *Param) Kind() Kind { return Kind(p.Type.Name) }

// Block is a braced list of statements.
type Block struct {
	At
	Stmts    []Stmt
	Comments []*Comment
}

// Stmt is a statement: *CallStmt or *LitStmt.
type Stmt interface {
	Node
	stmt()
}

// LitStmt is a literal as a statement: it becomes the value of its block.
type LitStmt struct {
	At
	Value Literal
}

// CallStmt calls a function on the current value of its block.
type CallStmt struct {
	At
	Doc    string // as in Func; documents the aliases bound by the call
	Callee *Name
	Args   []Expr
	With   *With // nil without options
	As     *As   // nil without bindings
}

// Name is what stands for a function: `Ident`, or `Ident.Member` for a member of an import.
type Name struct {
	At
	Ident  *Ident
	Member *Ident    // nil for a name of this module
	Dot    diag.Span // of the dot and the member; zero without one
}

// String renders n as written.
func (n *Name) String() string {
	if n.Member == nil {
		return n.Ident.Name
	}
	return n.Ident.Name + "." + n.Member.Name
}

// With is the options clause of a call. Operand is a *BlockLit or a *CallExpr in programs that check.
type With struct {
	At
	Operand Expr
}

// As binds effects of a call to names of the module.
type As struct {
	At             // from the word `as` to the last name or parenthesis
	Word diag.Span // of the word `as` alone
	Name *Ident    // of the form `as name`, which binds the first effect; else nil
	List *BindList // of the form `as (effect name, …)`; else nil
}

// BindList is the parenthesised form of a binding. It may be empty.
type BindList struct {
	At
	Binds    []*Bind
	Comments []*Comment
}

// Bind gives the name Target to an effect.
type Bind struct {
	At
	Effect *Ident
	Target *Ident
}

// Expr is an expression: *BlockLit, *CallExpr or a Literal.
type Expr interface {
	Node
	expr()
}

// BlockLit is a block with its kind, such as `fs { … }`.
type BlockLit struct {
	At
	Type *Ident
	Body *Block
}

// Kind is the kind as written; under `with` a bare "option" is completed by the checker (check.Info.BlockKind).
func (b *BlockLit) Kind() Kind { return Kind(b.Type.Name) }

// CallExpr calls a function for its value.
type CallExpr struct {
	At
	Callee *Name
	List   *ArgList // nil if written without parentheses
}

// Args are the arguments; nil if there are none.
func (c *CallExpr) Args() []Expr {
	if c.List == nil {
		return nil
	}
	return c.List.Args
}

// ArgList is a parenthesised list of arguments.
type ArgList struct {
	At
	Args     []Expr
	Comments []*Comment
}

func (*Import) decl() {}
func (*Export) decl() {}
func (*Func) decl()   {}

func (*LitStmt) stmt()  {}
func (*CallStmt) stmt() {}

func (*BlockLit) expr() {}
func (*CallExpr) expr() {}
