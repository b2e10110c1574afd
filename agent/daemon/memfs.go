// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"io/fs"
	"time"
)

// flatFiles is a file system of files without directories, as a ConfigMap holds them.
type flatFiles map[string][]byte

// Open implements fs.FS.
func (f flatFiles) Open(name string) (fs.File, error) {
	data, there := f[name]
	if !there {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &openFile{
		Reader: bytes.NewReader(data),
		info:   fileInfo{name: name, size: int64(len(data)), mode: 0o444},
	}, nil
}

// openFile is a file whose content is in memory.
type openFile struct {
	*bytes.Reader
	info fileInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *openFile) Close() error { return nil }

// fileInfo describes a file of flatFiles or gitFiles; both know nothing of times.
type fileInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }
