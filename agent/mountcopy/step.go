// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

const (
	// meetTimeout bounds how long a step tries to meet the agent, meetInterval is the pause between two attempts.
	meetTimeout  = time.Minute
	meetInterval = 10 * time.Millisecond
)

// Mode is what a step does.
type Mode string

// The modes.
const (
	ModeSnapshot Mode = "snapshot"
	ModePrime    Mode = "prime"
	ModeDigest   Mode = "digest"
	ModeRoot     Mode = "root"
	ModeSurvey   Mode = "survey"
)

// Writes reports whether a step changes the mount.
func (m Mode) Writes() bool { return m == ModePrime || m == ModeRoot }

// Step is the half of a copy that runs where the mount is.
type Step struct {
	Mode Mode
	// Mount is where the mount is, or for a survey the folder with all mounts.
	Mount string
	// Whole and MaxBytes are those of Options.
	Whole    bool
	MaxBytes int64
	// Replace has a mount that holds something primed too.
	Replace bool
	// Root is what the mount's own directory is to be.
	Root Root
	// Token tells the agent which step this is.
	Token string
}

// Run copies as the mode demands and reports to the agent, over a connection that dial makes. It ends when the agent
// goes away. The agent has heard of an error.
func (s *Step) Run(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
	conn, err := s.meet(ctx, dial)
	if err != nil {
		return fmt.Errorf("reach the agent: %w", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	l := &link{conn}
	res, err := s.do(ctx, cancel, l)
	if err != nil {
		drained := make(chan struct{})
		go func() { // the agent may be sending, and reads once it has; then it closes
			defer close(drained)
			io.Copy(io.Discard, conn) //nolint:errcheck // its end is what counts
		}()
		if l.send(failed, []byte(err.Error()[:min(len(err.Error()), partLimit)])) == nil {
			<-drained
		}
		return err
	}
	text, err := json.Marshal(res)
	if err != nil {
		return err
	}
	return l.send(result, text)
}

// meet connects until the agent takes the connection for the step's. Others may come to the same socket, so many that
// the agent has no room, or drops this connection before it has read whose it is.
func (s *Step) meet(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	for {
		conn, err := dial(ctx)
		switch {
		case err == nil:
			if err = s.greet(ctx, conn); err == nil {
				return conn, nil
			}
			conn.Close()
		case !errors.Is(err, syscall.EAGAIN): // a full backlog
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(meetInterval):
		}
	}
}

// greet says whose connection this is and waits for the agent's welcome.
func (s *Step) greet(ctx context.Context, conn net.Conn) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	l := &link{conn}
	if err := l.send(hello, []byte(s.Token)); err != nil {
		return err
	}
	_, err := l.expect(ready)
	return err
}

func (s *Step) do(ctx context.Context, cancel context.CancelFunc, l *link) (Result, error) {
	switch s.Mode {
	case ModeSnapshot:
		base, err := receiveIndex(l)
		if err != nil {
			return Result{}, err
		}
		cancelWhenClosed(cancel, l)
		o := Options{Base: base, Whole: s.Whole, MaxBytes: s.MaxBytes}
		return Snapshot(ctx, s.Mount, o, func() io.WriteCloser { return streamWriter{l} })
	case ModePrime:
		tree, err := receiveIndex(l)
		if err != nil {
			return Result{}, err
		}
		return Prime(ctx, s.Mount, tree, askForLayers(l), s.Replace)
	case ModeDigest:
		cancelWhenClosed(cancel, l)
		return Digest(ctx, s.Mount)
	case ModeSurvey:
		return Survey(s.Mount)
	case ModeRoot:
		return SetRoot(s.Mount, s.Root)
	}
	return Result{}, fmt.Errorf("there is no mode %q", s.Mode)
}

// receiveIndex receives an index layer, nil for none, and reads it as it comes.
func receiveIndex(l *link) (*Tree, error) {
	in := bufio.NewReader(&streamReader{l: l})
	switch _, err := in.Peek(1); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	tree, err := ReadTree(in)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, in) // what follows the archive's end
	return tree, err
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
