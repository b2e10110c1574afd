// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/agent/mountcopy"
	cacherepo "github.com/openllb/hlb-operator/agent/registry"
)

// MountCopy is a copy of a cache mount into an image or back.
type MountCopy struct {
	// ID of the mount as BuildKit knows it. It must be one without a base state.
	ID string
	// Sharing that builds use the mount with: shared, private or locked. With another mode, BuildKit would give the
	// copy or a build that begins meanwhile a second, empty mount of the same id.
	Sharing string
	// Repository holds the images.
	Repository *cacherepo.Repository
	// Program is cmd/mountcopy, for the machine's architecture.
	Program []byte
	// Image is the newest snapshot: what Prime copies, and what Snapshot puts layers on; zero for none.
	Image cacherepo.Manifest

	// Tag is what Snapshot gives the new image.
	Tag string
	// Whole makes a snapshot of one layer instead of one on top of Image, unless nothing has changed since.
	Whole bool
	// MaxBytes bounds the mount's content, 0 for no bound.
	MaxBytes int64
	// Annotations of the image's manifest. Snapshot adds DigestAnnotation and BytesAnnotation.
	Annotations map[string]string
	// Patience bounds how long Snapshot waits until the copying begins, which is when a locked mount is free; 0 for
	// no bound.
	Patience time.Duration
	// Check is called when the mount is copied, before the image gets its tag; its error ends the snapshot. Nil means
	// no check.
	Check func() error

	// Replace has Prime replace what the mount holds; no build may use the mount meanwhile.
	Replace bool
	// Timeout bounds the copying of Prime, 0 for no bound.
	Timeout time.Duration

	surveyed []Mount
}

// MaxSurvey is how many mounts a survey can have.
const MaxSurvey = 100

// Survey finds the mounts, at most MaxSurvey, that hold nothing, in one step. program is cmd/mountcopy. Locked mounts
// don't belong here: builds would wait for a step that waits for other mounts.
func (d *Daemon) Survey(ctx context.Context, program []byte, mounts []Mount) (empty []Mount, err error) {
	c := &MountCopy{Program: program, surveyed: mounts}
	err = d.copyMount(ctx, c, mountcopy.ModeSurvey, nil, func(_ context.Context, step *mountcopy.Peer) error {
		res, err := step.Digest()
		for _, name := range res.EmptyMounts {
			i, parseErr := strconv.Atoi(name)
			if parseErr != nil || i < 0 || i >= len(mounts) {
				return fmt.Errorf("the survey has no mount %q", name)
			}
			empty = append(empty, mounts[i])
		}
		return err
	})
	return empty, err
}

// Annotations of a snapshot's manifest that only the copy itself can tell.
const (
	// DigestAnnotation is the digest of the mount's tree.
	DigestAnnotation = "dev.openllb.build.mount.digest"
	// BytesAnnotation is what the mount's files hold, in bytes.
	BytesAnnotation = "dev.openllb.build.mount.bytes"
)

// Annotations of a snapshot's layers.
const (
	// diffIDAnnotation is the digest of a layer before compression, under the name that BuildKit gives it.
	diffIDAnnotation = "containerd.io/uncompressed"
	// layerAnnotation says what a layer is.
	layerAnnotation = "dev.openllb.build.mount.layer"
	contentLayer    = "content"
	indexLayer      = "index"
)

// IsSnapshot says whether an image is a mount's that this version can read: layers of content below one with an index.
func IsSnapshot(m cacherepo.Manifest) bool {
	n := len(m.Layers)
	return n > 0 && m.Layers[n-1].Annotations[layerAnnotation] == indexLayer &&
		!slices.ContainsFunc(m.Layers[:n-1], func(l ocispecs.Descriptor) bool {
			return l.Annotations[layerAnnotation] != contentLayer
		})
}

