// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// Bounds that keep a step cheap. Texts that matter here are ids, paths and references, far shorter than maxText.
const (
	maxText    = 4 << 10 // bytes of a known text; a longer one counts as unknown
	maxOptions = 4 << 10 // options in one list
	maxDepth   = 200     // calls within calls
	maxListed  = 4 << 10 // things found of all sorts
)

// value is what an expression may come to. A filesystem or pipeline is the zero value: only what is found on the way
// counts.
type value struct {
	text  string // of a string, int or bool
	known bool
	opts  []option
}

func (v value) public() Value {
	if !v.known {
		return Value{}
	}
	return Value{Text: v.text, Known: true}
}

func text(s string) value {
	if len(s) > maxText {
		return value{}
	}
	return value{text: s, known: true}
}

// option is one element of a list of options.
type option struct {
	fn   *builtin.Func
	args []value
	with []option
	at   diag.Span
}

// run is the state of the analysis of one target.
type run struct {
	opts    Options
	out     Target
	fuel    int
	memo    map[callKey]*memo
	ids     map[any]uint64 // of functions and aliases, for keys
	imports map[*ast.Import]bool
}

// callKey stands for a function and its arguments. Equal calls find nothing new, which keeps a tree of calls that
// doubles at each level linear.
type callKey [sha256.Size]byte

type memo struct {
	done   bool
	result value
}

// frame is one call of a function.
type frame struct {
	info   *check.Info
	params map[*ast.Param][]value // several values for a variadic parameter
	depth  int
}

// spend takes n units of fuel and reports whether there is any left.
func (r *run) spend(n int) bool {
	r.fuel -= n
	if r.fuel <= 0 {
		r.out.Complete = false
		return false
	}
	return true
}

// call runs a function or alias on the current value cur.
func (r *run) call(obj *check.Object, args []value, cur value, depth int) value {
	key := r.key(obj, args, cur)
	if m := r.memo[key]; m != nil {
		r.out.Complete = r.out.Complete && m.done // else it calls itself
		return m.result
	}
	if obj.Func == nil { // an alias outside of functions, which is an error
		r.out.Complete = false
		return value{}
	}
	if depth > maxDepth || !r.spend(1) || r.listed() > maxListed {
		r.out.Complete = false
		return value{}
	}
	m := &memo{}
	r.memo[key] = m
	fr := &frame{info: obj.Module, params: bind(obj.Func, args), depth: depth + 1}
	var until ast.Stmt
	if obj.What == check.AliasObject {
		until = obj.Alias.Stmt
	}
	if obj.Func.Body != nil {
		cur = r.block(fr, obj.Func.Body, cur, until)
	}
	if obj.What == check.AliasObject {
		cur = value{} // a filesystem, or a text that is known only to the build
	}
	m.done, m.result = true, cur
	return cur
}

func (r *run) listed() int {
	o := &r.out
	return len(
		o.CacheMounts,
	) + len(
		o.Images,
	) + len(
		o.Gits,
	) + len(
		o.HTTPS,
	) + len(
		o.Locals,
	) + len(
		o.Exports,
	) + len(
		o.Imports,
	)
}

// bind gives each parameter of f its values.
func bind(f *ast.Func, args []value) map[*ast.Param][]value {
	params := make(map[*ast.Param][]value, len(f.Params.Params))
	for i, p := range f.Params.Params {
		switch {
		case p.Variadic != nil:
			params[p] = args[min(i, len(args)):]
		case i < len(args):
			params[p] = args[i : i+1]
		}
	}
	return params
}

// block runs statements on cur, up to and including until if that isn't nil.
func (r *run) block(fr *frame, b *ast.Block, cur value, until ast.Stmt) value {
	for _, s := range b.Stmts {
		if !r.spend(1) {
			return value{}
		}
		switch s := s.(type) {
		case *ast.LitStmt:
			cur = r.expr(fr, s.Value)
		case *ast.CallStmt:
			cur = r.use(fr, site{name: s.Callee, args: s.Args, with: s.With, at: s.Span()}, cur)
		}
		if s == until {
			break
		}
	}
	return cur
}

// expr runs an expression, from the empty value of its kind.
func (r *run) expr(fr *frame, e ast.Expr) value {
	if !r.spend(1) {
		return value{}
	}
	switch e := e.(type) {
	case *ast.BlockLit:
		return r.block(fr, e.Body, value{}, nil)
	case *ast.CallExpr:
		return r.use(fr, site{name: e.Callee, args: e.Args(), at: e.Span()}, value{})
	default:
		return r.literal(fr, e)
	}
}

