// SPDX-License-Identifier: Apache-2.0

package grammar

import "strings"

const treeSitterHead = `; Colors of HLB for tree-sitter.
; Written from the declarations in hlb/builtin by the tests of hlb/grammar, with -update.

(comment) @comment

[(string) (raw_string) (heredoc) (raw_heredoc)] @string
(escape) @string.escape
(interpolation "${" @punctuation.special "}" @punctuation.special)

(number) @number
(boolean) @boolean

[KEYWORDS] @keyword

(kind) @type

(function name: (identifier) @function)
(parameter name: (identifier) @variable.parameter)
(import name: (identifier) @module)
(export name: (identifier) @function)
(as name: (identifier) @variable)
(binding effect: (identifier) @property)
(binding name: (identifier) @variable)

(name (identifier) @function.call)
(name (member) @function.call)
`

// TreeSitter returns the query for colors of the tree-sitter grammar.
func TreeSitter() []byte {
	quoted := func(names []string) string { return `"` + strings.Join(names, `" "`) + `"` }
	words := append(append([]string{}, keywords...), soft...)
	var b strings.Builder
	b.WriteString(strings.Replace(treeSitterHead, "KEYWORDS", quoted(words), 1))
	known := func(capture string, names []string) {
		b.WriteString("\n((name . (identifier) @" + capture + ")\n")
		b.WriteString("  (#any-of? @" + capture + " " + quoted(names) + "))\n")
	}
	known("function.builtin", functions())
	known("property", options())
	return []byte(b.String())
}
