// SPDX-License-Identifier: Apache-2.0

package ast

import "github.com/openllb/hlb-operator/hlb/diag"

// Shift moves a declaration, with its comments, by whole lines: it is for editors, which keep the declarations below a
// change. Nobody else may use the tree meanwhile.
func Shift(d Decl, by diag.Shift) {
	Inspect(d, func(n Node) bool {
		n.(interface{ move(diag.Shift) }).move(by)
		switch n := n.(type) {
		case *ParamList:
			ShiftComments(n.Comments, by)
		case *Block:
			ShiftComments(n.Comments, by)
		case *BindList:
			ShiftComments(n.Comments, by)
		case *ArgList:
			ShiftComments(n.Comments, by)
		case *Name:
			n.Dot = by.Span(n.Dot)
		case *As:
			n.Word = by.Span(n.Word)
		}
		return true
	})
}

// ShiftComments moves comments by whole lines.
func ShiftComments(list []*Comment, by diag.Shift) {
	for _, c := range list {
		c.move(by)
	}
}

func (a *At) move(by diag.Shift) { a.Where = by.Span(a.Where) }
