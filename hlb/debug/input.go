// SPDX-License-Identifier: Apache-2.0

package debug

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// Input is a stream that commands and shells read in turns: what one doesn't take is left to the next.
type Input struct {
	chunks chan []byte // closed at the end

	mu   sync.Mutex
	rest []byte // read and not taken
}

// NewInput reads r from now on.
func NewInput(r io.Reader) *Input {
	in := &Input{chunks: make(chan []byte)}
	go func() {
		defer close(in.chunks)
		for {
			chunk := make([]byte, 4096)
			n, err := r.Read(chunk)
			if n > 0 {
				in.chunks <- chunk[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return in
}

// maxLine bounds a command.
const maxLine = 64 << 10

// Line reads a line, without its end. The error is io.EOF at the end, or that of the context.
func (in *Input) Line(ctx context.Context) (string, error) {
	for {
		if line, ok := in.takeLine(false); ok {
			return line, nil
		}
		select {
		case chunk, ok := <-in.chunks:
			if !ok {
				if line, ok := in.takeLine(true); ok {
					return line, nil
				}
				return "", io.EOF
			}
			in.keep(chunk)
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

func (in *Input) keep(chunk []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.rest = append(in.rest, chunk...)
}

// takeLine takes a line of what was read; all of it is one at the end.
func (in *Input) takeLine(end bool) (string, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	i := bytes.IndexByte(in.rest, '\n')
	if i < 0 && (len(in.rest) == 0 || !end && len(in.rest) < maxLine) {
		return "", false
	}
	line := in.rest
	if in.rest = nil; i >= 0 {
		line, in.rest = line[:i], line[i+1:]
	}
	return string(bytes.TrimSuffix(line, []byte("\r"))), true
}

// take takes at most len(p) bytes of what was read.
func (in *Input) take(p []byte) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	return n
}

// Lend gives the stream away until the reader is closed.
func (in *Input) Lend() io.ReadCloser { return &lent{in: in, closed: make(chan struct{})} }

type lent struct {
	in     *Input
	once   sync.Once
	closed chan struct{}
}

// Read implements io.Reader.
func (l *lent) Read(p []byte) (int, error) {
	for len(p) > 0 {
		select {
		case <-l.closed:
			return 0, io.EOF
		default:
		}
		if n := l.in.take(p); n > 0 {
			return n, nil
		}
		select {
		case chunk, ok := <-l.in.chunks:
			if !ok {
				return 0, io.EOF
			}
			l.in.keep(chunk)
		case <-l.closed:
			return 0, io.EOF
		}
	}
	return 0, nil
}

// Close ends reads in progress.
func (l *lent) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}
