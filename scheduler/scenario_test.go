// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A scenario is a text file under testdata/scenarios: steps split by lines of three dashes, each step a list of facts
// and of wanted decisions. Facts stay from step to step, and a build that is decided to run does run, until an "end"
// line. Lines, with times in seconds:
//
//	# a comment
//	at 60                                              the time is now 60
//	daemon builds-0 slots=2 weight=100 platform=linux/arm64
//	phase builds-0 Draining
//	volume builds-0                                    its volume is new
//	return builds-0 at=90 takes=30                     it restarts, and is expected back at 90 after 30 seconds
//	copy app builds-0 behind=3                         builds-0 holds a copy of key app that has missed 3 builds
//	busy builds-0 until=90                             builds-0 runs something else
//	replicas app 2                                     the key is worth two copies
//	queue a weight=3                                   its share; 1 if not given
//	build b1 key=app warm=20 cold=100 queue=a priority=1 snapshot=2 platform=linux/amd64 failed=builds-1 sharing=Locked
//	end b1                                             it ends well ("fail b1": it does not)
//	want b1 runs builds-0 WarmDaemon warm
//	want b1 waits builds-0 WaitsForWarmDaemon          the reason may be left out
//	want b1 error 0/2 daemons fit: 2 AtCapacity
type scenario struct {
	t       *testing.T
	now     float64
	daemons []Daemon
	ledger  *Ledger
	queue   []Request
	arrived map[string]float64
	running map[string]Decision
	keys    map[string][]KeyUse
	shares  *Shares
	weights map[string]float64 // of queues
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &scenario{
				t: t, ledger: NewLedger(), shares: NewShares(), weights: map[string]float64{},
				arrived: map[string]float64{}, running: map[string]Decision{}, keys: map[string][]KeyUse{},
			}
			line := 0
			for _, step := range strings.Split(string(text), "\n---\n") {
				var wants []string
				for _, l := range strings.Split(step, "\n") {
					line++
					l = strings.TrimSpace(l)
					switch {
					case l == "" || strings.HasPrefix(l, "#"):
					case strings.HasPrefix(l, "want "):
						wants = append(wants, fmt.Sprintf("%d %s", line, l))
					default:
						s.fact(line, strings.Fields(l))
					}
				}
				line++
				s.decide(wants)
			}
		})
	}
}

// options are the name=value fields of a line.
func options(fields []string) map[string]string {
	m := map[string]string{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		m[name] = value
	}
	return m
}

// number reads an option, 0 if it is not given.
func (s *scenario) number(line int, text string) float64 {
	if text == "" {
		return 0
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		s.t.Fatalf("line %d: %v", line, err)
	}
	return x
}

// daemon finds a daemon by name.
func (s *scenario) daemon(line int, name string) *Daemon {
	i := slices.IndexFunc(s.daemons, func(d Daemon) bool { return d.Name == name })
	if i < 0 {
		s.t.Fatalf("line %d: no daemon %q", line, name)
	}
	return &s.daemons[i]
}

func (s *scenario) fact(line int, f []string) {
	o := options(f[2:])
	switch f[0] {
	case "at":
		s.now = s.number(line, f[1])
	case "daemon":
		ordinal, err := strconv.Atoi(strings.TrimPrefix(f[1], "builds-"))
		if err != nil {
			s.t.Fatalf("line %d: daemons are called builds-N: %v", line, err)
		}
		d := Daemon{ID: DaemonOf("ns/builds", ordinal), Name: f[1], Phase: Ready, Epoch: 1,
			Slots: int32(s.number(line, o["slots"])), Weight: uint32(s.number(line, o["weight"]))}
		if o["platform"] != "" {
			d.Platforms = []string{o["platform"]}
		}
		s.daemons = append(s.daemons, d)
	case "phase":
		if err := s.daemon(line, f[1]).Phase.UnmarshalText([]byte(f[2])); err != nil {
			s.t.Fatalf("line %d: %v", line, err)
		}
	case "volume":
		s.daemon(line, f[1]).Epoch++
	case "return":
		s.daemon(line, f[1]).Return = Busy{s.number(line, o["at"]), s.number(line, o["takes"])}
	case "copy":
		d := s.daemon(line, f[2])
		s.ledger.Restore(KeyOf("ns", f[1]),
			Copy{Daemon: d.ID, Epoch: d.Epoch, Version: 20 - uint32(s.number(line, o["behind"]))})
	case "busy":
		d := s.daemon(line, f[1])
		until := s.number(line, o["until"])
		d.Running++
		d.Busy = append(d.Busy, Busy{EndsAtSeconds: until, ExpectedSeconds: until - s.now})
	case "replicas":
		s.ledger.WantReplicas(KeyOf("ns", f[1]), int32(s.number(line, f[2])))
	case "queue":
		s.weights[f[1]] = s.number(line, o["weight"])
		s.shares.SetWeights(s.weights)
	case "build":
		s.build(line, f[1], o)
	case "end", "fail":
		s.end(line, f[1], f[0] == "end")
	default:
		s.t.Fatalf("line %d: no such fact %q", line, f[0])
	}
}

