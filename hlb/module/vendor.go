// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// VendorDir is where a program keeps modules of filesystems and repositories, below the directory it is built from.
// Each of these has a directory there that its digest names, as VendorPath says.
const VendorDir = ".hlb/modules"

// LockFile is the file of VendorDir that lists the checksums of all others.
const LockFile = "modules.lock"

// VendorPath is the directory of the modules of one filesystem or repository below VendorDir.
func VendorPath(id digest.Digest) string {
	hex := id.Encoded()
	return path.Join(id.Algorithm().String(), hex[:2], hex)
}

// Digest names the repository of u and its ref, whatever the file. Unlike a digest of what is fetched, it needs no
// network. u must have a scheme.
func (u URI) Digest() digest.Digest {
	return digest.FromString(strings.Join([]string{u.Scheme, u.User, u.Host, u.Path, u.Ref}, "\x00"))
}

// Lock holds the checksums of vendored files, by their paths below VendorDir.
type Lock map[string]digest.Digest

// ParseLock reads the text of a LockFile: a checksum and a path a line. Empty lines and those with a # are skipped.
func ParseLock(text []byte) (Lock, error) {
	l := Lock{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line := strings.TrimSpace(string(line))
		if line == "" || line[0] == '#' {
			continue
		}
		sum, name, _ := strings.Cut(line, " ")
		d, err := digest.Parse(sum)
		if err != nil || !fs.ValidPath(name) {
			return nil, fmt.Errorf("line %d of %s is no checksum and path", n, LockFile)
		}
		l[name] = d
	}
	return l, nil
}

// Bytes renders l, sorted by path.
func (l Lock) Bytes() []byte {
	var b bytes.Buffer
	b.WriteString("# Checksums of vendored modules, written by `hlb module vendor`.\n")
	for _, name := range slices.Sorted(maps.Keys(l)) {
		fmt.Fprintf(&b, "%s %s\n", l[name], name)
	}
	return b.Bytes()
}

// ChecksumError reports a vendored file whose content has changed since it was vendored.
type ChecksumError struct {
	Path string // below VendorDir
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("%s/%s isn't the file that %s lists", VendorDir, e.Path, LockFile)
}

// Vendor is a directory of vendored modules.
type Vendor struct {
	// Dir is the directory, which need not exist.
	Dir Dir
	// Strict makes filesystems without a directory here an error instead of having a daemon build them. A LockFile has
	// the same effect.
	Strict bool
	// Partial lets filesystems be missing in spite of a LockFile.
	Partial bool

	read bool
	lock Lock // nil without a LockFile
}

// maxLock bounds a LockFile: about 40,000 files.
const maxLock = 8 << 20

// Complete reports whether all modules of filesystems must be here.
func (v *Vendor) Complete(ctx context.Context) (bool, error) {
	err := v.readLock(ctx)
	return v.Strict || v.lock != nil && !v.Partial, err
}

func (v *Vendor) readLock(ctx context.Context) error {
	if v.read {
		return nil
	}
	name, err := v.Dir.Resolve(LockFile)
	if err != nil {
		return err
	}
	text, err := v.Dir.Root.Read(ctx, name, maxLock)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if v.lock, err = ParseLock(text); err != nil {
			return err
		}
	}
	v.read = true
	return nil
}

// Vendored is the vendored files of one filesystem or repository, a Root.
type Vendored struct {
	Vendor *Vendor
	// ID names the filesystem, see VendorPath.
	ID digest.Digest
	// Name is how messages call it.
	Name string
}

// tree keeps its files apart from those of other filesystems.
func (v Vendored) tree() string { return v.Name }

// Resolve implements Root.
func (v Vendored) Resolve(dir, p string) (string, error) { return jail(dir, p, true) }

// Read implements Root. Where there is a LockFile, the error of a file that it doesn't list, or lists with another
// checksum, is a *ChecksumError.
func (v Vendored) Read(ctx context.Context, name string, limit int) ([]byte, error) {
	if err := v.Vendor.readLock(ctx); err != nil {
		return nil, err
	}
	rel := path.Join(VendorPath(v.ID), name)
	full, err := v.Vendor.Dir.Resolve(rel)
	if err != nil {
		return nil, err
	}
	text, err := v.Vendor.Dir.Root.Read(ctx, full, limit)
	if err != nil {
		return nil, err
	}
	if v.Vendor.lock != nil && v.Vendor.lock[rel] != digest.FromBytes(text) {
		return nil, &ChecksumError{rel}
	}
	return text, nil
}

// Display implements Root.
func (v Vendored) Display(name string) string { return v.Name + ":" + name }
