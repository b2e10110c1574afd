// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/scheduler"
)

// ExplainPath is where the manager serves recent rounds of placement, and below it each round by number.
const ExplainPath = "/debug/placements"

// Bounds of what is kept. Rounds are kept as they were decided and written as JSON only when somebody asks.
const (
	keptRounds     = 256
	keptRoundBytes = 16 << 20
)

// Explanations are the latest rounds of placement with all they were decided from, for people who ask why. The oldest
// go when there are too many or they grow too large. It is safe for concurrent use.
type Explanations struct {
	mu     sync.Mutex
	next   int64
	bytes  int
	rounds []explained // oldest first
}

// explained is one round that was kept. Nothing in it is written again.
type explained struct {
	Round  int64            `json:"round"`
	Time   time.Time        `json:"time"`
	Cache  string           `json:"cache"` // namespace/name
	Builds []explainedBuild `json:"builds"`

	names  []string // of the builds, in the record's order
	record *scheduler.Record
	bytes  int
}

// explainedBuild is one build's decision in short.
type explainedBuild struct {
	Name     string `json:"name"`
	Action   string `json:"action"`
	Daemon   string `json:"daemon,omitempty"`
	Decision string `json:"decision"`
}

// add keeps a round of a cache.
func (e *Explanations) add(cache types.NamespacedName, now time.Time, round *fleet.Round) {
	r := explained{Time: now, Cache: cache.String(), names: round.Names, record: round.Record}
	r.bytes = sizeOf(r.record)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	r.Round = e.next
	e.rounds = append(e.rounds, r)
	e.bytes += r.bytes
	drop := 0
	for drop < len(e.rounds) && (len(e.rounds)-drop > keptRounds || e.bytes > keptRoundBytes) {
		e.bytes -= e.rounds[drop].bytes
		drop++
	}
	e.rounds = append([]explained(nil), e.rounds[drop:]...)
}

// sizeOf is about how much memory a record takes, in bytes: its parts' sizes by unsafe.Sizeof on 64 bits, with what
// they point to as a rule.
func sizeOf(r *scheduler.Record) int {
	size := 300*len(r.Daemons) + 500*len(r.Queue) + 450*len(r.Decisions) + 80*len(r.Keys)
	for i := range r.Daemons {
		size += 16 * len(r.Daemons[i].Busy)
	}
	for i := range r.Queue {
		size += 64 * len(r.Queue[i].Keys)
	}
	for i := range r.Keys {
		size += 80 * len(r.Keys[i].Copies)
	}
	return size
}

// short lists the decisions of the builds of this name, of all builds for the empty one.
func (r *explained) short(build string) []explainedBuild {
	var out []explainedBuild
	for i, name := range r.names {
		if d := &r.record.Decisions[i]; build == "" || build == name {
			out = append(
				out,
				explainedBuild{Name: name, Action: d.Action.String(), Daemon: d.Chosen.Name, Decision: d.String()},
			)
		}
	}
	return out
}

// ServeHTTP lists the rounds, newest first, those of ?cache=NAMESPACE/NAME and ?build=NAME where these are given;
// below the list's path, a round's number yields the record that `go run ./cmd/replay` decides again.
func (e *Explanations) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	number := strings.Trim(strings.TrimPrefix(r.URL.Path, ExplainPath), "/")
	w.Header().Set("Content-Type", "application/json")
	if number == "" {
		//nolint:errcheck // the client went away
		json.NewEncoder(w).Encode(e.list(r.URL.Query().Get("cache"), r.URL.Query().Get("build")))
		return
	}
	record := e.record(number)
	if record == nil {
		http.Error(w, fmt.Sprintf("round %q is not kept (any more)", number), http.StatusNotFound)
		return
	}
	record.Write(w) //nolint:errcheck // the client went away
}

func (e *Explanations) record(number string) *scheduler.Record {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.rounds {
		if e.rounds[i].Round == n {
			return e.rounds[i].record
		}
	}
	return nil
}

// list returns the rounds that are asked for, newest first, with the builds that are asked for.
func (e *Explanations) list(cache, build string) []explained {
	e.mu.Lock()
	rounds := e.rounds // a slice that is replaced, never written
	e.mu.Unlock()
	out := []explained{}
	for i := len(rounds) - 1; i >= 0; i-- {
		r := rounds[i]
		if cache != "" && r.Cache != cache {
			continue
		}
		if r.Builds = r.short(build); build != "" && r.Builds == nil {
			continue
		}
		out = append(out, r)
	}
	return out
}
