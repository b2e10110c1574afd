// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	// minHole is the least hole that is kept, in bytes; in smaller ones zeros are written.
	minHole = 64 << 10
	// maxHoles bounds the holes of a file: an archive's list of them is bounded too. What follows counts as data.
	maxHoles = 1 << 14
	// maxSeeks bounds the extents of a file that are looked at.
	maxSeeks = 8 * maxHoles
)

// hole is a part of a file that reads as zeros and takes no room: its offset and length in bytes.
type hole [2]int64

// data is what a file's bytes take, the holes apart.
func (e *entry) data() int64 {
	n := e.Size
	for _, h := range e.Holes {
		n -= h[1]
	}
	return n
}

// extents calls do with the offset and length of each part of a file that holds data, in order.
func (e *entry) extents(do func(offset, n int64) error) error {
	var at int64
	for _, h := range e.Holes {
		if h[0] > at {
			if err := do(at, h[0]-at); err != nil {
				return err
			}
		}
		at = h[0] + h[1]
	}
	if at == e.Size {
		return nil
	}
	return do(at, e.Size-at)
}

// checkHoles returns an error unless the holes lie in the file, one after the other.
func (e *entry) checkHoles() error {
	var at int64
	for _, h := range e.Holes {
		if e.Kind != file || h[0] < at || h[1] <= 0 || h[0] > e.Size || h[1] > e.Size-h[0] {
			return fmt.Errorf("%q has a hole of %d bytes at %d", e.Path, h[1], h[0])
		}
		at = h[0] + h[1]
	}
	if len(e.Holes) > maxHoles {
		return fmt.Errorf("%q has more than %d holes", e.Path, maxHoles)
	}
	return nil
}

// holesAt lists the holes of the file at a path, nil for none.
func holesAt(path string, size int64) ([]hole, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return holesOf(f, size)
}

// holesOf lists the holes of a file of a size, nil for none or where the filesystem has no notion of them.
func holesOf(f *os.File, size int64) ([]hole, error) {
	var out []hole
	fd := int(f.Fd())
	for seeks, at := 0, int64(0); at < size && len(out) < maxHoles && seeks < maxSeeks; seeks++ {
		from, err := unix.Seek(fd, at, unix.SEEK_HOLE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
			return nil, nil
		}
		if err != nil {
			return nil, &fs.PathError{Op: "seek", Path: f.Name(), Err: err}
		}
		if from >= size {
			break
		}
		to, err := unix.Seek(fd, from, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			to, err = size, nil // no data follows
		}
		if err != nil {
			return nil, &fs.PathError{Op: "seek", Path: f.Name(), Err: err}
		}
		at = min(to, size)
		if at-from >= minHole {
			out = append(out, hole{from, at - from})
		}
	}
	return out, nil
}

// readSparse reads the data of a file with holes, writes it to w, and returns its sum.
func readSparse(f *os.File, e *entry, buf []byte, w io.Writer) (string, error) {
	sum := sha256.New()
	to := onlyWriter{io.MultiWriter(sum, w)}
	err := e.extents(func(offset, n int64) error {
		done, err := io.CopyBuffer(to, onlyReader{io.NewSectionReader(f, offset, n)}, buf)
		if err == nil && done != n {
			err = changedWhileRead(f.Name())
		}
		return err
	})
	if err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	now, err := holesOf(f, info.Size())
	if err == nil && (info.Size() != e.Size || !slices.Equal(now, e.Holes)) {
		err = changedWhileRead(f.Name())
	}
	return hex.EncodeToString(sum.Sum(nil)), err
}

// writeSparse writes a file with holes from its archive, where it is as long as in the mount, and returns the sum of
// its data.
func writeSparse(ctx context.Context, to *os.File, e *entry, text io.Reader) (hash.Hash, error) {
	sum, buf := sha256.New(), make([]byte, 1<<18)
	var at int64
	err := e.extents(func(offset, n int64) error {
		if err := discard(ctx, text, offset-at, buf); err != nil {
			return err
		}
		at = offset + n
		if _, err := to.Seek(offset, io.SeekStart); err != nil {
			return err
		}
		done, err := io.CopyBuffer(onlyWriter{io.MultiWriter(to, sum)}, onlyReader{io.LimitReader(text, n)}, buf)
		if err == nil && done != n {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return sum, to.Truncate(e.Size) // a hole at the end
}

// discard reads n bytes of zeros that an archive's reader makes up: an archive can claim more than time allows.
func discard(ctx context.Context, r io.Reader, n int64, buf []byte) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := r.Read(buf[:min(n, int64(len(buf)))])
		if n -= int64(done); n > 0 && err != nil {
			return fmt.Errorf("read a file with holes: %w", err)
		}
	}
	return nil
}
