// SPDX-License-Identifier: Apache-2.0

package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/openllb/hlb-operator/agent/compile/wire"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
)

// agent is the other end: all that the compiler may ask for. Calls go one after another.
type agent struct {
	out     io.Writer
	answers chan answer

	// The evaluator asks for one solve or push at a time. needs are those of the next one, mounts the cache mounts so
	// far.
	needs  request.Needs
	mounts []request.CacheMount

	mu sync.Mutex
	// lost is set when a call was given up: an answer to it may still come, so there are no further calls.
	lost bool
}

type answer struct {
	wire.Answer
	blobs [][]byte
}

// newAgent reads answers from in for as long as the process lives. It ends the process when the agent is gone, whatever
// the compiler is at.
func newAgent(in io.Reader, out io.Writer) *agent {
	a := &agent{out: out, answers: make(chan answer)}
	go func() {
		for {
			var next answer
			var err error
			if next.blobs, err = wire.Read(in, maxFrame, &next.Answer); err != nil {
				os.Exit(exitLost)
			}
			a.answers <- next
		}
	}()
	return a
}

func (a *agent) write(v *wire.FromChild, blobs ...[]byte) error {
	return wire.Write(a.out, v, blobs...)
}

// call asks for something. blobs is how many blobs the answer must have.
func (a *agent) call(ctx context.Context, c *wire.Call, blobs int, sent ...[]byte) (answer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lost {
		return answer{}, errors.New("an earlier question was given up")
	}
	if err := a.write(&wire.FromChild{Call: c}, sent...); err != nil {
		return answer{}, err
	}
	select {
	case got := <-a.answers:
		if err := got.Error.Err(); err != nil {
			return answer{}, err
		}
		if len(got.blobs) != blobs {
			return answer{}, fmt.Errorf("the answer to %s has %d blobs", c.Op, len(got.blobs))
		}
		return got, nil
	case <-ctx.Done():
		a.lost = true
		return answer{}, context.Cause(ctx)
	}
}

// ResolveImageConfig implements lower.Resolver.
func (a *agent) ResolveImageConfig(
	ctx context.Context, ref string, opt sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	c := &wire.Call{Op: wire.OpResolve, Ref: ref, LogName: opt.LogName}
	if opt.ImageOpt != nil {
		c.Platform, c.ResolveMode = opt.ImageOpt.Platform, opt.ImageOpt.ResolveMode
	}
	got, err := a.call(ctx, c, 1)
	if err != nil {
		return "", "", nil, err
	}
	return got.Ref, got.Digest, got.blobs[0], nil
}

// Manifest implements lower.Registry.
func (a *agent) Manifest(ctx context.Context, ref string, platform ocispecs.Platform) (lower.Manifest, error) {
	got, err := a.call(ctx, &wire.Call{Op: wire.OpManifest, Ref: ref, Platform: &platform}, 3)
	if err != nil {
		return lower.Manifest{}, err
	}
	return lower.Manifest{
		Digest: got.Digest, Manifest: string(got.blobs[0]), Config: string(got.blobs[1]), Index: string(got.blobs[2]),
	}, nil
}

// NoteMounts implements lower.MountNoter.
func (a *agent) NoteMounts(mounts []request.CacheMount) { a.mounts = mounts }

// Need implements lower.NeedsSolver.
func (a *agent) Need(needs request.Needs) error {
	a.needs = needs
	return nil
}

// Solve implements lower.Solver.
func (a *agent) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	c := &wire.Call{Op: wire.OpSolve, Frontend: req.Frontend, Opts: req.FrontendOpt, Mounts: a.mounts}
	for _, s := range a.needs.Secrets {
		c.Secrets = append(c.Secrets, s.ID)
	}
	for _, s := range a.needs.SSH {
		c.SSH = append(c.SSH, s.ID)
	}
	var sent [][]byte
	if req.Frontend == "" {
		def, err := req.Definition.MarshalVT()
		if err != nil {
			return nil, fmt.Errorf("write a definition: %w", err)
		}
		sent = append(sent, def)
	}
	for _, name := range slices.Sorted(maps.Keys(req.FrontendInputs)) {
		def, err := req.FrontendInputs[name].MarshalVT()
		if err != nil {
			return nil, fmt.Errorf("write a definition: %w", err)
		}
		c.Inputs, sent = append(c.Inputs, name), append(sent, def)
	}
	got, err := a.call(ctx, c, 1, sent...)
	if err != nil {
		return nil, err
	}
	res := gateway.NewResult()
	if got.Tree > 0 {
		res.SetRef(&tree{a, got.Tree})
	}
	if len(got.blobs[0]) > 0 {
		res.AddMeta(wire.ConfigKey, got.blobs[0])
	}
	return res, nil
}

// Push implements lower.Pusher.
func (a *agent) Push(ctx context.Context, export *request.Node) (digest.Digest, error) {
	req, blobs, err := wire.Encode(&request.Request{Root: export})
	if err != nil {
		return "", err
	}
	got, err := a.call(ctx, &wire.Call{Op: wire.OpPush, Push: req, Mounts: a.mounts}, 0, blobs...)
	return got.Digest, err
}

// allow and sharing have no context; questions about policies are answered at once.
func (a *agent) allow(use lower.Use, what string) error {
	_, err := a.call(context.Background(), &wire.Call{Op: wire.OpAllow, Use: string(use), Ref: what}, 0)
	return err
}

func (a *agent) sharing(id string) (string, bool) {
	got, err := a.call(context.Background(), &wire.Call{Op: wire.OpSharing, Ref: id}, 0)
	return got.Text, err == nil && got.Text != ""
}

// tree is a filesystem that the agent has had built, or with the number 0 the files beside the program.
type tree struct {
	agent  *agent
	number int
}

// ToState implements gateway.Reference.
func (t *tree) ToState() (llb.State, error) {
	got, err := t.agent.call(context.Background(), &wire.Call{Op: wire.OpDefinition, Tree: t.number}, 1)
	if err != nil {
		return llb.State{}, err
	}
	return stateOf(got.blobs[0])
}

// ReadFile implements gateway.Reference, for whole files.
func (t *tree) ReadFile(ctx context.Context, req gateway.ReadRequest) ([]byte, error) {
	got, err := t.agent.call(ctx, &wire.Call{Op: wire.OpRead, Tree: t.number, Path: req.Filename}, 1)
	if err != nil {
		return nil, err
	}
	return got.blobs[0], nil
}

// StatFile implements gateway.Reference.
func (t *tree) StatFile(ctx context.Context, req gateway.StatRequest) (*fstypes.Stat, error) {
	got, err := t.agent.call(ctx, &wire.Call{Op: wire.OpStat, Tree: t.number, Path: req.Path}, 0)
	if err != nil {
		return nil, err
	}
	return &fstypes.Stat{Path: req.Path, Mode: got.Mode, Size: got.Size}, nil
}

// Evaluate implements gateway.Reference. No compiler asks for it, nor for directories.
func (t *tree) Evaluate(context.Context) error { return errors.ErrUnsupported }

// ReadDir implements gateway.Reference.
func (t *tree) ReadDir(context.Context, gateway.ReadDirRequest) ([]*fstypes.Stat, error) {
	return nil, errors.ErrUnsupported
}
