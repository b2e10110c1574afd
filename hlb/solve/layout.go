// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	cerrdefs "github.com/containerd/errdefs"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/openllb/hlb-operator/hlb/request"
)

// layouts are filesystems with an OCI layout at their root that a session serves as sources of build cache. BuildKit
// reads a cache of type local from a content store of the client's session; nothing says that the store must be a
// directory.
type layouts struct {
	mu     sync.Mutex
	byName map[string]*layoutStore
	served []gateway.CacheOptionsEntry
	opened bool
	err    error
}

func newLayouts() *layouts { return &layouts{byName: map[string]*layoutStore{}} }

func (l *layouts) empty() bool { return len(l.byName) == 0 }

// add announces a filesystem; it is solved by open.
func (l *layouts) add(s *request.Solve) { l.byName[layoutName(s)] = &layoutStore{solve: s} }

// layoutName is what the daemon calls the store.
func layoutName(s *request.Solve) string {
	n := len(s.Definition.Def)
	if n == 0 {
		return "hlb-empty"
	}
	return "hlb-" + digest.FromBytes(s.Definition.Def[n-1]).Encoded()
}

// stores returns the stores by the names the daemon asks for.
func (l *layouts) stores() map[string]content.Store {
	out := map[string]content.Store{}
	for name, s := range l.byName {
		out["local:"+name] = s
	}
	return out
}

// open solves the filesystems inside the job, once, and returns the cache imports for them and for the plain entries
// of the job, which the client does not see when layouts are served.
func (l *layouts) open(
	ctx context.Context,
	gw gateway.Client,
	imports []request.Import,
) ([]gateway.CacheOptionsEntry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened {
		return l.served, l.err
	}
	l.opened = true
	for _, imp := range imports {
		if imp.Layout == nil {
			l.served = append(l.served, gateway.CacheOptionsEntry{Type: imp.Entry.Type, Attrs: imp.Entry.Attrs})
			continue
		}
		name := layoutName(imp.Layout)
		dgst, err := l.byName[name].open(ctx, gw)
		if err != nil {
			l.err = err
			return nil, err
		}
		l.served = append(l.served, gateway.CacheOptionsEntry{
			Type: "local", Attrs: map[string]string{"src": name, "digest": dgst.String()},
		})
	}
	return l.served, nil
}

// layoutStore is a read-only content store over the blobs of a layout. The methods that write are not implemented:
// the embedded interface is nil, and the daemon only reads from imports.
type layoutStore struct {
	content.Store
	solve *request.Solve
	ref   gateway.Reference
}

// open solves the filesystem and returns the digest of the manifest tagged latest, or of the only one.
func (s *layoutStore) open(ctx context.Context, gw gateway.Client) (digest.Digest, error) {
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: s.solve.Definition.ToPB()})
	if err != nil {
		return "", err
	}
	ref, err := res.SingleRef()
	if err != nil {
		return "", err
	}
	if ref == nil {
		return "", &LayoutError{Reason: "it is empty"}
	}
	s.ref = ref
	dt, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: "index.json"})
	if err != nil {
		return "", &LayoutError{Reason: "it has no index.json", Err: err}
	}
	var index ocispecs.Index
	if err := json.Unmarshal(dt, &index); err != nil {
		return "", &LayoutError{Reason: "its index.json does not parse", Err: err}
	}
	for _, m := range index.Manifests {
		if m.Annotations[ocispecs.AnnotationRefName] == "latest" {
			return m.Digest, nil
		}
	}
	if len(index.Manifests) != 1 {
		return "", &LayoutError{
			Reason: fmt.Sprintf("its index.json has %d manifests and none is tagged latest", len(index.Manifests)),
		}
	}
	return index.Manifests[0].Digest, nil
}

// LayoutError says that the cache of a cacheContext is not an OCI layout.
type LayoutError struct {
	Reason string
	Err    error
}

func (e *LayoutError) Error() string {
	return "the cache of cacheContext is not an OCI layout: " + e.Reason
}

// Unwrap returns the error of reading it, if any.
func (e *LayoutError) Unwrap() error { return e.Err }

// Info implements content.InfoProvider.
func (s *layoutStore) Info(ctx context.Context, dgst digest.Digest) (content.Info, error) {
	st, err := s.ref.StatFile(ctx, gateway.StatRequest{Path: blobPath(dgst)})
	if err != nil {
		return content.Info{}, fmt.Errorf("blob %s: %w: %w", dgst, err, cerrdefs.ErrNotFound)
	}
	return content.Info{Digest: dgst, Size: st.Size}, nil
}

// ReaderAt implements content.Provider.
func (s *layoutStore) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	info, err := s.Info(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	return &blobReader{ctx: ctx, ref: s.ref, path: blobPath(desc.Digest), size: info.Size}, nil
}

func blobPath(d digest.Digest) string { return path.Join("blobs", d.Algorithm().String(), d.Encoded()) }

// maxRead is how much of a blob is asked for at once; gRPC messages must stay under 16 MiB.
const maxRead = 4 << 20

type blobReader struct {
	ctx  context.Context
	ref  gateway.Reference
	path string
	size int64
}

func (b *blobReader) Size() int64 { return b.size }

func (b *blobReader) Close() error { return nil }

func (b *blobReader) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < b.size {
		want := min(len(p)-n, maxRead, int(b.size-off))
		dt, err := b.ref.ReadFile(b.ctx, gateway.ReadRequest{
			Filename: b.path, Range: &gateway.FileRange{Offset: int(off), Length: want},
		})
		if err != nil {
			return n, err
		}
		if len(dt) == 0 {
			return n, io.ErrUnexpectedEOF
		}
		copy(p[n:], dt)
		n, off = n+len(dt), off+int64(len(dt))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
