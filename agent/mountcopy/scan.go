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
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// whiteout begins the names that mean deletions in layers of images, so that no file can be called so in one.
const whiteout = ".wh."

// scan lists the tree at root without reading its files: sums are empty. Sockets are left out, as they mean nothing
// once their process is gone. It returns the stamps of all entries too.
func scan(ctx context.Context, root string) (index, []stamp, error) {
	names, err := namesIn(root)
	if err != nil {
		return nil, nil, err
	}
	recent := time.Now().Add(-clockStep).UnixNano()
	all := make([]scanned, len(names))
	err = each(ctx, len(names), func(i int, _ []byte) (err error) {
		all[i], err = lookAt(root, names[i])
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	ix, stamps := make(index, 0, len(all)), make([]stamp, 0, len(all))
	first := map[[2]uint64]string{} // path by device and inode, of files with several names
	for i := range all {
		s := &all[i]
		if s.Kind == "" {
			continue
		}
		if s.at.Changed >= recent {
			s.at = stamp{} // a later change could have the same time
		}
		if s.several {
			if other, seen := first[s.inode]; seen {
				s.entry = entry{Path: s.Path, Kind: hardlink, Link: other}
			} else {
				first[s.inode] = s.Path
			}
		}
		ix, stamps = append(ix, s.entry), append(stamps, s.at)
	}
	return ix, stamps, nil
}

// namesIn lists the paths below root, which is ".", parents before what is in them.
func namesIn(root string) ([]string, error) {
	var names []string
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
			return fmt.Errorf(
				"%q can't be held in an image: names that begin with %q mean deletions there",
				rel,
				whiteout,
			)
		}
		names = append(names, rel)
		return nil
	})
	return names, err
}

// scanned is what one name is. Which of several names of a file comes first is not known yet.
type scanned struct {
	entry
	at      stamp
	several bool
	inode   [2]uint64 // device and inode
}

// lookAt describes one name, with no kind for a socket.
func lookAt(root, rel string) (s scanned, err error) {
	path := filepath.Join(root, rel)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return s, &fs.PathError{Op: "lstat", Path: rel, Err: err}
	}
	s.at = stamp{Changed: st.Ctim.Nano(), Inode: st.Ino}
	s.entry = entry{Path: rel, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Modified: st.Mtim.Nano()}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		s.Kind = dir
	case unix.S_IFREG:
		s.Kind, s.Size = file, st.Size
	case unix.S_IFLNK:
		s.Kind, s.Mode = symlink, 0
		s.Link, err = os.Readlink(path)
	case unix.S_IFIFO:
		s.Kind = fifo
	case unix.S_IFCHR:
		s.Kind, s.Device = char, st.Rdev
	case unix.S_IFBLK:
		s.Kind, s.Device = block, st.Rdev
	default:
		return scanned{}, nil
	}
	if err != nil {
		return s, err
	}
	s.several, s.inode = st.Nlink > 1 && s.Kind != dir, [2]uint64{st.Dev, st.Ino}
	s.Xattrs, err = xattrsOf(path)
	return s, err
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

// sumFile reads a file and returns the sum of its bytes. A size other than the expected one means that somebody
// writes to it.
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

// readWhole reads a file into memory, with the sum of its bytes. The memory has room for one byte more.
func readWhole(path string, into []byte) (sum string, err error) {
	// an os.File would cost three system calls more
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for at := 0; ; { // with room for one byte more, the last read shows the end too
		n, err := unix.Read(fd, into[at:len(into)+1])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return "", &fs.PathError{Op: "read", Path: path, Err: err}
		}
		switch at += n; {
		case at == len(into):
			hash := sha256.Sum256(into)
			return hex.EncodeToString(hash[:]), nil
		case at > len(into) || n == 0:
			return "", changedWhileRead(path)
		}
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
