// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/plot/plotter"

	"github.com/openllb/hlb-operator/scheduler/sim"
)

// some are results of which each kind of plot has something to show.
func some() []*sim.Result {
	var results []*sim.Result
	for _, load := range []string{"load-10", "load-20"} {
		for _, p := range []string{ours, "least-loaded"} {
			results = append(results, &sim.Result{Workload: load, Policy: p, OverTightest: 1.1})
		}
	}
	for _, w := range []string{"u35", "u35-priming-churn", "u35-priming"} {
		results = append(results,
			&sim.Result{Workload: w, Policy: "random", Unstable: true, QueueByTenMins: make([]int, 12)},
			&sim.Result{Workload: w, Policy: ours, Warm: .75, Cold: .25, BytesPrimed: 2.5e12,
				QueueByTenMins: make([]int, 12)})
	}
	return results
}

// words are the texts of a drawing. They fail the test unless it is well-formed.
func words(t *testing.T, f File) []string {
	t.Helper()
	var out []string
	for dec := xml.NewDecoder(strings.NewReader(string(f.Content))); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if text, ok := token.(xml.CharData); ok && strings.TrimSpace(string(text)) != "" {
			out = append(out, strings.TrimSpace(string(text)))
		}
	}
}

func TestFiles(t *testing.T) {
	results := some()
	files, err := Files(results)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
		if strings.HasSuffix(f.Name, ".svg") {
			said[f.Name] = "|" + strings.Join(words(t, f), "|") + "|"
		}
	}
	want := []string{"sim.json", "sim-load.svg", "sim-hits-u35.svg", "sim-hits-u35-priming.svg",
		"sim-bytes-u35-priming.svg", "sim-queue-u35-priming-churn.svg", "sim.html"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for name, texts := range map[string][]string{
		"sim-load.svg":                    {"ours", "least-loaded", "300"},
		"sim-hits-u35.svg":                {"ours", "random", "25.0% cold", "unstable", "primed"},
		"sim-bytes-u35-priming.svg":       {"ours", "2.5", "unstable", "TB"},
		"sim-queue-u35-priming-churn.svg": {"random (unstable)", "hours"},
	} {
		for _, text := range texts {
			if !strings.Contains(said[name], "|"+text+"|") {
				t.Errorf("%s does not say %q but %s", name, text, said[name])
			}
		}
	}
	var read []*sim.Result
	if err := json.Unmarshal(files[0].Content, &read); err != nil || len(read) != len(results) {
		t.Errorf("sim.json has %d results of %d: %v", len(read), len(results), err)
	}
}

func TestNothingToPlot(t *testing.T) {
	files, err := Files([]*sim.Result{{Workload: "stated-a", Policy: ours}})
	if err != nil || len(files) != 1 {
		t.Errorf("%d files and %v, want sim.json alone", len(files), err)
	}
}

// TestAnUnstableRunEndsTheLine draws up to the first load at which a policy is unstable, whatever the order of
// results, and nothing beyond it.
func TestAnUnstableRunEndsTheLine(t *testing.T) {
	got := stableStart(plotter.XYs{{X: 30, Y: 12}, {X: 20, Y: beyondView}, {X: 10, Y: 5}})
	if diff := cmp.Diff(plotter.XYs{{X: 10, Y: 5}, {X: 20, Y: beyondView}}, got); diff != "" {
		t.Errorf("points (-want +got):\n%s", diff)
	}
}

func TestHourly(t *testing.T) {
	got := hourly([]int{1, 5, 2, 0, 0, 0, 7, 3})
	if diff := cmp.Diff(plotter.XYs{{X: 0, Y: 5}, {X: 1, Y: 7}}, got); diff != "" {
		t.Errorf("hours (-want +got):\n%s", diff)
	}
}

// TestPoliciesLookDifferent keeps every two policies apart by colour or dashes.
func TestPoliciesLookDifferent(t *testing.T) {
	seen := map[string]string{}
	for _, p := range policyNames {
		s := lineStyle(p)
		look, err := json.Marshal([]any{s.Color, s.Dashes, s.Width})
		if err != nil {
			t.Fatal(err)
		}
		if other := seen[string(look)]; other != "" {
			t.Errorf("%s looks as %s does", p, other)
		}
		seen[string(look)] = p
	}
}
