// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/openllb/hlb-operator/scheduler"
)

// scenario is one case of a file under testdata/scenarios; testdata/README.md describes the language.
type scenario struct {
	*observed
	line    string            // for messages
	stale   bool              // something has happened since the last observation
	ended   int               // builds made by "ran"
	keys    map[string]string // by the name in the scenario
	recheck time.Duration     // of the last observation
	decided map[string]string // the latest decision about each build
}

// statement is a line: VERB ARGUMENTS... OPTION=VALUE...
type statement struct {
	*scenario
	arguments []string
	options   map[string]string
}

// verb is how a line is carried out. Arguments counts those that must be there; more are allowed where it has others.
type verb struct {
	arguments int
	others    bool
	options   string // allowed ones
	do        func(*statement)
}

// verbs are the language, but for "want".
var verbs = map[string]verb{
	"fleet": {
		options: "replicas slots notReady prefetch prime registry importPolicy waitSecondsPerGiB queues maxPending",
		do:      (*statement).fleet,
	},
	"daemon":     {arguments: 1, others: true, options: "platforms capacity used", do: (*statement).changeDaemon},
	"delete":     {arguments: 1, do: (*statement).delete},
	"key":        {arguments: 1, options: "on used warm cold", do: (*statement).reportKey},
	"mount":      {arguments: 1, options: "on used bytes snapshot", do: (*statement).reportMounts},
	"prune":      {arguments: 1, options: "on", do: (*statement).prune},
	"gc":         {arguments: 1, others: true, options: "budget mounts next lost", do: (*statement).reportGC},
	"prefetched": {arguments: 1, others: true, do: (*statement).endPrefetches},
	"build":      {arguments: 1, options: "key queue priority platform", do: (*statement).queueBuild},
	"start":      {arguments: 1, do: (*statement).start},
	"succeed":    {arguments: 1, do: (*statement).succeed},
	"lose":       {arguments: 1, others: true, options: "reason", do: (*statement).lose},
	"ran": {
		arguments: 1, others: true, options: "on took times mounts bytes sharing primed",
		do: (*statement).ran,
	},
	"restart": {others: true, do: (*statement).restart},
	"wait":    {arguments: 1, do: (*statement).wait},
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases := strings.Split("\n"+string(text), "\n=== ")
		number := strings.Count(cases[0], "\n")
		for _, body := range cases[1:] {
			name, body, _ := strings.Cut(body, "\n")
			first := number + 2
			number += 1 + strings.Count(body, "\n") + 1
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+name, func(t *testing.T) {
				play(t, filepath.Base(file), first, body)
			})
		}
	}
}

// play carries out the lines of a case, of which the first has this number.
func play(t *testing.T, file string, first int, body string) {
	s := &scenario{observed: &observed{t: t}, keys: map[string]string{}, decided: map[string]string{}}
	wants := 0
	for i, line := range strings.Split(body, "\n") {
		s.line = file + ":" + strconv.Itoa(first+i) + ": " + line
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0][0] == '#':
		case fields[0] == "want" && len(fields) > 2:
			wants++
			s.want(fields[1:])
		default:
			s.carryOut(fields)
		}
	}
	if wants == 0 {
		t.Errorf("%s: the case wants nothing", s.line)
	}
}

// carryOut carries out one line.
func (s *scenario) carryOut(fields []string) {
	s.t.Helper()
	v, known := verbs[fields[0]]
	if !known {
		s.t.Fatalf("%s: no such verb", s.line)
	}
	line := &statement{scenario: s, options: map[string]string{}}
	for _, f := range fields[1:] {
		name, value, isOption := strings.Cut(f, "=")
		switch {
		case !isOption:
			line.arguments = append(line.arguments, f)
		case !slices.Contains(strings.Fields(v.options), name):
			s.t.Fatalf("%s: no such option: %s", s.line, name)
		default:
			line.options[name] = value
		}
	}
	if n := len(line.arguments); n < v.arguments || n > v.arguments && !v.others {
		s.t.Fatalf("%s: it has %d arguments, want %d", s.line, n, v.arguments)
	}
	s.stale = true
	v.do(line)
}

