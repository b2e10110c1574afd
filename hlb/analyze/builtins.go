// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/diag"
)

// builtin notes what a builtin touches and returns its value, if that can be known.
func (r *run) builtin(fr *frame, fn *builtin.Func, s site, cur value) value {
	args := r.args(fr, s.args)
	var with []option
	if s.with != nil {
		with = r.expr(fr, s.with.Operand).opts
	}
	if !r.spend(1) {
		return value{} // what the arguments came to may be wrong
	}
	if fn.Kind.Primary() == ast.Option {
		return r.join(cur, value{opts: []option{{fn: fn, args: args, with: with, at: s.at}}})
	}
	switch fn.Kind {
	case ast.FS:
		r.filesystem(fn.Name, args, with, s.at)
	case ast.String:
		if fn.Name == "format" {
			return format(args)
		}
	}
	return value{}
}

func (r *run) filesystem(name string, args []value, with []option, at diag.Span) {
	switch name {
	case "image", "frontend":
		r.out.Images = r.addRef(r.out.Images, arg(args, 0), at)
	case "git":
		r.addGit(arg(args, 0), arg(args, 1), at)
	case "http":
		r.out.HTTPS = r.addRef(r.out.HTTPS, arg(args, 0), at)
	case "local":
		r.out.Locals = r.addRef(r.out.Locals, arg(args, 0), at)
	case "dockerPush", "dockerLoad", "download", "downloadTarball", "downloadOCITarball", "downloadDockerTarball":
		r.addExport(name, arg(args, 0), at)
	case "run":
		for _, o := range with {
			r.mount(o)
		}
	case "cacheContext":
		for _, o := range with {
			r.cacheOption(o)
		}
	}
}

// arg returns argument i; one that isn't there is unknown.
func arg(args []value, i int) value {
	if i < len(args) {
		return args[i]
	}
	return value{}
}

// mount notes an option of run if it is a cache mount.
func (r *run) mount(o option) {
	switch o.fn.Name {
	case "mount":
		for _, sub := range o.with {
			if sub.fn.Name == "cache" {
				id := arg(sub.args, 0).public()
				if r.opts.CacheMountNamespace != "" {
					id = r.fullID(id)
				}
				r.addCacheMount(
					CacheMount{ID: id, Target: arg(o.args, 1).public(), Sharing: arg(sub.args, 1).public(), Span: o.at},
				)
			}
		}
	case "cacheMount":
		target := arg(o.args, 0)
		m := CacheMount{Target: target.public(), Sharing: sharingFor(target), Span: o.at}
		id := target
		id.text = path.Clean(id.text)
		for _, sub := range o.with {
			switch sub.fn.Name {
			case "id":
				id = arg(sub.args, 0)
			case "sharing":
				m.Sharing = arg(sub.args, 0).public()
			}
		}
		m.ID = r.fullID(id.public())
		r.addCacheMount(m)
	}
}

func (r *run) fullID(id Value) Value {
	if id.Known {
		id.Text = r.opts.CacheMountNamespace + "/" + id.Text
	}
	return id
}

// cacheOption notes where a cacheContext writes to.
func (r *run) cacheOption(o option) {
	switch o.fn.Name {
	case "toImage", "toLocal":
		r.addExport(o.fn.Name, arg(o.args, 0), o.at)
	case "to":
		r.addExport("to "+arg(o.args, 0).public().String(), attribute(o.args, "ref", "dest", "name", "bucket"), o.at)
	}
}

// attribute returns the value of the first of keys among "key=value" arguments.
func attribute(args []value, keys ...string) value {
	for _, key := range keys {
		for _, a := range args[min(1, len(args)):] {
			if v, ok := strings.CutPrefix(a.text, key+"="); ok {
				return text(v)
			}
		}
	}
	return value{}
}

// literal returns the value of a literal.
func (r *run) literal(fr *frame, e ast.Expr) value {
	switch e := e.(type) {
	case *ast.IntLit:
		return text(strconv.FormatInt(e.Value, 10))
	case *ast.BoolLit:
		return text(strconv.FormatBool(e.Value))
	case *ast.RawStringLit:
		return text(e.Text)
	case *ast.StringLit:
		return r.parts(fr, e.Parts)
	case *ast.HeredocLit:
		v := r.parts(fr, e.Parts)
		v.text = e.Mode.Apply(v.text)
		return v
	}
	return value{}
}

// parts joins the parts of a string. All interpolations run, even if one is unknown: they may touch something.
func (r *run) parts(fr *frame, parts []ast.Part) value {
	var b strings.Builder
	known := true
	for _, p := range parts {
		v := value{known: true}
		switch p := p.(type) {
		case *ast.Text:
			v.text = p.Value
		case *ast.Interp:
			v = r.expr(fr, p.Value)
		}
		known = known && v.known && b.Len()+len(v.text) <= maxText
		if known {
			b.WriteString(v.text)
		}
	}
	if !known {
		return value{}
	}
	return text(b.String())
}

// format is the builtin format, unless a width could make its result long.
func format(args []value) value {
	var texts []any
	for _, a := range args {
		if !a.known {
			return value{}
		}
		texts = append(texts, a.text)
	}
	if len(texts) == 0 || padsWidely(args[0].text) {
		return value{}
	}
	return text(fmt.Sprintf(args[0].text, texts[1:]...))
}

// padsWidely reports whether a format has a number of more than three digits, which could be a width, or one from the
// arguments. A repeated index could multiply long arguments, but not beyond the length of the format times that of
// the arguments.
func padsWidely(format string) bool {
	digits := 0
	for i := range len(format) {
		if c := format[i]; c == '*' || c == '[' {
			return true
		} else if '0' <= c && c <= '9' {
			digits++
		} else {
			digits = 0
		}
		if digits > 3 {
			return true
		}
	}
	return false
}
