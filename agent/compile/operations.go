// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"

	"github.com/openllb/hlb-operator/agent/compile/wire"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/request"
)

// maxBlob bounds what a child is sent of what others have written: BuildKit's own messages are no longer.
const maxBlob = 16 << 20

// operation performs a call of one kind.
type operation func(
	c *conversation, ctx context.Context, call *wire.Call, blobs [][]byte,
) (*wire.Answer, [][]byte, error)

var operations = map[wire.Op]operation{
	wire.OpResolve:    (*conversation).resolve,
	wire.OpManifest:   (*conversation).manifest,
	wire.OpSolve:      (*conversation).solve,
	wire.OpDefinition: (*conversation).definition,
	wire.OpStat:       (*conversation).stat,
	wire.OpRead:       (*conversation).read,
	wire.OpPush:       (*conversation).push,
	wire.OpAllow:      (*conversation).allow,
	wire.OpSharing:    (*conversation).sharing,
}

func (c *conversation) resolve(ctx context.Context, call *wire.Call, _ [][]byte) (*wire.Answer, [][]byte, error) {
	ref, digest, config, err := c.services.Resolver.ResolveImageConfig(ctx, call.Ref, sourceresolver.Opt{
		LogName:  call.LogName,
		ImageOpt: &sourceresolver.ResolveImageOpt{Platform: call.Platform, ResolveMode: call.ResolveMode},
	})
	return &wire.Answer{Ref: ref, Digest: digest}, [][]byte{config}, err
}

func (c *conversation) manifest(ctx context.Context, call *wire.Call, _ [][]byte) (*wire.Answer, [][]byte, error) {
	if call.Platform == nil {
		return nil, nil, fmt.Errorf("%w: a manifest without a platform", errProtocol)
	}
	m, err := c.services.Registry.Manifest(ctx, call.Ref, *call.Platform)
	return &wire.Answer{Digest: m.Digest}, [][]byte{[]byte(m.Manifest), []byte(m.Config), []byte(m.Index)}, err
}

