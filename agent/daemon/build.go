// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"

	"github.com/openllb/hlb-operator/agent/compile"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/solve"
	"github.com/openllb/hlb-operator/internal/buildpolicy"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
)

// Build compiles a job's program, builds its targets and pushes its images. The outcome is never nil: after an error
// it says how far the build came. Errors are *CompileError, *DisconnectedError, *RemoteError, *SourceError,
// *CredentialError, *PermissionError, *PushError, those of packages compile and solve, or the connection's.
func (d *Daemon) Build(ctx context.Context, job *Job) (*Outcome, error) {
	out := &Outcome{ImportErrors: map[string]string{}}
	if err := job.checkSpec(); err != nil {
		return out, err
	}
	sessions, err := newSessions(job)
	if err != nil {
		return out, err
	}
	b := &building{daemon: d, job: job, sessions: sessions}
	src, err := d.checkOut(ctx, job, sessions)
	if err != nil {
		return out, err
	}
	defer src.close() // it has ended by itself, or nobody needs it any more
	req, err := b.compile(ctx, src)
	out.Mounts = b.mounts
	if err != nil {
		return out, err
	}
	return out, b.run(ctx, req, out)
}

// checkSpec checks what the build itself names, besides its program.
func (j *Job) checkSpec() error {
	if s := j.Spec.Source; s != nil && s.Git != nil {
		if err := j.policy().Check(buildpolicy.Git, s.Git.URL); err != nil {
			return &PermissionError{"spec.source.git", err}
		}
	}
	for _, o := range j.Spec.Outputs {
		if err := j.policy().Check(buildpolicy.Push, o.Image); err != nil {
			return &PermissionError{fmt.Sprintf("spec.outputs[name=%s]", o.Name), err}
		}
	}
	return nil
}

// run builds a compiled program.
func (b *building) run(ctx context.Context, req *hlb.Request, out *Outcome) error {
	job := b.job
	var u uses
	err := u.addRequest(req)
	if err == nil {
		err = u.check(job.Namespace, job.policy())
	}
	if err != nil {
		return &PermissionError{"the program", err}
	}
	unprepared := b.note(u.cacheMounts(req.CacheMounts))
	out.request, out.Mounts = req, b.mounts
	watch := &watcher{request: req, forward: job.Progress, importErrors: out.ImportErrors}
	res, err := solve.Run(ctx, b.daemon.client, req, solve.Options{
		Session:      b.sessions.solve(b.hosts(&u, req)),
		CacheImports: cacheImports(job.Plan.Imports),
		SourcePolicy: job.policy().SourcePolicy(),
		Before:       func(ctx context.Context) { b.prepare(ctx, unprepared) },
		Outputs:      outputs(job.Spec.Outputs),
		Gateway:      job.Steps.gateway(),
		Status:       watch.see,
		Entitlements: append([]string{}, job.Entitlements...), // never nil: nil would grant all
	})
	out.Total, out.Cached = res.Steps.Total, res.Steps.Cached
	for _, o := range res.Outputs {
		if !slices.ContainsFunc(out.Outputs, func(s v1alpha1.OutputStatus) bool { return s.Image == o.Ref }) {
			out.Outputs = append(out.Outputs,
				v1alpha1.OutputStatus{Name: outputName(job.Spec.Outputs, o.Ref), Image: o.Ref,
					Digest: o.Digest.String()})
		}
	}
	var step *solve.StepError
	if err != nil && watch.pushFailed && !errors.As(err, &step) {
		err = &PushError{err}
	}
	return err
}

// compile takes the job's program to a request. What the compiler has to look up is looked up through the daemon, in a
// job of its own.
func (b *building) compile(ctx context.Context, src *checkedOut) (_ *hlb.Request, err error) {
	d, job := b.daemon, b.job
	gw := d.newLazyJob(ctx, job, b.sessions.compile())
	builds := &solver{build: b, job: gw}
	defer func() {
		// A job that ended on its own explains the errors of everything that was asked of it.
		jobs := []func() error{gw.close, builds.close}
		if err != nil {
			jobs = append(jobs, src.close)
		}
		for _, end := range jobs {
			if lost := end(); lost != nil && err != nil && isConnectionLost(lost) {
				err = lost
			}
		}
	}()
	prog, files, err := program(ctx, job, src)
	if err != nil {
		return nil, err
	}
	req, found, err := d.compiler.Compile(ctx, prog, &compile.Services{
		Resolver: &resolver{job: job, gw: gw},
		Solver:   builds,
		Pusher:   &pusher{build: b},
		Registry: &registry{credentials: b.sessions.build, job: job},
		Files:    files,
		Allow:    job.allow,
		Sharing:  mountpolicy.Sharing(job.Namespace, job.Mounts),
	})
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		if d.Code == lower.DaemonLost {
			return nil, &DisconnectedError{d.Message}
		}
	}
	if found.HasErrors() {
		if trouble := lookupTrouble(found); trouble != nil {
			return nil, trouble
		}
		return nil, &CompileError{found}
	}
	return req, nil
}

// outputName is the name of the output that was pushed to an image, empty for one that the program itself pushed.
func outputName(specs []v1alpha1.OutputSpec, image string) string {
	for _, o := range specs {
		if o.Image == image {
			return o.Name
		}
	}
	return ""
}

// mountsOf are the cache mounts that the compiler knows of, each id once.
func mountsOf(mounts []request.CacheMount) []Mount {
	var out []Mount
	at := map[string]int{}
	for _, m := range mounts {
		i, seen := at[m.ID]
		if !seen {
			i = len(out)
			at[m.ID] = i
			out = append(out, Mount{ID: m.ID, Target: m.Target, Sharing: m.Sharing})
		}
		if m.Root != nil && out[i].Root == nil {
			out[i].Root = &mountcopy.Root{UID: m.Root.UID, GID: m.Root.GID, Mode: m.Root.Mode}
		}
	}
	return out
}

func outputs(specs []v1alpha1.OutputSpec) []solve.Output {
	var out []solve.Output
	for _, o := range specs {
		out = append(out, solve.Output{Target: cmp.Or(o.Target, "default"), Image: o.Image})
	}
	return out
}

func cacheImports(refs []string) []client.CacheOptionsEntry {
	var out []client.CacheOptionsEntry
	for _, ref := range refs {
		out = append(out, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": ref}})
	}
	return out
}

// watcher learns from progress messages what no other answer of the daemon says.
type watcher struct {
	request      *hlb.Request
	forward      func(*client.SolveStatus)
	importErrors map[string]string
	pushFailed   bool
}

func (w *watcher) see(s *client.SolveStatus) {
	for _, v := range s.Vertexes {
		if v.Error == "" || w.request.Has(v.Digest) {
			continue // a program can give any name to its own steps
		}
		if ref, ok := strings.CutPrefix(v.Name, "importing cache manifest from "); ok {
			w.importErrors[ref] = v.Error
		}
		if strings.HasPrefix(v.Name, "exporting to ") || strings.HasPrefix(v.Name, "pushing ") {
			w.pushFailed = true
		}
	}
	if w.forward != nil {
		w.forward(s)
	}
}
