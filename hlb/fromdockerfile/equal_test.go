// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/solver/pb"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/test/kit/llbtest"
)

var amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}

// images are the configs of all images, a registry of one.
type images struct {
	config dockerspec.DockerOCIImageConfig
}

func plainImages() images {
	var c dockerspec.DockerOCIImageConfig
	c.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin"}
	c.Cmd = []string{"sh"}
	return images{c}
}

func (i images) json(p ocispecs.Platform) ([]byte, error) {
	return json.Marshal(dockerspec.DockerOCIImage{
		Image: ocispecs.Image{
			Platform: p, RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("")}},
		},
		Config: i.config,
	})
}

func (i images) load(_ context.Context, _ string, p ocispecs.Platform) ([]byte, error) {
	return i.json(p)
}

// ResolveImageConfig implements the resolvers of BuildKit and of HLB.
func (i images) ResolveImageConfig(
	_ context.Context, ref string, opt sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	data, err := i.json(*opt.ImageOpt.Platform)
	return ref, "", data, err
}

// buildKits is what BuildKit makes of a Dockerfile.
func buildKits(t *testing.T, dockerfile string, with images, opts Options) *llb.Definition {
	t.Helper()
	caps := pb.Caps.CapSet(pb.Caps.All())
	args := map[string]string{}
	for k, v := range opts.BuildArgs {
		args[k] = v
	}
	convert := dockerfile2llb.ConvertOpt{MetaResolver: with, TargetPlatform: opts.Platform, LLBCaps: &caps}
	convert.BuildArgs, convert.Target = args, opts.Target
	res, err := dockerfile2llb.Dockerfile2LLB(t.Context(), []byte(dockerfile), convert)
	if err != nil {
		t.Fatal(err)
	}
	def, err := res.State.Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return def
}

// compiled is what HLB makes of a program, in a directory with the files that it names.
func compiled(t *testing.T, program []byte, with images, opts Options) *llb.Definition {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"token", "mysecret"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	req, errs := hlb.Compile(t.Context(), hlb.Program{Filename: filepath.Join(dir, "build.hlb"), Source: program},
		hlb.Options{Resolver: with, Platform: opts.Platform})
	if len(errs) > 0 {
		t.Fatalf("the program does not compile: %v\n%s", errs, program)
	}
	return req.Targets[0].Final.Definition
}

// convertEqual converts a Dockerfile, and compares the LLB unless there are problems.
func convertEqual(t *testing.T, dockerfile string, with images, opts Options) *Result {
	t.Helper()
	if opts.Platform == nil {
		opts.Platform = &amd64
	}
	res, err := Convert(t.Context(), []byte(dockerfile), opts)
	if err != nil {
		t.Fatal(err)
	}
	got := compiled(t, res.Program, with, opts)
	if len(res.Problems) > 0 {
		return res
	}
	if diff := llbtest.Diff(buildKits(t, dockerfile, with, opts), got); diff != "" {
		t.Errorf("LLB differs (-BuildKit +HLB):\n%s\n%s\n%s", diff, dockerfile, res.Program)
	}
	return res
}
