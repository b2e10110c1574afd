// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"bytes"
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
)

// Peer is the agent's half of a copy: it talks to the step. Its methods end when the connection is closed.
type Peer struct {
	l    *link
	conn net.Conn
}

// Accept takes up a connection, which must be a step's with the token. It should have a deadline. The step waits for
// Welcome, and comes again when the connection ends before it.
func Accept(conn net.Conn, token string) (*Peer, error) {
	l := &link{conn}
	m, n, err := l.next()
	if err != nil {
		return nil, err
	}
	if m != hello || n > tokenLimit {
		return nil, errors.New("the connection is no step's")
	}
	got, err := l.payload(n)
	if err == nil && subtle.ConstantTimeCompare(got, []byte(token)) != 1 {
		err = errors.New("the step has another token")
	}
	return &Peer{l: l, conn: conn}, err
}

// Welcome tells the step that this connection is the one for the copy.
func (p *Peer) Welcome() error { return p.l.send(ready, nil) }

// Snapshot sends the base's index layer, nil for none, and calls push with each new layer, the lowest first. The
// result names those.
func (p *Peer) Snapshot(base io.Reader, push func(layer io.Reader) error) (res Result, err error) {
	if base == nil {
		base = bytes.NewReader(nil)
	}
	if err := p.stream(base); err != nil {
		return res, err
	}
	for {
		n, more, err := p.nextOrResult(data, &res)
		if err != nil || !more {
			return res, err
		}
		layer := &remembering{r: &streamReader{l: p.l, left: n}}
		err = push(layer)
		if err = cmp.Or(layer.err, err); err != nil {
			return res, err
		}
		if _, err := io.Copy(io.Discard, layer); err != nil {
			return res, err
		}
	}
}

// remembering keeps the error that reading ended with, which others wrap or hide.
type remembering struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// Prime sends the index layer, and layers for as long as the step asks for more.
func (p *Peer) Prime(index io.Reader, layers Layers) (res Result, err error) {
	if err := p.stream(index); err != nil {
		return res, err
	}
	type answer struct {
		more bool
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // the step may fail while it is sent a layer
		for more := true; more; {
			var err error
			_, more, err = p.nextOrResult(ready, &res)
			answers <- answer{more, err}
		}
	}()
	for {
		switch a := <-answers; {
		case a.err != nil:
			return Result{}, a.err
		case !a.more:
			return res, nil
		}
		if err := p.sendLayer(layers); err != nil {
			p.conn.Close()
			var said *RemoteError
			if a := <-answers; errors.As(a.err, &said) {
				return Result{}, said
			}
			return Result{}, err
		}
	}
}

func (p *Peer) sendLayer(layers Layers) error {
	next, err := layers()
	if errors.Is(err, io.EOF) {
		return p.l.send(ready, nil) // there is none
	}
	if err != nil {
		return err
	}
	return p.stream(next)
}

// Digest waits for the result of a step that is sent nothing: a digest, a survey, or what came of a root.
func (p *Peer) Digest() (res Result, err error) {
	text, err := p.l.expect(result)
	if err != nil {
		return res, err
	}
	err = json.Unmarshal(text, &res)
	return res, err
}

// stream sends all of r.
func (p *Peer) stream(r io.Reader) error {
	w := streamWriter{p.l}
	if _, err := io.CopyBuffer(onlyWriter{w}, onlyReader{r}, make([]byte, 1<<18)); err != nil {
		return err
	}
	return w.Close()
}

// nextOrResult reads the head of a part that must be want, whose length it returns, or the result, after which there
// is no more.
func (p *Peer) nextOrResult(want message, res *Result) (n int, more bool, err error) {
	m, n, err := p.l.next()
	switch {
	case err != nil:
		return 0, false, err
	case m == want:
		return n, true, nil
	case m != result:
		return 0, false, fmt.Errorf("the step sent %q instead of %q or a result", m, want)
	}
	text, err := p.l.payload(n)
	if err != nil {
		return 0, false, err
	}
	return 0, false, json.Unmarshal(text, res)
}
