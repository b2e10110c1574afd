// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Prime fills the mount at mount with the content of the image at image, unless it holds something already. The copy is made aside and moved into
// place when it is whole: a mount never shows a part of it as if it were all. What an earlier Prime left that was cut off is taken up or thrown away.
// When ctx ends first, nothing of the copy stays.
func Prime(ctx context.Context, image, mount string) (Result, error) {
	ix, err := readIndex(image)
	if err == nil && len(ix) == 0 {
		err = errors.New("the image is no snapshot of a mount: it has no index")
	}
	if err != nil {
		return Result{}, err
	}
	encoded, err := ix.encode()
	if err != nil {
		return Result{}, err
	}
	res := Result{Outcome: Copied, Digest: digestOf(encoded), Bytes: ix.bytes(), Files: ix.files()}
	copied, copying := filepath.Join(mount, copiedName), filepath.Join(mount, copyingName)
	if _, err := os.Lstat(copied); err == nil {
		return res, finish(mount, copied, ix)
	}
	if err := os.RemoveAll(copying); err != nil {
		return res, err
	}
	names, err := os.ReadDir(mount)
	if err != nil {
		return res, err
	}
	if len(names) > 0 {
		res.Outcome = Held
		return res, nil
	}
	p := &priming{image: image, to: copying, ix: ix}
	if err := p.write(ctx); err != nil {
		return res, errors.Join(err, os.RemoveAll(copying))
	}
	res.Written = p.written.Load()
	if err := os.Rename(copying, copied); err != nil {
		return res, err
	}
	return res, finish(mount, copied, ix)
}

// finish moves a whole copy into place. Called again after it was cut off, it goes on; a name that exists by then stays as it is.
func finish(mount, copied string, ix index) error {
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
		if e := &ix[i]; e.Kind == dir && (e.Path == "." || filepath.Dir(e.Path) == ".") {
			if err := setMetadata(filepath.Join(mount, e.Path), e, true); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
	root := slices.IndexFunc(ix, func(e entry) bool { return e.Path == "." })
	if root < 0 {
		return nil
	}
	return setMetadata(mount, &ix[root], true)
}

// priming is one run of Prime.
type priming struct {
	image, to string
	ix        index
	written   atomic.Int64
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
	if err := each(ctx, len(p.ix), p.writeEntry); err != nil {
		return err
	}
	for i := range p.ix {
		if e := &p.ix[i]; e.Kind == hardlink {
			if err := os.Link(filepath.Join(p.to, e.Link), filepath.Join(p.to, e.Path)); err != nil {
				return err
			}
		}
	}
	for _, e := range slices.Backward(p.ix) {
		if e.Kind == dir {
			if err := setMetadata(filepath.Join(p.to, e.Path), &e, true); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// writeEntry writes what is neither a directory nor another name of a file.
func (p *priming) writeEntry(i int, _ []byte) (err error) {
	e := &p.ix[i]
	path := filepath.Join(p.to, e.Path)
	switch e.Kind {
	case dir, hardlink:
		return nil
	case file:
		err = p.copyFile(path, e)
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
	if err != nil {
		return err
	}
	return setMetadata(path, e, true)
}

func mknod(path string, format uint32, device uint64) error {
	if err := unix.Mknod(path, format|0o600, int(device)); err != nil {
		return &os.PathError{Op: "mknod", Path: path, Err: err}
	}
	return nil
}

// copyFile copies inside the kernel, without bytes where the filesystem can share them.
func (p *priming) copyFile(path string, e *entry) error {
	from, err := os.Open(filepath.Join(p.image, e.Path))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := to.ReadFrom(from)
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	if n != e.Size {
		return fmt.Errorf("%s has %d bytes in the image, and %d in its index", e.Path, n, e.Size)
	}
	p.written.Add(n)
	return nil
}
