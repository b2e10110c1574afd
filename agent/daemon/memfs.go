// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"io/fs"

	"github.com/openllb/hlb-operator/agent/compile/reffs"
)

// flatFiles is a file system of files without directories, as a ConfigMap holds them.
type flatFiles map[string][]byte

// Open implements fs.FS.
func (f flatFiles) Open(name string) (fs.File, error) {
	data, there := f[name]
	if !there {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return reffs.NewFile(name, data), nil
}
