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
	"github.com/moby/buildkit/session"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/agent/compile"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/solve"
	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
)

// Build compiles a job's program, builds its targets and pushes its images. The outcome is never nil: after an error
// it says how far the build came. Errors are *CompileError, *DisconnectedError, *SourceError, *CredentialError,
// *PushError, those of packages compile and solve, or the connection's.
func (d *Daemon) Build(ctx context.Context, job *Job) (*Outcome, error) {
	out := &Outcome{ImportErrors: map[string]string{}}
	attach, creds, err := attachables(job)
	if err != nil {
		return out, err
	}
	req, err := d.compile(ctx, job, attach, creds)
	if err != nil {
		return out, err
	}
	out.request, out.Mounts = req, mountsOf(req)
	watch := &watcher{request: req, forward: job.Progress, importErrors: out.ImportErrors}
	res, err := solve.Run(ctx, d.client, req, solve.Options{
		Session:      attach,
		CacheImports: cacheImports(job.Plan.Imports),
		Before: func(ctx context.Context) {
			if job.Prepare != nil {
				job.Prepare(ctx, out.Mounts)
			}
		},
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
	return out, err
}

// compile takes the job's program to a request. What the compiler has to look up is looked up through the daemon, in a
// job of its own.
func (d *Daemon) compile(
	ctx context.Context,
	job *Job,
	attach []session.Attachable,
	creds *credentials,
) (_ *hlb.Request, err error) {
	gw := d.newLazyJob(ctx, attach, job)
	defer func() {
		// A job that ended on its own explains the errors of everything that was asked of it.
		if lost := gw.close(); lost != nil && err != nil && isConnectionLost(lost) {
			err = lost
		}
	}()
	prog, files, err := program(ctx, job, gw)
	if err != nil {
		return nil, err
	}
	req, found, err := d.compiler.Compile(ctx, prog, &compile.Services{
		Resolver:      gw,
		Solver:        &solver{job: gw, frontends: job.Frontends},
		Pusher:        &pusher{daemon: d, attach: attach, job: job},
		Registry:      &registry{credentials: creds, hosts: job.Registries},
		Files:         files,
		AllowCacheRef: job.allowCacheRef,
		Sharing:       mountpolicy.Sharing(job.Namespace, job.Mounts),
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

func (j *Job) allowCacheRef(ref string) error {
	if !cacheref.Permitted(j.cacheRepository(), j.Namespace, ref) {
		return fmt.Errorf("%s belongs to another namespace", ref)
	}
	return nil
}

// pusher pushes an image while compiling, for programs that use its digest.
type pusher struct {
	daemon *Daemon
	attach []session.Attachable
	job    *Job
}

// Push implements the compiler's Pusher.
func (p *pusher) Push(ctx context.Context, export *request.Node) (digest.Digest, error) {
	req := &request.Request{Root: export}
	req.Index()
	res, err := solve.Run(ctx, p.daemon.client, req, solve.Options{
		Session:      p.attach,
		CacheImports: cacheImports(p.job.Plan.Imports),
		Gateway:      p.job.Steps.gateway(),
		Status:       p.job.Progress,
		Entitlements: append([]string{}, p.job.Entitlements...),
	})
	if err != nil {
		return "", err
	}
	if len(res.Outputs) == 0 {
		return "", fmt.Errorf("pushing %s yielded no digest", export.Output.Ref)
	}
	return res.Outputs[0].Digest, nil
}

func mountsOf(req *hlb.Request) []Mount {
	var out []Mount
	at := map[string]int{}
	for _, m := range req.CacheMounts {
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
