// SPDX-License-Identifier: Apache-2.0

// Package statefile keeps small state files on a volume that may lose power, run full or come back damaged.
//
// A file is replaced as a whole: after a crash it holds the old content or the new one. Both the file and its directory
// are synced, so content that Save returned for survives a power loss. Reads and writes are bounded in size.
package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ErrTooLarge is returned for content beyond a file's limit.
var ErrTooLarge = errors.New("the file is too large")

// File is one state file. It is not safe for concurrent use: its owner serializes loads and saves.
type File struct {
	path  string
	limit int64
	disk  disk
}

// New returns the state file at path, whose directory must exist. limit bounds its content, in bytes. Nothing is read
// or written yet.
func New(path string, limit int64) *File {
	return &File{path: path, limit: limit, disk: realDisk{}}
}

// Load returns the file's content. The error wraps fs.ErrNotExist when there is no file, and ErrTooLarge when it is
// beyond the limit. Load also removes temporary files that a crash left behind.
func (f *File) Load() ([]byte, error) {
	f.sweep()
	file, err := os.Open(f.path)
	if err != nil {
		return nil, f.wrap("read", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, f.limit+1))
	if err == nil && int64(len(data)) > f.limit {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, f.wrap("read", err)
	}
	return data, nil
}

// LoadJSON reads the file's content into v. The errors are those of Load and of package json; v may be filled in part
// after an error.
func (f *File) LoadJSON(v any) error {
	data, err := f.Load()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return f.wrap("read", err)
	}
	return nil
}

// Save replaces the file's content. After an error the file holds what it held before, unless only the sync of the
// directory failed: then it may hold either.
func (f *File) Save(data []byte) error {
	if int64(len(data)) > f.limit {
		return f.wrap("write", fmt.Errorf("%w: %d of at most %d bytes", ErrTooLarge, len(data), f.limit))
	}
	dir := filepath.Dir(f.path)
	temp, err := f.disk.create(dir, f.pattern())
	if err != nil {
		return f.wrap("write", err)
	}
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = f.disk.rename(temp.Name(), f.path)
	}
	if err != nil {
		return f.wrap("write", errors.Join(err, f.disk.remove(temp.Name())))
	}
	if err := f.disk.syncDir(dir); err != nil {
		return f.wrap("write", err)
	}
	return nil
}

// SaveJSON replaces the file's content with v as JSON. The errors are those of Save and of package json.
func (f *File) SaveJSON(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return f.wrap("write", err)
	}
	return f.Save(data)
}

// sweep removes temporary files of earlier processes. One that can't be removed only takes space, so errors are left
// for the next Load.
func (f *File) sweep() {
	left, err := filepath.Glob(filepath.Join(filepath.Dir(f.path), f.pattern()))
	if err != nil {
		return
	}
	for _, path := range left {
		f.disk.remove(path) //nolint:errcheck // see above
	}
}

// pattern of the names of temporary files.
func (f *File) pattern() string { return "." + filepath.Base(f.path) + ".new-*" }

func (f *File) wrap(action string, err error) error {
	return fmt.Errorf("%s %s: %w", action, filepath.Base(f.path), err)
}

// disk is what Save needs of a file system, for tests to fail.
type disk interface {
	create(dir, pattern string) (tempFile, error)
	rename(from, to string) error
	remove(path string) error
	syncDir(dir string) error
}

// tempFile is an open temporary file.
type tempFile interface {
	io.WriteCloser
	Sync() error
	Name() string
}

// realDisk is the operating system's.
type realDisk struct{}

func (realDisk) create(dir, pattern string) (tempFile, error) { return os.CreateTemp(dir, pattern) }
func (realDisk) rename(from, to string) error                 { return os.Rename(from, to) }
func (realDisk) remove(path string) error                     { return os.Remove(path) }

func (realDisk) syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
