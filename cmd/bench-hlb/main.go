// SPDX-License-Identifier: Apache-2.0

// Command benchhlb measures the passes of the compiler on generated programs and writes the figures as JSON.
//
// Programs of 10² to 10⁵ lines show that time and memory grow with the length, and pathological ones that nothing
// else makes them grow.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/openllb/hlb-operator/agent/compile/child"
	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/analyze"
	"github.com/openllb/hlb-operator/hlb/check"
	"github.com/openllb/hlb-operator/hlb/format"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

// figure is one measurement: the best of several runs, by processor time, which other work on the machine disturbs
// least.
type figure struct {
	Program   string  `json:"program"`
	Pass      string  `json:"pass"`
	Lines     int     `json:"lines"`
	Bytes     int     `json:"bytes"`
	Ms        float64 `json:"ms"`    // by the clock
	CPUMs     float64 `json:"cpuMs"` // by the process, garbage collection included
	AllocMB   float64 `json:"allocMB"`
	LinesPerS float64 `json:"linesPerSecond"`
}

// report is the file that is written. Growth is, for each pass, the processor time a line takes in the longest
// generated program over what it takes in one of 1,000 lines; 1 is linear.
type report struct {
	Go      string             `json:"go"`
	CPUs    int                `json:"cpus"`
	Runs    int                `json:"bestOf"`
	Figures []figure           `json:"figures"`
	Growth  map[string]float64 `json:"growth"`
	Editing editing            `json:"editing"`
}

// pass is one thing to measure. It fails if it doesn't do its work.
type pass struct {
	name string
	run  func(src []byte) error
}

// limits let the largest program in.
var limits = syntax.Limits{MaxBytes: 64 << 20}

