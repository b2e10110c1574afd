// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
)

// Root is a tree of files that modules come from.
type Root interface {
	// Resolve returns the path of p as seen from directory dir of the tree. It fails when p leads out of the tree.
	Resolve(dir, p string) (string, error)
	// Read returns the content of a file; the error is fs.ErrNotExist when there is none, *TooLargeError when it is
	// longer than limit bytes.
	Read(ctx context.Context, name string, limit int) ([]byte, error)
	// Display returns how messages call the file.
	Display(name string) string
}

// Dir is a directory of a tree.
type Dir struct {
	Root Root
	Path string
}

// Resolve returns the path of p as seen from d.
func (d Dir) Resolve(p string) (string, error) { return d.Root.Resolve(d.Path, p) }

// OutsideError says that a path leads out of the tree it must stay in.
type OutsideError struct {
	Path string
}

func (e *OutsideError) Error() string {
	return fmt.Sprintf("%s leads out of the program's own files", e.Path)
}

// TooLargeError says that a file is longer than what may be read.
type TooLargeError struct {
	Path  string
	Limit int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s is longer than %d bytes", e.Path, e.Limit)
}

// Machine is the files of this machine. HomeDir resolves a leading "~".
type Machine struct {
	HomeDir func() (string, error)
}

// Resolve implements Root.
func (m Machine) Resolve(dir, p string) (string, error) {
	if strings.HasPrefix(p, "~") {
		rest := p[1:]
		if rest != "" && rest[0] != '/' {
			return "", fmt.Errorf("%s: only ~ and ~/ are known, not the homes of other users", p)
		}
		home, err := m.HomeDir()
		if err != nil {
			return "", err
		}
		return filepath.Join(home, rest), nil
	}
	if filepath.IsAbs(p) {
		return filepath.Clean(p), nil
	}
	return filepath.Join(dir, p), nil
}

// Read implements Root.
func (m Machine) Read(_ context.Context, name string, limit int) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return nil, fmt.Errorf("%s is a directory: %w", name, fs.ErrNotExist)
	}
	if st.Size() > int64(limit) {
		return nil, &TooLargeError{name, limit}
	}
	return os.ReadFile(name)
}

// onMachine marks files of this machine: that one can't be read is the fault of the program.
func (m Machine) onMachine() {}

// machine marks a root that programs may name any file of.
func (m Machine) machine() {}

// IsMachine reports whether a root is a Machine, or embeds one.
func IsMachine(root Root) bool {
	_, ok := root.(interface{ machine() })
	return ok
}

// Display implements Root.
func (m Machine) Display(name string) string { return name }

// Tree is a file system that programs can't leave.
type Tree struct {
	FS fs.FS
}

// Resolve implements Root.
func (t Tree) Resolve(dir, p string) (string, error) { return jail(dir, p, false) }

// jail joins p to dir inside a tree. Absolute paths start at the tree's root if they are allowed.
func jail(dir, p string, absolute bool) (string, error) {
	if strings.HasPrefix(p, "~") {
		return "", &OutsideError{p}
	}
	if path.IsAbs(p) {
		if !absolute {
			return "", &OutsideError{p}
		}
		dir, p = ".", strings.TrimLeft(p, "/")
	}
	joined := path.Join(dir, p)
	if joined == ".." || strings.HasPrefix(joined, "../") {
		return "", &OutsideError{p}
	}
	return joined, nil
}

// Read implements Root.
func (t Tree) Read(_ context.Context, name string, limit int) ([]byte, error) {
	if t.FS == nil {
		return nil, fs.ErrNotExist
	}
	st, err := fs.Stat(t.FS, name)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return nil, fmt.Errorf("%s is a directory: %w", name, fs.ErrNotExist)
	}
	if st.Size() > int64(limit) {
		return nil, &TooLargeError{name, limit}
	}
	return fs.ReadFile(t.FS, name)
}

// Display implements Root.
func (t Tree) Display(name string) string { return name }

// Built is a filesystem that a daemon has built.
type Built struct {
	Ref gateway.Reference
	// Name says in messages what it is, such as an image reference or a repository.
	Name string
}

// tree keeps its files apart from those of other filesystems.
func (b Built) tree() string { return b.Name }

// Resolve implements Root.
func (b Built) Resolve(dir, p string) (string, error) { return jail(dir, p, true) }

// Read implements Root.
func (b Built) Read(ctx context.Context, name string, limit int) ([]byte, error) {
	st, err := b.Ref.StatFile(ctx, gateway.StatRequest{Path: name})
	switch {
	case err == nil:
	case ctx.Err() != nil || grpcerrors.Code(err) == codes.Unavailable:
		return nil, err
	default: // the daemon gives a missing file no code of its own
		return nil, errors.Join(fs.ErrNotExist, err)
	}
	if st.Size > int64(limit) {
		return nil, &TooLargeError{name, limit}
	}
	return b.Ref.ReadFile(ctx, gateway.ReadRequest{Filename: name})
}

// Display implements Root.
func (b Built) Display(name string) string { return b.Name + ":" + name }

// Local is a directory of this machine as a filesystem of its own, which links can't lead out of.
type Local struct {
	Path string // absolute
}

// tree keeps its files apart from those of other filesystems.
func (l Local) tree() string { return l.Path }

// onMachine marks files of this machine.
func (l Local) onMachine() {}

// Resolve implements Root.
func (l Local) Resolve(dir, p string) (string, error) { return jail(dir, p, true) }

// Read implements Root.
func (l Local) Read(ctx context.Context, name string, limit int) ([]byte, error) {
	root, err := os.OpenRoot(l.Path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	text, err := Tree{FS: root.FS()}.Read(ctx, name, limit)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return text, err
}

// Display implements Root.
func (l Local) Display(name string) string { return filepath.Join(l.Path, name) }
