// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"
)

// inFiles is an empty working directory with files.
func inFiles(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFromDockerfile(t *testing.T) {
	for name, tc := range map[string]struct {
		files  map[string]string
		args   string
		code   int
		stdout string // a part
		stderr string // a part
	}{
		"the default file": {
			files:  map[string]string{"Dockerfile": "FROM scratch\nCOPY a /b\n"},
			stdout: "copy context \"a\" \"/b\" with likeCOPY\n",
		},
		"what is ignored": {
			files:  map[string]string{"Dockerfile": "FROM scratch\nCOPY a /b\n", ".dockerignore": "# x\n.git\n!a\n"},
			stdout: "local \".\" with excludePatterns(\".git\", \"!a\")\n",
		},
		"what is ignored for one Dockerfile": {
			files: map[string]string{
				"x": "FROM scratch\nCOPY a /b\n", ".dockerignore": "a\n", "x.dockerignore": "b\n",
			},
			args: "x", stdout: "excludePatterns(\"b\")\n",
		},
		"a stage and arguments": {
			files:  map[string]string{"Dockerfile": "FROM scratch AS a\nARG V\nENV W=$V\nFROM scratch\n"},
			args:   "--target a --build-arg V=7",
			stdout: "string V() {\n\t\"7\"\n}\n", stderr: "",
		},
		"what can't be converted": {
			files: map[string]string{"Dockerfile": "FROM scratch\n\nHEALTHCHECK NONE\nENV A=b\n"},
			code:  1, stdout: "env \"A\" \"b\"",
			stderr: "Dockerfile: line 3: HEALTHCHECK NONE: HLB has no health checks",
		},
		"a Dockerfile with errors": {
			files: map[string]string{"Dockerfile": "FROM scratch\nRUNN a\n"},
			code:  1, stderr: "line 2: unknown instruction: RUNN",
		},
		"no Dockerfile": {code: 2, stderr: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			inFiles(t, tc.files)
			args := append([]string{"from-dockerfile", "--offline"}, strings.Fields(tc.args)...)
			code, stdout, stderr := hlbHere(t, args...)
			if code != tc.code || !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("exit code %d, want %d, %q and %q in\n%s\n---\n%s", code, tc.code, tc.stdout, tc.stderr,
					stdout, stderr)
			}
		})
	}
}
