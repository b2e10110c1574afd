// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/buildkit/util/system"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const scratch = "scratch"

// stage is one stage of a Dockerfile, converted as far as its body.
type stage struct {
	*converter
	of    *instructions.Stage
	index int
	name  string // of the function
	line  int    // of the instruction being converted
	body  []string
	world
	cmdSet bool // this stage has a CMD so far
}

// world is what instructions depend on, and what stages hand on to those that are based on them.
type world struct {
	vars        variables
	unknown     bool   // variables may exist that vars lacks
	dir         string // the working directory, empty if it is not known
	user        text
	shell       []string
	imageHasCmd bool // or may have one
	pathUnset   bool // the function has no PATH yet, as commands have
	onbuild     []string
}

// functionName is the name of the stage as a function.
func (s *stage) functionName() string {
	switch {
	case s == s.target && (s.of.Name == "" || s.of.Name == "default"):
		return "default"
	case s.of.Name == "":
		return s.newName(fmt.Sprintf("stage%d", s.index))
	}
	return s.newName(s.of.Name)
}

// convert fills in the body.
func (s *stage) convert() error {
	s.at(s.of.Location)
	triggers, err := s.base()
	if err != nil {
		return err
	}
	for _, trigger := range triggers {
		tree, err := parser.Parse(strings.NewReader(trigger))
		if err != nil || len(tree.AST.Children) != 1 {
			return fmt.Errorf("ONBUILD %s is not one instruction", shorten(trigger))
		}
		cmd, err := instructions.ParseCommand(tree.AST.Children[0])
		if err != nil {
			return err
		}
		s.body = append(s.body, "# ONBUILD of the base.")
		if err := s.instruction(cmd, s.of.Location); err != nil {
			return err
		}
	}
	for _, cmd := range s.of.Commands {
		s.at(cmd.Location())
		for _, line := range cmd.Comments() {
			s.body = append(s.body, "# "+line)
		}
		if err := s.instruction(cmd, cmd.Location()); err != nil {
			return parser.WithLocation(err, cmd.Location())
		}
	}
	return nil
}

func (s *stage) at(where []parser.Range) {
	if len(where) > 0 {
		s.line = where[0].Start.Line
	}
}

// add adds a statement to the body.
func (s *stage) add(c call) { s.body = append(s.body, c.statement()) }

// base converts FROM, and returns the instructions that the base has for stages based on it.
func (s *stage) base() (triggers []string, _ error) {
	base, _, err := s.expand(s.lex, s.of.BaseName, s.globals)
	if err != nil {
		return nil, err
	}
	if from := s.earlier(s.plain(base)); from != nil {
		s.world = from.world
		s.onbuild, s.imageHasCmd = nil, true
		s.add(called(from.name))
		return from.onbuild, nil
	}
	if s.plain(base) == scratch {
		path := system.DefaultPathEnv("linux")
		s.world = world{
			vars: variables{{key: "PATH", value: path, text: text(path)}}, dir: "/", pathUnset: true,
		}
		s.add(called(scratch))
		return nil, nil
	}
	platform, image, err := s.image(base)
	if err != nil {
		return nil, err
	}
	s.add(image)
	return s.config(s.plain(base), platform)
}

// earlier is the stage before this one that FROM means by name, nil if it means an image.
func (s *stage) earlier(name string) *stage {
	var found *stage
	for _, other := range s.stages[:s.index] {
		if other.of.Name != "" && strings.ToLower(other.of.Name) == name {
			found = other
		}
	}
	return found
}

// image is the call of a base image, and its platform.
func (s *stage) image(ref text) (ocispecs.Platform, call, error) {
	image := called("image", s.literal(ref))
	if s.of.Platform == "" {
		return *s.opts.Platform, image, nil
	}
	word, _, err := s.expand(s.lex, s.of.Platform, s.globals)
	if err != nil {
		return ocispecs.Platform{}, call{}, err
	}
	p, err := platforms.Parse(s.plain(word))
	if err != nil {
		return p, call{}, err
	}
	if p.Variant != "" || p.OSVersion != "" || len(p.OSFeatures) > 0 {
		s.problem(s.of.Location, "--platform="+s.of.Platform,
			"a platform has an operating system and an architecture in HLB, but no variant")
	}
	return p, image.and(called("platform", s.quoted(p.OS), s.quoted(p.Architecture))), nil
}

// config takes over what a base image sets.
func (s *stage) config(ref string, platform ocispecs.Platform) (triggers []string, _ error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, err
	}
	data, known, err := s.configs.of(s.ctx, reference.TagNameOnly(named).String(), platform)
	if err != nil {
		return nil, err
	}
	if !known {
		s.world = world{unknown: true, imageHasCmd: true}
		return nil, nil
	}
	var img dockerspec.DockerOCIImage
	if err := json.Unmarshal(data, &img); err != nil {
		return nil, fmt.Errorf("the config of %s: %w", ref, err)
	}
	s.world = world{
		dir: "/", user: text(img.Config.User), shell: img.Config.Shell, imageHasCmd: len(img.Config.Cmd) > 0,
	}
	if dir := img.Config.WorkingDir; dir != "" {
		s.dir = dir
	}
	for _, kv := range img.Config.Env {
		key, value, _ := strings.Cut(kv, "=")
		s.vars = s.vars.set(variable{key: key, value: value, text: text(value)})
	}
	if _, ok := s.vars.find("PATH"); !ok {
		path := system.DefaultPathEnv("linux")
		s.vars, s.pathUnset = s.vars.set(variable{key: "PATH", value: path, text: text(path)}), true
	}
	if len(s.shell) > 0 {
		s.add(called("shell", s.quotedAll(s.shell)...))
	}
	return img.Config.OnBuild, nil
}

// source is the expression of what --from or from= names: a stage, by its number too where numbered is set, or an
// image.
func (s *stage) source(name string, numbered bool) string {
	for _, other := range slices.Backward(s.stages) {
		if other.of.Name != "" && strings.EqualFold(other.of.Name, name) ||
			numbered && name == fmt.Sprint(other.index) {
			return called(other.name).expression()
		}
	}
	if name == scratch {
		return scratch
	}
	return called("image", s.quoted(name)).expression()
}

// word expands a word of an instruction. Variables that the base image may set are a problem.
func (s *stage) word(lex *shell.Lex, word string) (text, error) {
	t, missing, err := s.expand(lex, word, s.vars)
	if err == nil && s.unknown && len(missing) > 0 {
		s.problem(nil, word, "$%s may be set by the base image, which was not looked at", missing[0])
	}
	return t, err
}
