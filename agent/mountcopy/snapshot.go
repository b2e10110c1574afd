// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
)

// Outcome is how a copy ended.
type Outcome string

// The outcomes.
const (
	// Copied: the copy is whole.
	Copied Outcome = "Copied"
	// Unchanged: image and mount hold the same content already, and nothing was written.
	Unchanged Outcome = "Unchanged"
	// Empty: the mount holds nothing, and nothing was written.
	Empty Outcome = "Empty"
	// TooLarge: the mount holds more than the limit, and nothing was written.
	TooLarge Outcome = "TooLarge"
	// Replaced: the copy is whole, and the mount held other content before.
	Replaced Outcome = "Replaced"
	// Held: the mount to fill holds content already, and nothing was written.
	Held Outcome = "Held"
)

// Result is what a copy did.
type Result struct {
	Outcome Outcome `json:"outcome"`
	// Digest of the mount's tree, empty unless it was read.
	Digest string `json:"digest,omitempty"`
	// Bytes and Files of the mount's tree.
	Bytes int64 `json:"bytes"`
	Files int64 `json:"files"`
	// Written are the bytes of files that were written, the index apart.
	Written int64 `json:"written"`
	// ContentDiffID and IndexDiffID name the new layers of a snapshot before compression. The first is empty when no
	// layer but the index is new.
	ContentDiffID string `json:"contentDiffID,omitempty"`
	IndexDiffID   string `json:"indexDiffID,omitempty"`
	// EmptyMounts are the names of a survey's mounts that hold nothing.
	EmptyMounts []string `json:"emptyMounts,omitempty"`
	// Omitted is what the copy leaves out.
	Omitted Omitted `json:"omitzero"`
}

// Digest names the tree of a mount.
func Digest(ctx context.Context, root string) (Result, error) {
	var out omissions
	ix, _, err := scan(ctx, root, &out)
	if err == nil {
		err = each(ctx, len(ix), func(i int, buf []byte) error { return ix.sum(i, root, buf) })
	}
	if err != nil {
		return Result{}, err
	}
	encoded, err := ix.encode()
	return Result{
		Outcome: Unchanged, Digest: digestOf(encoded), Bytes: ix.bytes(), Files: ix.files(), Omitted: out.list(),
	}, err
}

// sum fills in the sum of a file that has none.
func (ix index) sum(i int, root string, buf []byte) (err error) {
	if e := &ix[i]; e.Kind == file && e.Sum == "" {
		e.Sum, err = sumFile(filepath.Join(root, e.Path), e, buf)
	}
	return err
}

// Options shape a snapshot.
type Options struct {
	// Base is the newest snapshot, nil for none.
	Base *Tree
	// Whole writes everything into one layer, instead of what differs from Base, unless nothing does.
	Whole bool
	// MaxBytes is the most that the mount may hold, 0 for no limit.
	MaxBytes int64
}

// Snapshot writes the layers to put on top of those of the base: one with files, unless none has changed, and one
// with the index. layer begins the next one. Files are read only if their inodes were changed since the base, and
// written only if their bytes differ too, so that a small change costs little.
func Snapshot(ctx context.Context, mount string, o Options, layer func() io.WriteCloser) (Result, error) {
	var out omissions
	now, stamps, err := scan(ctx, mount, &out)
	if err != nil {
		return Result{}, err
	}
	res := Result{Outcome: Copied, Bytes: now.bytes(), Files: now.files(), Omitted: out.list()}
	switch {
	case len(now) <= 1:
		res.Outcome = Empty
		return res, nil
	case len(now) > maxEntries:
		return res, fmt.Errorf("the mount has %d names, and a snapshot can hold %d", len(now), maxEntries)
	case o.MaxBytes > 0 && res.Bytes > o.MaxBytes:
		res.Outcome = TooLarge
		return res, nil
	}
	s := &snapshot{mount: mount, now: now, whole: o.Whole || o.Base == nil, layer: layer}
	if o.Base != nil {
		before, beforeStamps := o.Base.ix, o.Base.stamps
		s.before = byPath(before)
		s.reuseSums(stamps, stampsByPath(before, beforeStamps))
		same, err := s.isSame(ctx, before)
		if err != nil {
			return res, err
		}
		if same {
			encoded, err := before.encode()
			res.Outcome, res.Digest = Unchanged, digestOf(encoded)
			return res, err
		}
	}
	if res.ContentDiffID, err = s.write(ctx); err != nil {
		return res, err
	}
	encoded, err := now.encode()
	if err != nil {
		return res, err
	}
	res.Digest, res.Written = digestOf(encoded), s.written
	res.IndexDiffID, err = writeIndexLayer(layer(), encoded, stamps)
	return res, err
}

