// SPDX-License-Identifier: Apache-2.0

// Package buildlog writes one plain log file an attempt on the daemon's volume and keeps the newest of them. What steps
// write is made safe to show, see package plaintext.
package buildlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/openllb/hlb-operator/internal/plaintext"
)

const (
	// Keep is how many files stay.
	Keep = 200
	// LimitBytes bounds each file, so that all of them take at most 3.2 GB, and in practice a few hundred megabytes.
	LimitBytes = 16 << 20
)

const cutNote = "\n[the log is longer than 16 MiB; the rest is left out]\n"

// Name is the name of an attempt's file. All parts but the attempt are object names or run ids, which hold no slash.
func Name(namespace, build, run string, attempt int32) string {
	return fmt.Sprintf("%s-%s-%s-%d.log", namespace, build, run, attempt)
}

// File is an open log. It is safe for concurrent use; a write never fails the writer, since a build must not fail for
// its log.
type File struct {
	mu   sync.Mutex
	f    *os.File
	text *plaintext.Writer // into bounded
	left int
	err  error
}

// Create opens a new file in dir, makes dir if need be, and deletes the oldest files beyond Keep.
func Create(dir, name string) (*File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	l := &File{f: f, left: LimitBytes}
	l.text = plaintext.NewWriter(bounded{l})
	return l, prune(dir)
}

// Path is the file's path.
func (l *File) Path() string { return l.f.Name() }

// Write appends p as text that can be shown on a terminal, up to the limit.
func (l *File) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// bounded is a file up to its limit. The file is locked.
type bounded struct{ *File }

func (l bounded) Write(p []byte) (int, error) {
	if l.left == 0 || l.err != nil {
		return len(p), nil
	}
	keep := p[:min(len(p), l.left)]
	l.left -= len(keep)
	_, l.err = l.f.Write(keep)
	if l.left == 0 && l.err == nil {
		_, l.err = l.f.WriteString(cutNote)
	}
	return len(p), nil
}

// Close closes the file; the error is the first one of writing or that of closing.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cmp.Or(l.text.Flush(), l.err, l.f.Close())
}

// prune deletes the oldest files of dir beyond Keep. Files that others delete meanwhile are no error.
func prune(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("prune logs: %w", err)
	}
	if len(entries) <= Keep {
		return nil
	}
	type aged struct {
		name string
		at   time.Time
	}
	var files []aged
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files = append(files, aged{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b aged) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.name, b.name)) })
	var errs []error
	for _, f := range files[min(Keep, len(files)):] {
		if err := os.Remove(filepath.Join(dir, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
