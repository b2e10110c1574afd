// SPDX-License-Identifier: Apache-2.0

// Package hlbtest makes HLB programs for tests and benchmarks, and renders diagnostics for comparison.
package hlbtest

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// Module draws the text of a module that parses, in any layout. It needn't check.
func Module(t *rapid.T) string {
	g := &generator{t: t}
	for range g.n("declarations", 4) {
		g.decl()
		g.emit(g.pick("\n", "\n\n\n", " ", " # after\n", "\n# alone\n", "\r\n"))
	}
	return g.out.String()
}

// Soup draws text made of pieces of the language in any order, most of which doesn't parse.
func Soup(t *rapid.T) string {
	pieces := append([]string{
		"fs", "a", "(", ")", "{", "}", "${", "\"", "`", "<<-X", "X", "<<`X`", ";", "\n", "#", " ", ",", ".", "with",
		"as", "import", "from",
		"export", "0x1", "017", "1", "\\", "\\$", "$", "option::run", "true", "é", "\x00", "\xff", "binds", "variadic",
		"\r", "\t", "scratch",
	}, Seeds()...)
	var b strings.Builder
	for range rapid.IntRange(0, 40).Draw(t, "pieces") {
		b.WriteString(rapid.SampledFrom(pieces).Draw(t, "piece"))
	}
	return b.String()
}

// Seeds returns short programs that use every form of the language.
func Seeds() []string {
	return []string{
		"fs default() {\n\timage \"alpine\"\n\trun \"echo ${string { \"x\"; }}\" with option {\n\t\tmount scratch \"/o\" as out\n\t}\n}\n",
		"import m from fs { local \".\" }\nexport x\nfs x(string a, variadic fs b) binds (fs c) { m.f a b; breakpoint }\n",
		"string s() {\n\t<<-EOM\n\t\ta ${v} \\${w} x\\$y\n\tEOM\n}\nstring r() { <<~`T` a T }\n",
		"option::run o(fs s) { mount s \"/\" with cache(\"i\", \"shared\"); env `K` \"\\t\\\"\" }\n",
		"import m \"p\"\ngroup g() { parallel fs { scratch; } group { parallel m.x(1, # c\n 0o7) }; }\n",
		"string m() { manifest \"r\" as (digest d, config c); }\nfs b(bool v)\n",
	}
}

type generator struct {
	t     *rapid.T
	out   strings.Builder
	depth int
}

func (g *generator) n(label string, most int) int {
	return rapid.IntRange(0, most).Draw(g.t, label)
}

func (g *generator) pick(choices ...string) string {
	return rapid.SampledFrom(choices).Draw(g.t, "choice")
}

func (g *generator) emit(texts ...string) {
	for _, text := range texts {
		g.out.WriteString(text)
	}
}

// deeper reports whether to nest further; the chance falls with the depth.
func (g *generator) deeper() bool { return g.depth < 4 && g.n("deeper", 2) > 0 }

func (g *generator) ident() string {
	return g.pick("a", "b", "image", "run", "scratch", "from", "binds", "variadic", "2nd", "a:b", "parallel", "mount",
		"017")
}

func (g *generator) kind() string {
	return g.pick("fs", "string", "int", "bool", "pipeline", "group", "option::run", "option", "foo")
}

func (g *generator) decl() {
	switch g.n("declaration", 5) {
	case 0:
		g.emit("import ", g.ident(), " ")
		if g.n("deprecated", 1) == 0 {
			g.emit("from ")
			g.expr()
		} else {
			g.emit(`"p"`)
		}
	case 1:
		g.emit("export ", g.ident())
	default:
		g.emit(g.kind(), " ", g.ident())
		g.params()
		if g.n("effects", 4) == 0 {
			g.emit(" binds ")
			g.params()
		}
		if g.n("body", 5) > 0 {
			g.emit(" ")
			g.block()
		}
	}
}

// gap separates the elements of a parenthesised list.
func (g *generator) gap() string {
	return g.pick(", ", " ", "\n", ",\n", ", # why\n", "\n\n# alone\n\t", ",") + " "
}

func (g *generator) params() {
	g.emit("(", g.pick("", "\n", " "))
	for range g.n("parameters", 3) {
		g.emit(g.pick("", "variadic "), g.kind(), " ", g.ident(), g.gap())
	}
	g.emit(")")
}

func (g *generator) block() {
	g.depth++
	defer func() { g.depth-- }()
	g.emit("{", g.pick("", " ", "\n\t", " # first\n"))
	for range g.n("statements", 3) {
		g.stmt()
		g.emit(g.pick(";", "\n", " ;\n", " # last\n", "\n\n\n", "; ", "\n# own\n"))
	}
	g.emit("}")
}