// has reports whether a word is among the arguments.
func (l *statement) has(word string) bool { return slices.Contains(l.arguments, word) }

// list splits an option at commas; nothing for one that is left out.
func (l *statement) list(name string) []string {
	if l.options[name] == "" {
		return nil
	}
	return strings.Split(l.options[name], ",")
}

// count is an option that is a number, otherwise when it is left out.
func (l *statement) count(name string, otherwise int) int {
	l.t.Helper()
	if l.options[name] == "" {
		return otherwise
	}
	return l.number(l.options[name])
}

// bytes is an option that is a quantity, otherwise when it is left out.
func (l *statement) bytes(name string, otherwise int64) int64 {
	l.t.Helper()
	if l.options[name] == "" {
		return otherwise
	}
	return l.quantity(l.options[name])
}

// duration is an option that is a duration, otherwise when it is left out.
func (l *statement) duration(name string, otherwise time.Duration) time.Duration {
	l.t.Helper()
	if l.options[name] == "" {
		return otherwise
	}
	return l.span(l.options[name])
}

// oneOf is the word, which must be one of those allowed.
func (s *scenario) oneOf(word, allowed string) string {
	s.t.Helper()
	if !slices.Contains(strings.Fields(allowed), word) {
		s.t.Fatalf("%s: %s is none of %s", s.line, word, allowed)
	}
	return word
}

func (s *scenario) number(text string) int {
	s.t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatalf("%s: %v", s.line, err)
	}
	return n
}

// quantity reads bytes as Kubernetes writes them.
func (s *scenario) quantity(text string) int64 {
	s.t.Helper()
	q, err := resource.ParseQuantity(text)
	if err != nil {
		s.t.Fatalf("%s: %q: %v", s.line, text, err)
	}
	return q.Value()
}

func (s *scenario) span(text string) time.Duration {
	s.t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatalf("%s: %v", s.line, err)
	}
	return d
}

// key is the key of a name. Of app@c-1,c-0 the home is daemon c-1, and the next daemon in its order c-0.
func (s *scenario) key(name string) string {
	s.t.Helper()
	if _, made := s.keys[name]; !made {
		s.keys[name] = name
		if base, order, ordered := strings.Cut(name, "@"); ordered {
			s.keys[name] = s.keyInOrder(base, strings.Split(order, ",")...)
		}
	}
	return s.keys[name]
}

// observe has the State observe the fleet, and carries out what it decides.
func (s *scenario) observe() {
	s.t.Helper()
	w := s.cycle()
	s.recheck, s.stale = w.Recheck, false
	params := s.state.Params()
	for _, d := range scheduler.Cycle(s.state.view, s.state.queue.requests, &params) {
		s.decided[d.UID] = describe(&d)
	}
	written := Written{At: s.now}
	for i := range w.Builds {
		w.Builds[i].Apply(w.Builds[i].Build, s.now)
		if w.Builds[i].IsPlacement() {
			written.Placed = append(written.Placed, w.Builds[i].Placed())
		}
	}
	for _, p := range w.Prefetch {
		p.Daemon.Spec.Prefetch = p.Requests
		written.Prefetch = append(written.Prefetch, p.Added...)
		for _, r := range p.Added {
			if r.Sharing == "" || r.Bytes == 0 || !r.RequestedAt.Time.Equal(s.now.Truncate(time.Second)) {
				s.t.Errorf("%s: %s is requested to prefetch %+v", s.line, p.Daemon.Name, r)
			}
		}
	}
	s.state.Written(written)
}

// describe is a decision in the words of "want".
func describe(d *scheduler.Decision) string {
	switch d.Action {
	case scheduler.Run:
		return "runs " + d.Chosen.Name + " " + d.Reason.String() + " " + strings.ToLower(d.Chosen.Mode.String())
	case scheduler.Wait:
		return "waits " + d.Chosen.Name + " " + d.Reason.String()
	default:
		return "pending " + d.String()
	}
}
