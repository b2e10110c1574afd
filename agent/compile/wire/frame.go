// SPDX-License-Identifier: Apache-2.0

// Package wire is the protocol between an agent and the child process that compiles a program. It runs over a pipe in
// each direction. The agent sends a Start, the child answers with any number of Calls, each of which the agent answers
// with an Answer, and at last with a Result.
//
// A frame is two lengths of four bytes, big-endian, then a header of the first length, which is JSON, and a body of the
// second one, which is the header's blobs one after another. Whoever reads a frame knows beforehand how long it may be,
// and nothing of it is read before its lengths are known to fit.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// TooLongError is about a frame that is longer than what the reader takes.
type TooLongError struct {
	Bytes, Limit int64
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("a message of %d bytes is longer than %d", e.Bytes, e.Limit)
}

// ErrMalformed is in errors about a frame that does not keep to the protocol.
var ErrMalformed = errors.New("the message is malformed")

// header is what a frame says of itself.
type header struct {
	Value json.RawMessage `json:"value"`
	// Blobs are the lengths of the parts of the body.
	Blobs []int `json:"blobs,omitempty"`
}

// Write writes a frame with a value, as JSON, and blobs.
func Write(w io.Writer, value any, blobs ...[]byte) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	h, body := header{Value: encoded}, 0
	for _, b := range blobs {
		h.Blobs = append(h.Blobs, len(b))
		body += len(b)
	}
	head, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	if len(head) > 1<<31 || body > 1<<31 {
		return &TooLongError{int64(len(head)) + int64(body), 1 << 31}
	}
	lengths := binary.BigEndian.AppendUint32(nil, uint32(len(head)))
	lengths = binary.BigEndian.AppendUint32(lengths, uint32(body))
	for _, part := range append([][]byte{lengths, head}, blobs...) {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write a message: %w", err)
		}
	}
	return nil
}

// Read reads a frame of at most limit bytes and decodes its value into value. The blobs share memory. The error is
// io.EOF when there is no further frame, and a *TooLongError for one that is too long.
func Read(r io.Reader, limit int64, value any) (blobs [][]byte, err error) {
	var lengths [8]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return nil, err
	}
	head, body := int64(binary.BigEndian.Uint32(lengths[:4])), int64(binary.BigEndian.Uint32(lengths[4:]))
	if head+body > limit {
		return nil, &TooLongError{head + body, limit}
	}
	text, rest := make([]byte, head), make([]byte, body) // apart: the blobs may be kept for long
	for _, part := range [][]byte{text, rest} {
		if _, err := io.ReadFull(r, part); err != nil {
			return nil, errors.Join(io.ErrUnexpectedEOF, err)
		}
	}
	var h header
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := json.Unmarshal(h.Value, value); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	for _, n := range h.Blobs {
		if n < 0 || n > len(rest) {
			return nil, fmt.Errorf("%w: its body is too short", ErrMalformed)
		}
		blobs, rest = append(blobs, rest[:n:n]), rest[n:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: its body is too long", ErrMalformed)
	}
	return blobs, nil
}
