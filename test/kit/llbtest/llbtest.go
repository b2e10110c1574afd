// SPDX-License-Identifier: Apache-2.0

// Package llbtest compares LLB definitions op by op, without what makes no difference to what is built.
package llbtest

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protojson"
)

// Diff compares what two definitions build, as cmp.Diff does. These are equal: names of local sources and their hints,
// ids of secrets and agents, orders of environment variables, and file ops of several actions with a chain of ops of
// one.
func Diff(want, got *llb.Definition) string {
	return cmp.Diff(normal(want), normal(got))
}

// SameGraph reports whether the ops of two definitions are equal as they are, but for local sources, ids of secrets and
// agents.
func SameGraph(a, b *llb.Definition) bool {
	return cmp.Equal(read(a, false).result(), read(b, false).result())
}

// normal is a definition as a list of ops in an order that only their contents give, each as JSON.
func normal(def *llb.Definition) []string { return read(def, true).result() }

// graph is a definition being read.
type graph struct {
	ops  map[string]*pb.Op // by digest
	last string
	lax  bool

	done  map[string][]string // by digest, what stands for each output
	texts []string
	seen  map[string]bool
}

func read(def *llb.Definition, lax bool) *graph {
	g := &graph{ops: map[string]*pb.Op{}, lax: lax, done: map[string][]string{}, seen: map[string]bool{}}
	for _, data := range def.Def {
		op := &pb.Op{}
		if err := op.UnmarshalVT(data); err != nil {
			panic(err)
		}
		g.last = digest.FromBytes(data).String()
		g.ops[g.last] = op
	}
	return g
}

// result lists the ops that the definition's result depends on.
func (g *graph) result() []string {
	if len(g.ops) == 0 {
		return nil
	}
	last := g.ops[g.last]
	if last.Op != nil || len(last.Inputs) != 1 {
		panic("a definition ends with an op that only names the result")
	}
	result := g.input(last.Inputs[0])
	slices.Sort(g.texts) // each names its inputs, so no order is lost
	return append(g.texts, "result "+result)
}

// input is what stands for an input: a digest over what its op is.
func (g *graph) input(in *pb.Input) string {
	outputs, ok := g.done[in.Digest]
	if !ok {
		outputs = g.read(g.ops[in.Digest])
		g.done[in.Digest] = outputs
	}
	if int(in.Index) < len(outputs) {
		return outputs[in.Index]
	}
	return outputs[0] + "#" + string(rune('0'+in.Index))
}

// read adds an op, or several that stand for it, and returns what stands for its outputs.
func (g *graph) read(op *pb.Op) []string {
	inputs := make([]string, len(op.Inputs))
	for i, in := range op.Inputs {
		inputs[i] = g.input(in)
	}
	op = op.CloneVT()
	op.Inputs = nil
	switch o := op.Op.(type) {
	case *pb.Op_Source:
		if strings.HasPrefix(o.Source.Identifier, "local://") {
			o.Source.Identifier = "local://"
			for key := range o.Source.Attrs {
				if key != pb.AttrExcludePatterns {
					delete(o.Source.Attrs, key)
				}
			}
		}
		for _, key := range []string{pb.AttrAuthHeaderSecret, pb.AttrAuthTokenSecret} {
			delete(o.Source.Attrs, key)
		}
	case *pb.Op_Exec:
		for _, m := range o.Exec.Mounts {
			if m.SecretOpt != nil {
				m.SecretOpt.ID = ""
			}
			if m.SSHOpt != nil {
				m.SSHOpt.ID = ""
			}
		}
		if g.lax {
			slices.Sort(o.Exec.Meta.Env)
		}
	case *pb.Op_File:
		if g.lax {
			return g.actions(op, o.File, inputs)
		}
	}
	return []string{g.add(op, inputs)}
}

// actions adds an op for each action of a file op.
func (g *graph) actions(op *pb.Op, file *pb.FileOp, inputs []string) []string {
	made := make([]string, len(file.Actions)) // by each action
	var outputs []string
	resolve := func(i int64) string {
		switch {
		case i < 0:
			return "scratch"
		case int(i) < len(inputs):
			return inputs[i]
		}
		return made[int(i)-len(inputs)]
	}
	for n, a := range file.Actions {
		in := []string{resolve(a.Input), resolve(a.SecondaryInput)}
		one := op.CloneVT()
		one.Op = &pb.Op_File{File: &pb.FileOp{Actions: []*pb.FileAction{a.CloneVT()}}}
		action := one.GetFile().Actions[0]
		action.Input, action.SecondaryInput, action.Output = 0, 1, 0
		ownedByInput(action)
		made[n] = g.add(one, in)
		if a.Output >= 0 {
			for len(outputs) <= int(a.Output) {
				outputs = append(outputs, "")
			}
			outputs[a.Output] = made[n]
		}
	}
	return outputs
}

// ownedByInput makes owners that are names those of the action's own input.
func ownedByInput(a *pb.FileAction) {
	var owner *pb.ChownOpt
	switch a := a.Action.(type) {
	case *pb.FileAction_Copy:
		owner = a.Copy.Owner
	case *pb.FileAction_Mkdir:
		owner = a.Mkdir.Owner
	case *pb.FileAction_Mkfile:
		owner = a.Mkfile.Owner
	}
	if owner == nil {
		return
	}
	for _, user := range []*pb.UserOpt{owner.User, owner.Group} {
		if named, ok := user.GetUser().(*pb.UserOpt_ByName); ok {
			named.ByName.Input = 0
		}
	}
}

// add adds the text of an op, and returns its digest.
func (g *graph) add(op *pb.Op, inputs []string) string {
	data, err := protojson.Marshal(op)
	if err != nil {
		panic(err)
	}
	var stable any
	if err := json.Unmarshal(data, &stable); err != nil { // protojson varies its blanks
		panic(err)
	}
	text, err := json.MarshalIndent(map[string]any{"op": stable, "inputs": inputs}, "", " ")
	if err != nil {
		panic(err)
	}
	id := digest.FromBytes(text).Encoded()[:12]
	if !g.seen[id] {
		g.seen[id] = true
		g.texts = append(g.texts, id+" "+string(text))
	}
	return id
}
