// SPDX-License-Identifier: Apache-2.0

// Package localimages builds the project's container images and a few bases for tests from files of this machine, with
// no container engine and nothing pulled: the operator, buildkitd with what it needs, busybox and a Go toolchain.
//
// A layer is built once for its content and kept under bin/images; while its sources are unchanged an image costs a
// stat a file. Equal sources give equal digests.
package localimages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/openllb/hlb-operator/hack/toolchain"
)

// searchPath is the images' PATH.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Builder builds the images of one checkout.
type Builder struct {
	chain toolchain.Chain
	dir   string // where layers are kept
}

// New returns a Builder for the checkout around the working directory; builds are logged to w, nil means silence.
func New(w io.Writer) (*Builder, error) {
	chain, err := toolchain.New(w)
	if err != nil {
		return nil, err
	}
	b := &Builder{chain: chain, dir: filepath.Join(chain.Root, "bin", "images")}
	return b, os.MkdirAll(b.dir, 0o755)
}

// image makes an image of the given layers, lowest first.
func (b *Builder) image(config v1.Config, trees ...tree) (v1.Image, error) {
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	for _, t := range trees {
		layer, err := b.layer(t)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, err
		}
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Config = runtime.GOARCH, "linux", config
	return mutate.ConfigFile(image, file)
}

// layer returns the tree's layer, zstd-compressed, from the folder of kept layers or freshly made.
func (b *Builder) layer(t tree) (v1.Layer, error) {
	key, err := t.key()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, key+".tar.zst")
	kept, err := openKept(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return kept, err
	}
	draft, err := os.CreateTemp(b.dir, "*.tar")
	if err != nil {
		return nil, err
	}
	defer os.Remove(draft.Name())
	if err := errors.Join(t.write(draft), draft.Close()); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromFile(draft.Name(), tarball.WithCompression(compression.ZStd),
		tarball.WithCompressionLevel(3), tarball.WithMediaType(types.OCILayerZStd))
	if err != nil {
		return nil, err
	}
	if err := keep(file, layer); err != nil {
		return nil, err
	}
	return openKept(file)
}

// keptLayer is a compressed layer on disk with its digests noted beside it, so that nothing is hashed again.
type keptLayer struct {
	file           string
	digest, diffID v1.Hash
	size           int64
}

func keep(file string, layer v1.Layer) error {
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	diffID, err := layer.DiffID()
	if err != nil {
		return err
	}
	blob, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer blob.Close()
	draft, err := os.CreateTemp(filepath.Dir(file), "*.zst")
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	_, err = io.Copy(draft, blob)
	if err := errors.Join(err, draft.Close()); err != nil {
		return err
	}
	if err := os.WriteFile(file+".digests", []byte(digest.String()+" "+diffID.String()+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(draft.Name(), file) // last, since its presence says that all is there
}

func openKept(file string) (v1.Layer, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file + ".digests")
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return nil, fmt.Errorf("%s.digests: want two digests", file)
	}
	k := &keptLayer{file: file, size: info.Size()}
	if k.digest, err = v1.NewHash(fields[0]); err != nil {
		return nil, err
	}
	k.diffID, err = v1.NewHash(fields[1])
	return k, err
}

func (k *keptLayer) Digest() (v1.Hash, error)            { return k.digest, nil }
func (k *keptLayer) DiffID() (v1.Hash, error)            { return k.diffID, nil }
func (k *keptLayer) Size() (int64, error)                { return k.size, nil }
func (k *keptLayer) MediaType() (types.MediaType, error) { return types.OCILayerZStd, nil }
func (k *keptLayer) Compressed() (io.ReadCloser, error)  { return os.Open(k.file) }
func (k *keptLayer) Uncompressed() (io.ReadCloser, error) {
	return nil, errors.New("a kept layer is only pushed, never read")
}

// Push pushes image to ref (plain http for addresses of this machine) and returns the reference with its digest.
// What the registry holds already is not sent again.
func Push(ctx context.Context, image v1.Image, ref string) (string, error) {
	tag, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(tag, image, remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	return tag.Context().Digest(digest.String()).String(), nil
}

// Save writes image as a tar file that `cluster load` takes, named ref.
func Save(image v1.Image, ref, file string) error {
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(file, tag, image)
}
