// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Layers are those of an image that hold files, the top one first. The end of them is io.EOF.
type Layers func() (io.Reader, error)

// Prime fills a mount with the tree of a snapshot, whose files layers hold. A mount that holds something
// already is left alone, unless replace says that its content is to go; files that stay the same are kept then, and
// layers that hold no others are not asked for. Files whose bytes are not what the index says are an error. The copy
// is made aside and moved into place when it is whole: a mount never shows a part of it as if it were all, and keeps
// what it holds on an error. What an earlier Prime left that was cut off is taken up or thrown away. When ctx ends
// first, nothing of the copy stays. A copy that would leave the volume less than its spare share is an error.
func Prime(ctx context.Context, mount string, tree *Tree, layers Layers, replace bool) (Result, error) {
	if tree == nil {
		return Result{}, errNoIndex
	}
	ix := tree.ix
	encoded, err := ix.encode()
	if err != nil {
		return Result{}, err
	}
	res := Result{Outcome: Copied, Digest: digestOf(encoded), Bytes: ix.bytes(), Files: ix.files()}
	copying := filepath.Join(mount, copyingName)
	p := &priming{to: copying, ix: ix, layers: layers, room: room{path: mount}, lost: map[string]bool{}}
	if whole, err := takeUp(mount, ix, p); whole && !replace || err != nil {
		res.Omitted = p.omitted.list()
		return res, err
	}
	names, err := os.ReadDir(mount)
	if err != nil {
		return res, err
	}
	if len(names) > 0 {
		if !replace {
			res.Outcome = Held
			return res, nil
		}
		res.Outcome = Replaced
		if same, err := p.reuse(ctx, mount); same || err != nil {
			res.Outcome = Unchanged
			return res, err
		}
	}
	if err := p.room.check(p.need()); err != nil {
		return res, err
	}
	if err := p.write(ctx); err != nil {
		return res, errors.Join(err, os.RemoveAll(copying))
	}
	res.Written = p.written.Load()
	if len(names) > 0 { // before the copy is known as whole it must be known that the rest is to leave
		if err := os.Mkdir(filepath.Join(mount, leavingName), 0o700); err != nil {
			return res, err
		}
	}
	if err := os.Rename(copying, filepath.Join(mount, copiedName)); err != nil {
		return res, err
	}
	res.Omitted = p.omitted.list()
	_, err = takeUp(mount, ix, p)
	return res, err
}

