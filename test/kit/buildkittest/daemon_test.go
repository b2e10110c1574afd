// SPDX-License-Identifier: Apache-2.0

package buildkittest

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
)

// A daemon builds from the test registry's base image, and builds again after a kill and a restart, from its cache.
func TestDaemonOutlivesAKill(t *testing.T) {
	registry := StartRegistry(t)
	base := registry.Busybox()
	d := Start(t, Options{Registries: []string{registry.Address}})
	build := func() (cached int) {
		t.Helper()
		def, err := llb.Image(base).Run(llb.Shlex("true")).Root().Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		statuses, counted := make(chan *client.SolveStatus), make(chan int)
		go func() {
			n := 0
			for s := range statuses {
				for _, v := range s.Vertexes {
					if v.Cached && v.Completed != nil {
						n++
					}
				}
			}
			counted <- n
		}()
		if _, err := d.Client().Solve(context.Background(), def, client.SolveOpt{}, statuses); err != nil {
			t.Fatal(err)
		}
		return <-counted
	}
	first := build()
	d.Kill()
	d.Restart()
	if second := build(); first != 0 || second == 0 {
		t.Errorf("cached vertices: first build %d, after the restart %d; want none, then some", first, second)
	}
}

func TestRegistryKeepsContentOverAStop(t *testing.T) {
	registry := StartRegistry(t)
	image := registry.Busybox()
	registry.Stop()
	registry.Start()
	if diff := cmp.Diff(registry.Ref("busybox:latest"), image); diff != "" {
		t.Errorf("reference (-want +got):\n%s", diff)
	}
	d := Start(t, Options{Registries: []string{registry.Address}})
	def, err := llb.Image(image).Run(llb.Shlex("true")).Root().Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Client().Solve(t.Context(), def, client.SolveOpt{}, nil); err != nil {
		t.Errorf("solve: %v", err)
	}
}
