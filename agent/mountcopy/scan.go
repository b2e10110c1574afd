// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// whiteout begins the names that mean deletions in layers of images, so that no file can be called so in one.
const whiteout = ".wh."

// scan lists the tree at root without reading its files: sums are empty. Sockets are left out, as they mean nothing once their process is gone.
func scan(root string) (index, error) {
	var ix index
	first := map[[2]uint64]string{} // path by device and inode, of files with several names
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if isReserved(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasPrefix(d.Name(), whiteout) {
			return fmt.Errorf("%q can't be held in an image: names that begin with %q mean deletions there", rel, whiteout)
		}
		e, ok, err := entryAt(path, rel, first)
		if ok {
			ix = append(ix, e)
		}
		return err
	})
	return ix, err
}

// entryAt describes one name, false for a socket.
func entryAt(path, rel string, first map[[2]uint64]string) (e entry, ok bool, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return e, false, &fs.PathError{Op: "lstat", Path: rel, Err: err}
	}
	e = entry{Path: rel, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Modified: st.Mtim.Nano()}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Kind = dir
	case unix.S_IFREG:
		e.Kind, e.Size = file, st.Size
	case unix.S_IFLNK:
		e.Kind, e.Mode = symlink, 0
		e.Link, err = os.Readlink(path)
	case unix.S_IFIFO:
		e.Kind = fifo
	case unix.S_IFCHR:
		e.Kind, e.Device = char, st.Rdev
	case unix.S_IFBLK:
		e.Kind, e.Device = block, st.Rdev
	default:
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	if st.Nlink > 1 && e.Kind != dir {
		id := [2]uint64{st.Dev, st.Ino}
		if other, seen := first[id]; seen {
			return entry{Path: rel, Kind: hardlink, Link: other}, true, nil
		}
		first[id] = rel
	}
	e.Xattrs, err = xattrsOf(path)
	return e, err == nil, err
}

// xattrsOf reads the extended attributes of a name, nil when it has none.
func xattrsOf(path string) (map[string][]byte, error) {
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if errors.Is(err, unix.ERANGE) {
		names = make([]byte, 65536) // the kernel's own limit
		n, err = unix.Llistxattr(path, names)
	}
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	var out map[string][]byte
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.overlay.") || name == "security.selinux" {
			continue // of the filesystem and the machine, not of the content
		}
		value := make([]byte, 65536)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, &fs.PathError{Op: "lgetxattr", Path: path, Err: err}
		}
		if out == nil {
			out = map[string][]byte{}
		}
		out[name] = value[:n:n]
	}
	return out, nil
}

// each calls do for the numbers below n, several at a time, and returns the first error. After one, or once ctx is done, no more are begun.
func each(ctx context.Context, n int, do func(i int, buf []byte) error) error {
	var next atomic.Int64
	var failed error
	var once sync.Once
	var stop atomic.Bool
	var workers sync.WaitGroup
	for range min(n, 2*runtime.GOMAXPROCS(0)) { // half of them wait for the disk
		workers.Go(func() {
			buf := make([]byte, 1<<18)
			for !stop.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				err := ctx.Err()
				if err == nil {
					err = do(i, buf)
				}
				if err != nil {
					once.Do(func() { failed = err })
					stop.Store(true)
				}
			}
		})
	}
	workers.Wait()
	return failed
}

// sumFile reads a file and returns the sum of its bytes. A size other than the expected one means that somebody writes to it.
func sumFile(path string, size int64, buf []byte) (string, error) {
	return readThrough(path, size, buf, nil)
}

// readThrough reads a file, writes its bytes to w unless that is nil, and returns their sum.
func readThrough(path string, size int64, buf []byte, w io.Writer) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	var read int64
	for {
		n, err := f.Read(buf)
		hash.Write(buf[:n]) //nolint:errcheck // a hash takes everything
		read += int64(n)
		if w != nil && n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return "", err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
	}
	if read != size {
		return "", fmt.Errorf("%s changed while it was read", path)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
