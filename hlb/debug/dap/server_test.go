// SPDX-License-Identifier: Apache-2.0

package dap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-dap"

	"github.com/openllb/hlb-operator/hlb/debug"
	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/hlb/solve"
)

// conversation sends requests, each after the answer to the one before, and returns the first wanted messages that come
// back: commands of responses, with ! if they failed, and events.
func conversation(t *testing.T, build Build, requests []string, wanted int) []string {
	t.Helper()
	stdin, in := io.Pipe()
	out, stdout := io.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), stdin, stdout, build) }()
	var got []string
	r, asked := bufio.NewReader(out), 0
	for answered := true; ; {
		if answered && asked < len(requests) {
			asked++
			text := fmt.Sprintf(`{"seq":%d,"type":"request",%s}`, asked, requests[asked-1])
			if err := dap.WriteBaseMessage(in, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) == wanted {
			break
		}
		msg, err := dap.ReadProtocolMessage(r)
		if err != nil {
			t.Fatal(err)
		}
		var text string
		text, answered = summary(msg)
		got = append(got, text)
	}
	in.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	return got
}

// summary is a message in short, and whether it is a response.
func summary(msg dap.Message) (string, bool) {
	switch m := msg.(type) {
	case dap.ResponseMessage:
		if r := m.GetResponse(); !r.Success {
			return strings.TrimSpace(r.Command + "! " + r.Message), true
		}
		return m.GetResponse().Command, true
	case dap.EventMessage:
		return m.GetEvent().Event, false
	}
	return fmt.Sprintf("%T", msg), false
}

// nothing is a program without statements, whose exports fail with err.
func nothing(err error) Build {
	return func(ctx context.Context, _ Launch, _ func([]byte), walk func(context.Context, *debug.Session) error) error {
		if err := walk(ctx, debug.NewSession(&lower.Trace{}, &solve.Interaction{})); err != nil {
			return err
		}
		return err
	}
}

func TestServe(t *testing.T) {
	const launch = `"command":"launch","arguments":{"program":"x"}`
	refused := func(context.Context, Launch, func([]byte), func(context.Context, *debug.Session) error) error {
		return errors.New("it is wrong")
	}
	for name, tc := range map[string]struct {
		build    Build
		requests []string
		want     []string
	}{
		"an editor that only says hello": {
			nothing(nil), []string{`"command":"initialize"`}, []string{"initialize"},
		},
		"requests before there is a program": {
			nothing(nil), []string{`"command":"threads"`, `"command":"launch","arguments":{}`},
			[]string{"threads! no program is being built",
				"launch! the launch configuration has no program"},
		},
		"an unknown request": {
			nothing(nil), []string{`"command":"nonsense"`, `"command":"initialize"`}, []string{
				"! Request command 'nonsense' is not supported (seq: 1)", "initialize",
			},
		},
		"a program that is refused": {
			refused, []string{launch}, []string{"launch! it is wrong", "terminated"},
		},
		"an empty program": {
			nothing(nil), []string{launch, `"command":"stackTrace"`, `"command":"configurationDone"`},
			[]string{"launch", "initialized", "stackTrace", "configurationDone", "exited", "terminated"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, conversation(t, tc.build, tc.requests, len(tc.want))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOutputIsBounded(t *testing.T) {
	var b bounded
	for range 3 {
		if n, err := b.Write(make([]byte, maxResult/2+1)); n != maxResult/2+1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if b.Len() != maxResult {
		t.Errorf("%d bytes are kept", b.Len())
	}
}
