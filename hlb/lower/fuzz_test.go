// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// FuzzCompile compiles anything as a server would. Nothing may panic, take longer than its limits allow, break a rule
// of the compiler's own, or come out differently the second time.
func FuzzCompile(f *testing.F) {
	files, err := filepath.Glob("../../test/conformance/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		dt, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for chunk := range strings.SplitSeq(string(dt), "\n---\n") {
			_, program, _ := strings.Cut(chunk, "\n\n")
			program, _, _ = strings.Cut(program, "\n===\n")
			f.Add([]byte(program))
		}
	}
	context := llb.Image("context")
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 1<<14 {
			return
		}
		first, firstErrs := fuzzCompile(t, src, &context)
		second, secondErrs := fuzzCompile(t, src, &context)
		if firstErrs.Error() != secondErrs.Error() {
			t.Fatalf("first %v\nthen %v", firstErrs, secondErrs)
		}
		for _, d := range firstErrs {
			if d.Code == diag.Internal {
				t.Fatalf("%v", d)
			}
		}
		if first != nil {
			sameRequests(t, first, second)
		}
	})
}

func fuzzCompile(t *testing.T, src []byte, local *llb.State) (*request.Request, diag.List) {
	n := 0
	start := time.Now()
	req, errs := Compile(context.Background(), Program{Filename: "build.hlb", Source: src}, Options{
		Profile: ProfileServer, Context: local, Secrets: []string{"token"}, SSH: []string{"default"},
		IDSource: func() string { n++; return fmt.Sprint(n) },
		Limits:   Limits{Fuel: 20_000, Vertices: 500, StringBytes: 1 << 16, CallDepth: 50},
	})
	if took := time.Since(start); took > 20*time.Second {
		t.Fatalf("took %s", took)
	}
	return req, errs
}

func sameRequests(t *testing.T, a, b *request.Request) {
	as, bs := a.Root.Leaves(), b.Root.Leaves()
	if a.Root.String() != b.Root.String() || len(as) != len(bs) {
		t.Fatalf("first %s, then %s", a.Root, b.Root)
	}
	for i := range as {
		x, err := as[i].Solve.Definition.ToPB().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		y, err := bs[i].Solve.Definition.ToPB().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		// Maps of metadata are marshalled in any order, so only their sizes are compared; the ops must be equal.
		if len(x) != len(y) ||
			!bytes.Equal(bytes.Join(as[i].Solve.Definition.Def, nil), bytes.Join(bs[i].Solve.Definition.Def, nil)) {
			t.Fatalf("%s differs", as[i])
		}
	}
}
