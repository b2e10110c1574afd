// SPDX-License-Identifier: Apache-2.0

package walls

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
)

// Bounds of source that people read. Past the first two there is a concern that wants a file or a function of its own.
const (
	maxFileLines = 400
	maxFuncLines = 60 // production code only: a test's table may be long
	maxColumns   = 120
	tabWidth     = 4
	// longLiteral is the width in columns from which a string literal excuses its line: a break beside it gains
	// nothing, and a break within it hides what is compared.
	longLiteral = 80
)

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// Source lists what is too long in a Go file, each as a sentence that begins with the name and the line. Generated
// files have no findings, files that can't be parsed have that one.
func Source(name string, text []byte) []string {
	if generated.Match(text) {
		return nil
	}
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, name, text, parser.ParseComments)
	if err != nil {
		return []string{fmt.Sprintf("%s:1: %v", name, err)}
	}
	var found []string
	if lines := bytes.Count(text, []byte("\n")); lines > maxFileLines {
		found = append(found, fmt.Sprintf("%s:1: %d lines, more than %d: find the concern that wants a file of its own",
			name, lines, maxFileLines))
	}
	if !strings.HasSuffix(name, "_test.go") {
		found = append(found, longFunctions(files, parsed)...)
	}
	excused := literalLines(files, parsed)
	for i, line := range strings.Split(string(text), "\n") {
		if columns := columnsOf(line); columns > maxColumns && !excused[i+1] && !isMarker(line) {
			found = append(found, fmt.Sprintf("%s:%d: %d columns, more than %d", name, i+1, columns, maxColumns))
		}
	}
	return found
}

func longFunctions(files *token.FileSet, parsed *ast.File) []string {
	var found []string
	for _, decl := range parsed.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		at := files.Position(fn.Pos())
		if lines := files.Position(fn.End()).Line - at.Line + 1; lines > maxFuncLines {
			found = append(found, fmt.Sprintf("%s:%d: %s has %d lines, more than %d: find the part that wants a name",
				at.Filename, at.Line, fn.Name.Name, lines, maxFuncLines))
		}
	}
	return found
}

// literalLines are the lines that may be wide because of their text: those with a long string literal, all of a raw
// string that spans lines, and the wanted output of an example.
func literalLines(files *token.FileSet, parsed *ast.File) map[int]bool {
	lines := map[int]bool{}
	for _, group := range parsed.Comments {
		if strings.HasPrefix(group.Text(), "Output:") {
			for line := files.Position(group.Pos()).Line; line <= files.Position(group.End()).Line; line++ {
				lines[line] = true
			}
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		first, last := files.Position(lit.Pos()).Line, files.Position(lit.End()).Line
		for line := first; line <= last; line++ {
			lines[line] = lines[line] || last > first || columnsOf(lit.Value) > longLiteral
		}
		return true
	})
	return lines
}

// isMarker reports whether a line is a directive, which has to stay on one line.
func isMarker(line string) bool {
	text, comment := strings.CutPrefix(strings.TrimSpace(line), "//")
	return comment && (strings.HasPrefix(text, " +kubebuilder:") || strings.HasPrefix(text, "go:"))
}

func columnsOf(line string) int {
	columns := 0
	for _, r := range line {
		if r == '\t' {
			columns += tabWidth - columns%tabWidth
		} else {
			columns++
		}
	}
	return columns
}

// Prose lists the lines of a Markdown page that are too wide, as Source does. Tables and code blocks can't be wrapped.
func Prose(name, text string) []string {
	var found []string
	code := false
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
		}
		if columns := columnsOf(line); columns > maxColumns && !code && !strings.HasPrefix(line, "|") {
			found = append(found, fmt.Sprintf("%s:%d: %d columns, more than %d", name, i+1, columns, maxColumns))
		}
	}
	return found
}
