// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	_ "embed" // of docs.txt
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
)

// docs has the documentation of every builtin, one a line: kind, name and text.
//
//go:embed docs.txt
var docs string

// docOf holds the lines of docs.
var docOf = func() map[key]string {
	texts := map[key]string{}
	for line := range strings.Lines(docs) {
		head, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		kind, name, _ := strings.Cut(head, " ")
		texts[key{ast.Kind(kind), name}] = text
	}
	return texts
}()

// Doc returns what f does, as one or a few sentences of Markdown.
func (f *Func) Doc() string { return docOf[key{f.Kind, f.Name}] }
