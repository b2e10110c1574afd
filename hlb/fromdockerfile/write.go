// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"slices"
	"strings"

	"github.com/openllb/hlb-operator/hlb/builtin"
)

// call is a call of a function or option, with its own options.
type call struct {
	name string
	args []string // expressions
	with []call
}

func called(name string, args ...string) call { return call{name: name, args: args} }

// and returns the call with more options.
func (c call) and(opts ...call) call {
	c.with = append(slices.Clone(c.with), opts...)
	return c
}

// statement writes a call as a statement.
func (c call) statement() string {
	s := strings.Join(append([]string{c.name}, c.args...), " ")
	switch {
	case len(c.with) == 0:
		return s
	case len(c.with) == 1 && len(c.with[0].with) == 0:
		return s + " with " + c.with[0].expression()
	}
	lines := make([]string, len(c.with))
	for i, o := range c.with {
		lines[i] = o.statement()
	}
	return s + " with option {\n" + strings.Join(lines, "\n") + "\n}"
}

// expression writes a call as an argument.
func (c call) expression() string {
	switch {
	case len(c.with) > 0:
		return "fs {\n" + c.statement() + "\n}"
	case len(c.args) == 0:
		return c.name
	}
	return c.name + "(" + strings.Join(c.args, ", ") + ")"
}

// block writes statements as an argument.
func block(calls ...call) string {
	lines := make([]string, len(calls))
	for i, c := range calls {
		lines[i] = c.statement()
	}
	return "fs {\n" + strings.Join(lines, "\n") + "\n}"
}

// words that the grammar takes.
var keywords = []string{"import", "export", "with", "as", "true", "false", "option", "fs", "string", "int", "bool",
	"pipeline", "group", "from", "binds", "variadic"}

// newName is a name of the program that is still free, as near to what is wanted as can be.
func (c *converter) newName(wanted string) string {
	name := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_' {
			return r
		}
		return '_'
	}, wanted)
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "stage" + name
	}
	for c.taken(name) {
		name += "_"
	}
	c.names[name] = true
	return name
}

// taken reports whether a name can't be given. Names of extensions can, unless this program uses the extension.
func (c *converter) taken(name string) bool {
	return c.names[name] || slices.Contains(keywords, name) || builtin.IsReserved(name) || c.extensions[name] ||
		name == "parallel"
}
