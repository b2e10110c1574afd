// SPDX-License-Identifier: Apache-2.0

package ast

import "strings"

// Kind is the type of a value as written in the source: fs, string, int, bool, pipeline, or option::<call>.
type Kind string

// The kinds of the language.
const (
	FS       Kind = "fs"
	String   Kind = "string"
	Int      Kind = "int"
	Bool     Kind = "bool"
	Pipeline Kind = "pipeline"
	// Option alone is the kind of a block literal under `with` before the checker completes it to OptionOf(callee).
	Option Kind = "option"
	// Group is the deprecated spelling of Pipeline. The linter rewrites it before anything is checked.
	Group Kind = "group"
)

// OptionOf returns the kind of the options of the builtin called call.
func OptionOf(call string) Kind { return Option + "::" + Kind(call) }

// Primary returns the part of k before "::", or all of it.
func (k Kind) Primary() Kind {
	first, _, _ := strings.Cut(string(k), "::")
	return Kind(first)
}

// Secondary returns the part of k after "::", or "".
func (k Kind) Secondary() string {
	_, second, _ := strings.Cut(string(k), "::")
	return second
}
