// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/solve"
	"github.com/openllb/hlb-operator/internal/buildpolicy"
	"github.com/openllb/hlb-operator/internal/cacheref"
)

// solver builds for the compiler. What it is asked to build was written by a program, so that it is checked.
type solver struct {
	build *building
	job   *lazyJob

	given     request.Needs // to the next front end
	mounts    []request.CacheMount
	frontends []*lazyJob // each with what it was given
}

// Need implements lower.NeedsSolver.
func (s *solver) Need(needs request.Needs) error {
	s.given = needs
	return nil
}

// NoteMounts implements lower.MountNoter.
func (s *solver) NoteMounts(mounts []request.CacheMount) { s.mounts = mounts }

// close ends the jobs of front ends and returns the error that one of them ended with on its own.
func (s *solver) close() error {
	var lost error
	for _, j := range s.frontends {
		lost = errors.Join(lost, j.close())
	}
	return lost
}

// Solve implements the compiler's Solver.
func (s *solver) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	var u uses
	if req.Definition != nil {
		if err := u.add(req.Definition.Def); err != nil {
			return nil, err
		}
	}
	for _, in := range req.FrontendInputs {
		if err := u.add(in.Def); err != nil {
			return nil, err
		}
	}
	if err := s.build.admit(ctx, &u, s.mounts); err != nil {
		return nil, err
	}
	if req.Frontend != "" {
		return s.runFrontend(ctx, req)
	}
	return s.job.solve(ctx, req)
}

// runFrontend runs a front end in a job of its own, with the secrets and agents that the program gives it.
func (s *solver) runFrontend(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	job := s.build.job
	if err := checkFrontend(&req); err != nil {
		return nil, refused(err)
	}
	if err := job.allow(lower.UseFrontend, req.FrontendOpt["source"]); err != nil {
		return nil, err
	}
	// the Dockerfile front end puts it before the ids of cache mounts
	req.FrontendOpt["build-arg:BUILDKIT_CACHE_MOUNT_NS"] = job.Namespace
	given := s.given
	own := s.build.daemon.newLazyJob(ctx, job, s.build.sessions.frontend(given))
	s.frontends = append(s.frontends, own)
	res, err := own.solve(ctx, req)
	if err != nil {
		return nil, deniedSource(err)
	}
	return res, s.checkResult(ctx, res, given)
}

// gatewayFrontend is how BuildKit calls front ends that are images.
const gatewayFrontend = "gateway.v0"

// checkFrontend checks that what runs is the image that the option source names. BuildKit runs a named context of that
// name in its place.
func checkFrontend(req *gateway.SolveRequest) error {
	image, err := cacheref.Parse(req.FrontendOpt["source"])
	if req.Frontend != gatewayFrontend || err != nil {
		return fmt.Errorf("a front end is run that is no image")
	}
	for option := range req.FrontendOpt {
		name, is := strings.CutPrefix(option, "context:")
		if !is {
			continue
		}
		name, _, _ = strings.Cut(name, "::") // which a platform follows
		if ref, err := cacheref.Parse(name); err == nil && ref.Repository == image.Repository {
			return fmt.Errorf("the option %s puts something in place of the front end", option)
		}
	}
	return nil
}

// checkResult checks what a front end has made: its steps become the program's.
func (s *solver) checkResult(ctx context.Context, res *gateway.Result, given request.Needs) error {
	ref, err := res.SingleRef()
	if err != nil || ref == nil {
		return err
	}
	state, err := ref.ToState()
	if err != nil {
		return err
	}
	def, err := state.Marshal(ctx)
	if err != nil {
		return err
	}
	var u uses
	if err := u.add(def.Def); err != nil {
		return err
	}
	ids := map[string]bool{}
	for _, needed := range given.Secrets {
		ids[needed.ID] = true
	}
	for _, needed := range given.SSH {
		ids[needed.ID] = true
	}
	if err := u.checkGiven(s.build.sessions.declares, ids); err != nil {
		return refused(err)
	}
	return s.build.check(&u)
}

// deniedText is how BuildKit says that a source policy denies a source. It has no code for it.
const deniedText = "denied by policy"

