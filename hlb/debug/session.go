// SPDX-License-Identifier: Apache-2.0

package debug

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/system"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/solve"
)

// Session walks a program on a daemon. It is for one goroutine at a time.
type Session struct {
	*Machine

	stops   []*lower.Stop
	daemon  *solve.Interaction
	failure error // of the statement that the machine stands at, nil for none
}

// NewSession starts before the first statement of a trace.
func NewSession(trace *lower.Trace, daemon *solve.Interaction) *Session {
	positions := make([]Position, len(trace.Stops))
	for i, s := range trace.Stops {
		positions[i] = Position{
			File: s.Span.File, Line: s.Span.Start.Line, Depth: s.Depth, End: s.End, Breakpoint: s.Breakpoint,
		}
	}
	return &Session{Machine: NewMachine(positions), stops: trace.Stops, daemon: daemon}
}

// Solves are the filesystems of a trace, for what a session of the daemon has to offer.
func Solves(trace *lower.Trace) []*request.Solve {
	var out []*request.Solve
	for _, s := range trace.Stops {
		if s.After != nil {
			out = append(out, s.After)
		}
	}
	return out
}

// Stop is the statement that the session stands at, nil at the end.
func (s *Session) Stop() *lower.Stop {
	if at, reason := s.At(); reason != AtEnd {
		return s.stops[at]
	}
	return nil
}

// Failure is why the statement failed, nil if it didn't.
func (s *Session) Failure() error { return s.failure }

// Step is what the statement has the daemon do, nil if that is nothing of its own.
func (s *Session) Step() *Step {
	stop := s.Stop()
	if stop == nil {
		return nil
	}
	after, before := stepOf(stop.After), stepOf(stop.Before)
	if after == nil || before != nil && after.digest == before.digest {
		return nil
	}
	return after
}

// Do takes a command: it builds the statements on the way. A statement that fails is where the session then stands; the
// error is about other things, as a lost connection.
func (s *Session) Do(ctx context.Context, cmd Command) error {
	move := s.Plan(cmd)
	for _, i := range move.Run {
		if err := s.build(ctx, s.stops[i]); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			var step *solve.StepError
			if !errors.As(err, &step) {
				return err
			}
			s.failure = err
			s.Fail(i)
			return nil
		}
	}
	if move.Reason != AtEnd {
		s.failure = nil
	}
	s.Arrive(move)
	return nil
}

// build builds what a statement made.
func (s *Session) build(ctx context.Context, stop *lower.Stop) error {
	_, err := s.daemon.Build(ctx, stop.After)
	return err
}

// errNothing is what there is to look at before a filesystem has anything.
var errNothing = errors.New("there are no files yet")

// ReadDir lists a directory as the statement sees it: in its mounts too, and after a failure with what it has written.
func (s *Session) ReadDir(ctx context.Context, dir string) ([]*fstypes.Stat, error) {
	var found []*fstypes.Stat
	err := s.inside(ctx, dir, func(c gateway.Container, mount int, rest string) (err error) {
		found, err = c.ReadDir(ctx, gateway.ReadDirContainerRequest{
			ReadDirRequest: gateway.ReadDirRequest{Path: rest}, MountIndex: mount,
		})
		return err
	}, func(ref gateway.Reference) (err error) {
		found, err = ref.ReadDir(ctx, gateway.ReadDirRequest{Path: dir})
		return err
	})
	return found, err
}

// maxShown is how much of a file is shown.
const maxShown = 1 << 20

// ReadFile reads the beginning of a file as the statement sees it, at most 1 MiB.
func (s *Session) ReadFile(ctx context.Context, name string) ([]byte, error) {
	var data []byte
	part := &gateway.FileRange{Length: maxShown}
	err := s.inside(ctx, name, func(c gateway.Container, mount int, rest string) (err error) {
		data, err = c.ReadFile(ctx, gateway.ReadContainerRequest{
			ReadRequest: gateway.ReadRequest{Filename: rest, Range: part}, MountIndex: mount,
		})
		return err
	}, func(ref gateway.Reference) (err error) {
		data, err = ref.ReadFile(ctx, gateway.ReadRequest{Filename: name, Range: part})
		return err
	})
	return data, err
}

// inside looks at a path: in the container of the statement if it has a command, else in the filesystem before it.
func (s *Session) inside(
	ctx context.Context, name string,
	contained func(gateway.Container, int, string) error, plain func(gateway.Reference) error,
) error {
	if s.Step().Exec() == nil {
		ref, err := s.before(ctx)
		if err != nil {
			return err
		}
		return plain(ref)
	}
	req, err := s.container(ctx)
	if err != nil {
		return err
	}
	mount, rest := mountOf(req.Mounts, name)
	if mount < 0 {
		return errNothing
	}
	c, err := s.daemon.Gateway.NewContainer(ctx, *req)
	if err != nil {
		return err
	}
	err = contained(c, mount, rest)
	return cmp.Or(err, c.Release(context.WithoutCancel(ctx)))
}

