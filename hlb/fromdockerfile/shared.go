// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/system"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// The functions that stages share.
const (
	contextName    = "context"
	workdirName    = "workdir"
	ownWorkdirName = "workdirOf"
	likeCopy       = "likeCOPY"
	likeAdd        = "likeADD"
)

// shared calls a function that stages share.
func (c *converter) shared(name string, args ...string) call {
	c.rules[name] = true
	return called(name, args...)
}

// sharedFunctions writes those that the program calls.
func (c *converter) sharedFunctions() string {
	local := called("local", `"."`)
	if len(c.opts.Ignore) > 0 {
		local = local.and(called("excludePatterns", c.quotedAll(c.opts.Ignore)...))
	}
	if c.rules[likeAdd] {
		c.rules[likeCopy] = true
	}
	texts := []struct{ name, text string }{
		{contextName, "# The build context.\nfs context() {\n" + local.statement() + "\n}\n\n"},
		{workdirName, "# WORKDIR makes the directory.\nfs workdir(string path) {\n" +
			"mkdir path 0o755 with createParents\ndir path\n}\n\n"},
		{ownWorkdirName, "# WORKDIR makes the directory for the user.\nfs workdirOf(string owner, string path) {\n" +
			"mkdir path 0o755 with option {\ncreateParents\nchown owner\n}\ndir path\n}\n\n"},
		{likeCopy, "# COPY copies what is in a directory, and makes the destination.\noption::copy likeCOPY() {\n" +
			"followSymlinks\ncontentsOnly\ncreateDestPath\nallowWildcard\nallowEmptyWildcard\n}\n\n"},
		{likeAdd, "# ADD unpacks archives too.\noption::copy likeADD() {\nlikeCOPY\nunpack\n}\n\n"},
	}
	var b strings.Builder
	for _, t := range texts {
		if c.rules[t.name] {
			b.WriteString(t.text)
		}
	}
	return b.String()
}

// argument is a value of an ARG that became a function.
type argument struct {
	text     text
	value    string
	comments []string
}

// argument returns the function of an ARG with this value, the same one for the same value.
func (c *converter) argument(key string, value text, comments ...string) text {
	for _, name := range c.argNames {
		if a := c.args[name]; a.text == value && strings.TrimRight(name, "_") == strings.TrimRight(key, "_") {
			return refTo(name)
		}
	}
	name := c.newName(key)
	c.args[name] = argument{text: value, value: c.plain(value), comments: comments}
	c.argNames = append(c.argNames, name)
	return refTo(name)
}

// argFunctions writes the functions of ARGs that the program calls.
func (c *converter) argFunctions() string {
	texts := map[string]string{}
	for _, name := range slices.Backward(c.argNames) { // an ARG refers to earlier ones
		if c.reached[name] {
			a := c.args[name]
			var comment string
			for _, line := range a.comments {
				comment += "# " + line + "\n"
			}
			texts[name] = fmt.Sprintf("%sstring %s() {\n%s\n}\n\n", comment, name, c.literal(a.text))
		}
	}
	var b strings.Builder
	for _, name := range c.argNames {
		b.WriteString(texts[name])
	}
	return b.String()
}

// globalArgs are the variables of FROM: what a platform defines, and the ARGs before the first stage.
func (c *converter) globalArgs(cmds []instructions.ArgCommand, target string) error {
	p := *c.opts.Platform
	if target == "" {
		target = "default"
	}
	for _, kv := range [][2]string{
		{"BUILDPLATFORM", platforms.Format(p)}, {"BUILDOS", p.OS}, {"BUILDOSVERSION", p.OSVersion},
		{"BUILDARCH", p.Architecture}, {"BUILDVARIANT", p.Variant}, {"TARGETPLATFORM", platforms.FormatAll(p)},
		{"TARGETOS", p.OS}, {"TARGETOSVERSION", p.OSVersion}, {"TARGETARCH", p.Architecture},
		{"TARGETVARIANT", p.Variant}, {"TARGETSTAGE", target},
	} {
		value := kv[1]
		if given, ok := c.opts.BuildArgs[kv[0]]; ok {
			value = given
		}
		ref := c.argument(kv[0], text(value), "Of the platform that the Dockerfile was converted for.")
		c.globals = c.globals.set(variable{key: kv[0], value: value, text: ref, arg: true})
	}
	if epoch, ok := c.opts.BuildArgs["SOURCE_DATE_EPOCH"]; ok {
		c.globals = c.globals.set(variable{key: "SOURCE_DATE_EPOCH", value: epoch, text: text(epoch), arg: true})
	}
	for _, cmd := range cmds {
		for _, arg := range cmd.Args {
			value, ok, err := c.argValue(arg, c.globals)
			if err != nil {
				return err
			}
			if ok {
				ref := c.argument(arg.Key, value, cmd.Comments()...)
				c.globals = c.globals.set(variable{key: arg.Key, value: c.plain(value), text: ref, arg: true})
			}
		}
	}
	return nil
}

// argValue is the value of an ARG, if it has one.
func (c *converter) argValue(arg instructions.KeyValuePairOptional, vars variables) (text, bool, error) {
	if given, ok := c.opts.BuildArgs[arg.Key]; ok {
		return text(given), true, nil
	}
	if arg.Value == nil {
		return "", false, nil
	}
	value, _, err := c.expand(c.lex, *arg.Value, vars)
	return value, true, err
}

// configs are the configs of images, each loaded once. BuildKit asks for those of several stages at a time.
type configs struct {
	load func(ctx context.Context, ref string, platform ocispecs.Platform) ([]byte, error)

	mu    sync.Mutex
	known map[string][]byte
}

// of returns the config of an image; known is false if there is no way to load one, and the config then the plainest
// there is.
func (c *configs) of(ctx context.Context, ref string, p ocispecs.Platform) (data []byte, known bool, err error) {
	if c.load == nil {
		data, err := json.Marshal(dockerspec.DockerOCIImage{
			Image: ocispecs.Image{
				Platform: p, RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("")}},
			},
			Config: dockerspec.DockerOCIImageConfig{
				ImageConfig: ocispecs.ImageConfig{Env: []string{"PATH=" + system.DefaultPathEnv(p.OS)}},
			},
		})
		return data, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	id := ref + " " + platforms.FormatAll(p)
	if data, ok := c.known[id]; ok {
		return data, true, nil
	}
	data, err = c.load(ctx, ref, p)
	if err != nil {
		return nil, false, fmt.Errorf("load the config of %s: %w", ref, err)
	}
	c.known[id] = data
	return data, true, nil
}

// ResolveImageConfig implements llb.ImageMetaResolver.
func (c *configs) ResolveImageConfig(
	ctx context.Context, ref string, opt sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	data, _, err := c.of(ctx, ref, *opt.ImageOpt.Platform)
	return ref, "", data, err
}

// checkWithBuildKit converts all stages as BuildKit does, to get its errors.
func checkWithBuildKit(ctx context.Context, dockerfile []byte, opts Options, configs *configs) error {
	convert := dockerfile2llb.ConvertOpt{MetaResolver: configs, TargetPlatform: opts.Platform, AllStages: true}
	convert.BuildArgs, convert.Target = map[string]string{}, opts.Target
	for k, v := range opts.BuildArgs {
		convert.BuildArgs[k] = v
	}
	caps := pb.Caps.CapSet(pb.Caps.All())
	convert.LLBCaps = &caps
	_, err := dockerfile2llb.Dockerfile2LLB(ctx, dockerfile, convert)
	return err
}
