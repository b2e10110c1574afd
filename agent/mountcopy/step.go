// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
)

// Mode is what a step does.
type Mode string

// The modes.
const (
	ModeSnapshot Mode = "snapshot"
	ModePrime    Mode = "prime"
	ModeDigest   Mode = "digest"
)

// Step is the half of a copy that runs where the mount is.
type Step struct {
	Mode  Mode
	Mount string
	// Whole and MaxBytes are those of Options.
	Whole    bool
	MaxBytes int64
	// Replace has a mount that holds something primed too.
	Replace bool
	// Token tells the agent which step this is.
	Token string
}

// Run copies as the mode demands and reports over the connection to the agent. It ends when the agent goes away.
// The agent has heard of an error.
func (s *Step) Run(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	l := &link{conn}
	if err := l.send(hello, []byte(s.Token)); err != nil {
		return fmt.Errorf("talk to the agent: %w", err)
	}
	res, err := s.do(ctx, cancel, l)
	if err != nil {
		if l.send(failed, []byte(err.Error()[:min(len(err.Error()), partLimit)])) == nil {
			io.Copy(io.Discard, conn) //nolint:errcheck // until the agent has read it and closes
		}
		return err
	}
	text, err := json.Marshal(res)
	if err != nil {
		return err
	}
	return l.send(result, text)
}

func (s *Step) do(ctx context.Context, cancel context.CancelFunc, l *link) (Result, error) {
	switch s.Mode {
	case ModeSnapshot:
		base, err := readIndex(l)
		if err != nil {
			return Result{}, err
		}
		cancelWhenClosed(cancel, l)
		return Snapshot(
			ctx,
			s.Mount,
			Options{Base: base, Whole: s.Whole, MaxBytes: s.MaxBytes},
			func() io.WriteCloser { return streamWriter{l} },
		)
	case ModePrime:
		index, err := readIndex(l)
		if err != nil {
			return Result{}, err
		}
		if index == nil {
			index = bytes.NewReader(nil)
		}
		return Prime(ctx, s.Mount, index, askForLayers(l), s.Replace)
	case ModeDigest:
		cancelWhenClosed(cancel, l)
		return Digest(ctx, s.Mount)
	}
	return Result{}, fmt.Errorf("there is no mode %q", s.Mode)
}

// readIndex receives an index layer, nil for none.
func readIndex(l *link) (io.Reader, error) {
	text, err := io.ReadAll(&streamReader{l: l})
	if err != nil || len(text) == 0 {
		return nil, err
	}
	return bytes.NewReader(text), nil
}

// cancelWhenClosed watches a connection from which nothing more comes.
func cancelWhenClosed(cancel context.CancelFunc, l *link) {
	go func() {
		l.conn.Read(make([]byte, 1)) //nolint:errcheck // the end is what counts
		cancel()
	}()
}

// askForLayers receives layers, one each time it is called.
func askForLayers(l *link) Layers {
	var last *streamReader
	return func() (io.Reader, error) {
		if last != nil {
			if _, err := io.Copy(io.Discard, last); err != nil {
				return nil, err
			}
		}
		if err := l.send(ready, nil); err != nil {
			return nil, err
		}
		m, n, err := l.next()
		switch {
		case err != nil:
			return nil, err
		case m == ready:
			return nil, io.EOF
		case m != data:
			return nil, fmt.Errorf("the agent sent %q instead of a layer", m)
		}
		last = &streamReader{l: l, left: n}
		return last, nil
	}
}
