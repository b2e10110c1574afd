// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"bytes"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// logTailBytes is how much of a step's output is kept for its error: about 40 lines, well under what a status field
// may hold.
const logTailBytes = 4096

// tracker watches the status of all solves of a run. It is safe for concurrent use.
type tracker struct {
	mu      sync.Mutex
	forward func(*client.SolveStatus)
	ran     map[digest.Digest]bool
	cached  map[digest.Digest]bool
	users   map[digest.Digest]map[digest.Digest]bool // vertices by the vertex that they are inputs of
	inner   map[digest.Digest]bool                   // vertices that have inputs
	starts  map[digest.Digest]map[time.Time]bool     // of vertices without inputs: whether what began then was cached
	errs    map[digest.Digest]string
	names   map[digest.Digest]string
	logs    map[digest.Digest][]byte
}

func newTracker(forward func(*client.SolveStatus)) *tracker {
	return &tracker{
		forward: forward,
		ran:     map[digest.Digest]bool{},
		cached:  map[digest.Digest]bool{},
		users:   map[digest.Digest]map[digest.Digest]bool{},
		inner:   map[digest.Digest]bool{},
		starts:  map[digest.Digest]map[time.Time]bool{},
		errs:    map[digest.Digest]string{},
		names:   map[digest.Digest]string{},
		logs:    map[digest.Digest][]byte{},
	}
}

// channel returns a channel to pass to a solve, which closes it, and a function that waits until all of it was read.
func (t *tracker) channel() (ch chan *client.SolveStatus, wait func()) {
	ch = make(chan *client.SolveStatus)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range ch {
			t.see(s)
		}
	}()
	return ch, func() { <-done }
}

func (t *tracker) see(s *client.SolveStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range s.Vertexes {
		t.names[v.Digest] = v.Name
		t.link(v)
		if v.Error != "" {
			t.errs[v.Digest] = v.Error
		}
		t.start(v)
		switch {
		case v.Cached:
			t.cached[v.Digest] = true
		case v.Started != nil && (len(v.Inputs) > 0 || !t.cached[v.Digest]):
			// Fetching the layers of a cached step is shown as if the step ran, but after it was shown as cached and
			// without its inputs.
			t.ran[v.Digest] = true
		}
	}
	for _, l := range s.Logs {
		t.logs[l.Vertex] = tail(append(t.logs[l.Vertex], l.Data...))
	}
	if t.forward != nil {
		t.forward(s)
	}
}

// start notes when something of a vertex without inputs began.
func (t *tracker) start(v *client.Vertex) {
	if v.Started == nil || len(v.Inputs) > 0 {
		return
	}
	if t.starts[v.Digest] == nil {
		t.starts[v.Digest] = map[time.Time]bool{}
	}
	t.starts[v.Digest][*v.Started] = v.Cached
}

// link notes what v is made from.
func (t *tracker) link(v *client.Vertex) {
	for _, input := range v.Inputs {
		t.inner[v.Digest] = true
		if t.users[input] == nil {
			t.users[input] = map[digest.Digest]bool{}
		}
		t.users[input][v.Digest] = true
	}
}

// tail cuts b to its last logTailBytes, at a line's start where there is one.
func tail(b []byte) []byte {
	if len(b) <= logTailBytes {
		return b
	}
	b = b[len(b)-logTailBytes:]
	if i := bytes.IndexByte(b, '\n'); i >= 0 && i+1 < len(b) {
		b = b[i+1:]
	}
	return append([]byte(nil), b...)
}

// step reports whether a step ran and whether it was cached. A step that ran in one solve and is then found by
// another solve of the same run counts as having run.
func (t *tracker) step(d digest.Digest) (ran, cached bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ran = t.ran[d] && (t.inner[d] || t.needed(d))
	return ran, t.cached[d] && !ran
}

// needed reports whether the result of a vertex without inputs was asked for. BuildKit shows such a vertex as started
// when it only works out its cache key, so that alone says nothing; but its result is asked for exactly when
// something made from it ran, or when it is the result itself. That one then begins again: as cached, or to run.
func (t *tracker) needed(d digest.Digest) bool {
	for user := range t.users[d] {
		if t.ran[user] {
			return true
		}
	}
	return len(t.users[d]) == 0 && t.beganToRun(d)
}

// beganToRun reports whether a vertex without inputs was never cached, or began twice in a row without being cached.
func (t *tracker) beganToRun(d digest.Digest) bool {
	if !t.cached[d] {
		return true
	}
	times := slices.SortedFunc(maps.Keys(t.starts[d]), time.Time.Compare)
	for i := 1; i < len(times); i++ {
		if !t.starts[d][times[i-1]] && !t.starts[d][times[i]] {
			return true
		}
	}
	return false
}

func (t *tracker) logTail(d digest.Digest) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.logs[d])
}

func (t *tracker) name(d digest.Digest) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.names[d]
}

// errorNamed returns the error of a vertex of the daemon's own whose name begins with prefix, empty if there is none.
// isProgram reports whether a vertex is of the program, which can give any name to its own.
func (t *tracker) errorNamed(prefix string, isProgram func(digest.Digest) bool) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for d, name := range t.names {
		if len(name) >= len(prefix) && name[:len(prefix)] == prefix && t.errs[d] != "" &&
			!isProgram(d) {
			return t.errs[d]
		}
	}
	return ""
}