func (g *generator) stmt() {
	if g.n("literal", 4) == 0 {
		g.literal()
		return
	}
	g.emit(g.name())
	for range g.n("arguments", 3) {
		g.emit(" ")
		g.expr()
	}
	if g.n("with", 2) == 0 {
		g.emit(" with ")
		g.expr()
	}
	switch g.n("as", 6) {
	case 0:
		g.emit(" as ", g.ident())
	case 1:
		g.emit(" as (", g.pick("", "\n"))
		for range g.n("bindings", 2) {
			g.emit("digest ", g.ident(), g.gap())
		}
		g.emit(")")
	}
}

func (g *generator) name() string { return g.pick(g.ident(), "m.f", "m.with") }

func (g *generator) expr() {
	switch {
	case !g.deeper() || g.n("expression", 3) == 0:
		g.literal()
	case g.n("block", 1) == 0:
		g.emit(g.kind(), g.pick("", " "))
		g.block()
	default:
		g.emit(g.name())
		if g.n("list", 1) == 0 {
			g.depth++
			g.emit(g.pick("(", " (", "(\n"))
			for range g.n("arguments", 3) {
				g.expr()
				g.emit(g.gap())
			}
			g.emit(")")
			g.depth--
		}
	}
}

func (g *generator) literal() {
	switch g.n("literal", 6) {
	case 0:
		g.emit(g.pick("0", "10", "0xfF", "0O17", "0b1"))
	case 1:
		g.emit(g.pick("true", "false"))
	case 2:
		g.emit("`", g.pick("", "a ${b} \\n", "x\n\ty"), "`")
	case 3:
		g.emit("<<", g.pick("", "-", "~"), "`TAG`", g.pick("\n\t\tx ${y}\n\t", " in line ", "\n   y\n  "), "TAG")
	case 4:
		g.emit("<<", g.pick("", "-", "~"), "TAG", g.pick("\n\t\t", " ", "\n"))
		g.parts("x ", "\n\t", `\$y `, `a\${b} `, `\n `, "$ ", "\n\n")
		g.emit(g.pick("\n\t", "\n    ", "\n", "\n \t"), "TAG")
	default:
		g.emit(`"`)
		g.parts("x", "\n", `\$`, `\"`, "$", "# ", "é")
		g.emit(`"`)
	}
}

func (g *generator) parts(texts ...string) {
	for range g.n("parts", 3) {
		if g.n("interpolation", 3) == 0 && g.deeper() {
			g.emit("${", g.pick("", " "))
			g.expr()
			g.emit("}")
			continue
		}
		g.emit(g.pick(texts...))
	}
}

// Program returns a program of about the given number of lines that checks, the same one for the same number: functions
// that call each other up to ten deep, options, heredocs and aliases, as a large repository of build files would have.
// Its target default reaches all of them.
func Program(lines int) []byte {
	var b, all strings.Builder
	steps := max(1, (lines-4)/linesPerStep)
	for i := range steps {
		next := fmt.Sprintf("step%d", i+1)
		if i%10 == 9 || i == steps-1 {
			next = "leaf"
		}
		if i%10 == 0 {
			fmt.Fprintf(&all, "\tcopy step%d(\"v%d\") \"/\" \"/%d\"\n", i, i, i)
		}
		fmt.Fprintf(&b, step, i, next)
	}
	return []byte("fs leaf(string version) { scratch; }\n\n" + b.String() + "fs default() {\n" + all.String() + "}\n")
}

const linesPerStep = 20

// step is one function of a generated program: its number and the function it calls.
const step = `# step%[1]d builds version of part %[1]d.
fs step%[1]d(string version) {
	image "docker.io/library/golang:1.%[1]d"
	run "go build -o /out/part%[1]d ./cmd/part%[1]d" with option {
		dir "/src"
		env "VERSION" "${version}-%[1]d"
		mount fs { git "https://example.com/part%[1]d.git" "main"; } "/src"
		mount scratch "/root/.cache/go-build" with cache("go-build", "shared")
		mount scratch "/out" as part%[1]d
	}
	mkfile "/etc/part%[1]d" 0o644 <<-EOM
		name=part%[1]d
		version=${version}
	EOM
	copy %[2]s(string {
		format "%%s.%%s" version "%[1]d"
	}) "/" "/deps" with createDestPath
}

`

// Places renders diagnostics as CODE LINE:COLUMN, nil if there are none.
func Places(l diag.List) []string {
	var out []string
	for _, d := range l {
		out = append(out, fmt.Sprintf("%s %d:%d", d.Code, d.Primary.Start.Line, d.Primary.Start.Column))
	}
	return out
}
