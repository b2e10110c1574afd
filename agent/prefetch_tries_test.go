// SPDX-License-Identifier: Apache-2.0

package agent

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

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/agent/ledger"
	"github.com/openllb/hlb-operator/agent/snapshot"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// trying is a prefetcher whose way to the registry is the test's.
type trying struct {
	*prefetcher
	t      *testing.T
	cache  *v1alpha1.BuildCache
	clock  *envtestkit.Clock
	events *envtestkit.Recorder
}

func newTrying(t *testing.T, reach func(context.Context) error) *trying {
	t.Helper()
	dir := t.TempDir()
	book, _, err := ledger.Open(filepath.Join(dir, "ledger.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "mountcopy"), nil, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	clock, events := envtestkit.NewClock(), &envtestkit.Recorder{}
	maker := &snapshot.Maker{
		Namespace: "ns", State: snapshot.OpenState(filepath.Join(dir, "snapshots.json"), book.Epoch()), ProgramPath: filepath.Join(dir, "mountcopy"), Now: clock.Now,
		DockerConfig: func(ctx context.Context, _ *v1alpha1.BuildCache) ([]byte, error) { return nil, reach(ctx) },
	}
	i := &inventory{
		opts: Options{StateDir: dir}, ledger: book, snapshots: maker.State, events: events, log: logr.Discard(), now: clock.Now, kicks: make(chan struct{}, 1),
		seen: &daemon.Observation{},
	}
	cache := &v1alpha1.BuildCache{Spec: v1alpha1.BuildCacheSpec{
		Registry: &v1alpha1.RegistryCacheSpec{Repository: "localhost:1/cache"},
		Mounts:   []v1alpha1.MountPolicy{{ID: "*", Prime: v1alpha1.PrimeOnFreshDaemon, PrimeTimeoutSeconds: 1}},
	}}
	return &trying{&prefetcher{inventory: i, maker: maker, ledger: book, now: clock.Now, tried: map[prefetchID]prefetchTry{}}, t, cache, clock, events}
}

// request is one for ns/m.
func (p *trying) request() v1alpha1.PrefetchRequest {
	return v1alpha1.PrefetchRequest{ID: "ns/m", Sharing: v1alpha1.MountShared, Bytes: 1, RequestedAt: metav1.NewTime(p.clock.Now())}
}

// tryOnce wants the request to be due, tries it, and wants it to be due again only after a pause; 0 is never.
func (p *trying) tryOnce(r *v1alpha1.PrefetchRequest, pause time.Duration) {
	p.t.Helper()
	if !p.isDue(r) {
		p.t.Fatal("the request is not due")
	}
	p.bring(p.t.Context(), p.cache, &v1alpha1.BuildDaemon{}, r)
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

// ended are the outcomes that the status tells of a request.
func (p *trying) ended(r v1alpha1.PrefetchRequest) []v1alpha1.PrimeOutcome {
	var out []v1alpha1.PrimeOutcome
	for _, s := range p.status([]v1alpha1.PrefetchRequest{r}) {
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
	told := p.status([]v1alpha1.PrefetchRequest{r})
	if len(told) != 1 || told[0].Outcome != v1alpha1.PrimeFailed || len(told[0].Message) > 512 || !told[0].RequestedAt.Equal(&r.RequestedAt) {
		t.Errorf("the status tells of %+v", told)
	}
	if diff := cmp.Diff([]string{v1alpha1.ReasonPrefetchFailed}, p.events.Reasons()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if len(p.inventory.kicks) != 1 {
		t.Error("the status is not written soon")
	}
	if !p.maker.State.IsUnfilled("ns/m") {
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
	if _, err := p.maker.State.Begin(p.ledger.Epoch(), uses, p.clock.Now()); err != nil {
		t.Fatal(err)
	}
	r := p.request()
	for range prefetchTries + 1 { // none of them counts as a failure
		p.tryOnce(&r, prefetchPause)
	}
	p.inventory.seen = &daemon.Observation{MountBytes: map[string]int64{"ns/m": 7}}
	p.tryOnce(&r, 0)
	if diff := cmp.Diff([]v1alpha1.PrimeOutcome{v1alpha1.PrimeHeld}, p.ended(r)); diff != "" || len(p.events.Reasons()) > 0 {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
}

func TestNothingIsPrunedForAMountThatIsAskedFor(t *testing.T) {
	p := newTrying(t, nil)
	vol, err := volumeAt(p.inventory.opts.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	p.inventory.seen = &daemon.Observation{MountBytes: map[string]int64{"ns/a": 4 << 20, "ns/b": 3 << 20}}
	for name, tc := range map[string]struct {
		bytes  int64
		budget gc.Budget
		want   string
	}{
		"room there is":                      {3 << 20, gc.Budget{MountsBytes: 10 << 20}, ""},
		"no room in the mounts' share":       {4 << 20, gc.Budget{MountsBytes: 10 << 20}, "the mounts' share has no room for 4 MiB: 7 of 10 MiB are taken"},
		"no share is known yet":              {4 << 20, gc.Budget{}, ""},
		"no room above what is kept free":    {1 << 20, gc.Budget{FreeBytes: vol.CapacityBytes}, "the volume has no room for 1 MiB"},
		"more than the volume has free":      {vol.CapacityBytes + 1<<20, gc.Budget{}, "the volume has no room for"},
		"nothing is asked of a share at all": {0, gc.Budget{MountsBytes: 7 << 20}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p.inventory.budget = tc.budget
			err := p.inventory.roomFor(tc.bytes)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the agent says %v, want %q", err, tc.want)
			}
		})
	}
}
