// SPDX-License-Identifier: Apache-2.0

// Package mountcopy copies the content of a cache mount into the layers of an image and back. One half runs inside
// build steps on an empty filesystem, as the program cmd/mountcopy, so it needs nothing there but system calls. The
// other half is the agent's, which moves the layers to and from a registry; the two talk over a connection, and no
// byte is written to a disk on the way.
//
// An image made by it holds the mount's tree at its root and, in its last layer, an index. Layers of images keep no
// fractions of a second, no hard links over several layers and no devices without privileges, so the tree's files
// give their bytes and the index gives everything else.
package mountcopy

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Names at the root of a mount or an image that belong to this package. They are never part of a mount's content.
const (
	indexName   = ".hlb-mount-index"
	stampsName  = ".hlb-mount-stamps"
	copyingName = ".hlb-mount-copying" // holds an unfinished copy
	copiedName  = ".hlb-mount-copied"  // holds a whole copy that is being moved into place
	leavingName = ".hlb-mount-leaving" // holds content that makes room for a copy, not all of it yet
	leftName    = ".hlb-mount-left"    // holds all of it
)

// isReserved reports whether a name at the root is one of this package's.
func isReserved(name string) bool {
	switch name {
	case indexName, stampsName, copyingName, copiedName, leavingName, leftName:
		return true
	}
	return false
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
	// Holes are the large ones of a file, in order.
	Holes []hole `json:"holes,omitempty"`
	// Sum is the SHA-256 of a file's bytes but for those in holes, in hexadecimal.
	Sum string `json:"sum,omitempty"`
	// Link is the target of a symbolic link, or the first path of a hard link's file.
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

// decode reads what encode has written, of a registry: an index that is too large, or that is no tree, is an error.
func decode(r io.Reader) (index, error) {
	var ix index
	tree := shape{}
	bounded := &io.LimitedReader{R: r, N: maxIndexBytes}
	lines := json.NewDecoder(bufio.NewReader(bounded))
	for {
		var e entry
		err := lines.Decode(&e)
		switch {
		case errors.Is(err, io.EOF) && bounded.N > 0:
			return ix, nil
		case bounded.N == 0:
			return nil, fmt.Errorf("read the index: it has more than %d bytes", int64(maxIndexBytes))
		case err != nil:
			return nil, fmt.Errorf("read the index: %w", err)
		case len(ix) == maxEntries:
			return nil, fmt.Errorf("read the index: it has more than %d names", maxEntries)
		}
		if err := tree.add(&e); err != nil {
			return nil, fmt.Errorf("read the index: %w", err)
		}
		ix = append(ix, e)
	}
}

// clockStep is more than what passes between two times of a file system's clock.
const clockStep = 100 * time.Millisecond

// stamp tells whether an inode was changed: no program can set either of it. The zero stamp tells nothing. Stamps are
// of one daemon's disk, so they are not part of the content that an index describes.
type stamp struct {
	Changed int64 // in nanoseconds since 1970
	Inode   uint64
}

// encodeStamps returns stamps as they are written: a line each, in the index's order.
func encodeStamps(stamps []stamp) []byte {
	var out bytes.Buffer
	for _, s := range stamps {
		fmt.Fprintln(&out, s.Changed, s.Inode)
	}
	return out.Bytes()
}

// decodeStamps reads what encodeStamps has written, at most maxEntries. Stamps that can't be read tell nothing.
func decodeStamps(r io.Reader) []stamp {
	var out []stamp
	for lines := bufio.NewScanner(r); len(out) < maxEntries && lines.Scan(); {
		changed, inode, _ := strings.Cut(lines.Text(), " ")
		var s stamp
		var errs [2]error
		s.Changed, errs[0] = strconv.ParseInt(changed, 10, 64)
		s.Inode, errs[1] = strconv.ParseUint(inode, 10, 64)
		if errs != [2]error{} {
			s = stamp{}
		}
		out = append(out, s)
	}
	return out
}

// writeIndexLayer writes the layer that holds an index, which is encoded, and stamps.
func writeIndexLayer(out io.WriteCloser, encoded []byte, stamps []stamp) (diffID string, err error) {
	w, err := newLayerWriter(out)
	if err != nil {
		return "", err
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{indexName, encoded}, {stampsName, encodeStamps(stamps)}} {
		if err == nil {
			err = w.tar.WriteHeader(
				&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text)), Typeflag: tar.TypeReg},
			)
		}
		if err == nil {
			_, err = w.tar.Write(f.text)
		}
	}
	diffID, closeErr := w.Close()
	return diffID, errors.Join(err, closeErr)
}

// errNoIndex: a layer is no index.
var errNoIndex = errors.New("the image is no snapshot of a mount: it has no index")

// Tree is what an index layer describes.
type Tree struct {
	ix     index
	stamps []stamp // one for each entry
}

// ReadTree reads an index layer. One that is too large, or describes no tree, is an error.
func ReadTree(layer io.Reader) (*Tree, error) {
	ix, stamps, err := readIndexLayer(layer)
	if err != nil {
		return nil, err
	}
	return &Tree{ix: ix, stamps: stamps}, nil
}

// readIndexLayer reads what writeIndexLayer has written. There is a stamp for each entry.
func readIndexLayer(r io.Reader) (ix index, stamps []stamp, err error) {
	layer, done, err := readLayer(r)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	for {
		h, err := layer.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the index: %w", err)
		}
		switch {
		case h.Name == indexName && ix == nil:
			ix, err = decode(layer)
		case h.Name == stampsName && stamps == nil:
			stamps = decodeStamps(layer)
		default: // it could unpack to any size
			err = fmt.Errorf("read the index: %q is no part of it", h.Name)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if len(ix) == 0 {
		return nil, nil, errNoIndex
	}
	if len(stamps) != len(ix) {
		stamps = make([]stamp, len(ix))
	}
	return ix, stamps, nil
}

// digestOf names a tree: equal for trees that no program can tell apart, but for times of access and of change of the
// inode.
func digestOf(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// bytes is what the tree's files hold, holes apart.
func (ix index) bytes() int64 {
	var n int64
	for i := range ix {
		n += ix[i].data()
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
