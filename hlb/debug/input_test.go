// SPDX-License-Identifier: Apache-2.0

package debug

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestInputIsReadInTurns(t *testing.T) {
	r, w := io.Pipe()
	in := NewInput(r)
	go func() {
		for _, text := range []string{"one\r\ntwo\nfor the ", "shell\nthr", "ee"} {
			if _, err := w.Write([]byte(text)); err != nil {
				return
			}
		}
		w.Close()
	}()
	line := func(want string) {
		t.Helper()
		if got, err := in.Line(t.Context()); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	line("one")
	line("two")
	shell := in.Lend()
	got := make([]byte, len("for the shell\n"))
	if _, err := io.ReadFull(shell, got); err != nil || string(got) != "for the shell\n" {
		t.Errorf("got %q, %v", got, err)
	}
	shell.Close()
	if n, err := shell.Read(got); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after it was closed: %d, %v", n, err)
	}
	line("three")
	if _, err := in.Line(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
}

func TestAClosedShellLetsGoOfTheInput(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	shell := NewInput(r).Lend()
	time.AfterFunc(10*time.Millisecond, func() { shell.Close() })
	if text, err := io.ReadAll(shell); err != nil || len(text) > 0 {
		t.Errorf("%q, %v", text, err)
	}
}

func TestLongLinesEnd(t *testing.T) {
	in := NewInput(strings.NewReader(strings.Repeat("x", 4*maxLine)))
	for range 2 {
		if got, err := in.Line(t.Context()); err != nil || len(got) > 2*maxLine {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}
