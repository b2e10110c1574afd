// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// image is a snapshot: its index layer, and the layers with content, the bottom one first.
type image struct {
	index   []byte
	content [][]byte
}

// blob is a layer that is being written.
type blob struct{ bytes.Buffer }

func (*blob) Close() error { return nil }

// snapshot brings an image up to date, over a connection as step and agent do it.
func (im *image) snapshot(ctx context.Context, mount string, whole bool, limit int64) (Result, error) {
	var pushed [][]byte
	res, err := talk(ctx, &Step{Mode: ModeSnapshot, Mount: mount, Whole: whole, MaxBytes: limit},
		func(p *Peer) (Result, error) {
			return p.Snapshot(bytes.NewReader(im.index), func(layer io.Reader) error {
				text, err := io.ReadAll(layer)
				pushed = append(pushed, text)
				return err
			})
		})
	if err != nil || len(pushed) == 0 {
		return res, err
	}
	n := len(pushed) - 1
	if (res.ContentDiffID != "") != (n == 1) {
		return res, fmt.Errorf("%d layers were sent with %+v", n, res)
	}
	if whole {
		im.content = nil
	}
	im.content, im.index = append(im.content, pushed[:n]...), pushed[n]
	return res, nil
}

// prime fills a mount from the image, over a connection too.
func (im *image) prime(ctx context.Context, mount string) (Result, error) {
	return talk(ctx, &Step{Mode: ModePrime, Mount: mount}, func(p *Peer) (Result, error) {
		return p.Prime(bytes.NewReader(im.index), im.layers())
	})
}

// replace puts the image's content in place of a mount's, and says how many layers were asked for.
func (im *image) replace(t *testing.T, mount string) (res Result, asked int) {
	t.Helper()
	res, err := talk(t.Context(), &Step{Mode: ModePrime, Mount: mount, Replace: true}, func(p *Peer) (Result, error) {
		layers := im.layers()
		return p.Prime(bytes.NewReader(im.index), func() (io.Reader, error) { asked++; return layers() })
	})
	if err != nil {
		t.Fatal(err)
	}
	return res, asked
}

func (im *image) layers() Layers {
	next := len(im.content)
	return func() (io.Reader, error) {
		if next--; next < 0 {
			return nil, io.EOF
		}
		return bytes.NewReader(im.content[next]), nil
	}
}

// talk runs both halves of a copy. The error is the agent's, or else the step's.
func talk(ctx context.Context, s *Step, with func(*Peer) (Result, error)) (Result, error) {
	s.Token = "token"
	here, there := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(context.Context) (net.Conn, error) { return there, nil }) }()
	peer, err := Accept(here, "token")
	if err == nil {
		err = peer.Welcome()
	}
	if err != nil {
		return Result{}, err
	}
	res, err := with(peer)
	here.Close()
	return res, cmp.Or(err, <-ended)
}

// listing is a tree as entries with sums.
func listing(t *testing.T, root string) index {
	t.Helper()
	ix, _, err := scan(t.Context(), root, &omissions{})
	if err == nil {
		err = each(t.Context(), len(ix), func(i int, buf []byte) error { return ix.sum(i, root, buf) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func (im *image) snap(t *testing.T, mount string) Result {
	t.Helper()
	res, err := im.snapshot(t.Context(), mount, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (im *image) fill(t *testing.T, mount string) Result {
	t.Helper()
	res, err := im.prime(t.Context(), mount)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// unpacked is that part as the specification of images makes it out of layers.
func (im *image) unpacked(rt *rapid.T) map[string]string {
	out := map[string]string{}
	remove := func(path string, itself bool) {
		for other := range out {
			if itself && other == path || strings.HasPrefix(other, path+"/") {
				delete(out, other)
			}
		}
	}
	for _, content := range im.content {
		layer, done, err := readLayer(bytes.NewReader(content))
		if err != nil {
			rt.Fatal(err)
		}
		for {
			h, err := layer.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				rt.Fatal(err)
			}
			path, base := strings.TrimSuffix(h.Name, "/"), filepath.Base(h.Name)
			if gone, ok := strings.CutPrefix(base, whiteout); ok {
				remove(filepath.Join(filepath.Dir(path), gone), true)
				continue
			}
			e := entry{Path: path, Mode: uint32(h.Mode), Link: h.Linkname}
			switch h.Typeflag {
			case tar.TypeDir:
				e.Kind = dir
			case tar.TypeSymlink:
				e.Kind, e.Mode = symlink, 0
			default:
				e.Kind = file
				text, err := io.ReadAll(layer)
				if err != nil {
					rt.Fatal(err)
				}
				e.Sum = fmt.Sprintf("%x", sha256.Sum256(text))
			}
			if e.Kind != dir {
				remove(path, false)
			}
			out[path] = seenByOthers(index{e})[path]
		}
		done()
	}
	return out
}
