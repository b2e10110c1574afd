// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"os"
	"time"

	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// fileOp applies one file action to the current filesystem.
func (e *evaluator) fileOp(c *call, cur *filesystem, a *llb.FileAction, inputs ...*filesystem) (*filesystem, error) {
	if err := e.vertex(c.span); err != nil {
		return nil, err
	}
	if err := e.stacked(cur.layers+1, c.span); err != nil {
		return nil, err
	}
	st := cur.state().File(a, e.locations(c.span)...)
	return cur.op(c.key(e), st.Output(), inputs...), nil
}

// created reads the option createdTime.
func (e *evaluator) created(o *option) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, o.args[0].str())
	if err != nil {
		return t, e.conversion(
			diag.Conversion,
			o.span,
			"%q is not a time such as 2006-01-02T15:04:05Z",
			o.args[0].str(),
		)
	}
	return t, nil
}

func (e *evaluator) fsMkdir(c *call, cur *filesystem) (*filesystem, error) {
	made, err := e.madeAs(c.opts)
	if err != nil {
		return nil, err
	}
	var opts []llb.MkdirOption
	for _, o := range made {
		opts = append(opts, o)
	}
	for _, o := range c.opts {
		if o.name == "createParents" {
			opts = append(opts, llb.WithParents(true))
		}
	}
	return e.fileOp(c, cur, llb.Mkdir(c.str(0), os.FileMode(c.int(1)), opts...))
}

func (e *evaluator) fsMkfile(c *call, cur *filesystem) (*filesystem, error) {
	made, err := e.madeAs(c.opts)
	if err != nil {
		return nil, err
	}
	var opts []llb.MkfileOption
	for _, o := range made {
		opts = append(opts, o)
	}
	return e.fileOp(c, cur, llb.Mkfile(c.str(0), os.FileMode(c.int(1)), []byte(c.str(2)), opts...))
}

// madeOption is what directories and files have in common when they are made.
type madeOption interface {
	llb.MkdirOption
	llb.MkfileOption
}

// madeAs reads the options of owner, mode and time.
func (e *evaluator) madeAs(opts []*option) ([]madeOption, error) {
	var out []madeOption
	for _, o := range opts {
		switch o.name {
		case "chown":
			out = append(out, llb.WithUser(o.args[0].str()))
		case "createdTime":
			t, err := e.created(o)
			if err != nil {
				return nil, err
			}
			out = append(out, llb.WithCreatedTime(t))
		}
	}
	return out, nil
}

func (e *evaluator) fsRm(c *call, cur *filesystem) (*filesystem, error) {
	var opts []llb.RmOption
	for _, o := range c.opts {
		switch o.name {
		case "allowNotFound":
			opts = append(opts, llb.WithAllowNotFound(true))
		case "allowWildcard":
			opts = append(opts, llb.WithAllowWildcard(true))
		}
	}
	return e.fileOp(c, cur, llb.Rm(c.str(0), opts...))
}

func (e *evaluator) fsCopy(c *call, cur *filesystem) (*filesystem, error) {
	in := c.args[0].fs()
	info := &llb.CopyInfo{}
	for _, o := range c.opts {
		if err := e.copyOption(info, o); err != nil {
			return nil, err
		}
	}
	next, err := e.fileOp(c, cur, llb.Copy(in.input(), c.str(1), c.str(2), info), in)
	if err != nil {
		return nil, err
	}
	next.image.editConfig(layer("COPY %s %s", c.str(1), c.str(2)))
	return next, nil
}

func (e *evaluator) copyOption(info *llb.CopyInfo, o *option) error {
	switch o.name {
	case "followSymlinks":
		info.FollowSymlinks = true
	case "contentsOnly":
		info.CopyDirContentsOnly = true
	case "unpack":
		info.AttemptUnpack = true
	case "createDestPath":
		info.CreateDestPath = true
	case "allowWildcard":
		info.AllowWildcard = true
	case "allowEmptyWildcard":
		info.AllowEmptyWildcard = true
	case "chown":
		llb.WithUser(o.args[0].str()).SetCopyOption(info)
	case "chmod":
		info.Mode = &llb.ChmodOpt{Mode: os.FileMode(o.args[0].int())}
	case "createdTime":
		t, err := e.created(o)
		if err != nil {
			return err
		}
		info.CreatedTime = &t
	case "includePatterns":
		info.IncludePatterns = append(info.IncludePatterns, strs(o.args)...)
	case "excludePatterns":
		info.ExcludePatterns = append(info.ExcludePatterns, strs(o.args)...)
	}
	return nil
}

func (e *evaluator) fsMerge(c *call, cur *filesystem) (*filesystem, error) {
	if len(c.args) == 0 {
		return nil, diag.Errorf(diag.ArgCount, c.span, "merge needs at least one filesystem")
	}
	if err := e.vertex(c.span); err != nil {
		return nil, err
	}
	base := cur // what the others are put onto
	states := []llb.State{cur.state()}
	var inputs []*filesystem
	for _, a := range c.args {
		inputs = append(inputs, a.fs())
		states = append(states, a.fs().input())
		if base.out == nil {
			base = a.fs()
		}
	}
	if err := e.stacked(base.layers+1, c.span); err != nil {
		return nil, err
	}
	out := llb.Merge(states, e.locations(c.span)...).Output()
	next := cur.op(c.key(e), out, inputs...)
	next.image.layers = base.layers + 1
	next.image.editConfig(layer("MERGE / /"))
	return next, nil
}

func (e *evaluator) fsDiff(c *call, cur *filesystem) (*filesystem, error) {
	base := c.args[0].fs()
	if err := e.vertex(c.span); err != nil {
		return nil, err
	}
	out := llb.Diff(base.input(), cur.state(), e.locations(c.span)...).Output()
	next := cur.op(c.key(e), out, base)
	next.image.layers = 1
	if out != cur.out {
		next.image.editConfig(layer("DIFF / /"))
	}
	return next, nil
}
