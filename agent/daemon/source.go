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

	"github.com/openllb/hlb-operator/agent/compile"
	"github.com/openllb/hlb-operator/agent/compile/reffs"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/api/v1alpha1"
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

// program returns the program, with what the build declares, and the files beside it, nil for none. They are from the
// job's inputs or from its repository.
func program(ctx context.Context, job *Job, gw *lazyJob) (*compile.Program, fs.FS, error) {
	spec := job.Spec
	p := &compile.Program{
		Kind:         compile.KindHLB,
		Filename:     job.Inputs.Filename,
		ContextApart: spec.HLB.Inline != nil && spec.Source != nil,
		Targets:      spec.HLB.Targets,
		Args:         spec.HLB.Args,
		Platform:     platformOf(spec),
		Secrets:      ids(spec.Secrets, func(s v1alpha1.BuildSecret) string { return s.ID }),
		SSH:          ids(spec.SSH, func(s v1alpha1.BuildSSH) string { return s.ID }),
		Entitlements: job.Entitlements,
		Namespace:    job.Namespace,
	}
	if state := contextState(job); state != nil {
		var err error
		if p.Context, err = compile.Definition(ctx, state); err != nil {
			return nil, nil, &SourceError{"Can't describe the build's context", err}
		}
	}
	files, err := readProgram(ctx, job, gw, p)
	p.HasFiles = files != nil
	return p, files, err
}

func ids[E any](list []E, id func(E) string) []string {
	var out []string
	for _, e := range list {
		out = append(out, id(e))
	}
	return out
}

// readProgram reads the program's text and returns the files beside it.
func readProgram(ctx context.Context, job *Job, gw *lazyJob, p *compile.Program) (fs.FS, error) {
	in := job.Inputs
	if in.Program != nil {
		p.Source = in.Program
		if in.Files == nil {
			return nil, nil
		}
		return flatFiles(in.Files), nil
	}
	what := fmt.Sprintf("Can't read %s of %s", in.Filename, job.Spec.Source.Git.URL)
	tree, err := checkout(ctx, gw, gitState(job.Spec.Source.Git))
	if err != nil {
		return nil, &SourceError{what, err}
	}
	if p.Source, err = tree.ReadFile(in.Filename); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("there is no such file")
		}
		return nil, &SourceError{what, err}
	}
	return tree, nil
}

func checkout(ctx context.Context, gw *lazyJob, state llb.State) (*reffs.FS, error) {
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
	return builtFiles(ctx, ref), nil
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