func (c *conversation) solve(ctx context.Context, call *wire.Call, blobs [][]byte) (*wire.Answer, [][]byte, error) {
	req := gateway.SolveRequest{Frontend: call.Frontend, FrontendOpt: call.Opts}
	if call.Frontend == "" {
		if len(blobs) != 1 || len(call.Inputs) > 0 {
			return nil, nil, fmt.Errorf("%w: a solve without a definition", errProtocol)
		}
		var err error
		if req.Definition, err = readDefinition(blobs[0]); err != nil {
			return nil, nil, err
		}
	} else {
		if len(blobs) != len(call.Inputs) {
			return nil, nil, fmt.Errorf("%w: a front end with %d inputs and %d definitions", errProtocol,
				len(call.Inputs), len(blobs))
		}
		req.FrontendInputs = map[string]*pb.Definition{}
		for i, name := range call.Inputs {
			def, err := readDefinition(blobs[i])
			if err != nil {
				return nil, nil, err
			}
			req.FrontendInputs[name] = def
		}
	}
	noteMounts(c.services.Solver, call)
	if s, ok := c.services.Solver.(lower.NeedsSolver); ok {
		if err := s.Need(needsOf(call)); err != nil {
			return nil, nil, err
		}
	}
	res, err := c.services.Solver.Solve(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	ref, err := res.SingleRef()
	if err != nil {
		return nil, nil, err
	}
	answer := &wire.Answer{}
	if ref != nil {
		c.trees = append(c.trees, ref)
		answer.Tree = len(c.trees)
	}
	return answer, [][]byte{res.Metadata[wire.ConfigKey]}, nil
}

// noteMounts has a service know the cache mounts of what was evaluated so far.
func noteMounts(service any, call *wire.Call) {
	if n, ok := service.(lower.MountNoter); ok {
		n.NoteMounts(call.Mounts)
	}
}

// needsOf are the declared secrets and agents that a solve may use.
func needsOf(call *wire.Call) (out request.Needs) {
	for _, id := range call.Secrets {
		out.Secrets = append(out.Secrets, request.Secret{ID: id})
	}
	for _, id := range call.SSH {
		out.SSH = append(out.SSH, request.SSH{ID: id, Declared: true})
	}
	return out
}

func readDefinition(data []byte) (*pb.Definition, error) {
	def := &pb.Definition{}
	if err := def.UnmarshalVT(data); err != nil {
		return nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	return def, nil
}

// tree is a filesystem that was built for the child.
func (c *conversation) tree(number int) (gateway.Reference, error) {
	if number < 1 || number > len(c.trees) {
		return nil, fmt.Errorf("%w: there is no tree %d", errProtocol, number)
	}
	return c.trees[number-1], nil
}

func (c *conversation) definition(ctx context.Context, call *wire.Call, _ [][]byte) (*wire.Answer, [][]byte, error) {
	tree, err := c.tree(call.Tree)
	if err != nil {
		return nil, nil, err
	}
	state, err := tree.ToState()
	if err != nil {
		return nil, nil, err
	}
	def, err := Definition(ctx, &state)
	return &wire.Answer{}, [][]byte{def}, err
}

// Definition marshals a state, as Program.Context is; nil for an empty one.
func Definition(ctx context.Context, state *llb.State) ([]byte, error) {
	def, err := state.Marshal(ctx)
	if err != nil || len(def.Def) == 0 {
		return nil, err
	}
	return def.ToPB().MarshalVT()
}

func (c *conversation) stat(ctx context.Context, call *wire.Call, _ [][]byte) (*wire.Answer, [][]byte, error) {
	if call.Tree == 0 {
		if c.services.Files == nil {
			return nil, nil, fs.ErrNotExist
		}
		info, err := fs.Stat(c.services.Files, call.Path)
		if err != nil {
			return nil, nil, err
		}
		return &wire.Answer{Size: info.Size(), Mode: uint32(info.Mode())}, nil, nil
	}
	tree, err := c.tree(call.Tree)
	if err != nil {
		return nil, nil, err
	}
	st, err := tree.StatFile(ctx, gateway.StatRequest{Path: call.Path})
	if err != nil {
		return nil, nil, err
	}
	return &wire.Answer{Size: st.Size, Mode: st.Mode}, nil, nil
}

func (c *conversation) read(ctx context.Context, call *wire.Call, _ [][]byte) (*wire.Answer, [][]byte, error) {
	if call.Tree == 0 {
		if c.services.Files == nil {
			return nil, nil, fs.ErrNotExist
		}
		data, err := fs.ReadFile(c.services.Files, call.Path)
		return &wire.Answer{}, [][]byte{data}, err
	}
	tree, err := c.tree(call.Tree)
	if err != nil {
		return nil, nil, err
	}
	data, err := tree.ReadFile(ctx, gateway.ReadRequest{Filename: call.Path})
	return &wire.Answer{}, [][]byte{data}, err
}

func (c *conversation) push(ctx context.Context, call *wire.Call, blobs [][]byte) (*wire.Answer, [][]byte, error) {
	if call.Push == nil {
		return nil, nil, fmt.Errorf("%w: a push of nothing", errProtocol)
	}
	req, err := wire.Decode(call.Push, blobs)
	if err != nil {
		return nil, nil, err
	}
	if req.Root == nil || req.Root.Output == nil {
		return nil, nil, fmt.Errorf("%w: a push of what is no export", errProtocol)
	}
	noteMounts(c.services.Pusher, call)
	digest, err := c.services.Pusher.Push(ctx, req.Root)
	return &wire.Answer{Digest: digest}, nil, err
}

func (c *conversation) allow(_ context.Context, call *wire.Call, _ [][]byte) (*wire.Answer, [][]byte, error) {
	return &wire.Answer{}, nil, c.services.Allow(lower.Use(call.Use), call.Ref)
}

func (c *conversation) sharing(_ context.Context, call *wire.Call, _ [][]byte) (*wire.Answer, [][]byte, error) {
	mode, ok := c.services.Sharing(call.Ref)
	if !ok {
		mode = ""
	}
	return &wire.Answer{Text: mode}, nil, nil
}