func (s *scenario) build(line int, uid string, o map[string]string) {
	r := Request{UID: uid, Queue: o["queue"], Priority: int32(s.number(line, o["priority"])), Platform: o["platform"],
		WarmSeconds: s.number(line, o["warm"]), ColdSeconds: s.number(line, o["cold"])}
	use := KeyUse{ID: KeyOf("ns", o["key"]), SnapshotBytes: int64(1e9 * s.number(line, o["snapshot"])),
		SnapshotFresh: 1}
	if o["sharing"] != "" {
		if err := use.Sharing.UnmarshalText([]byte(o["sharing"])); err != nil {
			s.t.Fatalf("line %d: %v", line, err)
		}
	}
	r.Keys = []KeyUse{use}
	if o["failed"] != "" {
		r.FailedOn = []DaemonID{s.daemon(line, o["failed"]).ID}
	}
	s.queue = append(s.queue, r)
	s.arrived[uid], s.keys[uid] = s.now, r.Keys
}

func (s *scenario) end(line int, uid string, success bool) {
	d, runs := s.running[uid]
	if !runs {
		s.t.Fatalf("line %d: %s does not run", line, uid)
	}
	daemon := s.daemon(line, d.Chosen.Name)
	daemon.Running--
	daemon.Busy = slices.DeleteFunc(daemon.Busy, func(b Busy) bool { return b == d.busy() })
	s.ledger.End(s.keys[uid][0].ID, daemon.ID, daemon.Epoch, s.now, success, 0)
}

// busy is the slot that a decided build takes, made unique by the load it was decided under.
func (d *Decision) busy() Busy {
	seconds := d.Chosen.Cost.SetupSeconds + d.Chosen.Cost.ServiceSeconds
	return Busy{EndsAtSeconds: d.Load + seconds, ExpectedSeconds: seconds}
}

// decide runs a round, compares it with what is wanted, and carries it out.
func (s *scenario) decide(wants []string) {
	p := DefaultParams()
	v, err := NewView(s.daemons, s.ledger, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	v.Shares = s.shares
	for i := range s.queue {
		s.queue[i].AgeSeconds = s.now - s.arrived[s.queue[i].UID]
	}
	left := s.queue[:0:0]
	told := map[string]string{}
	for i, d := range Cycle(v, s.queue, &p) {
		c := &d.Chosen
		switch d.Action {
		case Run:
			told[d.UID] = fmt.Sprintf("runs %s %s %s", c.Name, d.Reason, strings.ToLower(c.Mode.String()))
			d.Load = s.now // from here on the instant of its start, for busy
			s.running[d.UID] = d
			daemon := s.daemon(0, c.Name)
			daemon.Running++
			daemon.Busy = append(daemon.Busy, d.busy())
			s.ledger.Begin(s.queue[i].Keys[0].ID, daemon.ID, daemon.Epoch, s.now, d.busy().EndsAtSeconds, s.now+3600)
			s.shares.Begin(s.queue[i].Queue, d.busy().ExpectedSeconds)
			continue
		case Wait:
			told[d.UID] = fmt.Sprintf("waits %s %s", c.Name, d.Reason)
		default:
			told[d.UID] = "error " + d.Err().Error()
		}
		left = append(left, s.queue[i])
	}
	s.queue = left
	for _, w := range wants {
		f := strings.SplitN(w, " ", 4)
		if got := told[f[2]]; got != f[3] && !(strings.HasPrefix(f[3], "waits ") && strings.HasPrefix(got, f[3]+" ")) {
			s.t.Errorf("line %s: %s %s, want %s", f[0], f[2], cmp.Or(got, "is not in the queue"), f[3])
		}
	}
}
