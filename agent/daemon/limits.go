// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// cpuPeriod is the time over which a step's processor time is bounded, in microseconds: that of the kubelet.
const cpuPeriod = 100_000

// StepLimits bound what each step may use. The zero value bounds nothing.
type StepLimits struct {
	// MemoryBytes without swap, 0 for no bound; MilliCPU in thousandths of a processor, 0 for no bound.
	MemoryBytes, MilliCPU int64
}

// resources are the limits as BuildKit takes them, nil for none.
func (l StepLimits) resources() *pb.LinuxResources {
	if l == (StepLimits{}) {
		return nil
	}
	out := &pb.LinuxResources{Memory: l.MemoryBytes, MemorySwap: l.MemoryBytes}
	if l.MilliCPU > 0 {
		out.CpuPeriod, out.CpuQuota = cpuPeriod, l.MilliCPU*cpuPeriod/1000
	}
	return out
}

// gateway returns a wrapper that bounds the steps of all that is solved. What BuildKit knows of an operation beside the
// operation itself is no part of its cache key, so a step is cached whatever its limits were.
func (l StepLimits) gateway() func(gateway.Client) gateway.Client {
	return func(gw gateway.Client) gateway.Client {
		if r := l.resources(); r != nil {
			return &limitedGateway{gw, r}
		}
		return gw
	}
}

type limitedGateway struct {
	gateway.Client
	resources *pb.LinuxResources
}

// Solve solves with the limits on every step.
func (g *limitedGateway) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	req.Definition = limited(req.Definition, g.resources)
	inputs := make(map[string]*pb.Definition, len(req.FrontendInputs))
	for name, def := range req.FrontendInputs {
		inputs[name] = limited(def, g.resources)
	}
	req.FrontendInputs = inputs
	return g.Client.Solve(ctx, req)
}

// limited returns a definition with limits on all its operations; those that are no steps ignore them.
func limited(def *pb.Definition, r *pb.LinuxResources) *pb.Definition {
	if def == nil {
		return nil
	}
	out := &pb.Definition{Def: def.Def, Source: def.Source, Metadata: make(map[string]*pb.OpMetadata, len(def.Def))}
	for _, op := range def.Def {
		id := digest.FromBytes(op).String()
		metadata := &pb.OpMetadata{}
		if known := def.Metadata[id]; known != nil {
			metadata = known.CloneVT()
		}
		metadata.LinuxResources = r
		out.Metadata[id] = metadata
	}
	return out
}