func main() {
	if len(os.Args) > 1 && os.Args[1] == child.Command {
		os.Exit(child.Main(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == editorCommand {
		if err := serveEditor(); err != nil {
			fmt.Fprintln(os.Stderr, "benchhlb:", err)
			os.Exit(1)
		}
		return
	}
	only := flag.Bool("editor", false, "measure the language server only")
	out := flag.String("o", "out/bench-hlb.json", "file to write")
	runs := flag.Int("runs", 5, "runs of each measurement, of which the best counts")
	flag.Parse()
	if *only {
		if err := new(report).editing(); err != nil {
			fmt.Fprintln(os.Stderr, "benchhlb:", err)
			os.Exit(1)
		}
		return
	}
	debug.SetGCPercent(400) // as cmd/hlb does
	if err := bench(*out, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "benchhlb:", err)
		os.Exit(1)
	}
}

func bench(out string, runs int) error {
	r := report{Go: runtime.Version(), CPUs: runtime.NumCPU(), Runs: runs, Growth: map[string]float64{}}
	for _, lines := range []int{100, 1_000, 10_000, 100_000} {
		for _, p := range passes() {
			if p.name == "compile" && lines > 10_000 {
				continue // beyond the vertices that one request may have
			}
			f, err := measure(fmt.Sprintf("generated-%d", lines), p, hlbtest.Program(lines), runs)
			if err != nil {
				return err
			}
			r.Figures = append(r.Figures, f)
		}
	}
	for _, lines := range []int{100, 1_000} {
		for _, p := range processes() {
			f, err := measure(fmt.Sprintf("generated-%d", lines), p, hlbtest.Program(lines), runs)
			if err != nil {
				return err
			}
			fmt.Printf("%s, %d lines: %.1f ms\n", p.name, lines, f.Ms)
			r.Figures = append(r.Figures, f)
		}
	}
	for _, c := range pathological() {
		for _, p := range passes() {
			if c.refused && p.name != "check" {
				continue
			}
			f, err := measure(c.name, p, c.src, runs)
			if err != nil && !c.refused {
				return err
			}
			r.Figures = append(r.Figures, f)
		}
	}
	r.growth()
	if err := r.editing(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, append(data, '\n'), 0o644)
}

func passes() []pass {
	return []pass{
		{"parse", func(src []byte) error {
			_, errs := syntax.Parse("bench.hlb", src, limits)
			return errs.Err()
		}},
		{"check", func(src []byte) error {
			_, errs := lint.Program("bench.hlb", src, limits)
			return errs.Err()
		}},
		{"format", func(src []byte) error {
			_, errs := format.Source("bench.hlb", src, limits)
			return errs.Err()
		}},
		{"analyze", func(src []byte) error {
			info, errs := checked(src)
			if errs != nil {
				return errs
			}
			_, found := analyze.Module(info, analyze.Options{Targets: []string{"default"}, Fuel: 10_000_000})
			return found.Err()
		}},
		{"compile", func(src []byte) error {
			_, errs := hlb.Compile(context.Background(), hlb.Program{Filename: "bench.hlb", Source: src},
				hlb.Options{Limits: hlb.Limits{SourceBytes: 64 << 20, CallDepth: 10_000, Fuel: 100_000_000}})
			return errs.Err()
		}},
	}
}

func checked(src []byte) (*check.Info, error) {
	info, errs := lint.Program("bench.hlb", src, limits)
	return info, errs.Err()
}

// measure runs p on src several times and keeps the best time, and what one run allocates.
func measure(name string, p pass, src []byte, runs int) (figure, error) {
	f := figure{Program: name, Pass: p.name, Lines: strings.Count(string(src), "\n"), Bytes: len(src)}
	var failed error
	const longest = time.Duration(1<<63 - 1)
	best, bestCPU := longest, longest
	for range runs {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start, startCPU := time.Now(), cpuTime()
		failed = p.run(src)
		spent, spentCPU := time.Since(start), cpuTime()-startCPU
		runtime.ReadMemStats(&after)
		best, bestCPU = min(best, spent), min(bestCPU, spentCPU)
		f.AllocMB = float64(after.TotalAlloc-before.TotalAlloc) / (1 << 20)
	}
	f.Ms = float64(best.Microseconds()) / 1000
	f.CPUMs = float64(bestCPU.Microseconds()) / 1000
	f.LinesPerS = float64(f.Lines) / bestCPU.Seconds()
	if failed != nil {
		failed = fmt.Errorf("%s %s: %w", p.name, name, failed)
	}
	return f, failed
}

// cpuTime is what the process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// growth compares the longest generated program of each pass with the one of 1,000 lines.
func (r *report) growth() {
	first := map[string]figure{}
	for _, f := range r.Figures {
		if !strings.HasPrefix(f.Program, "generated-") {
			continue
		}
		if f.Program == "generated-1000" {
			first[f.Pass] = f
		}
		if base, ok := first[f.Pass]; ok {
			r.Growth[f.Pass] = (f.CPUMs / float64(f.Lines)) / (base.CPUMs / float64(base.Lines))
		}
	}
}

// hard is a program made to be slow. A refused one must be refused fast.
type hard struct {
	name    string
	src     []byte
	refused bool
}

func pathological() []hard {
	const deep, levels, size = 200, 60, 1 << 20
	var doubling strings.Builder
	doubling.WriteString("fs f0() { image \"x\"; }\n")
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&doubling, "fs f%d() { merge f%d f%d; }\n", i, i-1, i-1)
	}
	fmt.Fprintf(&doubling, "fs default() { f%d; }\n", levels)
	nest := "fs default() {\n\tscratch\n\tcopy fs { scratch; " + strings.Repeat(
		"copy fs { scratch; ",
		deep,
	) + strings.Repeat(
		"} \"/\" \"/\"; ",
		deep,
	) + "} \"/\" \"/\"\n}\n"
	heredoc := "fs default() {\n\tmkfile \"f\" 0o644 <<-EOM\n" + strings.Repeat(
		"\t\tsome text of a line that is ${string { \"x\"; }} here\n",
		size/48,
	) + "\tEOM\n}\n"
	return []hard{
		{"nested-200", []byte(nest), false},
		{"calls-2^60", []byte(doubling.String()), false},
		{"heredoc-1MiB", []byte(heredoc), false},
		{"undefined-20000", []byte(undefined(20_000)), true},
		{"duplicates-20000", []byte(strings.Repeat("fs a() {}\n", 20_000)), true},
		{"open-brackets-1MiB", []byte("fs a() " + strings.Repeat("{ b fs ", size/7)), true},
		{"errors-1MiB", []byte(strings.Repeat(";", size)), true},
	}
}

// undefined is a program of n functions that each use a name nearly right.
func undefined(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "fs name%d() { nam%dx; }\n", i, i)
	}
	return b.String()
}