// finish moves a whole copy into place. Called again after it was cut off, it goes on; a name that exists by then
// stays as it is.
func (p *priming) finish(mount, copied string, ix index) error {
	names, err := os.ReadDir(copied)
	if err != nil {
		return err
	}
	for _, n := range names {
		to := filepath.Join(mount, n.Name())
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		if err := os.Rename(filepath.Join(copied, n.Name()), to); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(copied); err != nil {
		return err
	}
	for i := range ix { // moving changed the times of directories that hold others, and of the root
		e := &ix[i]
		if e.Kind != dir || filepath.Dir(e.Path) != "." {
			continue
		}
		path := filepath.Join(mount, e.Path)
		switch is, err := os.Lstat(path); {
		case os.IsNotExist(err):
			continue
		case err != nil:
			return err
		case !is.IsDir():
			continue // it stays as it is, and a symbolic link would lead out of the mount
		}
		if err := p.setMetadata(path, e); err != nil {
			return err
		}
	}
	return nil
}

// setRoot gives the mount's own directory back what it is, after something was moved in or out of it.
func (p *priming) setRoot(mount string, ix index) error {
	root := slices.IndexFunc(ix, func(e entry) bool { return e.Path == "." })
	if root < 0 {
		return nil
	}
	return p.setMetadata(mount, &ix[root])
}

// priming is one run of Prime.
type priming struct {
	to      string
	ix      index
	layers  Layers
	reused  map[string]string // files that the mount holds already, by their path in the new tree
	written atomic.Int64
	room    room
	omitted omissions       // what can't be made here
	lost    map[string]bool // paths of those
}

// write copies the tree: directories, then files, then other names for them, then what the directories are.
func (p *priming) write(ctx context.Context) error {
	for i := range p.ix {
		if e := &p.ix[i]; e.Kind == dir {
			if err := os.Mkdir(filepath.Join(p.to, e.Path), 0o700); err != nil {
				return err
			}
		}
	}
	if err := p.linkReused(); err != nil {
		return err
	}
	if err := p.writeFiles(ctx); err != nil {
		return err
	}
	for i := range p.ix {
		if err := p.writeOther(&p.ix[i]); err != nil {
			return err
		}
	}
	for _, e := range slices.Backward(p.ix) {
		if e.Kind == dir {
			if err := p.setMetadata(filepath.Join(p.to, e.Path), &e); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// writeFiles takes the files out of the layers. The first layer that has one has its newest bytes.
func (p *priming) writeFiles(ctx context.Context) error {
	wanted := map[string]*entry{}
	for i := range p.ix {
		if e := &p.ix[i]; e.Kind == file && p.reused[e.Path] == "" {
			wanted[e.Path] = e
		}
	}
	pool := newWriters(ctx, p.writeSmall)
	err := p.eachLayer(ctx, func() bool { return len(wanted) > 0 }, func(layer *tar.Reader) error {
		for {
			h, err := layer.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read a layer: %w", err)
			}
			e := wanted[h.Name]
			if e == nil || h.Typeflag != tar.TypeReg {
				continue
			}
			delete(wanted, h.Name)
			if err := p.take(ctx, pool, e, h, layer); err != nil {
				return err
			}
		}
	})
	if err := errors.Join(err, pool.wait()); err != nil {
		return err
	}
	for path := range wanted {
		return fmt.Errorf("%s is in the index and in no layer", path)
	}
	return nil
}

// eachLayer opens one layer after the other while there is something to look for.
func (p *priming) eachLayer(ctx context.Context, more func() bool, read func(*tar.Reader) error) error {
	for more() {
		next, err := p.layers()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		layer, done, err := readLayer(next)
		if err != nil {
			return err
		}
		err = read(layer)
		done()
		if err == nil {
			_, err = io.Copy(io.Discard, next) // what follows the archive's end
		}
		if err = cmp.Or(ctx.Err(), err); err != nil {
			return err
		}
	}
	return nil
}

// take takes a file out of a layer: a small one into memory, for others to write. It makes the file itself: the
// others would only wait for each other at the lock of its directory.
func (p *priming) take(ctx context.Context, pool *writers, e *entry, h *tar.Header, layer io.Reader) error {
	if h.Size != e.Size {
		return fmt.Errorf("%s has %d bytes in the image, and %d in its index", e.Path, h.Size, e.Size)
	}
	if err := p.room.take(e.data()); err != nil {
		return err
	}
	path := filepath.Join(p.to, e.Path)
	// an os.File would cost three system calls more
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	if !e.isSmall() {
		return p.writeLarge(ctx, os.NewFile(uintptr(fd), path), e, layer)
	}
	text := takeText(int(e.Size))
	if _, err := io.ReadFull(layer, text); err != nil {
		return errors.Join(fmt.Errorf("read %s in a layer: %w", e.Path, err), unix.Close(fd))
	}
	return pool.add(task{e, text, fd})
}

// writeSmall writes a file and compares its sum. It closes fd and gives the text back.
func (p *priming) writeSmall(t task) error {
	defer giveText(t.text)
	path := filepath.Join(p.to, t.e.Path)
	for rest := t.text; len(rest) > 0; {
		n, err := unix.Write(t.fd, rest)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return errors.Join(&os.PathError{Op: "write", Path: path, Err: err}, unix.Close(t.fd))
		}
		rest = rest[max(n, 0):]
	}
	if err := unix.Close(t.fd); err != nil {
		return &os.PathError{Op: "close", Path: path, Err: err}
	}
	return p.check(t.e, sha256.Sum256(t.text))
}

// writeLarge does the same from a stream.
func (p *priming) writeLarge(ctx context.Context, to *os.File, e *entry, text io.Reader) error {
	hash, err := writeSparse(ctx, to, e, text)
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	return p.check(e, [sha256.Size]byte(hash.Sum(nil)))
}

// check ends the writing of a file.
func (p *priming) check(e *entry, sum [sha256.Size]byte) error {
	if got := hex.EncodeToString(sum[:]); got != e.Sum {
		return fmt.Errorf("%s has the sum %s in the image, and %s in its index", e.Path, got, e.Sum)
	}
	p.written.Add(e.data())
	return p.setMetadata(filepath.Join(p.to, e.Path), e)
}

// writeOther writes what is neither a directory nor a file with bytes of its own.
func (p *priming) writeOther(e *entry) (err error) {
	path := filepath.Join(p.to, e.Path)
	switch e.Kind {
	case dir, file:
		return nil
	case hardlink:
		if p.lost[e.Link] {
			p.lost[e.Path] = true
			p.omitted.add(e.Path, "another name for what is left out")
			return nil
		}
		return os.Link(filepath.Join(p.to, e.Link), path)
	case symlink:
		err = os.Symlink(e.Link, path)
	case fifo:
		err = mknod(path, unix.S_IFIFO, 0)
	case char:
		err = mknod(path, unix.S_IFCHR, e.Device)
	case block:
		err = mknod(path, unix.S_IFBLK, e.Device)
	default:
		err = fmt.Errorf("%s: a snapshot of this version has no %q", e.Path, e.Kind)
	}
	if errors.Is(err, unix.EPERM) && (e.Kind == char || e.Kind == block) { // in a user namespace
		p.lost[e.Path] = true
		p.omitted.add(e.Path, "devices can't be made here")
		return nil
	}
	if err != nil {
		return err
	}
	return p.setMetadata(path, e)
}

func mknod(path string, format uint32, device uint64) error {
	if err := unix.Mknod(path, format|0o600, int(device)); err != nil {
		return &os.PathError{Op: "mknod", Path: path, Err: err}
	}
	return nil
}

// setMetadata gives a name its owner, mode, attributes and time. Attributes that the volume or the step's rights don't
// allow are left out.
func (p *priming) setMetadata(path string, e *entry) error {
	if err := os.Lchown(path, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	if e.Kind != symlink {
		if err := unix.Fchmodat(unix.AT_FDCWD, path, e.Mode, 0); err != nil {
			return &os.PathError{Op: "chmod", Path: path, Err: err}
		}
	}
	for name, value := range e.Xattrs {
		err := unix.Lsetxattr(path, name, value, 0)
		switch {
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EINVAL):
			p.omitted.add(e.Path, "its attribute "+name+" can't be set here")
		case err != nil:
			return &os.PathError{Op: "lsetxattr " + name, Path: path, Err: err}
		}
	}
	when := unix.NsecToTimespec(e.Modified)
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{when, when},
		unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}
