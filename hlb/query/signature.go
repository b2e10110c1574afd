// SPDX-License-Identifier: Apache-2.0

package query

import "github.com/openllb/hlb-operator/hlb/syntax"

// Call is the call that an argument is being written of.
type Call struct {
	Label  string // the signature
	Params []Stretch
	Active int // index of the parameter that is being written; len(Params) if there is none for it
	Doc    string
}

// Stretch is a part of a label, in bytes.
type Stretch struct{ Start, End int }

// SignatureAt returns the innermost call that an offset is in the arguments of.
func (f *File) SignatureAt(offset int) (Call, bool) {
	c := f.cursorAt(offset)
	for i := len(c.frames) - 1; i >= 0; i-- {
		fr := c.frames[i]
		if fr.open == syntax.OpenString || fr.open == syntax.OpenInterp {
			continue
		}
		o := c.callee(fr)
		if o == nil || fr.clause != "" || len(o.Params()) == 0 {
			return Call{}, false
		}
		arg := fr.args
		if i < len(c.frames)-1 || c.inText {
			arg-- // it is in the argument that was begun
		}
		list := o.Params()
		if last := len(list) - 1; list[last].Variadic {
			arg = min(arg, last)
		}
		call := Call{Label: Signature(o), Active: min(arg, len(list)), Doc: Describe(o)}
		at := len(string(o.Kind)) + len(" ") + len(o.Name) + len("(")
		for _, label := range paramLabels(list) {
			call.Params = append(call.Params, Stretch{at, at + len(label)})
			at += len(label) + len(", ")
		}
		return call, true
	}
	return Call{}, false
}
