// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
)

// frontendVariable makes the test binary a front end, inside an image that daemons run.
const frontendVariable = "HLB_E2E_FRONTEND"

// serveFrontend is a front end that adds a file with the value of the option "who" to its input "context".
func serveFrontend() error {
	return grpcclient.RunFromEnvironment(context.Background(),
		func(ctx context.Context, c client.Client) (*client.Result, error) {
			inputs, err := c.Inputs(ctx)
			if err != nil {
				return nil, err
			}
			made := inputs["context"].File(llb.Mkfile("/who", 0o644, []byte(c.BuildOpts().Opts["who"]+"\n")))
			def, err := made.Marshal(ctx)
			if err != nil {
				return nil, err
			}
			return c.Solve(ctx, client.SolveRequest{Definition: def.ToPB()})
		})
}

// frontendImage holds this test binary as a front end.
func frontendImage(t *testing.T) v1.Image {
	t.Helper()
	file, err := os.Executable()
	must(t, err)
	program, err := os.ReadFile(file)
	must(t, err)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader([]byte(tarOf(t, "frontend", string(program))))), nil
	})
	must(t, err)
	image, err := mutate.AppendLayers(empty.Image, layer)
	must(t, err)
	config, err := image.ConfigFile()
	must(t, err)
	config.OS, config.Architecture = "linux", "amd64"
	config.Config = v1.Config{
		Entrypoint: []string{"/frontend"}, Env: []string{frontendVariable + "=yes"},
		Labels: map[string]string{"moby.buildkit.frontend.caps": "moby.buildkit.frontend.inputs"},
	}
	image, err = mutate.ConfigFile(image, config)
	must(t, err)
	return image
}

// tarOf is an archive of one file that anybody may run.
func tarOf(t *testing.T, name, content string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}))
	_, err := io.WriteString(w, content)
	must(t, err)
	must(t, w.Close())
	return out.String()
}

// sshSecret is a Secret with a new private key.
func sshSecret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	must(t, err)
	return &corev1.Secret{
		ObjectMeta: objectMeta(name), Type: corev1.SecretTypeSSHAuth,
		StringData: map[string]string{corev1.SSHAuthPrivateKey: string(pem.EncodeToMemory(block))},
	}
}
