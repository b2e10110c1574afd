// SPDX-License-Identifier: Apache-2.0

package debug

import (
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/request"
)

// Step is what a statement has the daemon do.
type Step struct {
	Op     *pb.Op
	def    *llb.Definition
	digest string
}

// stepOf is the step that made a filesystem, nil for an empty one.
func stepOf(s *request.Solve) *Step {
	if s.Empty() {
		return nil
	}
	var last pb.Op
	if err := last.UnmarshalVT(s.Definition.Def[len(s.Definition.Def)-1]); err != nil || len(last.Inputs) != 1 {
		return nil
	}
	for _, data := range s.Definition.Def {
		if id := digest.FromBytes(data).String(); id == last.Inputs[0].Digest {
			op := &pb.Op{}
			if err := op.UnmarshalVT(data); err != nil {
				return nil
			}
			return &Step{Op: op, def: s.Definition, digest: id}
		}
	}
	return nil
}

// Exec is the command of the step, nil if it is none.
func (s *Step) Exec() *pb.ExecOp {
	if s == nil {
		return nil
	}
	return s.Op.GetExec()
}

// Summary is the step on one line.
func (s *Step) Summary() string {
	if s == nil {
		return "nothing"
	}
	switch op := s.Op.Op.(type) {
	case *pb.Op_Exec:
		return "run " + strings.Join(op.Exec.Meta.Args, " ")
	case *pb.Op_Source:
		return op.Source.Identifier
	case *pb.Op_File:
		return "change files"
	case *pb.Op_Merge:
		return "merge"
	case *pb.Op_Diff:
		return "diff"
	}
	return "build"
}

// part is the definition of an input of the step.
func (s *Step) part(in *pb.Input) (*pb.Definition, error) {
	wanted := map[string]bool{in.Digest: true}
	part := &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}
	full := s.def.ToPB()
	for i := len(full.Def) - 1; i >= 0; i-- { // inputs stand before what uses them
		id := digest.FromBytes(full.Def[i]).String()
		if !wanted[id] {
			continue
		}
		var op pb.Op
		if err := op.UnmarshalVT(full.Def[i]); err != nil {
			return nil, err
		}
		for _, needed := range op.Inputs {
			wanted[needed.Digest] = true
		}
		part.Def = append([][]byte{full.Def[i]}, part.Def...)
		if meta := full.Metadata[id]; meta != nil {
			part.Metadata[id] = meta
		}
	}
	last, err := (&pb.Op{Inputs: []*pb.Input{in}}).MarshalVT()
	if err != nil {
		return nil, err
	}
	part.Def = append(part.Def, last)
	if meta := full.Metadata[digest.FromBytes(full.Def[len(full.Def)-1]).String()]; meta != nil {
		part.Metadata[digest.FromBytes(last).String()] = meta
	}
	return part, nil
}

// Mount is a mount of a step, as users see it.
type Mount struct {
	Dest string
	What string // bind, cache, tmpfs, secret or ssh, with its id
}

// Mounts lists the mounts of the step's command besides its root.
func (s *Step) Mounts() []Mount {
	var out []Mount
	for _, m := range s.Exec().GetMounts() {
		if path.Clean(m.Dest) == "/" {
			continue
		}
		what := strings.ToLower(m.MountType.String())
		switch {
		case m.CacheOpt != nil:
			what += " " + m.CacheOpt.ID + " " + strings.ToLower(m.CacheOpt.Sharing.String())
		case m.SecretOpt != nil:
			what += " " + m.SecretOpt.ID
		case m.SSHOpt != nil:
			what += " " + m.SSHOpt.ID
		}
		if m.Readonly {
			what += " readonly"
		}
		out = append(out, Mount{Dest: m.Dest, What: what})
	}
	return out
}
