// SPDX-License-Identifier: Apache-2.0

// Package editors tests what editors get of this repository with the editors themselves.
package editors

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hack/toolchain"
)

// patience bounds one run of an editor.
const patience = 5 * time.Minute

var neovim = toolchain.Need{File: "nvim", Package: "neovim"}

// root is the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := toolchain.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func install(t *testing.T, needs ...toolchain.Need) {
	t.Helper()
	if err := toolchain.Install(t.Context(), needs...); err != nil {
		t.Fatal(err)
	}
}

// output runs a program in a folder and returns what it prints. The test fails if the program does.
func output(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, text)
	}
	return string(text)
}

// edit runs a Lua script in Neovim, in a folder, and reads the JSON that it writes to $HLB_RESULT.
func edit(t *testing.T, dir, script string, env []string, result any) {
	t.Helper()
	home := t.TempDir()
	file := filepath.Join(home, "result.json")
	script, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	env = append(env, "HLB_RESULT="+file, "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_STATE_HOME="+home,
		"XDG_DATA_HOME="+home, "XDG_CACHE_HOME="+home)
	printed := output(t, dir, env, "nvim", "--headless", "-n", "-u", "NONE", "-i", "NONE", "--cmd",
		"set runtimepath^="+filepath.Join(root(t), "editors", "vim"), "-c", "luafile "+script, "-c", "qall!")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	if err := json.Unmarshal(text, result); err != nil {
		t.Fatal(err)
	}
}

// write makes files in a new folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// seen is what a person sees in Neovim.
type seen struct {
	Filetype, Syntax string
	Wrong, Found     []string
	Action           string
	Completion       []string
	Hover            []string
	Definition       string
	Renamed, Module  []string
	Formatted        []string
}

// TestNeovim: a person writes a program in Neovim with the language server.
func TestNeovim(t *testing.T) {
	install(t, neovim)
	hlb := filepath.Join(t.TempDir(), "hlb")
	output(t, root(t), nil, "go", "build", "-o", hlb, "./cmd/hlb")
	dir := write(t, map[string]string{
		"lib.hlb": "export make\n\n# make is what is made.\nfs make(string how) {\n\timage how\n}\n",
		"build.hlb": "import lib from \"lib.hlb\"\n\nfs default() {\n\timgae \"a\"\n\tlib.make \"b\"\n" +
			"  mkfile \"/f\" 0o644 \"x\"\n}\n",
	})
	var got seen
	edit(t, dir, "testdata/neovim.lua", []string{"HLB=" + hlb}, &got)
	want := seen{
		Filetype: "hlb", Syntax: "hlb",
		Wrong:      []string{"4:2 `imgae` is not defined\ndid you mean `image`?"},
		Action:     "Change to `image`",
		Completion: []string{"option"},
		Hover:      []string{"fs make(string how)", strings.Repeat("─", 21), "make is what is made."},
		Definition: "lib.hlb:4",
		Renamed: []string{
			"import lib from \"lib.hlb\"", "", "fs default() {", "\timage \"a\"", "\tlib.build \"b\"",
			"  mkfile \"/f\" 0o644 \"x\"", "}",
		},
		Module: []string{
			"export build", "", "# make is what is made.", "fs build(string how) {", "\timage how", "}",
		},
		Formatted: []string{
			"import lib from \"lib.hlb\"", "", "fs default() {", "\timage \"a\"", "\tlib.build \"b\"",
			"\tmkfile \"/f\" 0o644 \"x\"", "}",
		},
		Found: []string{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
