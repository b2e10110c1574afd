// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/stream"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Blob opens a blob of the repository, as it is stored. Reading to the end fails when its bytes are not those that
// the descriptor's digest names, and no more than its size is read.
func (r *Repository) Blob(ctx context.Context, d ocispecs.Descriptor) (io.ReadCloser, error) {
	layer, err := r.puller.Layer(ctx, r.repo.Digest(d.Digest.String()))
	if err != nil {
		return nil, err
	}
	body, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	return &boundedBody{ReadCloser: body, left: max(d.Size, 0), what: "blob " + d.Digest.String()}, nil
}

// cacheConfig is the media type of the config of BuildKit's build cache.
const cacheConfig = "application/vnd.buildkit.cacheconfig.v0"

// IsBuildCache reports whether a manifest is that of build cache, as the operator has buildkitd write it.
func (m *Manifest) IsBuildCache() bool { return m.Config.MediaType == cacheConfig }

// PushBlob uploads all of content as a blob that no tag needs yet, without keeping it, and describes it. An upload
// that breaks off can't be tried again.
func (r *Repository) PushBlob(ctx context.Context, mediaType string, content io.Reader) (ocispecs.Descriptor, error) {
	up := &upload{content: content, hash: sha256.New(), mediaType: types.MediaType(mediaType)}
	if err := r.pusher.Upload(ctx, r.repo, up); err != nil {
		return ocispecs.Descriptor{}, err
	}
	return ocispecs.Descriptor{
		MediaType: mediaType,
		Digest:    digest.NewDigest(digest.SHA256, up.hash),
		Size:      up.size,
	}, nil
}

// PushImage makes an image of layers that the repository has, gives it a tag, and returns the digest of its manifest.
func (r *Repository) PushImage(
	ctx context.Context,
	tag string,
	config ocispecs.Image,
	layers []ocispecs.Descriptor,
	annotations map[string]string,
) (string, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	if err := r.pusher.Upload(ctx, r.repo, static.NewLayer(text, ocispecs.MediaTypeImageConfig)); err != nil {
		return "", err
	}
	m := ocispecs.Manifest{
		MediaType: ocispecs.MediaTypeImageManifest, Layers: layers, Annotations: annotations,
		Config: ocispecs.Descriptor{
			MediaType: ocispecs.MediaTypeImageConfig,
			Digest:    digest.FromBytes(text),
			Size:      int64(len(text)),
		},
	}
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	return digest.FromBytes(raw).String(), r.pusher.Put(ctx, r.repo.Tag(tag), rawManifest(raw))
}

// rawManifest is an image's manifest, ready to be sent.
type rawManifest []byte

// RawManifest implements remote.Taggable.
func (m rawManifest) RawManifest() ([]byte, error) { return m, nil }

// MediaType is the kind of manifest.
func (m rawManifest) MediaType() (types.MediaType, error) {
	return ocispecs.MediaTypeImageManifest, nil
}

// upload is a layer whose digest is known once it has been sent.
type upload struct {
	content   io.Reader
	mediaType types.MediaType
	hash      hash.Hash
	size      int64
	begun     bool
	done      bool
}

var errBrokeOff = errors.New("the upload broke off")

// Digest implements v1.Layer.
func (u *upload) Digest() (v1.Hash, error) {
	if !u.done {
		return v1.Hash{}, stream.ErrNotComputed
	}
	return v1.NewHash(fmt.Sprintf("sha256:%x", u.hash.Sum(nil)))
}

// DiffID implements v1.Layer.
func (u *upload) DiffID() (v1.Hash, error) { return v1.Hash{}, stream.ErrNotComputed }

// Size implements v1.Layer.
func (u *upload) Size() (int64, error) {
	if !u.done {
		return 0, stream.ErrNotComputed
	}
	return u.size, nil
}

// MediaType implements v1.Layer.
func (u *upload) MediaType() (types.MediaType, error) { return u.mediaType, nil }

// Uncompressed implements v1.Layer.
func (u *upload) Uncompressed() (io.ReadCloser, error) { return nil, stream.ErrNotComputed }

// Compressed implements v1.Layer. It can be called once.
func (u *upload) Compressed() (io.ReadCloser, error) {
	if u.begun {
		return nil, errBrokeOff
	}
	u.begun = true
	return body{u}, nil
}

// body is what is sent.
type body struct{ u *upload }

// Read implements io.Reader.
func (b body) Read(p []byte) (int, error) {
	n, err := b.u.content.Read(p)
	b.u.hash.Write(p[:n])
	b.u.size += int64(n)
	if err == io.EOF {
		b.u.done = true
	}
	return n, err
}

// WriteTo implements io.WriterTo: the large pieces of it cost a connection less than the small ones of io.Copy.
func (b body) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{b}, make([]byte, 1<<18))
}

// Close implements io.Closer.
func (b body) Close() error { return nil }
