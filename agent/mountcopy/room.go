// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// spareShare is the share of a volume, one in so many of its bytes and inodes, that priming leaves free.
	spareShare = 50
	// checkBytes is how much is written between two looks at what is free: builds and other copies write too.
	checkBytes = 32 << 20
	// blockBytes is what a name takes on a volume at least, and what the bytes of files are rounded up to.
	blockBytes = 4096
)

// room is the volume that a copy is written to.
type room struct {
	path    string
	written atomic.Int64 // since the last look
}

// need is what a tree takes on a volume, without the files that are reused.
func (p *priming) need() (bytes, names int64) {
	for i := range p.ix {
		e := &p.ix[i]
		if e.Kind == hardlink || p.reused[e.Path] != "" {
			continue
		}
		names++
		bytes += e.data() + int64(len(e.Holes)+2)*blockBytes
		for _, value := range e.Xattrs {
			bytes += int64(len(value))
		}
		if bytes < 0 { // an index can claim anything
			return 1 << 62, names
		}
	}
	return bytes, names
}

// check returns an error unless so many bytes and names fit. Volumes that don't count inodes have room for any number.
func (r *room) check(bytes, names int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(r.path, &st); err != nil {
		return fmt.Errorf("look at the volume: %w", err)
	}
	free, spare := int64(st.Bavail)*st.Bsize, int64(st.Blocks)*st.Bsize/spareShare
	if bytes > free-spare {
		return fmt.Errorf("the volume has no room for %d MiB: %d MiB are free, of which %d are kept free",
			(bytes+1<<20-1)>>20, free>>20, spare>>20)
	}
	if spare := int64(st.Files) / spareShare; st.Files > 0 && names > int64(st.Ffree)-spare {
		return fmt.Errorf("the volume has no room for %d names: %d inodes are free, of which %d are kept free",
			names, st.Ffree, spare)
	}
	return nil
}

// take counts bytes that are about to be written, and looks at the volume from time to time.
func (r *room) take(bytes int64) error {
	if r.written.Add(bytes) < checkBytes {
		return nil
	}
	r.written.Store(0)
	return r.check(bytes, 0)
}