// snapshot is one run of Snapshot.
type snapshot struct {
	mount   string
	now     index
	before  map[string]*entry // of the base, empty for none
	whole   bool
	layer   func() io.WriteCloser
	out     *layerWriter // nil before there is something to write
	buf     []byte       // for files that are too large for memory
	written int64
}

func byPath(ix index) map[string]*entry {
	out := make(map[string]*entry, len(ix))
	for i := range ix {
		out[ix[i].Path] = &ix[i]
	}
	return out
}

func stampsByPath(ix index, stamps []stamp) map[string]stamp {
	out := make(map[string]stamp, len(ix))
	for i := range ix {
		out[ix[i].Path] = stamps[i]
	}
	return out
}

// reuseSums takes the sums of files whose inodes were not changed since the base.
func (s *snapshot) reuseSums(stamps []stamp, before map[string]stamp) {
	for i := range s.now {
		e := &s.now[i]
		old := s.before[e.Path]
		if e.Kind == file && old != nil && old.Kind == file && old.hasSizeOf(e) && stamps[i] != (stamp{}) &&
			stamps[i] == before[e.Path] {
			e.Sum = old.Sum
		}
	}
}

// isSame reports whether the mount holds what the base does. Sums that can't be compared are worked out only where
// everything else is equal.
func (s *snapshot) isSame(ctx context.Context, before index) (bool, error) {
	butSums := func(a, b entry) bool {
		if b.Sum == "" {
			a.Sum = ""
		}
		return equal(a, b)
	}
	if !slices.EqualFunc(before, s.now, butSums) {
		return false, nil
	}
	if err := each(ctx, len(s.now), func(i int, buf []byte) error { return s.now.sum(i, s.mount, buf) }); err != nil {
		return false, err
	}
	return slices.EqualFunc(before, s.now, equal), nil
}

func equal(a, b entry) bool {
	same := len(a.Xattrs) == len(b.Xattrs)
	for name, value := range a.Xattrs {
		other, has := b.Xattrs[name]
		same = same && has && string(other) == string(value)
	}
	a.Xattrs, b.Xattrs = nil, nil
	return same && a.Path == b.Path && a.Kind == b.Kind && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID &&
		a.Modified == b.Modified && a.hasSizeOf(&b) && a.Sum == b.Sum && a.Link == b.Link && a.Device == b.Device
}

// hasSizeOf reports whether two files have the same size and the same holes.
func (e *entry) hasSizeOf(other *entry) bool {
	return e.Size == other.Size && slices.Equal(e.Holes, other.Holes)
}

// isSmall reports whether a file is held in memory as a whole.
func (e *entry) isSmall() bool { return e.Size <= smallFile && len(e.Holes) == 0 }

// inImage reports whether an entry has a name in the image itself. The others are in the index only.
func (e *entry) inImage() bool { return e.Kind == dir || e.Kind == file || e.Kind == symlink }

// write writes the layer with the files, and all sums into the index. Without one, the diff id is empty.
func (s *snapshot) write(ctx context.Context) (diffID string, err error) {
	if !s.whole {
		err = s.writeWhiteouts()
	}
	if err == nil {
		err = inOrder(ctx, len(s.now), s.load, s.writeEntry)
	}
	if s.out == nil {
		return "", err
	}
	diffID, closeErr := s.out.Close()
	return diffID, cmp.Or(err, closeErr)
}