// mountOf is the mount that holds a path, and the path in it.
func mountOf(mounts []gateway.Mount, name string) (int, string) {
	name = path.Join("/", name)
	best, rest := -1, ""
	for i, m := range mounts {
		dest := path.Join("/", m.Dest)
		below, ok := strings.CutPrefix(name, strings.TrimSuffix(dest, "/"))
		if !ok || below != "" && below[0] != '/' {
			continue
		}
		if best < 0 || len(dest) >= len(mounts[best].Dest) {
			best, rest = i, path.Join("/", below)
		}
	}
	return best, rest
}

// before is the filesystem before the statement.
func (s *Session) before(ctx context.Context) (gateway.Reference, error) {
	stop := s.Stop()
	if stop == nil {
		return nil, errNothing
	}
	ref, err := s.daemon.Build(ctx, stop.Before)
	if err == nil && ref == nil {
		err = errNothing
	}
	return ref, err
}

// container is that of the statement: its root and mounts as they are before it, or as its failure left them.
func (s *Session) container(ctx context.Context) (*gateway.NewContainerRequest, error) {
	exec := s.Step().Exec()
	if exec == nil {
		ref, err := s.before(ctx)
		if err != nil {
			return nil, err
		}
		return &gateway.NewContainerRequest{Mounts: []gateway.Mount{{Dest: "/", Ref: ref}}}, nil
	}
	req := &gateway.NewContainerRequest{
		NetMode: exec.Network, ExtraHosts: exec.Meta.ExtraHosts, Hostname: exec.Meta.Hostname,
		Platform: s.Step().Op.Platform, Constraints: s.Step().Op.Constraints,
	}
	var failed *errdefs.SolveError
	errors.As(s.failure, &failed)
	for i, m := range exec.Mounts {
		mount := gateway.Mount{
			Dest: m.Dest, Selector: m.Selector, Readonly: m.Readonly, MountType: m.MountType,
			CacheOpt: m.CacheOpt, SecretOpt: m.SecretOpt, SSHOpt: m.SSHOpt,
		}
		switch {
		case failed != nil && i < len(failed.MountIDs) && failed.MountIDs[i] != "":
			mount.ResultID = failed.MountIDs[i]
		case m.Input >= 0 && (m.MountType == pb.MountType_BIND || m.MountType == pb.MountType_CACHE):
			ref, err := s.input(ctx, m)
			if err != nil {
				return nil, err
			}
			mount.Ref = ref
		}
		req.Mounts = append(req.Mounts, mount)
	}
	return req, nil
}

// input builds what the command mounts.
func (s *Session) input(ctx context.Context, m *pb.Mount) (gateway.Reference, error) {
	step := s.Step()
	part, err := step.part(step.Op.Inputs[m.Input])
	if err != nil {
		return nil, err
	}
	ref, err := s.daemon.BuildPart(ctx, part)
	if err != nil {
		return nil, fmt.Errorf("build what is mounted at %s: %w", m.Dest, err)
	}
	return ref, nil
}

// Process is a command in the container of the statement.
type Process struct {
	Args           []string
	Tty            bool
	Stdin          io.ReadCloser // nil for none
	Stdout, Stderr io.Writer
	Started        func(gateway.ContainerProcess) // called when it runs, nil for nothing
}

// Exec runs a command where the statement would run its own, with its environment, user and mounts. Nothing of it
// is kept but what it writes into cache mounts.
func (s *Session) Exec(ctx context.Context, p Process) error {
	req, err := s.container(ctx)
	if err != nil {
		return err
	}
	c, err := s.daemon.Gateway.NewContainer(ctx, *req)
	if err != nil {
		return err
	}
	process, err := c.Start(ctx, s.start(p))
	if err == nil {
		if p.Started != nil {
			p.Started(process)
		}
		err = process.Wait()
	}
	released := c.Release(context.WithoutCancel(ctx)) // which has the same error again
	return cmp.Or(err, released)
}

// open is a stream that a process can't close.
type open struct{ io.Writer }

// Close implements io.Closer.
func (open) Close() error { return nil }

// start is how a process starts.
func (s *Session) start(p Process) gateway.StartRequest {
	stop := s.Stop()
	req := gateway.StartRequest{
		Args: p.Args, Tty: p.Tty, Stdin: p.Stdin, Stdout: open{p.Stdout}, Stderr: open{p.Stderr},
		Env: stop.Env, Cwd: stop.Dir, User: stop.User,
	}
	if exec := s.Step().Exec(); exec != nil {
		req.Env, req.Cwd, req.User = exec.Meta.Env, exec.Meta.Cwd, exec.Meta.User
		req.SecretEnv, req.SecurityMode = exec.Secretenv, exec.Security
	}
	if req.Cwd == "" {
		req.Cwd = "/"
	}
	for _, kv := range req.Env {
		if strings.HasPrefix(kv, "PATH=") {
			return req
		}
	}
	req.Env = append(append([]string{}, req.Env...), "PATH="+system.DefaultPathEnvUnix)
	return req
}

// Env is the environment of the statement.
func (s *Session) Env() []string {
	if exec := s.Step().Exec(); exec != nil {
		return exec.Meta.Env
	}
	if stop := s.Stop(); stop != nil {
		return stop.Env
	}
	return nil
}
