// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"

	"github.com/openllb/hlb-operator/agent/compile"
	"github.com/openllb/hlb-operator/agent/compile/reffs"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// sourceAuth is the name under which the session of the source's job serves the credentials of its repository.
const sourceAuth = "hlb-operator/source-auth"

// gitState is the tree of a git source at a ref, empty for the default branch.
func gitState(src *v1alpha1.GitSource, ref string, opts ...llb.GitOption) llb.State {
	opts = append(opts, llb.AuthTokenSecret(""), llb.WithCustomName("[source] "+src.URL+" "+src.Ref))
	if ref != "" {
		opts = append(opts, llb.GitRef(ref))
	}
	if src.Path != "" {
		opts = append(opts, llb.GitSubDir(src.Path))
	}
	return llb.Git(src.URL, "", opts...)
}

// checkedOut is a build's git source, checked out in a job of its own. That job alone has the repository's credentials;
// it stays open for as long as the build needs the tree, which other jobs name by its commit. The daemon does not ask
// the repository about a commit that it has.
type checkedOut struct {
	job    *lazyJob // nil where nothing is checked out
	commit string
	tree   *reffs.FS
}

// close ends the job and returns the error that it ended with on its own.
func (c *checkedOut) close() error {
	if c.job == nil {
		return nil
	}
	return c.job.close()
}

// checkOuts is how often a source is checked out whose ref moves meanwhile.
const checkOuts = 3

// checkOut checks a git source out, where the program lies in it or the repository wants credentials.
func (d *Daemon) checkOut(ctx context.Context, job *Job, s *sessions) (*checkedOut, error) {
	if job.Spec.Source == nil || job.Spec.Source.Git == nil || job.Inputs.Program != nil && job.Inputs.GitAuth == nil {
		return &checkedOut{}, nil
	}
	src := job.Spec.Source.Git
	var err error
	last := ""
	for range checkOuts {
		out := &checkedOut{job: d.newLazyJob(ctx, job, s.source())} // a new one, since jobs remember where refs are
		if err = out.checkOut(ctx, src); err == nil {
			return out, nil
		}
		if lost := out.close(); lost != nil && isConnectionLost(lost) {
			return nil, lost
		}
		if out.commit == last { // or there was none
			break
		}
		last = out.commit
	}
	return nil, &SourceError{fmt.Sprintf("Can't read %s of %s", job.Inputs.Filename, src.URL), err}
}

// checkOut fetches the commit that the ref is at now.
func (c *checkedOut) checkOut(ctx context.Context, src *v1alpha1.GitSource) error {
	gw, err := c.job.get()
	if err != nil {
		return err
	}
	auth := llb.AuthHeaderSecret(sourceAuth)
	op, err := sourceOp(ctx, gitState(src, src.Ref, auth))
	if err != nil {
		return err
	}
	found, err := gw.ResolveSourceMetadata(ctx, op, sourceresolver.Opt{})
	if err != nil {
		return err
	}
	if found.Git == nil {
		return errors.New("buildkitd does not resolve git sources")
	}
	c.commit = cmp.Or(found.Git.CommitChecksum, found.Git.Checksum)
	// by the ref, since that takes no history, but no other commit
	ref, err := solveOne(ctx, gw, gitState(src, src.Ref, auth, llb.GitChecksum(c.commit)))
	if err != nil {
		return err
	}
	c.tree = builtFiles(ctx, ref)
	return nil
}

// sourceOp is the operation of a state that is a source.
func sourceOp(ctx context.Context, state llb.State) (*pb.SourceOp, error) {
	def, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	for _, data := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(data); err != nil {
			return nil, err
		}
		if op.GetSource() != nil {
			return op.GetSource(), nil
		}
	}
	return nil, errors.New("the state is no source")
}

// solveOne evaluates a state.
func solveOne(ctx context.Context, gw gateway.Client, state llb.State) (gateway.Reference, error) {
	def, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return nil, err
	}
	return res.SingleRef()
}

// authHeader is what git sends as Authorization.
func authHeader(auth *inputs.BasicAuth) []byte {
	return []byte("basic " + base64.StdEncoding.EncodeToString([]byte(auth.Username+":"+auth.Password)))
}

// program returns the program, with what the build declares, and the files beside it, nil for none. They are from the
// job's inputs or from its repository.
func program(ctx context.Context, job *Job, src *checkedOut) (*compile.Program, fs.FS, error) {
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
	if state := contextState(job, src.commit); state != nil {
		var err error
		if p.Context, err = compile.Definition(ctx, state); err != nil {
			return nil, nil, &SourceError{"Can't describe the build's context", err}
		}
	}
	files, err := readProgram(job, src, p)
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
func readProgram(job *Job, src *checkedOut, p *compile.Program) (fs.FS, error) {
	in := job.Inputs
	if in.Program != nil {
		p.Source = in.Program
		if in.Files == nil {
			return nil, nil
		}
		return flatFiles(in.Files), nil
	}
	var err error
	if p.Source, err = src.tree.ReadFile(in.Filename); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("there is no such file")
		}
		return nil, &SourceError{fmt.Sprintf("Can't read %s of %s", in.Filename, job.Spec.Source.Git.URL), err}
	}
	return src.tree, nil
}

// contextState is what local "…" reads, nil when the build has no context. commit is what was checked out, empty for
// nothing.
func contextState(job *Job, commit string) *llb.State {
	var state llb.State
	switch source := job.Spec.Source; {
	case source != nil && source.Git != nil:
		state = gitState(source.Git, cmp.Or(commit, source.Git.Ref), llb.AuthHeaderSecret(""))
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
