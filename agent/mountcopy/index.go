// SPDX-License-Identifier: Apache-2.0

// Package mountcopy copies the content of a cache mount into an image and back. It runs inside build steps on an empty filesystem, as the program
// cmd/mountcopy, so it uses the standard library and system calls only.
//
// An image made by it holds the mount's tree at its root and an index in one file. Layers of images keep no fractions of a second, no hard links over
// several layers and no devices without privileges, so the tree's files give their bytes and the index gives everything else.
package mountcopy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Names at the root of a mount or an image that belong to this package. They are never part of a mount's content.
const (
	indexName   = ".hlb-mount-index"
	copyingName = ".hlb-mount-copying" // holds an unfinished copy
	copiedName  = ".hlb-mount-copied"  // holds a whole copy that is being moved into place
)

// isReserved says whether a name at the root is one of this package's.
func isReserved(name string) bool {
	return name == indexName || name == copyingName || name == copiedName
}

// kind of an entry.
type kind string

const (
	dir      kind = "dir"
	file     kind = "file"
	symlink  kind = "symlink"
	hardlink kind = "hardlink"
	fifo     kind = "fifo"
	char     kind = "char"
	block    kind = "block"
)

// entry is one name of a tree. The root's path is ".". Equal trees have equal entries in equal order.
type entry struct {
	Path string `json:"path"`
	Kind kind   `json:"kind"`
	// Mode is the permission bits with setuid, setgid and sticky, as in a system call.
	Mode uint32 `json:"mode"`
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
	// Modified is in nanoseconds since 1970.
	Modified int64 `json:"modified"`
	Size     int64 `json:"size,omitempty"`
	// Sum is the SHA-256 of a file's bytes, in hexadecimal.
	Sum string `json:"sum,omitempty"`
	// Link is what a symbolic link says, or the first path of a hard link's file.
	Link string `json:"link,omitempty"`
	// Device is the number of a device.
	Device uint64            `json:"device,omitempty"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"`
}

// index is a tree's entries, parents before what is in them.
type index []entry

// encode returns the index as it is written: a line of JSON an entry.
func (ix index) encode() ([]byte, error) {
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	for i := range ix {
		if err := lines.Encode(&ix[i]); err != nil {
			return nil, fmt.Errorf("write the index: %w", err)
		}
	}
	return out.Bytes(), nil
}

// decode reads what encode has written. An entry that would lie outside of the tree is an error.
func decode(r io.Reader) (index, error) {
	var ix index
	lines := json.NewDecoder(bufio.NewReader(r))
	for {
		var e entry
		err := lines.Decode(&e)
		if err == io.EOF {
			return ix, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the index: %w", err)
		}
		if !filepath.IsLocal(e.Path) || e.Kind == hardlink && !filepath.IsLocal(e.Link) {
			return nil, fmt.Errorf("read the index: %q lies outside of the tree", e.Path)
		}
		ix = append(ix, e)
	}
}

// readIndex reads the index of the image at root, nil when it has none.
func readIndex(root string) (index, error) {
	f, err := os.Open(filepath.Join(root, indexName))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decode(f)
}

// digestOf names a tree: equal for trees that no program can tell apart, but for times of access and of change of the inode.
func digestOf(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// bytes is what the tree's files hold.
func (ix index) bytes() int64 {
	var n int64
	for i := range ix {
		n += ix[i].Size
	}
	return n
}

// files counts the names that are no directories.
func (ix index) files() int64 {
	var n int64
	for i := range ix {
		if ix[i].Kind != dir {
			n++
		}
	}
	return n
}
