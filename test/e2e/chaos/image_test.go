// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/openllb/hlb-operator/hack/images/localimages"
)

// pushStep pushes an image with the program of this package's steps on top of busybox, and returns its reference.
func (w *world) pushStep(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "step")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", file, "./step")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the step: %v\n%s", err, text)
	}
	program, err := os.ReadFile(file)
	must(t, err)
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	must(t, archive.WriteHeader(&tar.Header{Name: "step", Mode: 0o755, Size: int64(len(program))}))
	_, err = archive.Write(program)
	must(t, err)
	must(t, archive.Close())
	top, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	})
	must(t, err)
	from, err := name.ParseReference(w.Images["busybox"], name.Insecure)
	must(t, err)
	base, err := remote.Image(from, remote.WithContext(t.Context()))
	must(t, err)
	image, err := mutate.AppendLayers(base, top)
	must(t, err)
	ref, err := localimages.Push(t.Context(), image, w.Info.Registry+"/chaos-step:latest")
	must(t, err)
	return ref
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
