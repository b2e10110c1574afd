// SPDX-License-Identifier: Apache-2.0

// Package reffs reads the files of a filesystem that BuildKit holds, as an fs.FS.
package reffs

import (
	"bytes"
	"context"
	"io/fs"
	"path"
	"time"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// Reference is the part of a gateway reference that is needed.
type Reference interface {
	ReadFile(ctx context.Context, req gateway.ReadRequest) ([]byte, error)
	StatFile(ctx context.Context, req gateway.StatRequest) (*fstypes.Stat, error)
}

// FS serves single files of a reference, not listings. It lives as long as the context and the reference.
type FS struct {
	Context context.Context // fs.FS has no way to pass one
	Ref     Reference
	// Cause is what an error of the reference stands for. Nil leaves errors as they are.
	Cause func(error) error
}

// Open implements fs.FS.
func (f FS) Open(name string) (fs.File, error) {
	info, err := f.Stat(name)
	if err != nil {
		return nil, err
	}
	data, err := f.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &file{bytes.NewReader(data), info}, nil
}

// Stat implements fs.StatFS.
func (f FS) Stat(name string) (fs.FileInfo, error) {
	st, err := f.Ref.StatFile(f.Context, gateway.StatRequest{Path: name})
	if err != nil {
		return nil, f.failed("stat", name, err)
	}
	return info{path.Base(name), st.Size, fs.FileMode(st.Mode)}, nil
}

// ReadFile implements fs.ReadFileFS.
func (f FS) ReadFile(name string) ([]byte, error) {
	data, err := f.Ref.ReadFile(f.Context, gateway.ReadRequest{Filename: name})
	if err != nil {
		return nil, f.failed("read", name, err)
	}
	return data, nil
}

func (f FS) failed(op, name string, err error) error {
	if f.Cause != nil {
		err = f.Cause(err)
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// NewFile is an open file with this content, which nobody may write.
func NewFile(name string, data []byte) fs.File {
	return &file{bytes.NewReader(data), info{name: name, size: int64(len(data)), mode: 0o444}}
}

// file is a file whose content is in memory.
type file struct {
	*bytes.Reader
	info fs.FileInfo
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *file) Close() error { return nil }

// info is what is known of a file: nothing of times.
type info struct {
	name string
	size int64
	mode fs.FileMode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
