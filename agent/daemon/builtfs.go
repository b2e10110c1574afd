// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
)

// builtFiles is a filesystem that the daemon has built, such as a git checkout. It serves single files, not listings.
// It lives as long as the gateway job that its reference comes from, and so does its context.
type builtFiles struct {
	ctx context.Context // fs.FS has no way to pass one
	ref gateway.Reference
}

// Open implements fs.FS.
func (b builtFiles) Open(name string) (fs.File, error) {
	info, err := b.Stat(name)
	if err != nil {
		return nil, err
	}
	data, err := b.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &openFile{Reader: bytes.NewReader(data), info: info.(fileInfo)}, nil
}

// Stat implements fs.StatFS.
func (b builtFiles) Stat(name string) (fs.FileInfo, error) {
	st, err := b.ref.StatFile(b.ctx, gateway.StatRequest{Path: name})
	if err != nil {
		return nil, b.failed("stat", name, err)
	}
	return fileInfo{name: path.Base(name), size: st.Size, mode: fs.FileMode(st.Mode)}, nil
}

// ReadFile implements fs.ReadFileFS.
func (b builtFiles) ReadFile(name string) ([]byte, error) {
	data, err := b.ref.ReadFile(b.ctx, gateway.ReadRequest{Filename: name})
	if err != nil {
		return nil, b.failed("read", name, err)
	}
	return data, nil
}

// failed takes an error for a missing file unless the job has ended: the gateway has no code of its own for one.
func (b builtFiles) failed(op, name string, err error) error {
	if b.ctx.Err() == nil && !isConnectionLost(err) {
		err = errors.Join(fs.ErrNotExist, err)
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
