// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hlb"
)

// sourceAuth is the name under which the session serves the credentials of the source's repository. Only that git
// source asks for them, so that no other repository of the program is sent them.
const sourceAuth = "hlb-operator/source-auth"

// gitState is the tree of a git source.
func gitState(src *v1alpha1.GitSource) llb.State {
	opts := []llb.GitOption{
		llb.AuthTokenSecret(""),
		llb.AuthHeaderSecret(sourceAuth),
		llb.WithCustomName("[source] " + src.URL + " " + src.Ref),
	}
	if src.Ref != "" {
		opts = append(opts, llb.GitRef(src.Ref))
	}
	if src.Path != "" {
		opts = append(opts, llb.GitSubDir(src.Path))
	}
	return llb.Git(src.URL, "", opts...)
}

// authHeader is what git sends as Authorization.
func authHeader(auth *inputs.BasicAuth) []byte {
	return []byte("basic " + base64.StdEncoding.EncodeToString([]byte(auth.Username+":"+auth.Password)))
}

// program returns the program and the files beside it, from the job's inputs or from its repository.
func program(ctx context.Context, job *Job, gw *lazyJob) (hlb.Program, error) {
	in := job.Inputs
	if in.Program != nil {
		p := hlb.Program{Filename: in.Filename, Source: in.Program}
		if in.Files != nil {
			p.Files = flatFiles(in.Files)
		}
		return p, nil
	}
	what := fmt.Sprintf("Can't read %s of %s", in.Filename, job.Spec.Source.Git.URL)
	tree, err := checkout(ctx, gw, gitState(job.Spec.Source.Git))
	if err != nil {
		return hlb.Program{}, &SourceError{what, err}
	}
	source, err := tree.ReadFile(in.Filename)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("there is no such file")
		}
		return hlb.Program{}, &SourceError{what, err}
	}
	return hlb.Program{Filename: in.Filename, Source: source, Files: tree}, nil
}

func checkout(ctx context.Context, gw *lazyJob, state llb.State) (*builtFiles, error) {
	def, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return nil, err
	}
	ref, err := res.SingleRef()
	if err != nil {
		return nil, err
	}
	return &builtFiles{ctx: ctx, ref: ref}, nil
}

// contextState is what local "…" reads, nil when the build has no context.
func contextState(job *Job) *llb.State {
	var state llb.State
	switch source := job.Spec.Source; {
	case source != nil && source.Git != nil:
		state = gitState(source.Git)
	case job.Inputs.Files != nil:
		state = filesState(job.Inputs.Files)
	default:
		return nil
	}
	return &state
}

// filesState holds files at its root, the same whenever it is made.
func filesState(files map[string][]byte) llb.State {
	state := llb.Scratch()
	var action *llb.FileAction
	for _, name := range slices.Sorted(maps.Keys(files)) {
		made := llb.WithCreatedTime(time.Unix(0, 0).UTC())
		if action == nil {
			action = llb.Mkfile("/"+name, 0o644, files[name], made)
		} else {
			action = action.Mkfile("/"+name, 0o644, files[name], made)
		}
	}
	if action == nil {
		return state
	}
	return state.File(action, llb.WithCustomName("[context] files of a ConfigMap"))
}
