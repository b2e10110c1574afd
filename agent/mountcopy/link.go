// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// message is what a part of the conversation is. The step that copies and the agent talk over one connection, each
// part with its length in front.
type message byte

const (
	// hello is the first of the step, with the token that tells it from other programs.
	hello message = 'h'
	// data and end are a stream of bytes, such as a layer: any number of data, then end.
	data message = 'd'
	end  message = 'e'
	// ready asks for the next of the layers that a mount is primed from, and answers that there is none.
	ready message = 'r'
	// result is the last of the step: a Result, or failed with what went wrong.
	result message = 'o'
	failed message = 'f'
)

const (
	// partLimit bounds a part, in bytes.
	partLimit = 1 << 20
	// tokenLimit bounds what is read of a program that nobody knows.
	tokenLimit = 128
)

// RemoteError is what went wrong inside the step.
type RemoteError struct {
	Message string
}

func (e *RemoteError) Error() string { return e.Message }

// link is one end of the conversation. One goroutine may send while another one receives.
type link struct {
	conn io.ReadWriter
}

func (l *link) send(m message, payload []byte) error {
	header := make([]byte, 5)
	header[0] = byte(m)
	binary.BigEndian.PutUint32(header[1:], uint32(len(payload)))
	parts := net.Buffers{header}
	if len(payload) > 0 {
		parts = append(parts, payload)
	}
	_, err := parts.WriteTo(l.conn)
	return err
}

// next reads the head of a part, whose bytes are to be read from the connection. A failure of the other end is a
// *RemoteError.
func (l *link) next() (message, int, error) {
	var header [5]byte
	if _, err := io.ReadFull(l.conn, header[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, err
	}
	m, n := message(header[0]), binary.BigEndian.Uint32(header[1:])
	if n > partLimit {
		return 0, 0, fmt.Errorf("a part of %d bytes: there are none of more than %d", n, partLimit)
	}
	if m == failed {
		text, err := l.payload(int(n))
		if err != nil {
			return 0, 0, err
		}
		return 0, 0, &RemoteError{string(text)}
	}
	return m, int(n), nil
}

func (l *link) payload(n int) ([]byte, error) {
	payload := make([]byte, n)
	_, err := io.ReadFull(l.conn, payload)
	return payload, err
}

// expect reads a part that must be m.
func (l *link) expect(m message) ([]byte, error) {
	got, n, err := l.next()
	if err != nil {
		return nil, err
	}
	if got != m {
		return nil, fmt.Errorf("the other end sent %q instead of %q", got, m)
	}
	return l.payload(n)
}

// streamWriter sends a stream.
type streamWriter struct{ l *link }

// Write implements io.Writer.
func (w streamWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), partLimit)
		if err := w.l.send(data, rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// Close ends the stream.
func (w streamWriter) Close() error { return w.l.send(end, nil) }

// streamReader receives a stream, up to its end.
type streamReader struct {
	l    *link
	left int // bytes of the part that are not read yet
	over bool
}

// Read implements io.Reader.
func (r *streamReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if r.over {
			return 0, io.EOF
		}
		m, n, err := r.l.next()
		switch {
		case err != nil:
			return 0, err
		case m == end:
			r.over = true
		case m != data:
			return 0, fmt.Errorf("the other end sent %q inside of a stream", m)
		}
		r.left = n
	}
	n, err := r.l.conn.Read(p[:min(len(p), r.left)])
	r.left -= n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