// ContentLayers are the bytes of each layer of a snapshot that holds content, compressed, the bottom one first.
func ContentLayers(m cacherepo.Manifest) []int64 {
	var out []int64
	for _, l := range m.Layers[:max(len(m.Layers)-1, 0)] {
		out = append(out, l.Size)
	}
	return out
}

// Snapshot copies a mount into an image in the registry. With an outcome other than Copied nothing was pushed. The
// digest is that of the manifest.
func (d *Daemon) Snapshot(ctx context.Context, c *MountCopy) (res mountcopy.Result, dgst string, err error) {
	args := []string{"-max-bytes", fmt.Sprint(c.MaxBytes)}
	if c.Whole {
		args = append(args, "-whole")
	}
	var pushed []ocispecs.Descriptor
	index, done := c.openIndex(ctx)
	defer done()
	err = d.copyMount(ctx, c, mountcopy.ModeSnapshot, args, func(ctx context.Context, step *mountcopy.Peer) error {
		base, err := index()
		if err != nil {
			return err
		}
		res, err = step.Snapshot(base, func(layer io.Reader) error {
			l, err := c.Repository.PushBlob(ctx, ocispecs.MediaTypeImageLayerZstd, layer)
			pushed = append(pushed, l)
			return err
		})
		return err
	})
	if c.Check != nil {
		// A mount that changes while it is read is an error too, so this comes first.
		if refused := c.Check(); refused != nil {
			return res, "", refused
		}
	}
	if err != nil || res.Outcome != mountcopy.Copied {
		return res, "", err
	}
	layers, err := c.layers(res, pushed)
	if err != nil {
		return res, "", err
	}
	dgst, err = c.pushImage(ctx, res, layers)
	return res, dgst, err
}

// openIndex begins to open the index layer of the newest snapshot while the step starts, and returns what waits for it:
// nil when there is none. It is read once, by the step, so that it takes no memory here. done closes it.
func (c *MountCopy) openIndex(ctx context.Context) (index func() (io.Reader, error), done func()) {
	n := len(c.Image.Layers)
	if n == 0 {
		return func() (io.Reader, error) { return nil, nil }, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	layer := c.Image.Layers[n-1]
	open := sync.OnceValues(func() (io.Reader, error) {
		if layer.Size > mountcopy.MaxIndexLayer {
			return nil, fmt.Errorf("the index of the newest snapshot has %d bytes, and can have %d",
				layer.Size, int64(mountcopy.MaxIndexLayer))
		}
		blob, err := c.Repository.Blob(ctx, layer)
		if err != nil {
			return nil, fmt.Errorf("read the index of the newest snapshot: %w", err)
		}
		context.AfterFunc(ctx, func() { blob.Close() })
		return blob, nil
	})
	go open() //nolint:errcheck // who waits for it gets the error
	return open, cancel
}

// layers are those of the new image: the ones that it is put on, and those pushed.
func (c *MountCopy) layers(res mountcopy.Result, pushed []ocispecs.Descriptor) ([]ocispecs.Descriptor, error) {
	var out []ocispecs.Descriptor
	if n := len(c.Image.Layers); n > 0 && !c.Whole {
		out = append(out, c.Image.Layers[:n-1]...)
	}
	add := func(kind, diffID string) error {
		if len(pushed) == 0 {
			return errors.New("the step has sent fewer layers than it says")
		}
		l := pushed[0]
		l.Annotations = map[string]string{diffIDAnnotation: diffID, layerAnnotation: kind}
		out, pushed = append(out, l), pushed[1:]
		return nil
	}
	if res.ContentDiffID != "" {
		if err := add(contentLayer, res.ContentDiffID); err != nil {
			return nil, err
		}
	}
	if err := add(indexLayer, res.IndexDiffID); err != nil {
		return nil, err
	}
	return out, nil
}

// pushImage gives the layers a tag, as an image that says where it comes from.
func (c *MountCopy) pushImage(ctx context.Context, res mountcopy.Result, layers []ocispecs.Descriptor) (string, error) {
	notes := map[string]string{DigestAnnotation: res.Digest, BytesAnnotation: fmt.Sprint(res.Bytes)}
	maps.Copy(notes, c.Annotations)
	config := ocispecs.Image{
		Platform: ocispecs.Platform{
			OS:           "linux",
			Architecture: runtime.GOARCH,
		}, Config: ocispecs.ImageConfig{Labels: notes},
		RootFS: ocispecs.RootFS{Type: "layers"},
	}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(l.Annotations[diffIDAnnotation]))
		config.History = append(
			config.History,
			ocispecs.History{CreatedBy: "mountcopy " + l.Annotations[layerAnnotation]},
		)
	}
	return c.Repository.PushImage(ctx, c.Tag, config, layers, notes)
}

