// SPDX-License-Identifier: Apache-2.0

// Package child is the process that compiles a program for an agent, the other end of package compile. It has no
// credentials, opens no file and dials nobody: whatever the compiler wants to know it asks the agent for. It bounds
// itself before it reads the program, compiles one program, and ends.
package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/openllb/hlb-operator/agent/compile/reffs"
	"github.com/openllb/hlb-operator/agent/compile/wire"
	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// Command is the first argument of an agent's process that is to compile. The others are those of Bounds.
const Command = "compile"

// The exit codes of the process. A Go program that runs out of memory ends with 2.
const (
	exitDone = 0
	exitLost = 1 // the agent is gone
	exitBad  = 3 // the agent says what the child does not understand
)

// maxFrame bounds what the agent sends at a time: a program, an image config, a module, a definition.
const maxFrame = 64 << 20

// maxStack ends a runaway recursion well before the memory does.
const maxStack = 128 << 20

// compiler compiles one kind of program.
type compiler func(ctx context.Context, p *wire.Program, agent *agent) (*request.Request, diag.List)

var compilers = map[wire.Kind]compiler{wire.KindHLB: compileHLB}

// Main compiles one program and returns the exit code. args are those after Command.
func Main(args []string, in io.Reader, out io.Writer, stderr io.Writer) int {
	if code := bound(args, stderr); code != exitDone {
		return code
	}
	warmUp()
	err := serve(in, out)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrClosed):
		return exitLost
	}
	fmt.Fprintln(stderr, "compile:", err)
	return exitBad
}

// warmUp compiles a program of each kind, so that what is made at the first use is there when a build's comes.
func warmUp() {
	source := `fs default() { scratch; run "a" with option { cacheMount "/c" }; mkfile "/a" 0o644 "${string { "b"; }}" }`
	hlb.Compile(context.Background(), hlb.Program{Filename: "build.hlb", Source: []byte(source)},
		hlb.Options{Profile: hlb.ProfileServer})
}

// bound bounds the process.
func bound(args []string, stderr io.Writer) int {
	bounds, err := ParseBounds(args)
	if err == nil {
		err = bounds.apply()
	}
	if err != nil {
		fmt.Fprintln(stderr, "compile:", err)
		return exitBad
	}
	debug.SetMaxStack(maxStack)
	runtime.GOMAXPROCS(2) // one for the garbage collector
	return exitDone
}

// serve reads a program, compiles it and writes the result.
func serve(in io.Reader, out io.Writer) error {
	p := &wire.Program{}
	blobs, err := wire.Read(in, maxFrame, p)
	if err != nil {
		return err
	}
	if len(blobs) != 2 {
		return errors.New("the program has no text")
	}
	p.Source, p.Context = blobs[0], blobs[1]
	compile := compilers[p.Kind]
	if compile == nil {
		return fmt.Errorf("there is no compiler for %q", p.Kind)
	}
	a := newAgent(in, out)
	result, blobs := compileSafely(context.Background(), compile, p, a)
	return a.write(&wire.FromChild{Result: result}, blobs...)
}

// compileSafely compiles and turns a panic into a result.
func compileSafely(
	ctx context.Context, compile compiler, p *wire.Program, a *agent,
) (res *wire.Result, blobs [][]byte) {
	defer func() {
		if r := recover(); r != nil {
			res, blobs = &wire.Result{Panic: clip(fmt.Sprintf("%v\n%s", r, debug.Stack()), 16<<10)}, nil
		}
	}()
	req, found := compile(ctx, p, a)
	if req == nil {
		return &wire.Result{Found: clipList(found)}, nil
	}
	req.Warnings = clipList(req.Warnings)
	encoded, blobs, err := wire.Encode(req)
	if err != nil {
		return &wire.Result{Found: diag.List{diag.Errorf(diag.Internal, diag.Span{}, "%v", err)}}, nil
	}
	return &wire.Result{Request: encoded}, blobs
}

func compileHLB(ctx context.Context, p *wire.Program, a *agent) (*request.Request, diag.List) {
	prog := hlb.Program{Filename: p.Filename, Source: p.Source}
	if p.HasFiles {
		prog.Files = reffs.FS{Context: ctx, Ref: &tree{a, 0}} // the files beside the program
	}
	opts := hlb.Options{
		Targets:             p.Targets,
		Args:                p.Args,
		Platform:            p.Platform,
		Profile:             hlb.ProfileServer,
		Resolver:            a,
		Solver:              a,
		Pusher:              a,
		Registry:            a,
		ContextApart:        p.ContextApart,
		Secrets:             p.Secrets,
		SSH:                 p.SSH,
		CacheMountNamespace: p.Namespace,
		CacheMountSharing:   a.sharing,
		Allow:               a.allow,
		AllowedEntitlements: p.Entitlements,
	}
	if len(p.Context) > 0 {
		state, err := stateOf(p.Context)
		if err != nil {
			return nil, diag.List{diag.Errorf(diag.Internal, diag.Span{}, "read the context: %v", err)}
		}
		opts.Context = &state
	}
	return hlb.Compile(ctx, prog, opts)
}

// stateOf is the state of a marshalled definition.
func stateOf(definition []byte) (llb.State, error) {
	if len(definition) == 0 {
		return llb.Scratch(), nil
	}
	def := &pb.Definition{}
	if err := def.UnmarshalVT(definition); err != nil {
		return llb.State{}, fmt.Errorf("read a definition: %w", err)
	}
	op, err := llb.NewDefinitionOp(def)
	if err != nil {
		return llb.State{}, fmt.Errorf("read a definition: %w", err)
	}
	return llb.NewState(op), nil
}

// What is said about a program at most. A status has 16 diagnostics.
const (
	maxFound   = 64
	maxLabels  = 16
	maxMessage = 4 << 10
)

// clipList bounds what was found, errors first.
func clipList(found diag.List) diag.List {
	var errs, advice diag.List
	for _, d := range found {
		d.Message, d.Hint = clip(d.Message, maxMessage), clip(d.Hint, maxMessage)
		d.Secondary = d.Secondary[:min(len(d.Secondary), maxLabels)]
		for i := range d.Secondary {
			d.Secondary[i].Message = clip(d.Secondary[i].Message, maxMessage)
		}
		if d.Severity == diag.Error {
			errs = append(errs, d)
		} else {
			advice = append(advice, d)
		}
	}
	return append(errs[:min(len(errs), maxFound)], advice[:min(len(advice), maxFound)]...)
}

func clip(s string, limit int) string { return s[:min(len(s), limit)] }
