// SPDX-License-Identifier: Apache-2.0

// Package contract proves, against real daemons and a real registry, the facts about BuildKit that this project is
// built on. A failing test here after an upgrade of BuildKit names a decision of ours that has lost its ground; no
// other code is under test.
package contract

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// world is a daemon, a registry that it may use and a base image in there.
type world struct {
	t        *testing.T
	registry *buildkittest.Registry
	daemon   *buildkittest.Daemon
	client   *client.Client
	busybox  string
}

// newWorld starts a registry with the busybox image and a daemon shaped by o. Worlds share nothing, so tests with one
// run beside each other.
func newWorld(t *testing.T, o buildkittest.Options) *world {
	t.Helper()
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	return (&world{t: t, registry: registry, busybox: registry.Busybox()}).fresh(o)
}

// fresh is the same world with another, empty daemon.
func (w *world) fresh(o buildkittest.Options) *world {
	w.t.Helper()
	o.Registries = append(o.Registries, w.registry.Address)
	next := *w
	next.daemon = buildkittest.Start(w.t, o)
	next.client = next.daemon.Client()
	return &next
}

// sh is a step that runs a shell script on the base image.
func (w *world) sh(script string, options ...llb.RunOption) llb.ExecState {
	return llb.Image(w.busybox).Run(append(options, llb.Args([]string{"/bin/sh", "-ec", script}))...)
}

// mount is a cache mount on /c.
func mount(id string, sharing llb.CacheMountSharingMode) llb.RunOption {
	return llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir(id, sharing))
}

// salt makes a step's cache key unique, so that it runs.
func salt() llb.RunOption { return llb.AddEnv("SALT", rand.Text()) }

// outcome is what the client saw of a solve.
type outcome struct {
	// steps counts the definition's exec and file operations, cached those of them that were found in the cache.
	steps, cached int
	// log is the output of all steps, vertexErrors the errors of single vertices.
	log          string
	vertexErrors []string
	took         time.Duration
}

// solve solves state and waits for the end.
func (w *world) solve(ctx context.Context, state llb.State, options ...func(*client.SolveOpt)) (outcome, error) {
	w.t.Helper()
	definition, err := state.Marshal(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	var opt client.SolveOpt
	for _, o := range options {
		o(&opt)
	}
	watched := steps(w.t, definition)
	statuses, seen := make(chan *client.SolveStatus), make(chan outcome)
	go func() { seen <- observe(statuses, watched) }()
	start := time.Now()
	_, err = w.client.Solve(ctx, definition, opt, statuses)
	out := <-seen
	out.steps, out.took = len(watched), time.Since(start)
	return out, err
}

// must is solve for what has to succeed.
func (w *world) must(state llb.State, options ...func(*client.SolveOpt)) outcome {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := w.solve(ctx, state, options...)
	if err != nil {
		w.t.Fatalf("solve: %v\n%s", err, out.log)
	}
	return out
}

// start runs a solve in the background; the channel gets its error.
func (w *world) start(state llb.State) <-chan error {
	w.t.Helper()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		out, err := w.solve(ctx, state)
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out.log)
		}
		done <- err
	}()
	return done
}

// steps are the digests of the definition's exec and file operations.
func steps(t *testing.T, definition *llb.Definition) map[digest.Digest]bool {
	t.Helper()
	found := map[digest.Digest]bool{}
	for _, text := range definition.Def {
		var op pb.Op
		if err := op.Unmarshal(text); err != nil {
			t.Fatal(err)
		}
		if op.GetExec() != nil || op.GetFile() != nil {
			found[digest.FromBytes(text)] = true
		}
	}
	return found
}

// observe collects an outcome until the channel is closed; watched are the vertices that count as steps.
func observe(statuses <-chan *client.SolveStatus, watched map[digest.Digest]bool) outcome {
	var out outcome
	var log strings.Builder
	cached := map[digest.Digest]bool{}
	for s := range statuses {
		for _, v := range s.Vertexes {
			if v.Completed != nil && v.Cached && watched[v.Digest] {
				cached[v.Digest] = true
			}
			if v.Error != "" {
				out.vertexErrors = append(out.vertexErrors, v.Error)
			}
		}
		for _, l := range s.Logs {
			log.Write(l.Data)
		}
	}
	out.cached, out.log = len(cached), log.String()
	return out
}

// show returns what is in a cache mount: the lines of "FILE: CONTENT", by a step that reads it and changes nothing.
func (w *world) show(id string) string {
	w.t.Helper()
	out := w.must(w.sh(`cd /c; for f in $(find . -type f | sort); do echo "${f#./}: $(cat $f)"; done`,
		llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir(id, llb.CacheMountShared), llb.Readonly), salt()).
		Root())
	return strings.TrimSpace(out.log)
}

// mounts are the daemon's cache mount records with the given id, all of them for "".
func (w *world) mounts(id string) []*client.UsageInfo {
	w.t.Helper()
	usage, err := w.client.DiskUsage(context.Background(),
		client.WithFilter([]string{"type==" + string(client.UsageRecordTypeCacheMount)}))
	if err != nil {
		w.t.Fatal(err)
	}
	var found []*client.UsageInfo
	for _, u := range usage {
		if id == "" || strings.Contains(u.Description, fmt.Sprintf("with id %q", id)) {
			found = append(found, u)
		}
	}
	return found
}

// prune prunes and returns the ids of the records it removed.
func (w *world) prune(options ...client.PruneOption) []string {
	w.t.Helper()
	records, removed := make(chan client.UsageInfo), make(chan []string)
	go func() {
		var ids []string
		for r := range records {
			ids = append(ids, r.ID)
		}
		removed <- ids
	}()
	err := w.client.Prune(context.Background(), records, options...)
	close(records)
	if err != nil {
		w.t.Fatal(err)
	}
	return <-removed
}

// eventually polls until claim holds.
func eventually(t *testing.T, what string, claim func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !claim(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}