// deniedSource explains an error about a source that the BuildCache does not allow.
func deniedSource(err error) error {
	if !strings.Contains(err.Error(), deniedText) {
		return err
	}
	d := diag.Errorf(lower.NotAllowed, diag.Span{}, "the BuildCache does not allow a source of the front end: %v", err)
	return d.WithHint("have the owner of the BuildCache add it to spec.allowedSources")
}

// allow is the answer to the compiler, a *diag.Diagnostic where something is refused.
func (j *Job) allow(use lower.Use, what string) error {
	return refused(j.policy().Check(buildpolicy.Use(use), what))
}

// refused makes a diagnostic of a refusal, nil of nil.
func refused(err error) error {
	if err == nil {
		return nil
	}
	d := diag.Errorf(lower.NotAllowed, diag.Span{}, "%v", err)
	var policy *buildpolicy.Error
	if errors.As(err, &policy) {
		d.Hint = policy.Hint
	}
	return d
}

// pusher pushes an image while compiling, for programs that use its digest.
type pusher struct {
	build  *building
	mounts []request.CacheMount
}

// NoteMounts implements lower.MountNoter.
func (p *pusher) NoteMounts(mounts []request.CacheMount) { p.mounts = mounts }

// Push implements the compiler's Pusher.
func (p *pusher) Push(ctx context.Context, export *request.Node) (digest.Digest, error) {
	job := p.build.job
	req := &request.Request{Root: export}
	var u uses
	err := u.addRequest(req)
	if err == nil {
		err = job.allow(lower.UsePush, export.Output.Ref)
	}
	if err == nil {
		err = p.build.admit(ctx, &u, p.mounts)
	}
	if err != nil {
		return "", err
	}
	req.Index()
	res, err := solve.Run(ctx, p.build.daemon.client, req, solve.Options{
		Session:      p.build.sessions.solve(p.build.hosts(&u, req)),
		CacheImports: cacheImports(job.Plan.Imports),
		SourcePolicy: job.policy().SourcePolicy(),
		Gateway:      job.Steps.gateway(),
		Status:       job.Progress,
		Entitlements: append([]string{}, job.Entitlements...),
	})
	if err != nil {
		return "", err
	}
	if len(res.Outputs) == 0 {
		return "", fmt.Errorf("pushing %s yielded no digest", export.Output.Ref)
	}
	return res.Outputs[0].Digest, nil
}

// building is one call of Build.
type building struct {
	daemon   *Daemon
	job      *Job
	sessions *sessions
	// mounts are the cache mounts that something was built with, or is about to be, each id once.
	mounts []Mount
}

// check returns a diagnostic unless the build may use all of it.
func (b *building) check(u *uses) error {
	return refused(u.check(b.job.Namespace, b.job.policy()))
}

// admit checks what is about to be built and has its cache mounts prepared. known are those that the compiler knows
// of.
func (b *building) admit(ctx context.Context, u *uses, known []request.CacheMount) error {
	if err := b.check(u); err != nil {
		return err
	}
	b.prepare(ctx, b.note(u.cacheMounts(known)))
	return nil
}

// note adds mounts to those of the build, and returns the new ones.
func (b *building) note(mounts []Mount) []Mount {
	var added []Mount
	for _, m := range mounts {
		if !slices.ContainsFunc(b.mounts, func(seen Mount) bool { return seen.ID == m.ID }) {
			added = append(added, m)
		}
	}
	b.mounts = append(b.mounts, added...)
	return added
}

func (b *building) prepare(ctx context.Context, mounts []Mount) {
	if b.job.Prepare != nil && len(mounts) > 0 {
		b.job.Prepare(ctx, mounts)
	}
}

// hosts are those of the registries that a request is about.
func (b *building) hosts(u *uses, req *request.Request) []string {
	refs := append(u.images(), req.Images()...)
	for _, o := range b.job.Spec.Outputs {
		refs = append(refs, o.Image)
	}
	for _, leaf := range req.Root.Leaves() {
		for _, scope := range leaf.Solve.Scopes {
			for _, imp := range scope.Imports {
				refs = append(refs, imp.Entry.Attrs["ref"])
			}
			for _, entry := range scope.Exports {
				refs = append(refs, entry.Attrs["ref"])
			}
		}
	}
	return b.job.policy().Hosts(refs)
}
