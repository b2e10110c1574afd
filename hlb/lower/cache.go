// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"os"
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/hlb/cachedir"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// scope is a cacheContext on a filesystem.
type scope struct {
	section *image
	imports []scopeImport
	exports []request.CacheEntry
	call    *call
}

type scopeImport struct {
	entry  request.CacheEntry
	layout *image
}

// cacheMountOption mounts a cache directory as the Dockerfile front end does for RUN --mount=type=cache, so that both
// share one.
func (e *evaluator) cacheMountOption(x *execution, o *option) error {
	target := o.args[0].str()
	clean := path.Clean(target)
	if target == "" || clean == "/" || clean == "." {
		return e.conversion(BadOption, o.args[0].span, "a cache can't be mounted at %q", target)
	}
	b := cacheMount{id: clean, state: llb.Scratch(), perm: 0o755}
	for _, opt := range o.with {
		b.apply(opt)
	}
	if b.source != "" && b.owned != nil {
		return diag.Errorf(
			BadOption,
			b.owned.span,
			"%s can't be set together with sourcePath: it is about a directory made for the cache",
			b.owned.name,
		)
	}
	m := &mountOption{target: target, state: b.state, source: b.source, readonly: b.readonly, span: o.span}
	m.plain = b.base == nil && b.source == ""
	switch {
	case b.owned == nil:
	case e.server() && m.plain: // with a base state it would be another mount of the same id
		m.root = &request.MountRoot{UID: b.uid, GID: b.gid, Mode: uint32(b.perm)}
	default:
		opts := append(e.locations(o.span), llb.WithCustomName("[internal] settings cache mount permissions"))
		m.state = m.state.File(llb.Mkdir("/cache", os.FileMode(b.perm), llb.WithUIDGID(b.uid, b.gid)), opts...)
		m.source = "/cache"
	}
	id := e.opts.CacheMountNamespace + "/" + b.id
	if b.mode == nil {
		b.mode = &arg{e.text(e.defaultSharing(id, clean)), o.span}
	}
	use, err := e.useCache(id, *b.mode, target, o.span)
	if err != nil {
		return err
	}
	m.cache = use
	x.mounts = append(x.mounts, m)
	if b.base != nil {
		x.inputs = append(x.inputs, b.base)
	}
	return nil
}

// defaultSharing is the sharing mode of a cacheMount that the program gives none.
func (e *evaluator) defaultSharing(id, dir string) string {
	if e.opts.CacheMountSharing != nil {
		if mode, ok := e.opts.CacheMountSharing(id); ok {
			return mode
		}
	}
	return string(cachedir.Default(dir))
}

// cacheMount is a cacheMount option being read.
type cacheMount struct {
	id       string
	mode     *arg // nil when the program gives none
	state    llb.State
	base     *filesystem
	source   string
	owned    *option // the owner or permissions that was given last
	uid, gid int
	perm     int
	readonly bool
}

func (b *cacheMount) apply(o *option) {
	switch o.name {
	case "id":
		b.id = o.args[0].str()
	case "sharing":
		b.mode = &o.args[0]
	case "base":
		b.base = o.args[0].fs()
		b.state = b.base.input()
	case "sourcePath":
		if p := o.args[0].str(); path.Clean(p) != "/" {
			b.source = p
		}
	case "owner":
		b.owned, b.uid, b.gid = o, o.args[0].int(), o.args[1].int()
	case "permissions":
		b.owned, b.perm = o, o.args[0].int()
	case "readonly":
		b.readonly = true
	}
}

// fsCacheContext says which build cache a section of the program uses. It changes how the section is solved, never
// its LLB.
func (e *evaluator) fsCacheContext(c *call, cur *filesystem) (*filesystem, error) {
	if err := e.vertex(c.span); err != nil {
		return nil, err
	}
	sectionFS := cur
	switch len(c.args) {
	case 1:
	case 2:
		sectionFS = e.replace(cur, c.args[1].fs())
	default:
		return nil, diag.Errorf(
			diag.ArgCount,
			c.args[2].span,
			"cacheContext takes one section, but there are %d",
			len(c.args)-1,
		)
	}
	s := &scope{section: sectionFS.image, call: c}
	if err := e.scopeImports(s, c); err != nil {
		return nil, err
	}
	if err := e.scopeExports(s, c); err != nil {
		return nil, err
	}
	if e.opts.DisableProgramCaches || len(s.imports) == 0 && len(s.exports) == 0 {
		return sectionFS, nil
	}
	k := e.keys.of("cacheContext", sectionFS.k, c.key(e))
	if same := e.scopes[k]; same != nil {
		s = same
	}
	e.scopes[k] = s
	return sectionFS.edit(k, func(i *image) {
		if sectionFS.out != nil {
			i.scopes = joinUnique(i.scopes, []*scope{s})
		}
	}), nil
}

