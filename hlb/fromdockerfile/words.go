// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// text is a text of a Dockerfile after its variables were replaced. Values of ARGs that became functions of the
// program are still references there: the name of the function between refOpen and refClose.
type text string

const (
	refOpen, refClose = "\ue000", "\ue001" // private characters, which Convert refuses in a Dockerfile
)

var references = regexp.MustCompile(refOpen + "([0-9A-Za-z_]+)" + refClose)

func refTo(function string) text { return text(refOpen + function + refClose) }

// variable is one that a stage sees. Its text stands for value.
type variable struct {
	key, value string
	text       text
	arg        bool // of ARG, so it is in the environment of commands but not in that of the image
}

// variables are in the order in which they were set. They are not changed, only replaced.
type variables []variable

func (v variables) set(set variable) variables {
	kept := slices.DeleteFunc(slices.Clone(v), func(old variable) bool { return old.key == set.key })
	return append(kept, set)
}

func (v variables) find(key string) (variable, bool) {
	for _, one := range v {
		if one.key == key {
			return one, true
		}
	}
	return variable{}, false
}

// values is variables as BuildKit's expansion wants them, with their values or with references.
type values struct {
	of   variables
	refs bool
}

// Get implements shell.EnvGetter.
func (e values) Get(key string) (string, bool) {
	v, ok := e.of.find(key)
	if e.refs {
		return string(v.text), ok
	}
	return v.value, ok
}

// Keys implements shell.EnvGetter.
func (e values) Keys() []string {
	keys := make([]string, len(e.of))
	for i, v := range e.of {
		keys[i] = v.key
	}
	return keys
}

// expand replaces the variables of a word, and returns the names of those that don't exist. Where a value is more than
// put in, as by ${name#prefix}, the result has no references.
func (c *converter) expand(lex *shell.Lex, word string, vars variables) (text, []string, error) {
	plain, unknown, err := lex.ProcessWord(word, values{vars, false})
	if err != nil {
		return "", nil, err
	}
	names := make([]string, 0, len(unknown))
	for name := range unknown {
		names = append(names, name)
	}
	slices.Sort(names)
	if refs, _, err := lex.ProcessWord(word, values{vars, true}); err == nil && c.plain(text(refs)) == plain {
		return text(refs), names, nil
	}
	return text(plain), names, nil
}

// plain is a text with its references replaced by values.
func (c *converter) plain(t text) string {
	return references.ReplaceAllStringFunc(string(t), func(ref string) string {
		return c.args[strings.Trim(ref, refOpen+refClose)].value
	})
}

// mapped applies f, which knows nothing of references, to a text. The result keeps them if f doesn't mind.
func (c *converter) mapped(t text, f func(string) string) text {
	plain := f(c.plain(t))
	if with := text(f(string(t))); c.plain(with) == plain {
		return with
	}
	return text(plain)
}

// literal is the expression of a text in HLB.
func (c *converter) literal(t text) string {
	for _, m := range references.FindAllStringSubmatch(string(t), -1) {
		c.reached[m[1]] = true
	}
	if m := references.FindStringSubmatch(string(t)); m != nil && m[0] == string(t) {
		return m[1]
	}
	s := string(t)
	if !strings.ContainsAny(s, "\"\\\n") && !strings.Contains(s, "${") || strings.Contains(s, refOpen) ||
		strings.Contains(s, "`") {
		return `"` + references.ReplaceAllString(escaper.Replace(s), `${$1}`) + `"`
	}
	return "`" + s + "`"
}

// escaper writes a text between double quotes. Line feeds stand there as they are.
var escaper = strings.NewReplacer(`"`, `\"`, `\`, `\\`, "${", `\${`)

// quoted is the expression of a text without references.
func (c *converter) quoted(s string) string { return c.literal(text(s)) }

// quotedAll are expressions of texts, as arguments.
func (c *converter) quotedAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = c.quoted(s)
	}
	return out
}
