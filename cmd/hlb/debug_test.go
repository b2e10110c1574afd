// SPDX-License-Identifier: Apache-2.0

//go:build integration

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/containerd/console"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// debugged is a program with a breakpoint, a call, a mount and a step that may fail.
const debugged = `fs default() {
	image "%s"
	env "GREETING" "hello"
	dir "/src"
	made "one"
	breakpoint
	run "cp /in/name . && cat name && %s" with option {
		env "STEP" "yes"
		mount fs {
			mkfile "/name" 0o644 "mounted"
		} "/in" with readonly
		cacheMount "/cache"
	}
}

fs made(string name) {
	run "echo $GREETING > /${name}"
	mkfile "/other" 0o644 "other"
}
`

// debugSite is a directory with the program, and a daemon.
func debugSite(t *testing.T, last string) (command func(stdin string, args ...string) (int, string, string)) {
	t.Helper()
	daemon := buildkittest.Start(t, buildkittest.Options{})
	base := buildkittest.StartRegistry(t).Busybox()
	t.Setenv("BUILDKIT_HOST", "unix://"+daemon.Socket)
	inFiles(t, map[string]string{"build.hlb": fmt.Sprintf(debugged, base, last)})
	return func(stdin string, args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
		return code, out.String(), errs.String()
	}
}

// inOrder reports the first of parts that doesn't come in text behind those before it.
func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, p := range parts {
		i := strings.Index(rest, p)
		if i < 0 {
			t.Fatalf("%q is missing, or not behind what comes before it, in\n%s", p, text)
		}
		rest = rest[i+len(p):]
	}
}

func TestRunDebug(t *testing.T) {
	hlb := debugSite(t, "true")
	code, _, shown := hlb(strings.Join([]string{
		"b 16", "b 99", "b", "c", // into the call
		"where", "cat /one", "n", "cat /one", "back", "clear 17", "c", // the breakpoint of the program
		"ls /src", "env", "n", // at the run
		"info", "ls /in", "cat /in/name", "exec echo $STEP $GREETING; pwd; touch /cache/left; ls -a /in", "exec exit 3",
		"nonsense", "n",
	}, "\n")+"\n", "run", "--debug", "-o", "out")
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, shown)
	}
	inOrder(t, shown,
		"build.hlb:2:2: entry in default\n    2 | \timage",
		"breakpoint at build.hlb:17", "no statement that is built begins at build.hlb:99 or behind", "build.hlb:17\n",
		"build.hlb:17:2: breakpoint in made", "called in default at build.hlb:5",
		"build.hlb:18:2: step in made", "hello\n", "build.hlb:17:2: breakpoint in made",
		"build.hlb:6:2: breakpoint in default", "GREETING=hello", "build.hlb:7:2: step in default",
		"does:      run /bin/sh -c cp /in/name", "directory: /src", "mount:     /cache: cache //cache shared",
		"mount:     /in: bind readonly", "name", "mounted",
		"yes hello\n/src\n", "name\n", "exit code: 3", "there is no command \"nonsense\"",
		"mounted", // the step's own output
	)
	if got, err := os.ReadFile("out/src/name"); string(got) != "mounted" {
		t.Errorf("%q, %v was exported", got, err)
	}
}

func TestRunDebugFailure(t *testing.T) {
	hlb := debugSite(t, "echo half > /src/half && exit 7")
	code, _, shown := hlb("c\nc\ncat /src/half\nexec cat half /in/name\ncat /in/name\nback\nc\n", "run", "--debug")
	if code != 1 { // the input ends
		t.Errorf("exit code %d", code)
	}
	inOrder(t, shown, "build.hlb:6:2: breakpoint", "build.hlb:7:2: failure in default", "failed with exit code 7",
		"half\n", "half\nmounted", "mounted", "build.hlb:6:2: breakpoint", "build.hlb:7:2: failure")
	if code, _, shown = hlb("c\nc\nc\n", "run", "--debug"); code != 7 {
		t.Errorf("behind the failure: exit code %d\n%s", code, shown)
	}
	if code, _, shown = hlb("q\n", "run", "--debug"); code != 1 || !strings.Contains(shown, "left before the end") {
		t.Errorf("left: exit code %d\n%s", code, shown)
	}
	if code, _, shown = hlb("q\n", "run", "--debug", "-"); code != 2 || !strings.Contains(shown, "name a file") {
		t.Errorf("the program on standard input: exit code %d\n%s", code, shown)
	}
}

// TestRunDebugShell: a shell has the terminal until it ends, and the commands have it again.
func TestRunDebugShell(t *testing.T) {
	debugSite(t, "true")
	master, slave, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	tty, err := os.OpenFile(slave, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	code := make(chan int, 1)
	go func() { code <- run(t.Context(), []string{"run", "--debug"}, tty, io.Discard, tty) }()
	var shown []byte
	// What is typed comes back, so that what is waited for must not be a part of it.
	for _, s := range []struct{ until, typed string }{
		{"(hlb) ", "c\n"}, {"breakpoint in default", "n\n"}, {"step in default", "sh\n"},
		{"# ", "echo $STEP-$((6*7)); tty\n"}, {"yes-42", "exit\n"}, {"(hlb) ", "info\n"}, {"directory: /src", "q\n"},
	} {
		for start := len(shown); !strings.Contains(string(shown[start:]), s.until); {
			chunk := make([]byte, 1024)
			n, err := master.Read(chunk)
			if err != nil {
				t.Fatalf("waiting for %q: %v in\n%s", s.until, err, shown)
			}
			shown = append(shown, chunk[:n]...)
		}
		if _, err := master.Write([]byte(s.typed)); err != nil {
			t.Fatal(err)
		}
	}
	go io.Copy(io.Discard, master) //nolint:errcheck // until it is closed
	if got := <-code; got != 1 {
		t.Errorf("exit code %d", got)
	}
}
