// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"fmt"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
)

const referenceHead = `# Builtins of HLB

Written from the declarations in hlb/builtin by its tests, with -update. An effect, behind "binds", is a result that
"as" gives a name to. Those marked with * are additions of this project, which other implementations lack; a program may
define their names itself. What is said of the client's machine differs in an HLBBuild, see [HLB](../hlb.md).
`

// Reference returns the page that documents every builtin, in Markdown: the functions in the order of the synthetic
// file, each with its options.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, kind := range []ast.Kind{ast.FS, ast.String, ast.Pipeline} {
		fmt.Fprintf(&b, "\n## Functions of kind %s\n", kind)
		for _, f := range all {
			if f.Kind == kind {
				writeFunc(&b, f)
			}
		}
	}
	b.WriteString("\n## Options of options\n")
	for _, f := range all {
		if f.Kind.Primary() == ast.Option && len(optionsOf(f)) > 0 {
			writeFunc(&b, f)
		}
	}
	return b.String()
}

// writeFunc documents a builtin and lists its options.
func writeFunc(b *strings.Builder, f *Func) {
	fmt.Fprintf(b, "\n### %s%s\n\n```hlb\n%s\n```\n\n%s\n", f.Name, mark(f), f.signature, f.Doc())
	options := optionsOf(f)
	if len(options) > 0 {
		b.WriteString("\n| option | |\n|---|---|\n")
	}
	for _, o := range options {
		sig := strings.TrimPrefix(o.signature, string(o.Kind)+" ")
		fmt.Fprintf(b, "| `%s`%s | %s |\n", sig, mark(o), o.Doc())
	}
	fmt.Fprintf(b, "\n```hlb\n%s```\n", f.Example())
}

func mark(f *Func) string {
	if f.Extension {
		return " *"
	}
	return ""
}

// optionsOf returns the options of f, in the order of the synthetic file.
func optionsOf(f *Func) []*Func {
	var options []*Func
	for _, o := range all {
		if o.Kind == ast.OptionOf(f.Name) && !(f.Kind.Primary() == ast.Option && isFunction(f.Name)) {
			options = append(options, o)
		}
	}
	return options
}

// isFunction reports whether name is also a function, whose options are listed there: the option of the same name has
// none.
func isFunction(name string) bool {
	for _, f := range byName[name] {
		if f.Kind.Primary() != ast.Option {
			return true
		}
	}
	return false
}
