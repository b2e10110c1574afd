// SPDX-License-Identifier: Apache-2.0

package check

import (
	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// ObjectKind is the kind of thing that a name stands for.
type ObjectKind uint8

const (
	// BuiltinObject is a builtin function; Object.Builtin is set.
	BuiltinObject ObjectKind = iota + 1
	// FuncObject is a function of a module; Object.Func is set.
	FuncObject
	// ParamObject is a parameter of the function the name is used in; Object.Func and Object.Param are set.
	ParamObject
	// EffectObject is an entry of the `binds` clause of the function the name is used in. Nothing can set it: it is the
	// empty value of its kind. Object.Func and Object.Param are set.
	EffectObject
	// AliasObject is a name bound by `as`; Object.Func and Object.Alias are set.
	AliasObject
	// ImportObject is an import; Object.Import is set. No callee resolves to one in a program that checks.
	ImportObject
	// MemberObject is a member of an import that wasn't resolved yet; Object.Import is set. Info.Resolve replaces it
	// by what the name stands for in the imported module.
	MemberObject
	// BreakpointObject is the callee `breakpoint`: nothing about the call is checked, and it changes nothing.
	BreakpointObject
)

// Object is what a name stands for. One definition has one Object; compare them by pointer.
type Object struct {
	What    ObjectKind
	Name    string
	Kind    ast.Kind // of the value; "" for ImportObject, MemberObject and BreakpointObject
	Builtin *builtin.Func
	Func    *ast.Func   // the function itself, or the one that Param or Alias belong to
	Param   *ast.Param  // if Variadic, the name stands for any number of values
	Import  *ast.Import // the declaration
	Alias   *Alias
	Module  *Info     // the module that defines the name; nil for builtins and breakpoint
	Span    diag.Span // of the defining name; in <builtin> for builtins

	params []builtin.Param
}

// Alias is a binding of an effect to a module-level name. Its value is: run Func (whose parameters it takes) up to
// and including Stmt, completed with all arguments and options of that statement, and take Effect of Call.
type Alias struct {
	Func *ast.Func // the function it takes its parameters from
	// Stmt is the statement of Func's own body that the binding is in: Call itself, the call whose `with` block holds
	// Call, or a statement that has the block literal with one of these among its arguments or interpolations.
	Stmt ast.Stmt
	// Host is Call itself or, for a binding in a `with` block, the call with that block (the `run` of a bound mount).
	Host *ast.CallStmt
	// Block is the block Host is a statement of: Func.Body, or the body of a block literal under Stmt.
	Block *ast.Block
	// Call is the call with the `as`.
	Call   *ast.CallStmt
	Effect *builtin.Effect
	Target *ast.Ident
}

// Info is what checking found out about one module. It is complete except for members of imports, which Resolve fills
// in when the imported module is known. An Info may be read by many at once, but not while Resolve runs.
type Info struct {
	// Module is the tree that was checked: the source with deprecated forms replaced. Keys of the maps below are its
	// nodes.
	Module *ast.Module
	// Scope holds every module-level name.
	Scope map[string]*Object
	// Exported holds the names marked by `export`.
	Exported map[string]bool
	// Callees has what each callee stands for, of statements and of expressions, except below an unchecked breakpoint.
	Callees map[*ast.Name]*Object
	// BlockKinds holds the completed kind of each block literal written `option { … }`.
	BlockKinds map[*ast.BlockLit]ast.Kind
	// Aliases holds the bindings of each call, in source order. A call absent here has no `as`, or `as ()`.
	Aliases map[*ast.CallStmt][]*Object

	members map[*ast.Import][]*use // uses of members, in source order
	uses    map[*ast.Name]*use     // the same, by name
	imports map[*ast.Import]resolved
	locals  map[*ast.Func]map[string]*Object // parameters and effects, as Callees has them

	// What Replace goes by.
	complete  bool // all declarations were checked
	sound     bool // so, and no suggestion was left out
	distances int  // left to compute for suggestions
}

// Complete reports whether Module checked all declarations. It does not if a name of the module is wrong.
func (i *Info) Complete() bool { return i.complete }

// Callee returns what a call's callee stands for; nil below a breakpoint.
func (i *Info) Callee(n *ast.Name) *Object { return i.Callees[n] }

// BlockKind returns the kind of a block literal, completed if it is written `option { … }`.
func (i *Info) BlockKind(b *ast.BlockLit) ast.Kind {
	if k, ok := i.BlockKinds[b]; ok {
		return k
	}
	return b.Kind()
}

// Imports returns the imports that something in the module uses, in source order. Only these need to be resolved.
func (i *Info) Imports() []*ast.Import {
	var used []*ast.Import
	for _, d := range i.Module.Decls {
		if imp, ok := d.(*ast.Import); ok && len(i.members[imp]) > 0 {
			used = append(used, imp)
		}
	}
	return used
}

// Targets returns the names that can be built, functions and aliases, in no order.
func (i *Info) Targets() []string {
	var names []string
	for name, o := range i.Scope {
		if o.What == FuncObject || o.What == AliasObject {
			names = append(names, name)
		}
	}
	return names
}

// Imported returns what Resolve was given for imp, or nil.
func (i *Info) Imported(imp *ast.Import) *Info { return i.imports[imp].module }

// Params returns the signature of a callable object: kind, name and whether variadic. Parameters, effects, imports
// and unresolved members have none.
func (o *Object) Params() []builtin.Param {
	return o.params
}

func signature(f *ast.Func) []builtin.Param {
	params := make([]builtin.Param, len(f.Params.Params))
	for i, p := range f.Params.Params {
		params[i] = builtin.Param{Kind: p.Kind(), Name: p.Name.Name, Variadic: p.Variadic != nil}
	}
	return params
}
