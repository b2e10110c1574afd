// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"path"
	"strconv"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"

	"github.com/openllb/hlb-operator/agent/mountcopy"
)

// Where things are in the step that copies.
const (
	atMount, atResult = "/mount", "/result"
	atMounts          = "/mounts" // has many, by their place in a survey
	programPath       = "/mountcopy"
)

// tidyTimeout is how long a step may take to clean up after its copy was given up.
const tidyTimeout = 10 * time.Second

// ErrNotReached says that the copying did not begin within MountCopy.Patience.
var ErrNotReached = errors.New("the mount was not free in time")

// errNoStep says that the step ended before it reached the agent.
var errNoStep = errors.New("the step that copies the mount has not reached the agent")

// copyMount runs the half of a copy that is a build step, and talk as the other half. The two talk over a socket of the
// network namespace that the agent shares with buildkitd, and with this step, but not with steps of builds that have
// networks of their own. It is no file, and what passes through it can't be seen on any interface. What the step has to
// say through buildkitd passes at a tenth of the speed.
func (d *Daemon) copyMount(
	ctx context.Context,
	c *MountCopy,
	mode mountcopy.Mode,
	flags []string,
	talk func(context.Context, *mountcopy.Peer) error,
) error {
	l, err := net.Listen("unix", "@hlb-mountcopy-"+rand.Text())
	if err != nil {
		return fmt.Errorf("listen for the step that copies the mount: %w", err)
	}
	defer l.Close()
	token := rand.Text()
	where := atMount
	if mode == mountcopy.ModeSurvey {
		where = atMounts
	}
	args := append(append([]string{programPath, "-agent", l.Addr().String()}, flags...), string(mode), where)
	def, err := c.step(mode, args, token).Marshal(ctx)
	if err != nil {
		return err
	}
	// The step outlives ctx, to clean up.
	jobCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	job := make(chan error, 1)
	ended, end := context.WithCancelCause(ctx) // when ctx does, or the step, or patience
	defer end(nil)
	go func() {
		defer cancel()
		_, err := d.client.Solve(jobCtx, def, copyOptions, nil)
		job <- err
		end(nil)
	}()
	if c.Patience > 0 {
		defer time.AfterFunc(c.Patience, func() { end(ErrNotReached) }).Stop()
	}
	reached, talkErr := converse(ctx, ended, l, token, talk)
	if !reached {
		cancel() // it waits for the mount, or for its turn
	}
	if reached && talkErr == nil && mode.Writes() && c.Sharing != "private" {
		// The mount is whole and the step about to end, which takes BuildKit a while: it has the disk take all that
		// was written. A build can use a shared mount at once, and waits for a locked one by itself. Of a private one
		// in use it would get another, an empty one.
		return nil
	}
	select {
	case err = <-job:
	case <-time.After(tidyTimeout):
		cancel()
		err = <-job
	}
	if ctx.Err() != nil && talkErr != nil {
		return context.Cause(ctx)
	}
	if !reached && errors.Is(context.Cause(ended), ErrNotReached) {
		return ErrNotReached
	}
	return explain(talkErr, err)
}

// copyOptions give a copy, and no step of a build, the network that the agent has.
var copyOptions = client.SolveOpt{
	Internal: true, AllowedEntitlements: []string{entitlements.EntitlementNetworkHost.String()},
}

// converse waits for the step and talks to it. It ends with ended before the step has come, and with ctx after it;
// reached says whether it came.
func converse(
	ctx, ended context.Context,
	l net.Listener,
	token string,
	talk func(context.Context, *mountcopy.Peer) error,
) (reached bool, err error) {
	came, ok := meet(ended, l, token)
	if !ok {
		return false, errNoStep
	}
	defer came.conn.Close()
	defer context.AfterFunc(ctx, func() { came.conn.Close() })()
	return true, talk(ctx, came.step)
}

// step runs the program, and nothing else, on a filesystem that holds nothing else. The token makes it run every
// time: to ignore the cache instead would wipe the mount.
func (c *MountCopy) step(mode mountcopy.Mode, argv []string, token string) llb.State {
	run := []llb.RunOption{
		llb.Args(argv), llb.AddEnv("MOUNTCOPY_TOKEN", token), llb.ReadonlyRootFS(), llb.Network(pb.NetMode_HOST),
	}
	add := func(at, id, sharing string) {
		mount := []llb.MountOption{llb.AsPersistentCacheDir(id, sharingModes[sharing])}
		if !mode.Writes() {
			mount = append(mount, llb.Readonly)
		}
		run = append(run, llb.AddMount(at, llb.Scratch(), mount...))
	}
	name := c.ID
	if mode == mountcopy.ModeSurvey {
		name = fmt.Sprintf("%d mounts", len(c.surveyed))
		for i, m := range c.surveyed {
			add(path.Join(atMounts, strconv.Itoa(i)), m.ID, m.Sharing)
		}
	} else {
		add(atMount, c.ID, c.Sharing)
	}
	run = append(run, llb.WithCustomName(fmt.Sprintf("[%s] %s", mode, name)))
	return withProgram(c.Program).Run(run...).AddMount(atResult, llb.Scratch()) // a solve needs a result
}

// withProgram is a root file system that holds cmd/mountcopy alone.
func withProgram(program []byte) llb.State {
	return llb.Scratch().File(llb.Mkfile(programPath, 0o755, program, llb.WithCreatedTime(time.Unix(0, 0).UTC())),
		llb.WithCustomName("[copier] put the program in place"))
}

// sharingModes are those of BuildKit; it takes the zero one for shared.
var sharingModes = map[string]llb.CacheMountSharingMode{
	"private": llb.CacheMountPrivate,
	"locked":  llb.CacheMountLocked,
}
