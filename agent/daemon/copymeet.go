// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/openllb/hlb-operator/agent/mountcopy"
)

const (
	// helloTimeout is how long a connection may take to say whose it is.
	helloTimeout = 5 * time.Second
	// maxStrangers is how many connections may be about to say so; the oldest is dropped for another one.
	maxStrangers = 64
)

// arrival is a connection that turned out to be the step's.
type arrival struct {
	conn net.Conn
	step *mountcopy.Peer
}

// meet accepts connections until one of them is the step's, and returns it; ok is false when ended is done first. Where
// steps of builds share the pod's network they can come here, too. None of them makes the step wait: one that was
// dropped comes again.
func meet(ended context.Context, l net.Listener, token string) (_ arrival, ok bool) {
	found, over := make(chan arrival), make(chan struct{})
	defer close(over)
	defer l.Close()
	go func() {
		var waiting strangers
		defer waiting.dropAll()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			waiting.add(conn)
			go func() {
				conn.SetDeadline(time.Now().Add(helloTimeout)) //nolint:errcheck // of no use on a broken connection
				step, err := mountcopy.Accept(conn, token)
				if !waiting.remove(conn) || err != nil || step.Welcome() != nil {
					conn.Close()
					return
				}
				conn.SetDeadline(time.Time{}) //nolint:errcheck // see above
				select {
				case found <- arrival{conn, step}:
				case <-over:
					conn.Close()
				}
			}()
		}
	}()
	select {
	case a := <-found:
		return a, true
	case <-ended.Done():
		return arrival{}, false
	}
}

// strangers are connections of which nothing is known yet, the oldest first.
type strangers struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (s *strangers) add(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) == maxStrangers {
		s.conns[0].Close()
		s.conns = s.conns[1:]
	}
	s.conns = append(s.conns, conn)
}

// remove forgets a connection, and reports whether it was still there.
func (s *strangers) remove(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.conns, conn)
	if at >= 0 {
		s.conns = slices.Delete(s.conns, at, at+1)
	}
	return at >= 0
}

func (s *strangers) dropAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		conn.Close()
	}
}