// scopeImports reads where a scope imports from: its cache argument, by shape, then the options.
func (e *evaluator) scopeImports(s *scope, c *call) error {
	in := c.args[0].fs()
	switch {
	case in.out == nil:
	case in.origin.imageRef != "":
		entry := request.CacheEntry{Type: "registry", Attrs: map[string]string{"ref": in.origin.imageRef}}
		if err := e.allowCache(entry, c.args[0]); err != nil {
			return err
		}
		s.imports = append(s.imports, scopeImport{entry: entry})
	case in.origin.localDir != "":
		s.imports = append(
			s.imports,
			scopeImport{entry: request.CacheEntry{Type: "local", Attrs: map[string]string{"src": in.origin.localDir}}},
		)
	default:
		s.imports = append(s.imports, scopeImport{layout: in.image})
	}
	for _, o := range c.opts {
		if o.name == "from" {
			entry, err := e.cacheEntry(o, "src")
			if err != nil {
				return err
			}
			s.imports = append(s.imports, scopeImport{entry: entry})
		}
	}
	return nil
}

// scopeExports reads where a scope exports to.
func (e *evaluator) scopeExports(s *scope, c *call) error {
	mode, ignore := "", false
	for _, o := range c.opts {
		var entry request.CacheEntry
		var err error
		switch o.name {
		case "to":
			entry, err = e.cacheEntry(o, "dest")
		case "toImage":
			var ref string
			if ref, err = e.cacheRef(o.args[0]); err == nil {
				entry = request.CacheEntry{Type: "registry", Attrs: map[string]string{"ref": ref}}
			}
		case "toLocal":
			entry, err = e.localCache(o, o.args[0], "dest")
		case "mode":
			if mode = o.args[0].str(); mode != "min" && mode != "max" {
				return e.badMode(diag.Conversion, "cache mode", o.args[0], []string{"min", "max"})
			}
			continue
		case "ignoreErrors":
			ignore = true
			continue
		default:
			continue
		}
		if err != nil {
			return err
		}
		s.exports = append(s.exports, entry)
	}
	for _, entry := range s.exports {
		if mode != "" {
			entry.Attrs["mode"] = mode
		}
		if ignore {
			entry.Attrs["ignore-error"] = "true"
		}
	}
	return nil
}

// cacheEntry reads a type and its attributes. pathAttr is the attribute of the type local that holds a directory.
func (e *evaluator) cacheEntry(o *option, pathAttr string) (request.CacheEntry, error) {
	entry := request.CacheEntry{Type: o.args[0].str(), Attrs: map[string]string{}}
	types := []string{"registry", "local", "gha", "s3", "azblob"}
	if entry.Type == "inline" && o.name == "to" {
		return entry, e.conversion(diag.Conversion, o.args[0].span, "inline cache is part of a pushed image").
			WithHint("use dockerPush with inlineCache")
	}
	if !contains(types, entry.Type) {
		return entry, e.badMode(diag.Conversion, "cache type", o.args[0], types)
	}
	for _, a := range o.args[1:] {
		k, v, ok := strings.Cut(a.str(), "=")
		if !ok || k == "" {
			return entry, e.conversion(diag.Conversion, a.span, "%q is not an attribute of the form key=value", a.str())
		}
		entry.Attrs[k] = v
		if entry.Type == "local" && k == pathAttr {
			local, err := e.localCache(o, arg{e.text(v), a.span}, pathAttr)
			if err != nil {
				return entry, err
			}
			entry.Attrs[k] = local.Attrs[pathAttr]
		}
	}
	required := map[string]string{"registry": "ref", "local": pathAttr}[entry.Type]
	if required != "" && entry.Attrs[required] == "" {
		return entry, e.conversion(
			diag.Conversion,
			o.span,
			"cache type %s needs the attribute %s",
			entry.Type,
			required,
		)
	}
	return entry, e.allowCache(entry, o.args[0])
}

// localCache is a cache directory of this machine.
func (e *evaluator) localCache(o *option, a arg, attr string) (request.CacheEntry, error) {
	if e.server() {
		return request.CacheEntry{},
			diag.Errorf(NotHere, o.span, "%s names a directory of the machine that compiles, which is not yours here",
				o.name).
				WithHint("keep the cache in a registry: toImage or from \"registry\"")
	}
	dir, err := machinePath(o.dir, a.str())
	if err != nil {
		return request.CacheEntry{}, e.conversion(diag.Conversion, a.span, "%v", err)
	}
	return request.CacheEntry{Type: "local", Attrs: map[string]string{attr: dir}}, nil
}

// cacheRef completes and admits the reference of a cache in a registry.
func (e *evaluator) cacheRef(a arg) (string, error) {
	named, err := e.normalize(a)
	if err != nil {
		return "", err
	}
	entry := request.CacheEntry{Type: "registry", Attrs: map[string]string{"ref": named.String()}}
	return named.String(), e.allowCache(entry, a)
}

// allowCache asks the embedding program whether a cache may be used.
func (e *evaluator) allowCache(entry request.CacheEntry, a arg) error {
	if e.opts.DisableProgramCaches {
		return nil
	}
	if entry.Type != "registry" {
		return e.allow(UseCacheType, entry.Type, a.span)
	}
	return e.allow(UseCache, entry.Attrs["ref"], a.span)
}
