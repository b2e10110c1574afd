// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// TestDefinitionsAreAtMost16MiB is why the compiler refuses a longer one, with 64 KiB to spare.
func TestDefinitionsAreAtMost16MiB(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	file := func(bytesLong int) llb.State {
		return llb.Scratch().File(llb.Mkfile("/a", 0o644, bytes.Repeat([]byte("x"), bytesLong)))
	}
	w.must(file(16<<20 - 64<<10 - 4096))
	if _, err := w.solve(t.Context(), file(16<<20)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a definition of more than 16 MiB: %v", err)
	}
}

// TestLayersOnTopOfEachOther is as many as the compiler lets a filesystem have.
func TestLayersOnTopOfEachOther(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	const layers = 350
	state := llb.Image(w.busybox)
	for i := range layers - 2 {
		state = state.File(llb.Mkdir(fmt.Sprintf("/d%d", i), 0o755))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	ls := state.Run(llb.Args([]string{"/bin/sh", "-ec", fmt.Sprintf("test -d /d0 && test -d /d%d", layers-3)})).Root()
	if out, err := w.solve(ctx, ls); err != nil {
		t.Errorf("%d layers: %v\n%s", layers, err, out.log)
	}
}
