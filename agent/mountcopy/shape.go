// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Bounds of what is read of a registry, so that no image takes all memory.
const (
	// maxEntries is the names of a mount: as many as a volume of 64 GiB has inodes by default.
	maxEntries = 1 << 22
	// maxIndexBytes is 256 bytes for each of them.
	maxIndexBytes = 1 << 30
	// MaxIndexLayer bounds the layer that holds an index, compressed, in bytes. An index of sums packs to a third.
	MaxIndexLayer = maxIndexBytes / 2
	// maxWindow is what unpacking a layer may keep in memory for each stream: chunks are packed alone, so that is four
	// times what is needed.
	maxWindow = 4 * chunkSize
)

// shape is the kinds of an index's entries by path, as far as it was read. An index comes from a registry, and priming
// makes what it says: entries of any other shape could lead it out of the mount, such as a file in a folder that is a
// symbolic link.
type shape map[string]kind

// add takes the next entry. It is an error unless the first entry is the root, each is new, has a clean path, lies in a
// directory before it, and is, if a hard link, another name for something before it that is no directory.
func (s shape) add(e *entry) error {
	top, _, _ := strings.Cut(e.Path, "/")
	switch {
	case !filepath.IsLocal(e.Path) || e.Kind == hardlink && !filepath.IsLocal(e.Link):
		return fmt.Errorf("%q lies outside of the tree", e.Path)
	case filepath.Clean(e.Path) != e.Path:
		return fmt.Errorf("%q is no clean path", e.Path)
	case isReserved(top):
		return fmt.Errorf("%q is no name of a mount's content", e.Path)
	case s[e.Path] != "":
		return fmt.Errorf("%q is there twice", e.Path)
	case e.Kind == "":
		return fmt.Errorf("%q has no kind", e.Path)
	case len(s) == 0:
		if e.Path != "." || e.Kind != dir {
			return fmt.Errorf("%q comes before the root", e.Path)
		}
	case s[filepath.Dir(e.Path)] != dir:
		return fmt.Errorf("%q lies in no directory of the tree", e.Path)
	case e.Kind == hardlink && (s[e.Link] == "" || s[e.Link] == dir):
		return fmt.Errorf("%q is another name for %q, which is no file of the tree", e.Path, e.Link)
	case e.Size < 0 || e.Size > 0 && e.Kind != file:
		return fmt.Errorf("%q has a size of %d", e.Path, e.Size)
	}
	if err := e.checkHoles(); err != nil {
		return err
	}
	s[e.Path] = e.Kind
	return nil
}
