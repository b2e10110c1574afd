// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Load puts images into every running node's containerd: each is a tar file (as docker save or crane write it) or a
// reference that one of the registries serves.
func (c *Cluster) Load(ctx context.Context, images ...string) error {
	if err := c.buildTools(ctx); err != nil {
		return err
	}
	for _, node := range Nodes {
		p, alive := c.find("node-" + node)
		if !alive {
			continue
		}
		for _, image := range images {
			args := []string{"images", "pull", "--hosts-dir", c.nodePath(node, "registries"), image}
			if _, err := os.Stat(image); err == nil {
				args = []string{"images", "import", image}
			}
			socket := fmt.Sprintf("/proc/%d/root%s", p.Pid, containerdSocket) // the node's /run is its own
			args = append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)
			if text, err := exec.CommandContext(ctx, filepath.Join(c.tools.containerd, "ctr"), args...).
				CombinedOutput(); err != nil {
				return fmt.Errorf("load %s into %s: %w\n%s", image, node, err, text)
			}
		}
	}
	return nil
}

// writePause writes the image of the pods' sandbox container, which each node imports before its kubelet starts.
func (c *Cluster) writePause() error {
	program, err := os.ReadFile(filepath.Join(c.tools.pause, "pause"))
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return err
	}
	if _, err := w.Write(program); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	image, err := pauseFrom(layer.Bytes())
	if err != nil {
		return err
	}
	tag, err := name.NewTag(pauseImage)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(c.path("pause.tar"), tag, image)
}

func pauseFrom(layer []byte) (v1.Image, error) {
	l, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil },
	)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config = v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}
	return mutate.ConfigFile(image, config)
}
