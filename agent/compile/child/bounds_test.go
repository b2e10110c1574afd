// SPDX-License-Identifier: Apache-2.0

package child

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bounded is what the test's program does as a child: it bounds itself and then takes what it may not.
var bounded = map[string]func(){
	"memory": func() {
		var all [][]byte
		for range 64 {
			all = append(all, bytes.Repeat([]byte("x"), 16<<20))
		}
		fmt.Println(len(all))
	},
	"processor time": func() {
		for began := time.Now(); time.Since(began) < time.Minute; {
			_ = time.Now()
		}
		fmt.Println("still here")
	},
	"stack": func() { fmt.Println(deep(0)) },
	"a file": func() {
		if err := os.WriteFile(filepath.Join(os.TempDir(), "child"), []byte("x"), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		fmt.Println("written")
	},
}

//nolint:staticcheck // it is meant never to end
func deep(n int) int {
	var room [1024]byte
	room[n%1024] = 1
	return deep(n+1) + int(room[(n+1)%1024])
}

func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "take" {
		if code := bound(os.Args[3:], os.Stderr); code != exitDone {
			os.Exit(code)
		}
		bounded[os.Args[2]]()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestAChildIsHeldByItsOwnBounds has nobody watch the child.
func TestAChildIsHeldByItsOwnBounds(t *testing.T) {
	for what, want := range map[string]string{
		"memory":         "out of memory",
		"processor time": "signal: killed",
		"stack":          "stack exceeds",
		"a file":         "file too large",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			bounds := Bounds{MemoryBytes: 64 << 20, CPU: time.Minute}
			if what == "processor time" {
				bounds.CPU = time.Second
			}
			cmd := exec.Command(os.Args[0], append([]string{"take", what}, bounds.Args()...)...)
			cmd.Dir = t.TempDir()
			cmd.Env = []string{"TMPDIR=" + t.TempDir()}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			out, err := cmd.CombinedOutput()
			if said := fmt.Sprintf("%v %s", err, out); err == nil || !strings.Contains(said, want) {
				t.Errorf("got %.500s, want %q", said, want)
			}
		})
	}
}

func TestBoundsAreRead(t *testing.T) {
	want := Bounds{MemoryBytes: 1 << 29, CPU: time.Minute}
	if got, err := ParseBounds(want.Args()); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	for name, args := range map[string][]string{
		"too few": {"1"}, "no number": {"x", "1"}, "nothing": {"0", "1"}, "no time": {"1", "0"},
		"more than there is": {"9223372036854775807", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseBounds(args); err == nil {
				t.Errorf("got %v", got)
			}
		})
	}
}
