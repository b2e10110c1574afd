// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/hlb/lower"
	"github.com/openllb/hlb-operator/test/kit/hlbtest"
)

// longest is more than any hostile program may take, on a machine that does other things besides.
const longest = time.Minute

// TestHostileProgramsAreRefused compiles them in children, and watches the memory of both processes.
func TestHostileProgramsAreRefused(t *testing.T) {
	c := newCompiler(t, DefaultLimits())
	before := resident(t)
	for _, p := range hlbtest.HostilePrograms() {
		t.Run(p.Name, func(t *testing.T) {
			began := time.Now()
			req, found, err := c.Compile(t.Context(), program(p.Source), (&world{}).services(nil))
			if err != nil || req != nil || len(found) != 1 || string(found[0].Code) != p.Code {
				t.Errorf("got %v, %v, want %s", found, err, p.Code)
			}
			if took := time.Since(began); took > longest {
				t.Errorf("it took %v", took)
			}
		})
	}
	runtime.GC()
	if after := resident(t); after > before+128<<20 {
		t.Errorf("this process, which stands for the agent, has grown from %d to %d MiB", before>>20, after>>20)
	}
}

func resident(t *testing.T) int64 {
	t.Helper()
	used, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return used.memory
}

// TestChildrenThatTakeTooMuchAreEnded has the compiler's own limits out of the way.
func TestChildrenThatTakeTooMuchAreEnded(t *testing.T) {
	long := hlbtest.HostilePrograms()[1].Source // strings up to a limit
	cases := map[string]struct {
		source string
		limits func(*Limits)
		want   string
	}{
		"memory":         {long, func(l *Limits) { l.MemoryBytes = 40 << 20 }, "more than 40 MiB of memory"},
		"time":           {long, func(l *Limits) { l.Time = 30 * time.Millisecond }, "longer than 30ms"},
		"processor time": {long, func(l *Limits) { l.CPU = 0 }, "processor time"},
		"questions": {
			`fs default() { image "a"; copy fs { image "b" } "/" "/" }`, func(l *Limits) { l.Calls = 1 },
			"more than 1 things",
		},
		"the result": {
			`fs default() { mkfile "/a" 0o644 string { format "%5000s" "x" } }`,
			func(l *Limits) { l.MessageBytes = 4000 }, "takes more than 0 MiB",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			limits := DefaultLimits()
			c := newCompiler(t, limits)
			tc.limits(&c.limits)
			_, found, err := c.Compile(t.Context(), program(tc.source), (&world{}).services(nil))
			var limit *LimitError
			if !errors.As(err, &limit) || !strings.Contains(limit.What, tc.want) {
				t.Errorf("got %v, %v, want a limit of %s", found, err, tc.want)
			}
		})
	}
}

// TestDeathsAreTold runs other programs in place of the child.
func TestDeathsAreTold(t *testing.T) {
	cases := map[string]struct {
		script string
		want   string
		limit  bool
	}{
		"the kernel kills it": {"kill -9 $$", "the signal killed", true},
		"Go's runtime has no memory": {
			"echo 'fatal error: runtime: out of memory' >&2; exit 2", "MiB of memory", true,
		},
		"Go's runtime has no stack": {
			"echo 'runtime: goroutine stack exceeds 134217728-byte limit' >&2; exit 2", "calls within calls", true,
		},
		"Go's runtime crashes": {"echo SIGSEGV >&2; exit 2", "has crashed: SIGSEGV", true},
		"it ends":              {"echo why >&2; exit 3", "exit status 3: why", false},
		"it says what it can't": {
			"printf '\\0\\0\\0\\002\\0\\0\\0\\0{}'; sleep 5", "the message is malformed", false,
		},
		"it says too much": {
			"printf '\\177\\0\\0\\002\\0\\0\\0\\0{}'; sleep 5", "takes more than 64 MiB", true,
		},
		"it does not exist":       {"", "no such file", false},
		"it never says a word":    {"sleep 600", "longer than 1s", true},
		"it waits and burns time": {"while :; do :; done", "longer than 1s", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := []string{"/bin/sh", "-c", tc.script}
			if tc.script == "" {
				command = []string{"/no/such/program"}
			}
			limits := DefaultLimits()
			limits.Time = time.Second
			c := New(command, limits)
			defer c.Close()
			_, _, err := c.Compile(t.Context(), program("fs default() { scratch }"), (&world{}).services(nil))
			var limit *LimitError
			var internal *InternalError
			if isLimit := errors.As(err, &limit); isLimit != tc.limit || !isLimit && !errors.As(err, &internal) ||
				!strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %T: %v, want %q", err, err, tc.want)
			}
		})
	}
}

func TestACancelledCompileEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	w := &world{}
	s := w.services(nil)
	s.Sharing = func(string) (string, bool) {
		cancel(errors.New("no longer wanted"))
		<-ctx.Done()
		return "", false
	}
	_, _, err := newCompiler(t, DefaultLimits()).Compile(ctx,
		program(`fs default() { run "a" with option { cacheMount "/c" } }`), s)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAPanicOfAServiceIsAnErrorOfTheProgram(t *testing.T) {
	s := (&world{}).services(nil)
	s.Allow = func(lower.Use, string) error { panic("at the disco") }
	_, found, err := newCompiler(t, DefaultLimits()).Compile(t.Context(),
		program(`fs default() { run "a"; cacheContext scratch with option { toImage "r/c:c" } }`), s)
	if err != nil || !strings.Contains(found.Error(), "at the disco") {
		t.Errorf("got %v, %v", found, err)
	}
}

// TestTheLargestChildEnds has three children of one, two and three parts of what there is.
func TestTheLargestChildEnds(t *testing.T) {
	m := newMemory(500)
	small, middle, large := &process{}, &process{}, &process{}
	for p, bytes := range map[*process]int64{small: 100, middle: 200} {
		if ended := m.record(p, bytes); ended != nil {
			t.Error("a child was ended though there is enough memory")
		}
	}
	if ended := m.record(large, 300); ended != large {
		t.Error("the largest child was not ended")
	}
	if ended := m.record(small, 250); ended != nil {
		t.Error("a further child was ended, although the largest one is gone")
	}
	m.remove(middle)
	if ended := m.record(middle, 251); ended != middle {
		t.Error("the largest child of the rest was not ended")
	}
}

// TestANeighbourCompilesBesideHostilePrograms compiles a small program again and again.
func TestANeighbourCompilesBesideHostilePrograms(t *testing.T) {
	c := newCompiler(t, DefaultLimits())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ctx.Err() == nil; i++ {
			hostile := hlbtest.HostilePrograms()[i%3]
			//nolint:errcheck // what comes of it is another test's
			c.Compile(ctx, program(hostile.Source), (&world{}).services(nil))
		}
	}()
	for range 20 {
		req, found, err := c.Compile(ctx, program(`fs default() { image "a"; run "b" }`), (&world{}).services(nil))
		if err != nil || req == nil {
			t.Fatalf("got %v, %v", found, err)
		}
	}
	cancel()
	<-ended
}
