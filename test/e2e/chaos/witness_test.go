// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// execution is one process of a step, as it told the witness itself.
type execution struct {
	first, last time.Time // when it was first and last heard of
	done        bool
}

// witness is a server outside of the cluster to which every step reports each second, so that what really ran is known
// without any status.
type witness struct {
	address string
	server  *http.Server

	mu   sync.Mutex
	seen map[string]map[string]*execution // by build, and by execution
}

// startWitness listens on an address of this machine that pods reach.
func startWitness(host string) (*witness, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, err
	}
	w := &witness{address: l.Addr().String(), seen: map[string]map[string]*execution{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/alive", func(_ http.ResponseWriter, r *http.Request) { w.hear(r, false) })
	mux.HandleFunc("/done", func(_ http.ResponseWriter, r *http.Request) { w.hear(r, true) })
	w.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go w.server.Serve(l) //nolint:errcheck // it ends with Close
	return w, nil
}

func (w *witness) hear(r *http.Request, done bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	build, id := r.FormValue("b"), r.FormValue("e")
	if w.seen[build] == nil {
		w.seen[build] = map[string]*execution{}
	}
	e := w.seen[build][id]
	if e == nil {
		e = &execution{first: time.Now()}
		w.seen[build][id] = e
	}
	e.last, e.done = time.Now(), e.done || done
}

// verdict is what the witness knows of a build.
type verdict struct {
	// executions is how many processes there were, done how many of them came to their end.
	executions, done int
	// overlapped: two of them lived at the same time.
	overlapped bool
	last       time.Time // when any of them was last heard of
}

func (w *witness) of(build string) (v verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*execution
	for _, e := range w.seen[build] {
		all = append(all, e)
		v.executions++
		if e.last.After(v.last) {
			v.last = e.last
		}
		if e.done {
			v.done++
		}
	}
	for i, a := range all {
		for _, b := range all[i+1:] {
			v.overlapped = v.overlapped || a.first.Before(b.last) && b.first.Before(a.last)
		}
	}
	return v
}
