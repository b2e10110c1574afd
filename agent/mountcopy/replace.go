// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"context"
	"os"
	"path/filepath"
	"slices"
)

// reuse finds the new tree's files that the mount holds already, for linkReused. Only files that are the same in all
// respects count, so that nothing about the old tree changes. same reports whether the whole tree is.
func (p *priming) reuse(ctx context.Context, mount string) (same bool, err error) {
	have, _, err := scan(ctx, mount, &omissions{})
	if err != nil {
		return false, err
	}
	old, matches := byPath(have), make([]bool, len(p.ix))
	err = each(ctx, len(p.ix), func(i int, buf []byte) error {
		e := &p.ix[i]
		was := old[e.Path]
		if was == nil || was.Kind != e.Kind || was.Size != e.Size {
			return nil
		}
		got := *was
		if got.Kind == file && got.Modified == e.Modified { // else no sum can make it the same
			sum, err := sumFile(filepath.Join(mount, got.Path), &got, buf)
			if err != nil {
				return err
			}
			got.Sum = sum
		}
		matches[i] = equal(got, *e)
		return nil
	})
	if err != nil {
		return false, err
	}
	if len(have) == len(p.ix) && !slices.Contains(matches, false) {
		return true, nil
	}
	p.reused = map[string]string{}
	for i := range p.ix {
		if e := &p.ix[i]; matches[i] && e.Kind == file {
			p.reused[e.Path] = filepath.Join(mount, e.Path)
		}
	}
	return false, nil
}

// linkReused gives the files that are reused their places in the new tree.
func (p *priming) linkReused() error {
	for path, old := range p.reused {
		if err := os.Link(old, filepath.Join(p.to, path)); err != nil {
			return err
		}
	}
	return nil
}

// takeUp ends a Prime, and what an earlier one had begun when it was cut off: it puts a whole copy, of which whole
// tells, in place, and throws away the rest.
func takeUp(mount string, ix index, p *priming) (whole bool, err error) {
	at := func(name string) string { return filepath.Join(mount, name) }
	copied, leaving, left := at(copiedName), at(leavingName), at(leftName)
	if isDir(copied) {
		whole = true
		if isDir(leaving) {
			if err := leave(mount, leaving, left); err != nil {
				return whole, err
			}
		}
		if err := p.finish(mount, copied, ix); err != nil {
			return whole, err
		}
	}
	for _, rest := range []string{copied, leaving, left, at(copyingName)} {
		if err := os.RemoveAll(rest); err != nil {
			return whole, err
		}
	}
	if whole {
		return whole, p.setRoot(mount, ix)
	}
	return whole, nil
}

// isDir reports whether a path is a directory. A build can give other things the names of the copy, such as symbolic
// links that lead out of the mount.
func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// leave moves what a mount holds aside. Called again after it was cut off, it goes on.
func leave(mount, leaving, left string) error {
	if err := os.RemoveAll(left); err != nil { // of an earlier time
		return err
	}
	names, err := os.ReadDir(mount)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !isReserved(n.Name()) {
			if err := os.Rename(filepath.Join(mount, n.Name()), filepath.Join(leaving, n.Name())); err != nil {
				return err
			}
		}
	}
	return os.Rename(leaving, left)
}