// site is a use of a function.
type site struct {
	name *ast.Name
	args []ast.Expr
	with *ast.With
	at   diag.Span
}

// use runs what a callee stands for on the current value.
func (r *run) use(fr *frame, s site, cur value) value {
	obj := fr.info.Callee(s.name)
	if obj == nil {
		return value{}
	}
	if s.name.Member != nil {
		r.imported(fr, s.name)
	}
	switch obj.What {
	case check.BreakpointObject:
		return cur
	case check.ParamObject:
		return r.param(fr.params[obj.Param], obj.Kind, cur)
	case check.FuncObject, check.AliasObject:
		args := r.args(fr, s.args)
		if obj.Kind.Primary() == ast.Option {
			return r.join(cur, r.call(obj, args, value{}, fr.depth))
		}
		return r.call(obj, args, cur, fr.depth)
	case check.BuiltinObject:
		return r.builtin(fr, obj.Builtin, s, cur)
	case check.MemberObject:
		r.args(fr, s.args)
		r.out.Complete = false
	}
	return value{}
}

// param is a parameter as a callee: options are added to the current ones, any other value replaces what was there.
func (r *run) param(values []value, kind ast.Kind, cur value) value {
	if kind.Primary() == ast.Option {
		for _, v := range values {
			cur = r.join(cur, v)
		}
		return cur
	}
	if len(values) == 0 {
		return value{}
	}
	return values[len(values)-1]
}

// join appends the options of more to those of v.
func (r *run) join(v, more value) value {
	if len(v.opts)+len(more.opts) > maxOptions || !r.spend(len(more.opts)) {
		r.out.Complete = false
		return v
	}
	v.opts = append(v.opts[:len(v.opts):len(v.opts)], more.opts...)
	return v
}

// args runs arguments; a variadic parameter among them stands for all its values.
func (r *run) args(fr *frame, exprs []ast.Expr) []value {
	var args []value
	for _, e := range exprs {
		if call, ok := e.(*ast.CallExpr); ok {
			if obj := fr.info.Callee(call.Callee); obj != nil && obj.What == check.ParamObject &&
				obj.Param.Variadic != nil {
				if r.spend(len(fr.params[obj.Param])) {
					args = append(args, fr.params[obj.Param]...)
				}
				continue
			}
		}
		args = append(args, r.expr(fr, e))
	}
	return args
}

// imported runs the operand of an import when a member of it is used first.
func (r *run) imported(fr *frame, n *ast.Name) {
	obj := fr.info.Scope[n.Ident.Name]
	if obj == nil || obj.Import == nil || r.imports[obj.Import] {
		return
	}
	imp := obj.Import
	r.imports[imp] = true
	module := r.expr(&frame{info: fr.info, depth: fr.depth + 1}, imp.Operand)
	if fr.info.Imported(imp) == nil {
		r.out.Imports = r.addRef(r.out.Imports, module, imp.Operand.Span())
	}
}

// key digests a call. Every part carries its length, so different calls have different digests.
func (r *run) key(obj *check.Object, args []value, cur value) callKey {
	h := sha256.New()
	var id any = obj.Func
	if obj.What == check.AliasObject {
		id = obj
	}
	if r.ids[id] == 0 {
		r.ids[id] = uint64(len(r.ids)) + 1
	}
	number(h, r.ids[id])
	r.digest(h, cur)
	r.digestAll(h, args)
	return callKey(h.Sum(nil))
}

func number(h hash.Hash, n uint64) { h.Write(binary.LittleEndian.AppendUint64(nil, n)) }

func (r *run) digestAll(h hash.Hash, values []value) {
	number(h, uint64(len(values)))
	for _, v := range values {
		r.digest(h, v)
	}
}

func (r *run) digest(h hash.Hash, v value) {
	if v.known {
		number(h, uint64(len(v.text))+1)
		h.Write([]byte(v.text))
	} else {
		number(h, 0)
	}
	r.digestOptions(h, v.opts)
}

func (r *run) digestOptions(h hash.Hash, opts []option) {
	number(h, uint64(len(opts)))
	for _, o := range opts {
		if !r.spend(1) {
			return
		}
		h.Write([]byte(o.fn.Signature()))
		r.digestAll(h, o.args)
		r.digestOptions(h, o.with)
	}
}
