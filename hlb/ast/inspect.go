// SPDX-License-Identifier: Apache-2.0

package ast

// Inspect calls visit for n and everything below it, in source order, parents first. Where visit returns false, what
// is below that node is left out. Comments aren't visited.
func Inspect(n Node, visit func(Node) bool) {
	if !visit(n) {
		return
	}
	switch n := n.(type) {
	case *Module:
		inspectAll(n.Decls, visit)
	case *Import:
		inspectSome(visit, n.Name)
		Inspect(n.Operand, visit)
	case *Export:
		inspectSome(visit, n.Name)
	case *Func:
		inspectSome(visit, n.Type, n.Name)
		inspectSome(visit, n.Params, n.Effects)
		inspectSome(visit, n.Body)
	case *ParamList:
		inspectAll(n.Params, visit)
	case *Param:
		inspectSome(visit, n.Variadic, n.Type, n.Name)
	case *Block:
		inspectAll(n.Stmts, visit)
	case *LitStmt:
		Inspect(n.Value, visit)
	case *CallStmt:
		inspectCall(n, visit)
	case *With:
		Inspect(n.Operand, visit)
	case *As:
		inspectSome(visit, n.Name)
		inspectSome(visit, n.List)
	case *BindList:
		inspectAll(n.Binds, visit)
	case *Bind:
		inspectSome(visit, n.Effect, n.Target)
	default:
		inspectExpr(n, visit)
	}
}

func inspectCall(n *CallStmt, visit func(Node) bool) {
	Inspect(n.Callee, visit)
	inspectAll(n.Args, visit)
	inspectSome(visit, n.With)
	inspectSome(visit, n.As)
}

func inspectExpr(n Node, visit func(Node) bool) {
	switch n := n.(type) {
	case *Name:
		inspectSome(visit, n.Ident, n.Member)
	case *BlockLit:
		inspectSome(visit, n.Type)
		inspectSome(visit, n.Body)
	case *CallExpr:
		Inspect(n.Callee, visit)
		inspectSome(visit, n.List)
	case *ArgList:
		inspectAll(n.Args, visit)
	case *StringLit:
		inspectAll(n.Parts, visit)
	case *HeredocLit:
		inspectAll(n.Parts, visit)
	case *Interp:
		Inspect(n.Value, visit)
	}
}

func inspectAll[T Node](list []T, visit func(Node) bool) {
	for _, n := range list {
		Inspect(n, visit)
	}
}

// inspectSome visits those of nodes that aren't nil.
func inspectSome[T any, P interface {
	*T
	Node
}](visit func(Node) bool, nodes ...P) {
	for _, n := range nodes {
		if n != nil {
			Inspect(n, visit)
		}
	}
}
