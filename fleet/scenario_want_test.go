// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/scheduler"
)

// wants are what can be wanted of things that are no builds.
var wants = map[string]func(s *scenario, f []string){
	"length":   (*scenario).wantLength,
	"copies":   (*scenario).wantCopies,
	"price":    (*scenario).wantPrice,
	"prefetch": (*scenario).wantPrefetch,
	"recheck":  (*scenario).wantRecheck,
	"budget":   (*scenario).wantBudget,
	"weight":   (*scenario).wantWeight,
	"pull":     (*scenario).wantPull,
	"restart":  (*scenario).wantRestart,
}

// want compares one thing with what is wanted of it, in a State that has observed all that has happened.
func (s *scenario) want(f []string) {
	s.t.Helper()
	if s.stale {
		s.observe()
	}
	if check := wants[f[0]]; check != nil {
		check(s, f[1:])
		return
	}
	got := s.decided[string(s.buildNamed(f[0]).UID)]
	if f[1] != "runs" && f[1] != "waits" {
		s.same(got, f[1:])
		return
	}
	for _, word := range f[1:] { // the reason and the mode may be left out
		if !slices.Contains(strings.Fields(got), word) {
			s.t.Errorf("%s: the build %s", s.line, got)
			return
		}
	}
}

// seen is a daemon as the scheduler saw it last.
func (s *scenario) seen(name string) scheduler.Daemon {
	s.t.Helper()
	for _, d := range s.state.view.Daemons {
		if d.Name == name {
			return d
		}
	}
	s.t.Fatalf("%s: no daemon %s", s.line, name)
	return scheduler.Daemon{}
}

// wantLength compares the expected lengths of a key's builds, warm and cold, within 2%.
func (s *scenario) wantLength(f []string) {
	s.t.Helper()
	warm, cold := s.expect(s.key(f[0]))
	if !near(warm, s.span(f[1]).Seconds()) || !near(cold, s.span(f[2]).Seconds()) {
		s.t.Errorf("%s: it is %.1fs and %.1fs", s.line, warm, cold)
	}
}

// wantCopies compares the daemons that hold a key: DAEMON:SEEN/BUILDS.
func (s *scenario) wantCopies(f []string) {
	s.t.Helper()
	id := s.keyID(s.key(f[0]))
	var out []string
	for i := range s.daemons {
		for _, c := range s.state.ledger.Copies(id) {
			if c.Daemon == s.daemonID(i) {
				out = append(out, fmt.Sprintf("%s:%d/%d", s.daemons[i].Name, c.Version, s.state.ledger.Version(id)))
			}
		}
	}
	s.same(strings.Join(out, " "), f[1:])
}

// wantPrice compares what later builds lose by each GB that is evicted on a daemon, in seconds, with two bounds.
func (s *scenario) wantPrice(f []string) {
	s.t.Helper()
	got := time.Duration(s.seen(f[0]).EvictSecondsPerGB * float64(time.Second))
	if got < s.span(f[1]) || got > s.span(f[2]) {
		s.t.Errorf("%s: it is %s", s.line, got)
	}
}

// wantPrefetch compares the mounts that a daemon is requested to prefetch.
func (s *scenario) wantPrefetch(f []string) {
	s.t.Helper()
	var ids []string
	for _, r := range s.daemonNamed(f[0]).Spec.Prefetch {
		ids = append(ids, strings.TrimPrefix(r.ID, "ns/"))
	}
	s.same(strings.Join(ids, " "), f[1:])
}

// wantRecheck compares when the State asks to be called again although nothing happens.
func (s *scenario) wantRecheck(f []string) {
	s.t.Helper()
	want := time.Duration(0)
	if f[0] != "never" {
		want = s.span(f[0])
	}
	if s.recheck != want {
		s.t.Errorf("%s: it is in %s", s.line, s.recheck)
	}
}

// wantBudget compares the bytes that may be prefetched now.
func (s *scenario) wantBudget(f []string) {
	s.t.Helper()
	if got := s.state.prefetch.Budget.Tokens; got != float64(s.quantity(f[0])) {
		s.t.Errorf("%s: it is %g", s.line, got)
	}
}

// wantWeight compares a daemon's share of new keys; 1000 is that of the smallest volume.
func (s *scenario) wantWeight(f []string) {
	s.t.Helper()
	s.same(strconv.Itoa(int(s.seen(f[0]).Weight)), f[1:])
}

// wantPull compares how fast snapshots come in: bytes a second of a daemon, and of the fleet the fixed part too.
func (s *scenario) wantPull(f []string) {
	s.t.Helper()
	rate, fixed := 0.0, 0.0
	if f[0] == "fleet" {
		p := s.state.learnedParams()
		rate, fixed = p.PullBytesPerSecond, p.PrimeFixedSeconds
	} else {
		rate = s.seen(f[0]).PullBytesPerSecond
	}
	if !near(rate, float64(s.quantity(f[1]))) || len(f) > 2 && !near(fixed, s.span(f[2]).Seconds()) {
		s.t.Errorf("%s: it is %.0f bytes a second after %.2fs", s.line, rate, fixed)
	}
}

func (s *scenario) same(got string, want []string) {
	s.t.Helper()
	if got != strings.Join(want, " ") {
		s.t.Errorf("%s: got %q", s.line, got)
	}
}

// near reports whether two figures are the same but for 2%.
func near(got, want float64) bool { return math.Abs(got-want) <= 0.02*want }

// TestTheLanguageIsDocumented looks for every word of the language in its description.
func TestTheLanguageIsDocumented(t *testing.T) {
	text, err := os.ReadFile("testdata/README.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for name, v := range verbs {
		if !strings.Contains(page, "`"+name) {
			t.Errorf("the verb %s is missing", name)
		}
		for option := range strings.FieldsSeq(v.options) {
			if !strings.Contains(page, option+"=") {
				t.Errorf("the option %s of %s is missing", option, name)
			}
		}
	}
	for word := range daemonWords {
		if !strings.Contains(page, "`"+word+"`") {
			t.Errorf("the state %s of daemons is missing", word)
		}
	}
	for what := range wants {
		if !strings.Contains(page, "`want "+what+" ") {
			t.Errorf("want %s is missing", what)
		}
	}
}

// wantRestart compares how long a restart of a cause is expected to take, within 2%.
func (s *scenario) wantRestart(f []string) {
	s.t.Helper()
	if got := s.state.restarts.Expect(f[0]); !near(got, s.span(f[1]).Seconds()) {
		s.t.Errorf("%s: it is %.1fs", s.line, got)
	}
}