// writeWhiteouts marks what the base has and the mount has not. What was in a directory that is none any more went
// with it.
func (s *snapshot) writeWhiteouts() error {
	current := byPath(s.now)
	var gone []string
	for path, old := range s.before {
		e, parent := current[path], current[filepath.Dir(path)]
		if old.inImage() && (e == nil || !e.inImage()) && parent != nil && parent.Kind == dir {
			gone = append(gone, path)
		}
	}
	slices.Sort(gone)
	for _, path := range gone {
		e := &entry{Path: filepath.Join(filepath.Dir(path), whiteout+filepath.Base(path)), Kind: file}
		if err := s.begin(e); err != nil {
			return err
		}
	}
	return nil
}

// open begins the layer with files.
func (s *snapshot) open() (err error) {
	if s.out == nil {
		s.out, err = newLayerWriter(s.layer())
	}
	return err
}

// begin writes an entry's header.
func (s *snapshot) begin(e *entry) error {
	if err := s.open(); err != nil {
		return err
	}
	return s.out.tar.WriteHeader(e.header())
}

// loaded is what load found out about an entry.
type loaded struct {
	skip bool   // the base has it
	text []byte // of a file that is small, nil for one that is to be read while it is written
}

// smallFile is up to which size files are held in memory while they wait for their place in a layer, in bytes.
const smallFile = 1 << 20

// load decides whether an entry is written, and reads files as far as that takes it.
func (s *snapshot) load(i int, buf []byte) (l loaded, err error) {
	e := &s.now[i]
	old := s.before[e.Path]
	if s.whole {
		old = nil
	}
	if !e.inImage() || e.Path == "." || old != nil && e.Kind != file && equal(*old, *e) {
		return loaded{skip: true}, nil
	}
	if e.Kind != file {
		return l, nil
	}
	// Times are in the index; writing the file for their sake would put all of it into a layer again.
	mayHave := old != nil && old.Kind == file && old.hasSizeOf(e) && old.Mode == e.Mode && old.UID == e.UID &&
		old.GID == e.GID
	path := filepath.Join(s.mount, e.Path)
	switch {
	case mayHave && e.Sum != "" && e.Sum == old.Sum:
		return loaded{skip: true}, nil
	case e.isSmall():
		l.text = takeText(int(e.Size))
		e.Sum, err = readWhole(path, l.text)
	case mayHave && e.Sum == "":
		e.Sum, err = sumFile(path, e, buf)
	}
	return loaded{skip: mayHave && e.Sum == old.Sum, text: l.text}, err
}

// texts are buffers for small files: new memory costs more than what is done with it.
var texts = sync.Pool{New: func() any { return new([smallFile + 1]byte) }}

// takeText takes a buffer for a small file of n bytes, which giveText gives back.
func takeText(n int) []byte { return texts.Get().(*[smallFile + 1]byte)[:n] }

func giveText(text []byte) {
	if text != nil {
		texts.Put((*[smallFile + 1]byte)(text[:smallFile+1]))
	}
}

// writeEntry writes what load has not found in the base.
func (s *snapshot) writeEntry(i int, l loaded) error {
	defer giveText(l.text)
	if l.skip {
		return nil
	}
	e := &s.now[i]
	if len(e.Holes) > 0 {
		return s.writeHoles(e)
	}
	if err := s.begin(e); err != nil || e.Kind != file {
		return err
	}
	s.written += e.Size
	if l.text != nil {
		_, err := s.out.tar.Write(l.text)
		return err
	}
	return s.writeText(e, s.out.tar)
}

// writeHoles writes a file with holes.
func (s *snapshot) writeHoles(e *entry) error {
	if err := s.open(); err != nil {
		return err
	}
	s.written += e.data()
	return s.out.addSparse(e, func(w io.Writer) error { return s.writeText(e, w) })
}

// writeText writes the bytes of a file and sets its sum.
func (s *snapshot) writeText(e *entry, w io.Writer) error {
	if s.buf == nil {
		s.buf = make([]byte, 1<<18)
	}
	sum, err := readThrough(filepath.Join(s.mount, e.Path), e, s.buf, w)
	if err == nil && e.Sum != "" && e.Sum != sum {
		err = changedWhileRead(e.Path)
	}
	e.Sum = sum
	return err
}
