// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	_ "embed" // of docs.txt and examples.txt
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

// examples has a program for every function, and for every option with options of its own, that uses all of these.
//
//go:embed examples.txt
var examples string

const exampleHead = "=== "

// exampleOf holds the programs of examples.
var exampleOf = func() map[key]string {
	texts := map[key]string{}
	for part := range strings.SplitSeq("\n"+examples, "\n"+exampleHead) {
		head, text, _ := strings.Cut(part, "\n")
		kind, name, _ := strings.Cut(head, " ")
		texts[key{ast.Kind(kind), name}] = strings.TrimSpace(text) + "\n"
	}
	delete(texts, key{}) // what stands before the first one
	return texts
}()

// Example returns a program that uses f and all of its options, empty for options without options.
func (f *Func) Example() string { return exampleOf[key{f.Kind, f.Name}] }

// Doc returns what f does, as one or a few sentences of Markdown.
func (f *Func) Doc() string { return docOf[key{f.Kind, f.Name}] }
