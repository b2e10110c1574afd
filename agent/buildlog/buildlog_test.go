// SPDX-License-Identifier: Apache-2.0

package buildlog_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/agent/buildlog"
)

func TestALogIsBounded(t *testing.T) {
	f, err := buildlog.Create(filepath.Join(t.TempDir(), "logs"), buildlog.Name("ns", "b", "g1", 2))
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte("x"), 5<<20)
	for range 4 {
		if n, err := f.Write(block); n != len(block) || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(data), "left out]\n") || bytes.Count(data, []byte("x")) != buildlog.LimitBytes {
		t.Errorf("the file has %d bytes and ends in %q", len(data), data[len(data)-40:])
	}
	if got := filepath.Base(f.Path()); got != "ns-b-g1-2.log" {
		t.Errorf("the file is called %s", got)
	}
}

// TestALogIsSafeToShow writes what a step may write, in pieces.
func TestALogIsSafeToShow(t *testing.T) {
	f, err := buildlog.Create(t.TempDir(), "a.log")
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{
		"#1 \x1b[3", "2mgreen\x1b[0m\n", "\x1b]0;owned\x07\n", "\xf0\x9f", "\x98\x80\n", "\x1b",
	} {
		if _, err := f.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	if want := "#1 green\n\\x1b]0;owned\\x07\n😀\n\\x1b"; string(data) != want {
		t.Errorf("the file has %q, want %q", data, want)
	}
}

func TestTheNewestLogsStay(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	for i := range 230 {
		name := filepath.Join(dir, fmt.Sprintf("%03d.log", i))
		if err := os.WriteFile(name, nil, 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, old, old.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := buildlog.Create(dir, "new.log")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != buildlog.Keep || entries[0].Name() != "031.log" || entries[len(entries)-1].Name() != "new.log" {
		t.Errorf("%d files stay, from %s to %s", len(entries), entries[0].Name(), entries[len(entries)-1].Name())
	}
}
