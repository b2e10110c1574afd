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

// maxPath bounds the paths of an index, in bytes: the kernel takes 4,096, with the mount and the copy's own folder in
// front.
const maxPath = 3900

// scan lists the tree at root without reading its files: sums are empty. It returns the stamps of all entries too. What
// an index can't hold is left out and noted, as are sockets, which mean nothing once their process is gone.
func scan(ctx context.Context, root string, out *omissions) (index, []stamp, error) {
	names, err := namesIn(root, out)
	if err != nil {
		return nil, nil, err
	}
	recent := time.Now().Add(-clockStep).UnixNano()
	all := make([]scanned, len(names))
	err = each(ctx, len(names), func(i int, _ []byte) (err error) {
		all[i], err = lookAt(root, names[i], out)
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
func namesIn(root string, out *omissions) ([]string, error) {
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if why := unfit(rel, d.Name()); why != "" {
			out.add(rel, why)
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		names = append(names, rel)
		return nil
	})
	return names, err
}

// unfit returns why a path of a mount can't be part of a snapshot, empty when it can.
func unfit(rel, name string) string {
	switch {
	case isReserved(rel):
		return "a name of the copy itself"
	case len(rel) > maxPath:
		return "the path is too long"
	case !utf8.ValidString(rel):
		return "not UTF-8"
	case strings.HasPrefix(name, whiteout):
		return "names that begin with " + whiteout + " mean deletions in images"
	}
	return ""
}

// scanned is what one name is. Which of several names of a file comes first is not known yet.
type scanned struct {
	entry
	at      stamp
	several bool
	inode   [2]uint64 // device and inode
}

// lookAt describes one name, with no kind for what is left out.
func lookAt(root, rel string, out *omissions) (s scanned, err error) {
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
		if st.Size >= minHole && st.Blocks*512 < st.Size {
			s.Holes, err = holesAt(path, st.Size)
		}
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
		out.add(rel, "a socket")
		return scanned{}, nil
	}
	if err != nil {
		return s, err
	}
	if !utf8.ValidString(s.Link) {
		out.add(rel, "a symbolic link to a name that is not UTF-8")
		return scanned{}, nil
	}
	s.several, s.inode = st.Nlink > 1 && s.Kind != dir, [2]uint64{st.Dev, st.Ino}
	s.Xattrs, err = xattrsOf(path, func(name string) {
		out.add(rel, fmt.Sprintf("its attribute %q is not UTF-8", name))
	})
	return s, err
}

// xattrsOf reads the extended attributes of a name, nil when it has none. omit is called with those that an index can't
// hold.
func xattrsOf(path string, omit func(name string)) (map[string][]byte, error) {
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
	value := make([]byte, 65536) // the kernel's own limit
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.overlay.") || name == "security.selinux" {
			continue // of the filesystem and the machine, not of the content
		}
		if !utf8.ValidString(name) {
			omit(name)
			continue
		}
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, &fs.PathError{Op: "lgetxattr", Path: path, Err: err}
		}
		if out == nil {
			out = map[string][]byte{}
		}
		out[name] = append([]byte{}, value[:n]...) // as long as it is: an index holds many
	}
	return out, nil
}

// sumFile reads a file and returns the sum of its bytes. A size other than the entry's means that somebody
// writes to it.
func sumFile(path string, e *entry, buf []byte) (string, error) {
	return readThrough(path, e, buf, io.Discard)
}

// readThrough reads a file, writes its bytes to w, and returns their sum.
func readThrough(path string, e *entry, buf []byte, w io.Writer) (string, error) {
	f, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if len(e.Holes) > 0 {
		return readSparse(f, e, buf, w)
	}
	hash := sha256.New()
	n, err := io.CopyBuffer(onlyWriter{io.MultiWriter(hash, w)}, onlyReader{io.LimitReader(f, e.Size+1)}, buf)
	if err != nil {
		return "", err
	}
	if n != e.Size {
		return "", changedWhileRead(path)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// readWhole reads a file into memory, with the sum of its bytes. The memory has room for one byte more.
func readWhole(path string, into []byte) (sum string, err error) {
	// an os.File would cost three system calls more; a file that became a pipe meanwhile must not hang
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
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

// openFile opens a regular file. One that became something else since the scan must not hang the copy.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, errors.Join(err, f.Close())
	case !info.Mode().IsRegular():
		return nil, errors.Join(changedWhileRead(path), f.Close())
	}
	return f, nil
}

func changedWhileRead(path string) error { return fmt.Errorf("%s changed while it was read", path) }

// onlyReader and onlyWriter have no shortcuts past a buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
