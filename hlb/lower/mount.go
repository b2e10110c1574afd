// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// mountOption is a mount, a cache mount or a file that a run gets at a path.
type mountOption struct {
	target   string
	state    llb.State // what is mounted
	source   string    // directory of it, empty for its root
	readonly bool
	tmpfs    bool
	bound    bool // it has an `as`, so its output is kept
	secret   bool // a file, mounted by other means
	cache    *cacheUse
	plain    bool               // a cache that starts empty: its id alone says which it is
	root     *request.MountRoot // what the program wants of a plain cache's own directory, nil for nothing
	span     diag.Span
}

// cacheUse says which cache mount is wanted.
type cacheUse struct {
	id      string
	sharing llb.CacheMountSharingMode
	span    diag.Span
}

func (e *evaluator) mountOption(x *execution, o *option) error {
	in := o.args[0].fs()
	m := &mountOption{target: o.args[1].str(), state: in.input(), bound: len(o.binds) > 0, span: o.span}
	for _, mo := range o.with {
		switch mo.name {
		case "readonly":
			m.readonly = true
		case "tmpfs":
			m.tmpfs = true
		case "sourcePath":
			m.source = mo.args[0].str()
		case "cache":
			use, err := e.cacheUse(mo, m.target)
			if err != nil {
				return err
			}
			m.cache = use
		}
	}
	switch {
	case m.tmpfs && m.cache != nil:
		return diag.Errorf(BadOption, o.span, "a mount can't be both a tmpfs and a cache")
	case m.tmpfs && in.out != nil:
		return diag.Errorf(BadOption, o.args[0].span, "a tmpfs starts empty, so its input must be scratch")
	}
	if m.bound {
		if err := e.stacked(in.layers+1, o.span); err != nil {
			return err
		}
	}
	if m.bound && in.origin.local {
		// A local source as the mount's own input would make the run's result depend on the upload and not on the
		// content.
		m.state = llb.Scratch().File(llb.Copy(in.input(), "/", "/"), e.locations(o.span)...)
	}
	x.mounts = append(x.mounts, m)
	x.inputs = append(x.inputs, in)
	if m.bound {
		x.binds = append(x.binds, boundMount{binds: o.binds, input: in, mount: m})
	}
	return nil
}

// cacheUse reads the option cache of a mount. Its id stays as written unless the embedding program sets a namespace.
func (e *evaluator) cacheUse(o *option, target string) (*cacheUse, error) {
	id := o.args[0].str()
	if ns := e.opts.CacheMountNamespace; ns != "" {
		id = ns + "/" + id
	}
	return e.useCache(id, o.args[1], target, o.span)
}

// useCache checks and notes the use of a cache mount.
func (e *evaluator) useCache(id string, mode arg, target string, at diag.Span) (*cacheUse, error) {
	modes := []string{"shared", "private", "locked"}
	sharing := slices.Index(modes, mode.str())
	if sharing < 0 {
		return nil, e.badMode(diag.BadSharingMode, "sharing mode", mode, modes)
	}
	if most := e.limits.CacheIDBytes; len(id) > most {
		return nil, diag.Errorf(LimitID, at, "the id of the cache mount has %d bytes, more than %d", len(id), most).
			WithHint("ids name what a cache is for, such as go-build")
	}
	if e.server() {
		if err := safeCacheID(id); err != "" {
			return nil, e.conversion(BadOption, at, "the cache id %q %s", id, err)
		}
	}
	m := request.CacheMount{ID: id, Target: target, Sharing: mode.str(), Span: at}
	if seen := (request.CacheMount{ID: m.ID, Target: m.Target, Sharing: m.Sharing}); !e.mountsSeen[seen] {
		if most := e.limits.CacheMounts; len(e.mounts) >= most {
			return nil, diag.Errorf(LimitMounts, at, "the program uses more than %d cache mounts", most).
				WithHint("steps can share a cache mount: give them the same id")
		}
		e.mountsSeen[seen] = true
		e.mounts = append(e.mounts, m)
	}
	order := []llb.CacheMountSharingMode{llb.CacheMountShared, llb.CacheMountPrivate, llb.CacheMountLocked}
	return &cacheUse{id: id, sharing: order[sharing], span: at}, nil
}

// safeCacheID says what is wrong with an id on a daemon that others use too, empty if nothing is.
func safeCacheID(id string) string {
	for part := range strings.SplitSeq(id, "/") {
		if part == ".." {
			return "leads out of its namespace"
		}
	}
	if strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "has control characters"
	}
	return ""
}

// addMounts adds the mounts to the run, in the order written.
func (e *evaluator) addMounts(x *execution) error {
	if err := e.makeMountPoints(x); err != nil {
		return err
	}
	for _, m := range x.mounts {
		if m.secret {
			continue
		}
		var opts []llb.MountOption
		if m.readonly {
			opts = append(opts, llb.Readonly)
		}
		if m.tmpfs {
			opts = append(opts, llb.Tmpfs())
		}
		if m.source != "" {
			opts = append(opts, llb.SourcePath(m.source))
		}
		if !m.bound {
			opts = append(opts, llb.ForceNoOutput)
		}
		target := m.target
		if m.cache != nil {
			opts = append(opts, llb.AsPersistentCacheDir(m.cache.id, m.cache.sharing))
			if !path.IsAbs(target) {
				target = "/" + target // not the id: BuildKit leaves that out of its record where it is the mount point
			}
		}
		x.opts = append(x.opts, llb.AddMount(target, m.state, opts...))
	}
	return nil
}

// makeMountPoints makes the mount points of mounts and secrets that lie under a read-only mount, where the daemon
// could not. Only the nearest earlier mount counts.
func (e *evaluator) makeMountPoints(x *execution) error {
	made := map[string]bool{}
	for i, m := range slices.Backward(x.mounts) {
		over := nearestOver(x.mounts[:i], m.target)
		if over == nil || !over.readonly {
			continue
		}
		if err := e.vertex(m.span); err != nil {
			return err
		}
		rel := strings.TrimPrefix(path.Clean(m.target), strings.TrimSuffix(path.Clean(over.target), "/"))
		point, loc := path.Join("/", over.source, rel), e.locations(m.span)
		dir := point
		if m.secret {
			dir = path.Dir(point)
		}
		if id := path.Clean(over.target) + "\x00" + dir; dir != "/" && !made[id] {
			made[id] = true
			over.state = over.state.File(llb.Mkdir(dir, 0o755, llb.WithParents(true)), loc...)
		}
		if m.secret {
			over.state = over.state.File(llb.Mkfile(point, 0o644, nil), loc...)
		}
	}
	return nil
}

// nearestOver returns the latest of the mounts whose target holds p, nil if there is none.
func nearestOver(mounts []*mountOption, p string) *mountOption {
	p = path.Clean(p)
	for _, m := range slices.Backward(mounts) {
		if m.secret {
			continue
		}
		parent := strings.TrimSuffix(path.Clean(m.target), "/")
		if strings.HasPrefix(p, parent+"/") && p != parent+"/" {
			return m
		}
	}
	return nil
}
