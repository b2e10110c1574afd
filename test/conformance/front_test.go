// SPDX-License-Identifier: Apache-2.0

// Package conformance holds the numbered behaviours of the language as programs with what must come of them.
package conformance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/analyze"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/link"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/module"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/hlb/syntax"
)

// frontCase is one chunk of a front_*.txt file. Chunks are parted by lines of "---"; lines of a chunk up to the first
// empty one are its header, the others, without the last line feed, its program. Header lines:
//
//	case N: sentence      number in the list of behaviours, and what is shown
//	want CODE LINE:COL    a diagnostic, warnings included; all must be there, and no other. `want ok` stands for none
//	also PLACE            a secondary span of the first diagnostic: LINE:COL, or a file with what follows it
//	hint TEXT             is part of the first diagnostic's hint; `nohint` for an empty one
//	message TEXT          is part of the first diagnostic's message
//	llb TEXT              is part of what the target default compiles to
//	value "TEXT"          of the function s
//	source "TEXT"         the program, if it can't be written as lines
//	module NAME           the chunk is a module that the file's programs can import, not a case
type frontCase struct {
	name, module, source string
	want, also           []string
	hint, message, value string
	llb                  string
	nohint, hasValue     bool
}

func readFrontCases(t *testing.T, file string) []frontCase {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []frontCase
	for _, chunk := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n---\n") {
		header, program, _ := strings.Cut(chunk, "\n\n")
		c := frontCase{source: program}
		for _, line := range strings.Split(header, "\n") {
			if err := c.header(line); err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
		}
		cases = append(cases, c)
	}
	return cases
}

func (c *frontCase) header(line string) (err error) {
	key, rest, _ := strings.Cut(line, " ")
	switch key {
	case "case":
		c.name = rest
	case "module":
		c.module = rest
	case "want":
		if rest != "ok" {
			c.want = append(c.want, rest)
		}
	case "also":
		c.also = append(c.also, rest)
	case "hint":
		c.hint = rest
	case "llb":
		c.llb = rest
	case "nohint":
		c.nohint = true
	case "message":
		c.message = rest
	case "value":
		c.hasValue = true
		c.value, err = strconv.Unquote(rest)
	case "source":
		c.source, err = strconv.Unquote(rest)
	default:
		err = fmt.Errorf("unknown header")
	}
	return err
}

func TestFront(t *testing.T) {
	files, err := filepath.Glob("front_*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		modules := fstest.MapFS{}
		for _, c := range readFrontCases(t, file) {
			if c.module != "" {
				modules[c.module] = &fstest.MapFile{Data: []byte(c.source)}
				continue
			}
			t.Run(c.name, func(t *testing.T) { c.run(t, modules) })
		}
	}
}

func (c frontCase) run(t *testing.T, modules fstest.MapFS) {
	got := checkAll(c.source, modules)
	var codes []string
	for _, d := range got {
		codes = append(codes, place(d))
	}
	if diff := cmp.Diff(c.want, codes); diff != "" {
		t.Errorf("diagnostics (-want +got):\n%s\n%v", diff, got)
		return
	}
	if len(got) > 0 {
		c.first(t, got[0])
	}
	if c.hasValue {
		if value, ok := valueOf(t, c.source); !ok || value != c.value {
			t.Errorf("value = %q (known: %v), want %q", value, ok, c.value)
		}
	}
	if c.llb != "" {
		req, errs := hlb.Compile(t.Context(),
			hlb.Program{Filename: "build.hlb", Source: []byte(c.source), Files: modules}, hlb.Options{})
		if req == nil {
			t.Fatal(errs)
		}
		if text := request.Text(req.Root.Leaves()[0].Solve.Definition); !strings.Contains(text, c.llb) {
			t.Errorf("LLB = %s, want %s in it", text, c.llb)
		}
	}
}

// place renders a diagnostic as CODE LINE:COLUMN, with the file if it isn't the program.
func place(d *diag.Diagnostic) string {
	at := strings.TrimPrefix(d.Primary.String(), "build.hlb:")
	return fmt.Sprintf("%s %s", d.Code, at)
}

// first checks what the header says of the first diagnostic.
func (c frontCase) first(t *testing.T, d *diag.Diagnostic) {
	if !strings.Contains(d.Hint, c.hint) || c.nohint && d.Hint != "" {
		t.Errorf("hint = %q, want %q", d.Hint, c.hint)
	}
	if !strings.Contains(d.Message, c.message) {
		t.Errorf("message = %q, want %q in it", d.Message, c.message)
	}
	var places []string
	for _, s := range d.Secondary {
		places = append(places, strings.TrimPrefix(s.Span.String(), "build.hlb:"))
	}
	for _, want := range c.also {
		if !strings.Contains(" "+strings.Join(places, " "), " "+want) {
			t.Errorf("secondary spans = %v, want %s", places, want)
		}
	}
}

// checkAll checks a program and, if there are any modules, those it uses.
func checkAll(source string, modules fstest.MapFS) diag.List {
	info, found := lint.Program("build.hlb", []byte(source), syntax.Limits{})
	if found.HasErrors() || len(modules) == 0 {
		return found
	}
	_, errs := link.Files(context.Background(), info, module.Dir{Root: module.Tree{FS: modules}, Path: "."},
		link.Options{})
	return append(found, errs...)
}

// valueOf returns the value of the string function s, which the analysis sees when an image is named by it.
func valueOf(t *testing.T, source string) (string, bool) {
	info, errs := lint.Program("build.hlb", []byte(source+"\nfs probe() { image s; }"), syntax.Limits{})
	if errs.HasErrors() {
		t.Fatal(errs)
	}
	targets, errs := analyze.Module(info, analyze.Options{Targets: []string{"probe"}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	ref := targets[0].Images[0].Ref
	return ref.Text, ref.Known
}
