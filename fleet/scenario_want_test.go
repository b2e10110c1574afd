// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// want compares one thing with what is wanted of it.
func (s *scenario) want(what string, f []string) {
	s.t.Helper()
	switch what {
	case "length":
		warm, cold := s.expect(s.key(f[0]))
		s.near("the warm length", warm, s.number(f[1]))
		s.near("the cold length", cold, s.number(f[2]))
	case "copies":
		s.same("the copies are", s.copies(s.key(f[0])), strings.Join(f[1:], " "))
	case "price":
		got := s.daemon("c-" + f[0]).EvictSecondsPerGB
		if got < s.number(f[1]) || got > s.number(f[2]) {
			s.t.Errorf("%s: the price is %.1f", s.line, got)
		}
	case "prefetch":
		var ids []string
		for _, r := range s.daemonAt(f[0]).Spec.Prefetch {
			ids = append(ids, strings.TrimPrefix(r.ID, "ns/"))
		}
		s.same("requested are", strings.Join(ids, " "), strings.Join(f[1:], " "))
	case "recheck":
		if want := time.Duration(s.number(f[0])) * time.Second; s.recheck != want {
			s.t.Errorf("%s: it is %s", s.line, s.recheck)
		}
	default:
		s.same("the build", s.decided[what], strings.Join(f, " "))
	}
}

func (s *scenario) same(what, got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: %s %q", s.line, what, got)
	}
}

func (s *scenario) near(what string, got, want float64) {
	s.t.Helper()
	if math.Abs(got-want) > 0.02*want {
		s.t.Errorf("%s: %s is %.1f", s.line, what, got)
	}
}

// copies lists the daemons that hold a key, each with the builds that its copy has seen.
func (s *scenario) copies(key string) string {
	var out []string
	for i := range s.daemons {
		for _, c := range s.state.ledger.Copies(s.keyID(key)) {
			if c.Daemon == s.daemonID(i) {
				out = append(out, fmt.Sprintf("%s:%d", strings.TrimPrefix(s.daemons[i].Name, "c-"), c.Version))
			}
		}
	}
	return strings.Join(out, " ")
}
