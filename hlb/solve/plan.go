// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"fmt"
	"maps"
	"slices"

	"github.com/moby/buildkit/client"

	"github.com/openllb/hlb-operator/hlb/request"
)

// stdoutDest is the destination that stands for Options.Stdout.
const stdoutDest = "-"

// Plan returns the request's tree with outputs beside the final solves of their targets: what Run runs. The request
// isn't changed.
func Plan(req *request.Request, outputs []Output) (*request.Node, error) {
	root := req.Root
	for _, o := range outputs {
		i := slices.IndexFunc(req.Targets, func(t request.Target) bool { return t.Name == o.Target })
		if i < 0 {
			return nil, fmt.Errorf("output %s: the request has no target %q", o.name(), o.Target)
		}
		final := req.Targets[i].Final
		if final == nil {
			return nil, fmt.Errorf("output %s: target %q is not a filesystem", o.name(), o.Target)
		}
		root = addBeside(root, final, &request.Node{Kind: request.Export, Solve: final, Output: o.export()})
	}
	return root, nil
}

// name is what messages call an output.
func (o Output) name() string {
	if o.Image != "" {
		return o.Image
	}
	return o.Dest
}

// export returns the output as an export of the request.
func (o Output) export() *request.Output {
	out := &request.Output{Type: o.Type, Attrs: map[string]string{}, Ref: o.Image, Target: o.Target}
	maps.Copy(out.Attrs, o.Attrs)
	if o.Type == "" {
		out.Type, out.Attrs["push"] = client.ExporterImage, "true"
	}
	if o.Image != "" {
		out.Attrs["name"] = o.Image
	}
	switch {
	case o.Dest == stdoutDest:
		out.Stdout = true
	case o.Dest != "":
		out.Path = o.Dest
	case o.Type == client.ExporterDocker:
		out.Load = true
	}
	return out
}

// addBeside returns root with extra made parallel to the leaf that solves final, so that both are one stage; without
// such a leaf (an empty filesystem has none), extra follows the rest.
func addBeside(root *request.Node, final *request.Solve, extra *request.Node) *request.Node {
	added := false
	var rebuild func(n *request.Node) *request.Node
	rebuild = func(n *request.Node) *request.Node {
		if n == nil || added {
			return n
		}
		if n.Solve != nil {
			if n.Kind == request.Single && n.Solve == final {
				added = true
				return request.Group(request.Parallel, n, extra)
			}
			return n
		}
		children := make([]*request.Node, len(n.Children))
		for i, c := range n.Children {
			children[i] = rebuild(c)
		}
		return request.Group(n.Kind, children...)
	}
	out := rebuild(root)
	if !added {
		out = request.Group(request.Sequential, out, extra)
	}
	return out
}
