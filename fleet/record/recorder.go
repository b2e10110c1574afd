// SPDX-License-Identifier: Apache-2.0

package record

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/fleet"
)

const (
	// fileShare is the part of the limit that one file takes, so that rotation drops little at a time.
	fileShare = 8
	// maxWaiting bounds the entries that wait to be written.
	maxWaiting = 512
	// minEntries are in each file, or the keyframes of a large fleet would fill one after the other.
	minEntries = 64
	suffix     = ".jsonl.gz"
)

// Recorder writes a recording. Its methods never wait for the disk: when entries come faster than they can be written,
// some are dropped, and a keyframe begins anew. It is safe for concurrent use.
type Recorder struct {
	dir   string
	limit int64 // bytes of all files

	entries chan pending
	mu      sync.Mutex
	fleets  map[types.NamespacedName]*progress
	ended   bool // Start has returned: nothing is recorded any more

	file  *os.File // used by Start alone, as all that follows
	zip   *gzip.Writer
	bytes int64 // in file
	lines int   // in file
	next  int   // number of the next file
}

// pending is an entry to write. Its writes are put into JSON by the writer.
type pending struct {
	Entry
	writes *fleet.Writes
}

// progress is how far one fleet is recorded.
type progress struct {
	keyframe bool // the present file has one, and nothing was dropped since
	gap      bool // entries are missing since the last cycle that was recorded
	cache    types.UID
	spec     int64 // generation of the last recorded BuildCache
}

// Open continues the recording in dir, which is made if there is none, with files of limit bytes altogether.
func Open(dir string, limit int64) (*Recorder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	files, err := Files(dir)
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		dir:     dir,
		limit:   limit,
		entries: make(chan pending, maxWaiting),
		fleets:  map[types.NamespacedName]*progress{},
	}
	if n := len(files); n > 0 {
		if _, err := fmt.Sscanf(filepath.Base(files[n-1]), "%08d", &r.next); err != nil {
			return nil, fmt.Errorf("open recording: %s: %w", files[n-1], err)
		}
		r.next++
	}
	return r, nil
}

// Files lists the files of a recording, oldest first.
func Files(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "[0-9]*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("list recording: %w", err)
	}
	slices.Sort(files)
	return files, nil
}

// fileName is the name of a recording's n-th file, from 0.
func fileName(n int) string { return fmt.Sprintf("%08d%s", n, suffix) }

// NeedsKeyframe reports whether the next cycle of a fleet should be a keyframe: a full observation that rebuilds.
func (r *Recorder) NeedsKeyframe(of types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.fleets[of]
	return !r.ended && (p == nil || !p.keyframe)
}

// Cycle records a cycle. learned is what was learned before a keyframe, nil for other cycles.
func (r *Recorder) Cycle(
	of types.NamespacedName,
	learned []byte,
	obs fleet.Observation,
	writes fleet.Writes,
	failure error,
) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.fleets[of]
	if p == nil {
		p = &progress{gap: true}
		r.fleets[of] = p
	}
	if r.ended || p.gap && learned == nil {
		return
	}
	c := &Cycle{Learned: learned, Gap: p.gap, Observation: obs}
	if failure != nil {
		c.Error = failure.Error()
	}
	cache := obs.Cache
	if learned == nil && p.cache == cache.UID && p.spec == cache.Generation {
		c.Observation.Cache = nil
	}
	if r.send(p, pending{Entry{Fleet: of, Cycle: c}, &writes}) {
		p.keyframe = p.keyframe || learned != nil
		p.gap, p.cache, p.spec = false, cache.UID, cache.Generation
	}
}

// Written records what was written after a cycle.
func (r *Recorder) Written(of types.NamespacedName, w fleet.Written) {
	if len(w.Placed) == 0 && len(w.Prefetch) == 0 {
		return
	}
	r.note(Entry{Fleet: of, Written: &w})
}

// Digest records the digest of what a State has learned so far.
func (r *Recorder) Digest(of types.NamespacedName, digest string) {
	r.note(Entry{Fleet: of, Digest: digest})
}

// Forget ends the recording of a fleet. One of the same name is another.
func (r *Recorder) Forget(of types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.fleets, of)
}

func (r *Recorder) note(e Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.fleets[e.Fleet]; p != nil && !p.gap && !r.ended {
		r.send(p, pending{Entry: e})
	}
}

// send hands an entry to the writer, and reports whether that has room for it.
func (r *Recorder) send(p *progress, e pending) bool {
	select {
	case r.entries <- e:
		return true
	default:
		p.keyframe, p.gap = false, true
		return false
	}
}

// Start writes entries until ctx is done, and then those that wait. After an error, as of a full disk, nothing is
// recorded any more.
func (r *Recorder) Start(ctx context.Context) (err error) {
	defer func() {
		r.mu.Lock()
		r.ended = true
		r.mu.Unlock()
		err = errors.Join(err, r.close())
	}()
	for {
		select {
		case e := <-r.entries:
			if err := r.write(&e); err != nil {
				return err
			}
		case <-ctx.Done():
			return r.drain()
		}
		if len(r.entries) == 0 && r.zip != nil { // a crash loses little
			if err := r.zip.Flush(); err != nil {
				return fmt.Errorf("write recording: %w", err)
			}
		}
	}
}

func (r *Recorder) drain() error {
	for {
		select {
		case e := <-r.entries:
			if err := r.write(&e); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// write appends an entry to the present file, or to a new one when that is full.
func (r *Recorder) write(e *pending) error {
	if c := e.Cycle; c != nil {
		c.Observation = c.Observation.Slim()
		writes, err := outcomeOf(e.writes)
		if err != nil {
			return fmt.Errorf("write recording: %w", err)
		}
		c.Writes = writes
	}
	line, err := json.Marshal(e.Entry)
	if err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	if err := r.rotate(); err != nil {
		return fmt.Errorf("rotate recording: %w", err)
	}
	r.lines++
	if _, err := r.zip.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	return nil
}

// rotate opens the first file, and the next one when the present is full.
func (r *Recorder) rotate() error {
	if r.zip != nil && (r.bytes < r.limit/fileShare || r.lines < minEntries) {
		return nil
	}
	if r.zip != nil {
		r.mu.Lock()
		for _, p := range r.fleets {
			p.keyframe = false
		}
		r.mu.Unlock()
	}
	if err := errors.Join(r.close(), r.expire()); err != nil {
		return err
	}
	name := filepath.Join(r.dir, fileName(r.next))
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	r.next++
	r.file, r.bytes, r.lines = file, 0, 0
	r.zip = gzip.NewWriter(counting{file, &r.bytes})
	return nil
}

// expire removes the oldest files, so that there is room for another one.
func (r *Recorder) expire() error {
	files, err := Files(r.dir)
	if err != nil {
		return err
	}
	total := int64(0)
	for i := len(files) - 1; i >= 0; i-- {
		info, err := os.Stat(files[i])
		if err != nil {
			return err
		}
		if total += info.Size(); total > r.limit-r.limit/fileShare {
			if err := os.Remove(files[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Recorder) close() error {
	if r.zip == nil {
		return nil
	}
	err := errors.Join(r.zip.Close(), r.file.Close())
	r.zip, r.file = nil, nil
	return err
}

// counting counts what passes.
type counting struct {
	io.Writer
	bytes *int64
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	*c.bytes += int64(n)
	return n, err
}
