// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// chunkSize is how much of a layer is compressed at a time. Chunks are independent, so that all processors take part;
// they are a few times the window that zstd has at this level, so that little is lost.
const chunkSize = 2 << 20

// layerWriter writes a layer: a tar archive of entries, compressed. It must be closed.
type layerWriter struct {
	tar     *tar.Writer
	out     io.WriteCloser
	zstd    *zstd.Encoder
	chunk   []byte
	chunks  sync.Pool // of []byte, as is packs: new memory costs more than what is done with it
	packs   sync.Pool
	order   chan *piece // in the order of the layer
	sums    chan *piece
	diff    hash.Hash
	slots   chan struct{} // bounds the chunks in memory
	workers sync.WaitGroup
	failed  chan struct{} // closed after err is set
	err     error
}

// piece is a chunk on its way.
type piece struct {
	raw    []byte
	packed chan []byte
	shared sync.WaitGroup // of those who read raw
}

func newLayerWriter(out io.WriteCloser) (*layerWriter, error) {
	cores := runtime.GOMAXPROCS(0)
	// Entropy coding would save another tenth of the bytes, for a sixth more of the time: without it a layer is as
	// large as that of zstd -1, and builds keep more of the processors.
	enc, err := zstd.NewWriter(
		nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(cores),
		zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(1<<20),
		zstd.WithNoEntropyCompression(true),
	)
	if err != nil {
		return nil, err
	}
	w := &layerWriter{
		out: out, zstd: enc, diff: sha256.New(), slots: make(chan struct{}, cores+2), failed: make(chan struct{}),
		order: make(chan *piece, cores+2), sums: make(chan *piece, cores+2),
	}
	w.chunks.New = func() any { return make([]byte, 0, chunkSize) }
	w.packs.New = func() any { return make([]byte, 0, chunkSize+1024) }
	w.tar = tar.NewWriter(writerFunc(w.add))
	w.workers.Go(w.sum)
	w.workers.Go(w.send)
	return w, nil
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// add takes bytes of the archive.
func (w *layerWriter) add(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if w.chunk == nil {
			w.chunk = w.chunks.Get().([]byte)
		}
		n := min(len(rest), chunkSize-len(w.chunk))
		w.chunk = append(w.chunk, rest[:n]...)
		rest = rest[n:]
		if len(w.chunk) == chunkSize {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

// flush sends the chunk on its way.
func (w *layerWriter) flush() error {
	select {
	case <-w.failed:
		return w.err
	case w.slots <- struct{}{}:
	}
	p := &piece{raw: w.chunk, packed: make(chan []byte, 1)}
	w.chunk = nil
	p.shared.Add(2)
	w.sums <- p
	w.order <- p
	go func() {
		p.packed <- w.zstd.EncodeAll(p.raw, w.packs.Get().([]byte))
		p.shared.Done()
	}()
	return nil
}

// sum works out the layer's diff id.
func (w *layerWriter) sum() {
	for p := range w.sums {
		w.diff.Write(p.raw)
		p.shared.Done()
	}
}

// send writes the compressed chunks.
func (w *layerWriter) send() {
	for p := range w.order {
		packed := <-p.packed
		if w.err == nil {
			if _, err := w.out.Write(packed); err != nil {
				w.err = err
				close(w.failed)
			}
		}
		w.packs.Put(packed[:0]) //nolint:staticcheck // a slice's header is small beside what is in it
		p.shared.Wait()
		w.chunks.Put(p.raw[:0]) //nolint:staticcheck // a slice's header is small beside what is in it
		<-w.slots
	}
}

// Close ends the layer.
func (w *layerWriter) Close() (diffID string, err error) {
	err = w.tar.Close()
	if err == nil && len(w.chunk) > 0 {
		err = w.flush()
	}
	close(w.sums)
	close(w.order)
	w.workers.Wait()
	if err == nil {
		err = w.err
	}
	if err = errors.Join(err, w.zstd.Close()); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(w.diff.Sum(nil)), w.out.Close()
}

// header describes an entry in a layer. What tar or layers don't keep is in the index.
func (e *entry) header() *tar.Header {
	h := &tar.Header{
		Name: e.Path, Mode: int64(e.Mode), Uid: int(e.UID), Gid: int(e.GID), Size: e.Size, Linkname: e.Link,
		ModTime: time.Unix(0, e.Modified).Truncate(time.Second), Typeflag: tar.TypeReg,
	}
	switch e.Kind {
	case dir:
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
	case symlink:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
	}
	return h
}

// readLayer opens a layer that layerWriter has written. close must be called.
func readLayer(r io.Reader) (*tar.Reader, func(), error) {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, nil, err
	}
	return tar.NewReader(dec), dec.Close, nil
}
