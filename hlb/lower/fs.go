// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"slices"

	"github.com/moby/buildkit/client/llb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/request"
)

// filesystem is a value of kind fs: something to build, and the exports that hang on it.
type filesystem struct {
	*image
	// pending are the exports that must be done for the value to count as built, in order.
	pending []*export
	k       key
}

func (f *filesystem) key() key { return f.k }

// image is an LLB state with everything that goes with it. Images never change; operations return new ones.
type image struct {
	// out is the LLB output, nil for scratch.
	out llb.Output
	// meta is a state that carries the environment, working directory, user and platform for ops on out. Its own
	// output means nothing. Keeping it apart from out keeps look-ups short: a state chain grows with every op
	// otherwise.
	meta llb.State
	// config is the image config's edits, workdir and user its values so far.
	config  *configEdit
	workdir string
	user    string
	// envBytes is about what the environment adds to each run.
	envBytes int
	// shell is the prefix of one-argument runs, nil for the default.
	shell    []string
	platform ocispecs.Platform
	needs    request.Needs
	scopes   []*scope
	// layers is how many layers the daemon mounts on top of each other, as far as that is known.
	layers int
	// canonical is name@digest of the image it is based on, if known.
	canonical string
	// origin is the source that out consists of, if it is one source and nothing else.
	origin origin
}

// origin is set on filesystems that are one source and nothing else.
type origin struct {
	imageRef string // of an image
	localDir string // of a whole local directory, an absolute path
	local    bool   // of a local source of any form
	beside   bool   // of files beside the program, whatever op takes them from there
}

// state returns the LLB state to apply ops to.
func (i *image) state() llb.State {
	return i.meta.WithOutput(i.out)
}

// input returns the LLB state for use as another op's input: mounts, copies and merges take no environment from it,
// but relative copy sources resolve against its working directory.
func (i *image) input() llb.State { return i.state() }

// with returns a copy of i that change has worked on.
func (i *image) with(change func(*image)) *image {
	c := *i
	change(&c)
	return &c
}

// op returns the filesystem after an op on f that yields out and took the given filesystems as inputs.
func (f *filesystem) op(k key, out llb.Output, inputs ...*filesystem) *filesystem {
	img := f.image.with(func(i *image) {
		i.out, i.origin, i.layers = out, origin{}, i.layers+1
		for _, in := range inputs {
			i.needs = i.needs.Union(in.needs)
			i.scopes = joinUnique(i.scopes, in.scopes)
		}
	})
	pending := f.pending
	for _, in := range inputs {
		pending = joinUnique(pending, in.pending)
	}
	return &filesystem{image: img, pending: pending, k: k}
}

// edit returns f with a changed image and the same exports.
func (f *filesystem) edit(k key, change func(*image)) *filesystem {
	return &filesystem{image: f.image.with(change), pending: f.pending, k: k}
}

// joinUnique returns a followed by what b has besides, in order.
func joinUnique[T comparable](a, b []T) []T {
	var more []T
	for _, v := range b {
		if !slices.Contains(a, v) {
			more = append(more, v)
		}
	}
	if len(more) == 0 {
		return a
	}
	return slices.Concat(a, more)
}

// source returns the filesystem of a source that replaces cur: cur's exports stay pending, all else of it is gone.
func (e *evaluator) source(cur *filesystem, k key, st llb.State, change func(*image)) *filesystem {
	img := &image{out: st.Output(), meta: st, platform: e.platform}
	change(img)
	if len(cur.pending) > 0 {
		k = e.keys.of("after", k, pendingKeys(cur.pending))
	}
	return &filesystem{image: img, pending: cur.pending, k: k}
}

func pendingKeys(pending []*export) []key {
	out := make([]key, len(pending))
	for i, p := range pending {
		out[i] = p.k
	}
	return out
}
