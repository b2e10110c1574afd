// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/openllb/hlb-operator/hlb/diag"
)

func TestLimits(t *testing.T) {
	// Each level calls the one below twice on a different value, so nothing can be remembered.
	doubling := "fs f0() { env \"k\" \"v\"; }\n"
	for i := 1; i <= 40; i++ {
		doubling += fmt.Sprintf("fs f%d() { f%d; f%d; }\n", i, i-1, i-1)
	}
	deep := "fs f0() { scratch; }\n"
	for i := 1; i <= 1000; i++ {
		deep += fmt.Sprintf("fs f%d() { f%d; }\n", i, i-1)
	}
	for name, tc := range map[string]struct {
		src    string
		limits Limits
		want   diag.Code
	}{
		"fuel":       {doubling + "fs default() { f40; }", Limits{Fuel: 50_000}, LimitFuel},
		"call depth": {deep + "fs default() { f1000; }", Limits{}, LimitDepth},
		"vertices": {
			strings.ReplaceAll(doubling, `env "k" "v"`, `run "x"`) + "fs default() { f30; }",
			Limits{Vertices: 2000, Layers: 1 << 20},
			LimitVertices,
		},
		"source": {
			"fs default() { scratch; } #" + strings.Repeat("x", 100), Limits{SourceBytes: 50}, diag.SourceTooLarge,
		},
		"a doubled string": {stringDoubling(40) + `fs default() { mkfile "f" 0 s40; }`, Limits{}, LimitString},
		"a wide format": {
			`fs default() { mkfile "f" 0 string { format "%999999999s" "x"; }; }`, Limits{}, LimitString,
		},
		"many wide formats": {
			`fs default() { mkfile "f" 0 string { format "` + strings.Repeat("%[1]999999s", 1000) + `" "x"; }; }`,
			Limits{}, LimitString,
		},
		"an endless template": {`fs default() { mkfile "f" 0 string { template "{{range 1000000000000}}{{end}}"; }; }`,
			Limits{}, LimitFuel},
		"a template that recurses": {"fs default() { mkfile \"f\" 0 string { template `{{define \"a\"}}{{template \"b\"}}{{template \"b\"}}{{end}}" +
			"{{define \"b\"}}{{range 100000}}{{end}}{{template \"a\"}}{{end}}{{template \"a\"}}`; }; }", Limits{},
			LimitFuel},
		"a template that grows": {"fs default() { mkfile \"f\" 0 string { template `{{$x := \"x\"}}{{range 100}}{{$x = printf \"%s%s\" $x $x}}{{end}}`; }; }",
			Limits{}, LimitString},
		"a template that escapes": {"fs default() { mkfile \"f\" 0 string { template `{{$x := \"\\\\\"}}{{range 100}}{{$x = js $x}}{{end}}`; }; }",
			Limits{}, LimitString},
		"a template that writes": {`fs default() { mkfile "f" 0 string { template "{{range 1000000}}xxxxxxxxxxxxxxxx{{end}}"; }; }`,
			Limits{}, LimitString},
		"ops that are too large": {stringDoubling(17) + `fs f() { mkfile "f" 0 s17; }
fs default() { ` + strings.Repeat("f; ", 100) + `}`, Limits{}, LimitSize},
		"environments that are too large": {"fs e() { " + manyEnvs(5000) + "}\nfs default() { e; " +
			strings.Repeat("run \"x\"; ", 500) + "}",
			Limits{}, LimitSize},
		"exports that repeat": {"fs f0() { run \"x\"; dockerPush \"r\"; }\n" +
			strings.ReplaceAll(doubling, `fs f0() { env "k" "v"; }`, "") +
			"fs default() { f9; }", Limits{Vertices: 2000, Layers: 1 << 20}, LimitVertices},
		"mounts of one run": {"option::run m0() { mount scratch \"/m\"; }\n" + optionDoubling(11) +
			"fs default() { run \"x\" with m11; }",
			Limits{}, LimitVertices},
		"wall time": {
			doubling + "fs default() { f40; }", Limits{Fuel: 1 << 40, Wall: 20 * time.Millisecond}, LimitTime,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := compile(t, tc.src, Options{Profile: ProfileServer, Limits: tc.limits})
			if len(errs) != 1 || errs[0].Code != tc.want {
				t.Errorf("got %.300s, want %s", errs.Error(), tc.want)
			}
		})
	}
}

func manyEnvs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "env \"K%d\" \"value\"; ", i)
	}
	return b.String()
}

func optionDoubling(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "option::run m%d() { m%d; m%d; }\n", i, i-1, i-1)
	}
	return b.String()
}

func stringDoubling(n int) string {
	src := "string s0() { \"0123456789abcdef\"; }\n"
	for i := 1; i <= n; i++ {
		src += fmt.Sprintf("string s%d() { \"${s%d}${s%d}\"; }\n", i, i-1, i-1)
	}
	return src
}

func TestImportLimits(t *testing.T) {
	files := fstest.MapFS{}
	for i := range 30 {
		src := fmt.Sprintf("import next from \"m%d.hlb\"\nexport f\nfs f() { next.f; }", i+1)
		files[fmt.Sprintf("m%d.hlb", i)] = &fstest.MapFile{Data: []byte(src)}
	}
	files["m30.hlb"] = &fstest.MapFile{Data: []byte("export f\nfs f() { scratch; }")}
	files["big.hlb"] = &fstest.MapFile{Data: bytes.Repeat([]byte("#"), 2<<20)}
	many := ""
	body := ""
	for i := range 10 {
		files[fmt.Sprintf("l%d.hlb", i)] = &fstest.MapFile{Data: []byte("export f\nfs f() { scratch; }")}
		many += fmt.Sprintf("import l%d from \"l%d.hlb\"\n", i, i)
		body += fmt.Sprintf("l%d.f; ", i)
	}
	for name, tc := range map[string]struct {
		src    string
		limits Limits
		want   diag.Code
	}{
		"depth": {"import m from \"m0.hlb\"\nfs default() { m.f; }", Limits{}, diag.LimitImportDepth},
		"count": {many + "fs default() { " + body + "}", Limits{Imports: 5}, diag.LimitImports},
		"size":  {"import m from \"big.hlb\"\nfs default() { m.f; }", Limits{}, diag.SourceTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := Compile(t.Context(), Program{Filename: "build.hlb", Source: []byte(tc.src), Files: files},
				Options{Profile: ProfileServer, Limits: tc.limits})
			if len(errs) != 1 || errs[0].Code != tc.want {
				t.Errorf("got %v, want %s", errs, tc.want)
			}
		})
	}
}
