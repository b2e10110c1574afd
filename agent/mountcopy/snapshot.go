// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Outcome says what a copy came to.
type Outcome string

// The outcomes.
const (
	// Copied: the copy is whole.
	Copied Outcome = "Copied"
	// Unchanged: the image holds the mount's content already, and nothing was written.
	Unchanged Outcome = "Unchanged"
	// Empty: the mount holds nothing, and nothing was written.
	Empty Outcome = "Empty"
	// TooLarge: the mount holds more than the limit, and nothing was written.
	TooLarge Outcome = "TooLarge"
	// Held: the mount to fill holds content already, and nothing was written.
	Held Outcome = "Held"
)

// Result is what a copy did.
type Result struct {
	Outcome Outcome `json:"outcome"`
	// Digest of the mount's tree, empty unless it was read.
	Digest string `json:"digest,omitempty"`
	// Bytes and Files of the mount's tree.
	Bytes int64 `json:"bytes"`
	Files int64 `json:"files"`
	// Written are the bytes of files that were written, the index apart.
	Written int64 `json:"written"`
}

// Digest names the tree of a mount, or of the mount that the image at root was made of.
func Digest(ctx context.Context, root string) (Result, error) {
	ix, err := readIndex(root)
	if err == nil && ix == nil {
		if ix, err = scan(root); err == nil {
			err = ix.sum(ctx, root)
		}
	}
	if err != nil {
		return Result{}, err
	}
	encoded, err := ix.encode()
	return Result{Outcome: Unchanged, Digest: digestOf(encoded), Bytes: ix.bytes(), Files: ix.files()}, err
}

// sum fills in the sums of files.
func (ix index) sum(ctx context.Context, root string) error {
	return each(ctx, len(ix), func(i int, buf []byte) (err error) {
		if ix[i].Kind == file {
			ix[i].Sum, err = sumFile(filepath.Join(root, ix[i].Path), ix[i].Size, buf)
		}
		return err
	})
}

// Snapshot brings the image at image up to date with the mount at mount. Files whose bytes the image holds under their name already are not written
// again, so that a small change makes a small layer. limit is the most bytes that the mount may hold, 0 for no limit.
func Snapshot(ctx context.Context, mount, image string, limit int64) (Result, error) {
	now, err := scan(mount)
	if err != nil {
		return Result{}, err
	}
	res := Result{Outcome: Copied, Bytes: now.bytes(), Files: now.files()}
	switch {
	case len(now) <= 1:
		res.Outcome = Empty
		return res, nil
	case limit > 0 && res.Bytes > limit:
		res.Outcome = TooLarge
		return res, nil
	}
	before, err := readIndex(image)
	if err != nil {
		return res, err
	}
	s := &snapshot{mount: mount, image: image, now: now, before: byPath(before)}
	if len(before) > 0 {
		// All sums first: only they can tell that nothing has changed.
		if err := now.sum(ctx, mount); err != nil {
			return res, err
		}
		if slices.EqualFunc(before, now, equal) {
			encoded, err := before.encode()
			res.Outcome, res.Digest = Unchanged, digestOf(encoded)
			return res, err
		}
	}
	if err := s.write(ctx); err != nil {
		return res, err
	}
	encoded, err := now.encode()
	if err != nil {
		return res, err
	}
	res.Digest, res.Written = digestOf(encoded), s.written.Load()
	return res, os.WriteFile(filepath.Join(image, indexName), encoded, 0o644)
}

// snapshot is one run of Snapshot.
type snapshot struct {
	mount, image string
	now          index
	before       map[string]*entry
	written      atomic.Int64
}

func byPath(ix index) map[string]*entry {
	out := make(map[string]*entry, len(ix))
	for i := range ix {
		out[ix[i].Path] = &ix[i]
	}
	return out
}

func equal(a, b entry) bool {
	same := len(a.Xattrs) == len(b.Xattrs)
	for name, value := range a.Xattrs {
		other, has := b.Xattrs[name]
		same = same && has && string(other) == string(value)
	}
	a.Xattrs, b.Xattrs = nil, nil
	return same && a.Path == b.Path && a.Kind == b.Kind && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID &&
		a.Modified == b.Modified && a.Size == b.Size && a.Sum == b.Sum && a.Link == b.Link && a.Device == b.Device
}

// inImage says whether an entry has a name in the image itself. The others are in the index only.
func (e *entry) inImage() bool { return e.Kind == dir || e.Kind == file || e.Kind == symlink }

// write makes the image's tree that of the mount: what is gone or of another kind goes first, then directories come, then the rest.
func (s *snapshot) write(ctx context.Context) error {
	current := byPath(s.now)
	for path, old := range s.before {
		if e := current[path]; path != "." && old.inImage() && (e == nil || e.Kind != old.Kind) {
			if err := os.RemoveAll(filepath.Join(s.image, path)); err != nil {
				return err
			}
		}
	}
	for i := range s.now {
		e := &s.now[i]
		if e.Kind != dir || e.Path == "." {
			continue
		}
		if err := os.Mkdir(filepath.Join(s.image, e.Path), 0o755); err != nil && !os.IsExist(err) {
			return err
		}
	}
	if err := each(ctx, len(s.now), s.writeEntry); err != nil {
		return err
	}
	for _, e := range slices.Backward(s.now) {
		if old := s.before[e.Path]; e.Kind == dir && (old == nil || !equal(*old, e)) {
			if err := setMetadata(filepath.Join(s.image, e.Path), &e, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeEntry writes what is no directory, and fills in the sum.
func (s *snapshot) writeEntry(i int, buf []byte) error {
	e := &s.now[i]
	if !e.inImage() || e.Kind == dir {
		return nil
	}
	path, old := filepath.Join(s.image, e.Path), s.before[e.Path]
	switch {
	case old != nil && equal(*old, *e):
		return nil
	case e.Kind == symlink:
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.Symlink(e.Link, path); err != nil {
			return err
		}
	case old != nil && old.Kind == file && old.Sum == e.Sum && old.Mode == e.Mode && old.UID == e.UID && old.GID == e.GID:
		return nil // times are in the index; setting them would put the whole file into a layer again
	default:
		if err := s.writeFile(path, e, buf); err != nil {
			return err
		}
	}
	return setMetadata(path, e, false)
}

func (s *snapshot) writeFile(path string, e *entry, buf []byte) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	sum, err := readThrough(filepath.Join(s.mount, e.Path), e.Size, buf, to)
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	if e.Sum != "" && e.Sum != sum {
		return fmt.Errorf("%s changed while it was read", e.Path)
	}
	e.Sum = sum
	s.written.Add(e.Size)
	return nil
}

// setMetadata gives a name its owner, mode, attributes and time. With all, attributes that can't be set are an error; else they are in the index.
func setMetadata(path string, e *entry, all bool) error {
	if err := os.Lchown(path, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	if e.Kind != symlink {
		if err := unix.Fchmodat(unix.AT_FDCWD, path, e.Mode, 0); err != nil {
			return &os.PathError{Op: "chmod", Path: path, Err: err}
		}
	}
	for name, value := range e.Xattrs {
		if err := unix.Lsetxattr(path, name, value, 0); err != nil && (all || !isPrivileged(name)) {
			return &os.PathError{Op: "lsetxattr " + name, Path: path, Err: err}
		}
	}
	when := unix.NsecToTimespec(e.Modified)
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}

func isPrivileged(xattr string) bool { return !strings.HasPrefix(xattr, "user.") }
