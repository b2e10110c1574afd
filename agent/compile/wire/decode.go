// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/openllb/hlb-operator/hlb/request"
)

// Decode returns the request that Encode took apart. It shares the memory of the blobs. Whatever the value is, the
// result has no circles and no part of another kind than it must be.
func Decode(in *Request, blobs [][]byte) (*request.Request, error) {
	d := decoder{
		blobs: blobs, ids: make([]digest.Digest, len(blobs)), metadata: map[int]llb.OpMetadata{},
		places: map[int]*pb.Locations{},
	}
	for i := range in.Parts {
		if err := d.part(&in.Parts[i]); err != nil {
			return nil, err
		}
	}
	out := &request.Request{CacheMounts: in.CacheMounts, Warnings: in.Warnings}
	var err error
	if out.Root, err = get(d.nodes, in.Root); err != nil {
		return nil, err
	}
	for _, t := range in.Targets {
		target := request.Target{Name: t.Name}
		if target.Root, err = get(d.nodes, t.Root); err != nil {
			return nil, err
		}
		if target.Final, err = get(d.solves, t.Final); err != nil {
			return nil, err
		}
		out.Targets = append(out.Targets, target)
	}
	return out, nil
}

// decoder holds the parts so far: for each number that kind of part which it is.
type decoder struct {
	blobs [][]byte
	// ids, metadata and places are decoded blobs, by number: definitions share them.
	ids      []digest.Digest
	metadata map[int]llb.OpMetadata
	places   map[int]*pb.Locations

	solves []*request.Solve
	scopes []*request.Scope
	nodes  []*request.Node
}

// get is the part of a number, nil for 0.
func get[T any](parts []*T, number int) (*T, error) {
	if number == 0 {
		return nil, nil
	}
	if number < 0 || number > len(parts) || parts[number-1] == nil {
		return nil, fmt.Errorf("%w: there is no part %d of that kind", ErrMalformed, number)
	}
	return parts[number-1], nil
}

// must is get for a part that has to be there.
func must[T any](parts []*T, number int) (*T, error) {
	if number == 0 {
		return nil, fmt.Errorf("%w: a part is missing", ErrMalformed)
	}
	return get(parts, number)
}

func (d *decoder) part(p *Part) error {
	var solve *request.Solve
	var scope *request.Scope
	var node *request.Node
	var err error
	switch {
	case p.Solve != nil:
		solve, err = d.solve(p.Solve)
	case p.Scope != nil:
		scope, err = d.scope(p.Scope)
	case p.Node != nil:
		node, err = d.node(p.Node)
	default:
		err = fmt.Errorf("%w: an empty part", ErrMalformed)
	}
	d.solves, d.scopes, d.nodes = append(d.solves, solve), append(d.scopes, scope), append(d.nodes, node)
	return err
}

func (d *decoder) node(in *Node) (*request.Node, error) {
	out := &request.Node{Kind: in.Kind, Output: in.Output}
	isLeaf := in.Kind == request.Single || in.Kind == request.Export
	switch {
	case in.Kind < request.Single || in.Kind > request.Sequential, isLeaf && len(in.Children) > 0,
		!isLeaf && in.Solve != 0, (in.Kind == request.Export) != (in.Output != nil):
		return nil, fmt.Errorf("%w: a node of kind %d has what others have", ErrMalformed, in.Kind)
	case isLeaf:
		var err error
		out.Solve, err = must(d.solves, in.Solve)
		return out, err
	}
	for _, n := range in.Children {
		child, err := must(d.nodes, n)
		if err != nil {
			return nil, err
		}
		out.Children = append(out.Children, child)
	}
	return out, nil
}

func (d *decoder) scope(in *Scope) (*request.Scope, error) {
	out := &request.Scope{Exports: in.Exports, Span: in.Span}
	var err error
	if out.Section, err = must(d.solves, in.Section); err != nil {
		return nil, err
	}
	for _, i := range in.Imports {
		imp := request.Import{Entry: i.Entry}
		if imp.Layout, err = get(d.solves, i.Layout); err != nil {
			return nil, err
		}
		out.Imports = append(out.Imports, imp)
	}
	return out, nil
}

func (d *decoder) solve(in *Solve) (*request.Solve, error) {
	config, err := d.blob(in.Config)
	if err != nil {
		return nil, err
	}
	out := &request.Solve{ImageConfig: config, Platform: in.Platform, Needs: in.Needs, Span: in.Span}
	for _, n := range in.Scopes {
		scope, err := must(d.scopes, n)
		if err != nil {
			return nil, err
		}
		out.Scopes = append(out.Scopes, scope)
	}
	out.Definition, err = d.definition(in)
	return out, err
}

func (d *decoder) blob(n int) ([]byte, error) {
	if n < 0 || n >= len(d.blobs) {
		return nil, fmt.Errorf("%w: there is no blob %d", ErrMalformed, n)
	}
	return d.blobs[n], nil
}

func (d *decoder) definition(in *Solve) (*llb.Definition, error) {
	out := &llb.Definition{Metadata: make(map[digest.Digest]llb.OpMetadata, len(in.Ops))}
	places := map[string]*pb.Locations{}
	for _, op := range in.Ops {
		data, err := d.blob(op.Op)
		if err != nil {
			return nil, err
		}
		if d.ids[op.Op] == "" {
			d.ids[op.Op] = digest.FromBytes(data)
		}
		id := d.ids[op.Op]
		out.Def = append(out.Def, data)
		if op.Metadata >= 0 {
			if out.Metadata[id], err = d.metadataOf(op.Metadata); err != nil {
				return nil, err
			}
		}
		if op.Places >= 0 {
			if places[id.String()], err = d.placesOf(op.Places, len(in.Infos)); err != nil {
				return nil, err
			}
		}
	}
	if !in.Sourced {
		return out, nil
	}
	out.Source = &pb.Source{Locations: places}
	for _, info := range in.Infos {
		data, err := d.blob(info.Data)
		if err != nil {
			return nil, err
		}
		out.Source.Infos = append(out.Source.Infos,
			&pb.SourceInfo{Filename: info.Filename, Language: info.Language, Data: data})
	}
	return out, nil
}

func (d *decoder) metadataOf(n int) (llb.OpMetadata, error) {
	if md, known := d.metadata[n]; known {
		return md, nil
	}
	md := &pb.OpMetadata{}
	if err := d.message(n, md); err != nil {
		return llb.OpMetadata{}, err
	}
	d.metadata[n] = llb.NewOpMetadata(md)
	return d.metadata[n], nil
}

// placesOf returns the places of an op, checked for what readers take for granted. files is how many files a place can
// be in.
func (d *decoder) placesOf(n, files int) (*pb.Locations, error) {
	at, known := d.places[n]
	if !known {
		at = &pb.Locations{}
		if err := d.message(n, at); err != nil {
			return nil, err
		}
		d.places[n] = at
	}
	return at, checkPlaces(at, files)
}

func (d *decoder) message(n int, into proto.Message) error {
	data, err := d.blob(n)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

func checkPlaces(at *pb.Locations, files int) error {
	for _, l := range at.Locations {
		if l == nil || l.SourceIndex < 0 || int(l.SourceIndex) >= files {
			return fmt.Errorf("%w: a place in no file", ErrMalformed)
		}
		for _, r := range l.Ranges {
			if r == nil || r.Start == nil || r.End == nil {
				return fmt.Errorf("%w: a place without bounds", ErrMalformed)
			}
		}
	}
	return nil
}
