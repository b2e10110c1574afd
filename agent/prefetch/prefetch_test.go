// SPDX-License-Identifier: Apache-2.0

package prefetch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/board"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/agent/usage"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// roomyDaemon is a daemon that serves and has room, and holds what the test says.
type roomyDaemon struct {
	held map[string]int64
}

func (d *roomyDaemon) IsServing() bool                          { return true }
func (d *roomyDaemon) Held() map[string]int64                   { return d.held }
func (d *roomyDaemon) RoomFor(int64) error                      { return nil }
func (d *roomyDaemon) RecordPrefetch(string, string, time.Time) {}
func (d *roomyDaemon) Observe(context.Context)                  {}

// trying is a prefetcher whose way to the registry is the test's.
type trying struct {
	*Prefetcher
	t      *testing.T
	cache  *v1alpha1.BuildCache
	clock  *envtestkit.Clock
	events *envtestkit.Recorder
	daemon *roomyDaemon
}

func newTrying(t *testing.T, reach func(context.Context) error) *trying {
	t.Helper()
	dir := t.TempDir()
	book, _, err := usage.Open(filepath.Join(dir, "usage.json"), logr.Discard())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "mountcopy"), nil, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	clock, events, holds := envtestkit.NewClock(), &envtestkit.Recorder{}, &roomyDaemon{}
	maker := &snapshot.Maker{
		State:       snapshot.OpenState(filepath.Join(dir, "snapshots.json"), book.Epoch()),
		ProgramPath: filepath.Join(dir, "mountcopy"), Now: clock.Now,
		DockerConfig: func(ctx context.Context, _ *v1alpha1.BuildCache) ([]byte, error) { return nil, reach(ctx) },
	}
	cache := &v1alpha1.BuildCache{Spec: v1alpha1.BuildCacheSpec{
		Registry: &v1alpha1.RegistryCacheSpec{Repository: "localhost:1/cache"},
		Mounts:   []v1alpha1.MountPolicy{{ID: "*", Prime: v1alpha1.PrimeOnFreshDaemon, PrimeTimeoutSeconds: 1}},
	}}
	cache.Namespace = "ns"
	p := &Prefetcher{
		Daemon: holds, Maker: maker, Usage: book, Board: board.New(), Events: events, Log: logr.Discard(),
		Now: clock.Now,
	}
	return &trying{p, t, cache, clock, events, holds}
}

// request is one for ns/m.
func (p *trying) request() v1alpha1.PrefetchRequest {
	return v1alpha1.PrefetchRequest{ID: "ns/m", Sharing: v1alpha1.MountShared, Bytes: 1,
		RequestedAt: metav1.NewTime(p.clock.Now())}
}

// tryOnce wants the request to be due, tries it, and wants it to be due again only after a pause; 0 is never.
func (p *trying) tryOnce(r *v1alpha1.PrefetchRequest, pause time.Duration) {
	p.t.Helper()
	if !p.isDue(r) {
		p.t.Fatal("the request is not due")
	}
	p.fill(p.t.Context(), p.cache, &v1alpha1.BuildDaemon{}, r)
	if p.isDue(r) {
		p.t.Error("the request is due again at once")
	}
	if pause == 0 {
		p.clock.Step(time.Hour)
		if p.isDue(r) {
			p.t.Error("a request that has ended is due again")
		}
		return
	}
	p.clock.Step(pause - time.Second)
	if p.isDue(r) {
		p.t.Errorf("the request is due again sooner than after %s", pause)
	}
	p.clock.Step(time.Second)
}

// reported are the ends of a request that were published for the status.
func (p *trying) reported(r v1alpha1.PrefetchRequest) []v1alpha1.PrefetchStatus {
	var out []v1alpha1.PrefetchStatus
	for _, s := range p.Board.Facts().Prefetched {
		if s.ID == r.ID && s.RequestedAt.Equal(&r.RequestedAt) {
			out = append(out, s)
		}
	}
	return out
}

// ended are the outcomes that the status tells of a request.
func (p *trying) ended(r v1alpha1.PrefetchRequest) []v1alpha1.PrimeOutcome {
	var out []v1alpha1.PrimeOutcome
	for _, s := range p.reported(r) {
		out = append(out, s.Outcome)
	}
	return out
}

func TestARequestThatFailsIsTriedThreeTimes(t *testing.T) {
	p := newTrying(t, func(context.Context) error { return errors.New(strings.Repeat("the registry is down, ", 100)) })
	r := p.request()
	p.tryOnce(&r, 15*time.Second)
	p.tryOnce(&r, 30*time.Second)
	if got := p.ended(r); len(got) > 0 {
		t.Errorf("before the last try the status tells of %v", got)
	}
	p.tryOnce(&r, 0)
	told := p.reported(r)
	if len(told) != 1 || told[0].Outcome != v1alpha1.PrimeFailed || len(told[0].Message) > 512 ||
		!told[0].RequestedAt.Equal(&r.RequestedAt) {
		t.Errorf("the status tells of %+v", told)
	}
	if diff := cmp.Diff([]string{v1alpha1.ReasonPrefetchFailed}, p.events.Reasons()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	select {
	case <-p.Board.Changes():
	default:
		t.Error("the status is not written soon")
	}
	if !p.Maker.State.IsUnfilled("ns/m") {
		t.Error("a mount that nothing was copied to passes for one that is held")
	}

	again := p.request()
	p.keep([]v1alpha1.PrefetchRequest{again}) // the manager took it back and asks anew
	if !p.isDue(&again) || len(p.ended(r)) > 0 || len(p.tried) > 0 {
		t.Errorf("a request that was taken back is remembered: %+v", p.tried)
	}
}

// TestACopyThatTakesTooLongIsNotRepeated has the registry hang: what was pulled would be pulled once more.
func TestACopyThatTakesTooLongIsNotRepeated(t *testing.T) {
	p := newTrying(t, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	r := p.request()
	p.tryOnce(&r, 0)
	if diff := cmp.Diff([]v1alpha1.PrimeOutcome{v1alpha1.PrimeTimedOut}, p.ended(r)); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
}

func TestAMountThatABuildUsesIsLeftAlone(t *testing.T) {
	p := newTrying(t, func(context.Context) error { return errors.New("nobody should ask") })
	uses := snapshot.Sharing([]daemon.Mount{{ID: "ns/m", Sharing: "shared"}})
	if _, err := p.Maker.State.Begin(p.Usage.Epoch(), uses, p.clock.Now()); err != nil {
		t.Fatal(err)
	}
	r := p.request()
	for range maxTries + 1 { // none of them counts as a failure
		p.tryOnce(&r, tryPause)
	}
	p.daemon.held = map[string]int64{"ns/m": 7}
	p.tryOnce(&r, 0)
	if diff := cmp.Diff([]v1alpha1.PrimeOutcome{v1alpha1.PrimeHeld}, p.ended(r)); diff != "" ||
		len(p.events.Reasons()) > 0 {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
}
