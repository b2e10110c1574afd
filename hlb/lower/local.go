// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/request"
)

// patterns are the include and exclude patterns of a local.
type patterns struct {
	include, exclude []string
}

func localPatterns(opts []*option) patterns {
	var p patterns
	for _, o := range opts {
		switch o.name { // the last of each wins
		case "includePatterns":
			p.include = strs(o.args)
		case "excludePatterns":
			p.exclude = strs(o.args)
		}
	}
	return p
}

func (e *evaluator) fsLocal(c *call, cur *filesystem) (*filesystem, error) {
	if err := e.vertex(c.span); err != nil {
		return nil, err
	}
	if root, ok := c.dir.Root.(remoteRoot); ok {
		name, err := c.dir.Resolve(c.str(0))
		if err != nil {
			return nil, e.conversion(diag.Conversion, c.span, "%v", err)
		}
		img, err := root.remote().image()
		if err != nil {
			return nil, err
		}
		return e.copied(c, cur, img.state(), img.needs, name)
	}
	if e.server() {
		return e.contextLocal(c, cur)
	}
	return e.machineLocal(c, cur)
}

// contextLocal is local on a server: a directory or file of what the build declares as its context.
func (e *evaluator) contextLocal(c *call, cur *filesystem) (*filesystem, error) {
	if e.opts.Context == nil {
		return nil, diag.Errorf(NotHere, c.span, "local reads the build's context, and this build has none").
			WithHint("declare it in spec.context, or take the sources from git, http or image")
	}
	dir := c.dir.Path
	if e.opts.ContextApart {
		dir = "."
	}
	name, err := module.Tree{}.Resolve(dir, c.str(0))
	if err != nil {
		return nil, e.conversion(NotHere, c.args[0].span, "local %q leads out of the build's context", c.str(0)).
			WithHint("use a path relative to the program")
	}
	if p := localPatterns(c.opts); name == "." && len(p.include) == 0 && len(p.exclude) == 0 {
		return e.source(cur, e.keys.of("context"), *e.opts.Context, func(i *image) {
			i.needs = e.opts.ContextNeeds
			i.origin = origin{local: true, beside: true}
		}), nil
	}
	part, err := e.copied(c, cur, *e.opts.Context, e.opts.ContextNeeds, name)
	if err != nil {
		return nil, err
	}
	return part.edit(part.k, func(i *image) { i.origin.beside = true }), nil
}

// copied is a part of a filesystem as a filesystem of its own.
func (e *evaluator) copied(
	c *call,
	cur *filesystem,
	from llb.State,
	needs request.Needs,
	name string,
) (*filesystem, error) {
	p := localPatterns(c.opts)
	st := llb.Scratch().File(llb.Copy(from, path.Join("/", name), "/", &llb.CopyInfo{
		CopyDirContentsOnly: true, IncludePatterns: p.include, ExcludePatterns: p.exclude,
	}), e.locations(c.span)...)
	return e.source(
		cur,
		e.keys.of("part", c.key(e), c.dir.Root.Display(name)),
		st,
		func(i *image) { i.needs, i.layers = needs, 1 },
	), nil
}

// machineLocal uploads a directory of this machine, or a file as its directory with only that file in it.
func (e *evaluator) machineLocal(c *call, cur *filesystem) (*filesystem, error) {
	name, err := machinePath(c.dir, c.str(0))
	if err != nil {
		return nil, e.conversion(diag.Conversion, c.span, "%v", err)
	}
	st, err := os.Stat(name)
	if err != nil {
		return nil, e.conversion(diag.Conversion, c.span, "local %s: %v", c.str(0), reason(err))
	}
	p, dir := localPatterns(c.opts), name
	if !st.IsDir() {
		dir, p = filepath.Dir(name), patterns{include: []string{filepath.Base(name)}}
	}
	id, err := e.localID(dir, p)
	if err != nil {
		return nil, e.conversion(diag.Conversion, c.span, "local %s: %v", c.str(0), reason(err))
	}
	opts := []llb.LocalOption{llb.SharedKeyHint(id), llb.LocalUniqueID(id)}
	if len(p.include) > 0 {
		opts = append(opts, llb.IncludePatterns(p.include))
	}
	if len(p.exclude) > 0 {
		opts = append(opts, llb.ExcludePatterns(p.exclude))
	}
	for _, l := range e.locations(c.span) {
		opts = append(opts, l)
	}
	return e.source(cur, e.keys.of("local", id), llb.Local(dir, opts...), func(i *image) {
		i.needs.Locals = []request.Local{{Name: dir, Dir: dir}}
		i.origin.local, i.origin.beside = true, true
		if st.IsDir() && len(p.include) == 0 && len(p.exclude) == 0 {
			i.origin.localDir = dir
		}
	}), nil
}

// machinePath resolves a path of a program on this machine. Programs and modules that do not live on it can't name
// its files.
func machinePath(dir module.Dir, p string) (string, error) {
	if !module.IsMachine(dir.Root) {
		return "", &module.OutsideError{Path: p}
	}
	name, err := dir.Resolve(p)
	if err != nil {
		return "", err
	}
	return filepath.Abs(name)
}

// reason drops the path from a file error: messages have it in the program's own words.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// localID is equal for equal uses of an unchanged directory: a digest over its path, the newest modification among
// the files that the patterns select, this machine and the patterns.
func (e *evaluator) localID(dir string, p patterns) (string, error) {
	all, err := fsutil.NewFS(dir)
	if err != nil {
		return "", err
	}
	selected, err := fsutil.NewFilterFS(all, &fsutil.FilterOpt{IncludePatterns: p.include, ExcludePatterns: p.exclude})
	if err != nil {
		return "", err
	}
	newest := int64(0)
	err = selected.Walk(e.ctx, "", func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		newest = max(newest, info.ModTime().UnixNano())
		return context.Cause(e.ctx)
	})
	if err != nil {
		return "", err
	}
	h := digest.Canonical.Hash()
	_, err = h.Write([]byte(strings.Join([]string{
		dir, e.opts.Host.ID(), strconv.FormatInt(newest, 10), strings.Join(p.include, "\x00"),
		strings.Join(p.exclude, "\x00"),
	}, "\x01")))
	return digest.NewDigest(digest.Canonical, h).String(), err
}
