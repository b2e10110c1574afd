// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// whiteout begins the names that mean deletions in layers of images, so that no file can be called so in one.
const whiteout = ".wh."

// scan lists the tree at root without reading its files: sums are empty. Sockets are left out, as they mean nothing once their process is gone. It
// returns the stamps of all entries too.
func scan(root string) (index, []stamp, error) {
	var ix index
	var stamps []stamp
	recent := time.Now().Add(-clockStep).UnixNano()
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
		if !utf8.ValidString(rel) {
			return fmt.Errorf("%q can't be held in an index: the name is not UTF-8", rel)
		}
		if strings.HasPrefix(d.Name(), whiteout) {
			return fmt.Errorf("%q can't be held in an image: names that begin with %q mean deletions there", rel, whiteout)
		}
		e, at, err := entryAt(path, rel, first)
		if e.Kind != "" {
			if at.Changed >= recent {
				at = stamp{} // a later change could have the same time
			}
			ix, stamps = append(ix, e), append(stamps, at)
		}
		return err
	})
	return ix, stamps, err
}

// entryAt describes one name, with no kind for a socket.
func entryAt(path, rel string, first map[[2]uint64]string) (e entry, at stamp, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return e, at, &fs.PathError{Op: "lstat", Path: rel, Err: err}
	}
	at = stamp{Changed: st.Ctim.Nano(), Inode: st.Ino}
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
		return entry{}, at, nil
	}
	if err != nil {
		return entry{}, at, err
	}
	if st.Nlink > 1 && e.Kind != dir {
		id := [2]uint64{st.Dev, st.Ino}
		if other, seen := first[id]; seen {
			return entry{Path: rel, Kind: hardlink, Link: other}, at, nil
		}
		first[id] = rel
	}
	e.Xattrs, err = xattrsOf(path)
	return e, at, err
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

// sumFile reads a file and returns the sum of its bytes. A size other than the expected one means that somebody writes to it.
func sumFile(path string, size int64, buf []byte) (string, error) {
	return readThrough(path, size, buf, io.Discard)
}

// readThrough reads a file, writes its bytes to w, and returns their sum.
func readThrough(path string, size int64, buf []byte, w io.Writer) (string, error) {
	f, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	n, err := io.CopyBuffer(onlyWriter{io.MultiWriter(hash, w)}, onlyReader{io.LimitReader(f, size+1)}, buf)
	if err != nil {
		return "", err
	}
	if n != size {
		return "", changedWhileRead(path)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// readWhole reads a file into memory, with the sum of its bytes.
func readWhole(path string, into []byte) (sum string, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) // an os.File would cost three system calls more
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var more [1]byte
	for rest := into; ; {
		at := rest
		if len(at) == 0 {
			at = more[:]
		}
		n, err := unix.Read(fd, at)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return "", &fs.PathError{Op: "read", Path: path, Err: err}
		case (n == 0) != (len(rest) == 0):
			return "", changedWhileRead(path)
		case n == 0:
			hash := sha256.Sum256(into)
			return hex.EncodeToString(hash[:]), nil
		}
		rest = rest[n:]
	}
}

func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
}

func changedWhileRead(path string) error { return fmt.Errorf("%s changed while it was read", path) }

// onlyReader and onlyWriter have no shortcuts past a buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