// Prime fills a mount from a snapshot, unless the mount holds something and c.Replace does not say that it is to go.
func (d *Daemon) Prime(ctx context.Context, c *MountCopy) (res mountcopy.Result, err error) {
	if !IsSnapshot(c.Image) {
		return res, errors.New("the image is no snapshot of a mount")
	}
	opened, done := c.openIndex(ctx)
	defer done()
	args := []string{"-timeout", c.Timeout.String()}
	if c.Replace {
		args = append(args, "-replace")
	}
	err = d.copyMount(ctx, c, mountcopy.ModePrime, args, func(ctx context.Context, step *mountcopy.Peer) error {
		index, err := opened()
		if err != nil {
			return err
		}
		layers := c.contentLayers(ctx)
		defer layers.close()
		res, err = step.Prime(index, layers.next)
		return err
	})
	return res, err
}

// openLayers are the content layers of a snapshot, one at a time, the top one first.
type openLayers struct {
	ctx  context.Context
	c    *MountCopy
	rest []ocispecs.Descriptor
	open io.ReadCloser // nil for none
}

func (c *MountCopy) contentLayers(ctx context.Context) *openLayers {
	return &openLayers{ctx: ctx, c: c, rest: c.Image.Layers[:len(c.Image.Layers)-1]}
}

// next is mountcopy.Layers.
func (o *openLayers) next() (io.Reader, error) {
	n := len(o.rest)
	if n == 0 {
		return nil, io.EOF
	}
	o.close()
	layer, err := o.c.Repository.Blob(o.ctx, o.rest[n-1])
	if err != nil {
		return nil, fmt.Errorf("read a layer of the snapshot: %w", err)
	}
	o.rest, o.open = o.rest[:n-1], layer
	return layer, nil
}

func (o *openLayers) close() {
	if o.open != nil {
		o.open.Close()
		o.open = nil
	}
}

// DigestMount names the tree that a mount holds.
func (d *Daemon) DigestMount(ctx context.Context, c *MountCopy) (res mountcopy.Result, err error) {
	err = d.copyMount(ctx, c, mountcopy.ModeDigest, nil, func(_ context.Context, step *mountcopy.Peer) error {
		res, err = step.Digest()
		return err
	})
	return res, err
}

// SetRoot gives a mount's own directory an owner and mode, unless a build has done so. The mount is made if there is
// none.
func (d *Daemon) SetRoot(ctx context.Context, c *MountCopy, root mountcopy.Root) (res mountcopy.Result, err error) {
	args := []string{"-root", root.String()}
	err = d.copyMount(ctx, c, mountcopy.ModeRoot, args, func(_ context.Context, step *mountcopy.Peer) error {
		res, err = step.Digest()
		return err
	})
	return res, err
}

// explain prefers what the step has said to what BuildKit says about the step, and the connection's end to neither.
func explain(talk, step error) error {
	var said *mountcopy.RemoteError
	if talk == nil || errors.As(talk, &said) || step == nil {
		return talk
	}
	if errors.Is(talk, io.ErrUnexpectedEOF) || errors.Is(talk, errNoStep) {
		return step
	}
	return cmp.Or(talk, step)
}
