// SPDX-License-Identifier: Apache-2.0

// Package fromdockerfile writes HLB programs of Dockerfiles. The LLB of a program is that of BuildKit's own Dockerfile
// front end, op by op, but for three things that make no difference to what is built: names for people, the order of
// environment variables, and one op for each source where COPY or ADD has several. What HLB has no words for is named
// in a Problem, and in a comment of the program.
package fromdockerfile

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/format"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// maxBytes is the size of a Dockerfile, that of BuildKit's front end.
const maxBytes = 2 << 20

// Options say how to convert. The zero value converts the last stage for linux on this machine's architecture, without
// looking at images.
type Options struct {
	// Target is the stage that the function default builds. Default is the last one.
	Target string
	// BuildArgs are values of ARGs, as those of docker build.
	BuildArgs map[string]string
	// Platform is what TARGETPLATFORM and the like stand for, and BUILDPLATFORM. Default is linux on this machine's
	// architecture.
	Platform *ocispecs.Platform
	// Ignore are the patterns of .dockerignore, in its order.
	Ignore []string
	// Config loads the config of an image as JSON. With nil, variables that an image may have set can't be used, and
	// an image is taken to have the default shell and user and no ONBUILD.
	Config func(ctx context.Context, ref string, platform ocispecs.Platform) ([]byte, error)
}

// Result is what became of a Dockerfile.
type Result struct {
	// Program is formatted and complete, without what Problems name.
	Program []byte
	// Problems are in the order of the Dockerfile.
	Problems []Problem
}

// Problem is an instruction, or a part of one, that the program lacks.
type Problem struct {
	Line   int    // from 1
	What   string // as it is written, shortened
	Reason string
}

// String is a problem on one line.
func (p Problem) String() string { return fmt.Sprintf("line %d: %s: %s", p.Line, p.What, p.Reason) }

// Convert writes a program. The error is about the Dockerfile, as BuildKit would report it, or about loading configs.
func Convert(ctx context.Context, dockerfile []byte, opts Options) (*Result, error) {
	if len(dockerfile) > maxBytes {
		return nil, fmt.Errorf("the Dockerfile has more than %d bytes", maxBytes)
	}
	if bytes.ContainsAny(dockerfile, refOpen+refClose) || !utf8.Valid(dockerfile) {
		return nil, fmt.Errorf("the Dockerfile is not UTF-8 text without private characters")
	}
	if opts.Platform == nil {
		p := platforms.DefaultSpec()
		p.OS = "linux"
		opts.Platform = &p
	}
	configs := &configs{load: opts.Config, known: map[string][]byte{}}
	if err := checkWithBuildKit(ctx, dockerfile, opts, configs); err != nil {
		return nil, err
	}
	// Functions may be called like an extension of the language unless the program uses that: only when it is written
	// is it known which it uses.
	extensions := map[string]bool{}
	for {
		c := newConverter(ctx, opts, configs, extensions)
		if err := c.dockerfile(dockerfile); err != nil {
			return nil, err
		}
		if len(c.used) == len(extensions) {
			return c.result()
		}
		extensions = c.used
	}
}

// converter is a program being written.
type converter struct {
	ctx        context.Context
	opts       Options
	configs    *configs
	extensions map[string]bool // names of extensions that functions can't have
	used       map[string]bool // of those, the ones in use

	lex      *shell.Lex
	names    map[string]bool
	globals  variables
	args     map[string]argument // by the name of their function
	argNames []string            // in order
	reached  map[string]bool     // functions of ARGs that the program calls
	rules    map[string]bool     // shared functions that the program calls
	stages   []*stage
	target   *stage
	problems []Problem
}

func newConverter(ctx context.Context, opts Options, configs *configs, extensions map[string]bool) *converter {
	used := map[string]bool{}
	for name := range extensions {
		used[name] = true
	}
	return &converter{
		ctx: ctx, opts: opts, configs: configs, extensions: extensions, used: used,
		names: map[string]bool{
			"default": true, contextName: true, workdirName: true, ownWorkdirName: true, likeCopy: true, likeAdd: true,
		},
		args: map[string]argument{}, reached: map[string]bool{}, rules: map[string]bool{},
	}
}

// extension is an option that only this project has.
func (c *converter) extension(name string, args ...string) call {
	c.used[name] = true
	return called(name, args...)
}

// dockerfile converts all stages.
func (c *converter) dockerfile(src []byte) error {
	tree, err := parser.Parse(bytes.NewReader(src))
	if err != nil {
		return err
	}
	stages, globals, err := instructions.Parse(tree.AST, linter.New(&linter.Config{}))
	if err != nil {
		return err
	}
	c.lex = shell.NewLex(tree.EscapeToken)
	if err := c.globalArgs(globals, c.opts.Target); err != nil {
		return err
	}
	for i := range stages {
		c.stages = append(c.stages, &stage{converter: c, of: &stages[i], index: i})
	}
	c.target = c.stages[len(c.stages)-1]
	for _, s := range c.stages {
		if c.opts.Target != "" && strings.EqualFold(s.of.Name, c.opts.Target) {
			c.target = s
		}
	}
	for _, s := range c.stages {
		s.name = s.functionName()
	}
	for _, s := range c.stages {
		if err := s.convert(); err != nil {
			return parser.WithLocation(err, s.of.Location)
		}
	}
	return nil
}

// problem notes what the program lacks, and says so in it.
func (s *stage) problem(at []parser.Range, what, format string, args ...any) {
	line := s.line
	if len(at) > 0 {
		line = at[0].Start.Line
	}
	p := Problem{Line: line, What: shorten(what), Reason: fmt.Sprintf(format, args...)}
	s.converter.problems = append(s.converter.problems, p)
	s.body = append(s.body, "# NOT CONVERTED: "+p.String())
}

// shorten is a text as one line of at most 60 characters.
func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 60 {
		return string(r[:59]) + "…"
	}
	return s
}

// result puts the program together.
func (c *converter) result() (*Result, error) {
	var b strings.Builder
	bodies := c.functions()
	b.WriteString(c.argFunctions())
	b.WriteString(c.sharedFunctions())
	b.WriteString(bodies)
	out, errs := format.Source("build.hlb", []byte(b.String()), syntax.Limits{})
	if len(errs) > 0 {
		return nil, fmt.Errorf("the program that was written is no program, a defect of this conversion: %w", errs[0])
	}
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return a.Line - b.Line })
	return &Result{Program: out, Problems: c.problems}, nil
}

// functions are those of the stages, the target last.
func (c *converter) functions() string {
	var b strings.Builder
	for _, s := range c.stages {
		for _, line := range s.of.Comments {
			fmt.Fprintf(&b, "# %s\n", line)
		}
		fmt.Fprintf(&b, "fs %s() {\n%s\n}\n\n", s.name, strings.Join(s.body, "\n"))
	}
	if c.target.name != "default" {
		fmt.Fprintf(&b, "fs default() {\n%s\n}\n", c.target.name)
	}
	return b.String()
}
