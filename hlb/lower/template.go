// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// tickName is the function that every template, loop and branch begins with.
const tickName = "hlb_tick"

// tick is an action that calls it, to be copied into trees.
var tick = template.Must(template.New("tick").Funcs(template.FuncMap{tickName: func() string { return "" }}).
	Parse("{{" + tickName + "}}")).Root.Nodes[0]

var (
	errTemplateSize  = errors.New("its output is too long")
	errTemplateTurns = errors.New("it takes too many turns")
)

// textTemplate executes a template. Templates can loop without output and double texts, so loops take fuel and
// everything that makes text is held to the limit.
func (e *evaluator) textTemplate(c *call) (string, error) {
	data := map[string]string{}
	for _, o := range c.opts {
		if o.name == "stringField" {
			data[o.args[0].str()] = o.args[1].str()
		}
	}
	t, err := template.New("template").Funcs(e.templateFuncs()).Parse(c.str(0))
	if err != nil {
		return "", e.conversion(diag.Conversion, c.span, "the template does not parse: %v", err)
	}
	for _, d := range t.Templates() {
		addTicks(d.Root)
	}
	out := &limitedText{limit: e.limits.StringBytes}
	switch err := t.Execute(out, data); {
	case errors.Is(err, errTemplateSize):
		return "", e.fits(e.limits.StringBytes+1, c.span)
	case errors.Is(err, errTemplateTurns):
		if late := e.timeout(c.span); late != nil {
			return "", late
		}
		return "", diag.Errorf(LimitFuel, c.span, "the template takes too many turns")
	case err != nil:
		return "", e.conversion(diag.Conversion, c.span, "the template fails: %v", err)
	}
	return out.String(), nil
}

// limitedText is a text that refuses to grow past a limit.
type limitedText struct {
	strings.Builder
	limit int
}

func (l *limitedText) Write(p []byte) (int, error) {
	if l.Len()+len(p) > l.limit {
		return 0, errTemplateSize
	}
	return l.Builder.Write(p)
}

// templateFuncs are the tick and bounded versions of those functions of the template language that make text longer.
func (e *evaluator) templateFuncs() template.FuncMap {
	bounded := func(make func(...any) string) func(...any) (string, error) {
		return func(args ...any) (string, error) {
			size := 0
			for _, a := range args {
				size += sizeOf(a)
			}
			if size > e.limits.StringBytes {
				return "", errTemplateSize
			}
			s := make(args...)
			if len(s) > e.limits.StringBytes {
				return "", errTemplateSize
			}
			return s, nil
		}
	}
	return template.FuncMap{
		tickName: func() (string, error) {
			e.fuel++
			if e.fuel > e.limits.Fuel || e.fuel%1024 == 0 && e.ctx.Err() != nil {
				return "", errTemplateTurns
			}
			return "", nil
		},
		"print":    bounded(fmt.Sprint),
		"println":  bounded(fmt.Sprintln),
		"html":     bounded(template.HTMLEscaper),
		"js":       bounded(template.JSEscaper),
		"urlquery": bounded(template.URLQueryEscaper),
		"printf": func(format string, args ...any) (string, error) {
			sizes, star := make([]int, len(args)), 0
			for i, a := range args {
				sizes[i], star = sizeOf(a), max(star, width(a))
			}
			if formatSize(format, sizes, star) > e.limits.StringBytes {
				return "", errTemplateSize
			}
			s := fmt.Sprintf(format, args...)
			if len(s) > e.limits.StringBytes {
				return "", errTemplateSize
			}
			return s, nil
		},
	}
}

// width is how wide a value makes another one as its '*'.
func width(a any) int {
	switch v := reflect.ValueOf(a); {
	case v.CanInt():
		return int(min(max(v.Int(), -v.Int(), 0), 1<<30))
	case v.CanUint():
		return int(min(v.Uint(), 1<<30))
	}
	return 0
}

func sizeOf(a any) int {
	if s, ok := a.(string); ok {
		return len(s)
	}
	return 32 // numbers and truth values; data holds nothing else
}

// addTicks puts the tick at the beginning of a template and of every loop in it.
func addTicks(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.RangeNode:
			addTicks(n.List)
			addTicks(n.ElseList)
		case *parse.IfNode:
			addTicks(n.List)
			addTicks(n.ElseList)
		case *parse.WithNode:
			addTicks(n.List)
			addTicks(n.ElseList)
		}
	}
	list.Nodes = slices.Insert(list.Nodes, 0, tick.Copy())
}
