// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/scheduler"
)

var recorded = types.NamespacedName{Namespace: "ns", Name: "c"}

// session is a State whose cycles are recorded.
type session struct {
	*history
	state    *fleet.State
	recorder *Recorder
	dir      string
	cycles   int
	stop     func()
}

// newSession begins a recording of a history. It writes no more than limit bytes.
func newSession(t testing.TB, h *history, dir string, limit int64) *session {
	t.Helper()
	recorder, err := Open(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- recorder.Start(ctx) }()
	stop := func() {
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	return &session{history: h, state: fleet.New(scheduler.DefaultParams()), recorder: recorder, dir: dir, stop: stop}
}

// cycle observes, decides, records and writes, as the scheduling loop does.
func (s *session) cycle() fleet.Writes {
	var learned []byte
	if s.recorder.NeedsKeyframe(recorded) {
		learned = s.save()
	}
	obs := s.observe(learned != nil)
	obs.Rebuild = learned != nil
	w, err := s.state.Cycle(obs)
	s.recorder.Cycle(recorded, learned, obs, w, err)
	if err != nil {
		s.t.Fatal(err)
	}
	written := s.write(&w)
	s.state.Written(written)
	s.recorder.Written(recorded, written)
	if s.cycles++; s.cycles%20 == 0 {
		digest, err := Digest(s.state)
		if err != nil {
			s.t.Fatal(err)
		}
		s.recorder.Digest(recorded, digest)
	}
	for len(s.recorder.entries) > maxWaiting/2 {
		time.Sleep(time.Millisecond)
	}
	return w
}

func (s *session) save() []byte {
	text, err := s.state.Save()
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// replay ends the recording and replays it: nothing may differ, and the same must be learned in the end.
func (s *session) replay() *Player {
	s.t.Helper()
	s.stop()
	p := &Player{}
	if err := p.Play(s.dir); err != nil {
		s.t.Fatal(err)
	}
	for _, d := range p.Differences {
		s.t.Errorf("differs: %s", d)
	}
	state := p.State(recorded)
	if state == nil {
		s.t.Fatal("nothing was replayed")
	}
	got, err := state.Save()
	if err != nil {
		s.t.Fatal(err)
	}
	if want := s.save(); !bytes.Equal(want, got) {
		s.t.Errorf("in the end something else was learned:\n%s\n%s", want, got)
	}
	return p
}

// TestHistoriesAreReplayed is the promise of recordings: whatever happens, the same observations give the same writes
// and teach the same.
func TestHistoriesAreReplayed(t *testing.T) {
	root := t.TempDir()
	n, placed, prefetched := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		h := newHistory(t, rapid.Uint64().Draw(rt, "seed"), rapid.Int32Range(2, 4).Draw(rt, "daemons"))
		s := newSession(t, h, fmt.Sprintf("%s/%d", root, n), 1<<40)
		for range rapid.IntRange(1, 150).Draw(rt, "cycles") {
			h.happen()
			w := s.cycle()
			placed += len(w.Builds)
			prefetched += len(w.Prefetch)
		}
		if p := s.replay(); p.Cycles != s.cycles || p.Skipped != 0 {
			t.Errorf("%d cycles were replayed and %d skipped, want %d", p.Cycles, p.Skipped, s.cycles)
		}
		if t.Failed() {
			rt.FailNow()
		}
	})
	if placed == 0 || prefetched == 0 {
		t.Errorf("in all histories %d decisions were written and %d prefetches", placed, prefetched)
	}
}

// TestKeyframesChangeNothing has keyframes at any time: a State that is restored from one goes on as the recorded does.
func TestKeyframesChangeNothing(t *testing.T) {
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		h := newHistory(t, rapid.Uint64().Draw(rt, "seed"), rapid.Int32Range(2, 4).Draw(rt, "daemons"))
		s := newSession(t, h, fmt.Sprintf("%s/%d", root, n), 1<<40)
		every := rapid.IntRange(2, 20).Draw(rt, "keyframes every")
		for i := range 60 {
			h.happen()
			if i > 0 && i%every == 0 {
				s.recorder.mu.Lock()
				s.recorder.fleets[recorded].keyframe = false
				s.recorder.mu.Unlock()
			}
			s.cycle()
		}
		s.replay()
		if t.Failed() {
			rt.FailNow()
		}
	})
}

// TestOldFilesGo has a recording outgrow its limit: what is left can be replayed.
func TestOldFilesGo(t *testing.T) {
	h := newHistory(t, 7, 4)
	const limit = 500_000
	s := newSession(t, h, t.TempDir(), limit)
	for range 900 {
		h.happen()
		s.cycle()
	}
	p := s.replay()
	if p.Cycles == 0 || p.Cycles >= s.cycles {
		t.Errorf("%d of %d cycles are left", p.Cycles, s.cycles)
	}
	if want := "older files were removed, the replay starts at " + p.Rotated; p.Rotated == fileName(0) ||
		p.Rotated == "" || !strings.Contains(p.Summary(), want) {
		t.Errorf("the summary is %q, want it with %q", p.Summary(), want)
	}
	files, err := Files(s.dir)
	if err != nil || len(files) < 2 {
		t.Fatalf("the files %q are left (%v)", files, err)
	}
	total := int64(0)
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > limit*5/4 {
		t.Errorf("%d files have %d bytes, want %d at most", len(files), total, limit)
	}
}

// TestLargeQueuesAreReplayed has more builds wait than are looked at in each cycle.
func TestLargeQueuesAreReplayed(t *testing.T) {
	h := newHistory(t, 3, 4)
	for range 1200 {
		h.arrive()
	}
	s := newSession(t, h, t.TempDir(), 1<<40)
	starts := 0
	for range 60 {
		h.now = h.now.Add(150 * time.Millisecond)
		h.end()
		w := s.cycle()
		if w.Queued > 1000 && len(w.Builds) == 1 {
			starts++
		}
	}
	s.replay()
	if starts == 0 {
		t.Error("no cycle decided only what could start")
	}
}

// TestARestartBeginsAnew has another manager go on with the recording of one.
func TestARestartBeginsAnew(t *testing.T) {
	h := newHistory(t, 5, 3)
	dir := t.TempDir()
	cycles := 0
	for manager := range 2 {
		s := newSession(t, h, dir, 1<<40)
		for range 50 {
			h.happen()
			s.cycle()
		}
		cycles += s.cycles
		if p := s.replay(); p.Cycles != cycles || p.Gaps != manager || p.Rotated != "" {
			t.Errorf("%d cycles were replayed, want %d: %s", p.Cycles, cycles, p.Summary())
		}
	}
}

// TestDroppedEntriesLeaveAGap has nobody write for so long that entries are dropped.
func TestDroppedEntriesLeaveAGap(t *testing.T) {
	h := newHistory(t, 9, 2)
	recorder, err := Open(t.TempDir(), 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{history: h, state: fleet.New(scheduler.DefaultParams()), recorder: recorder, dir: recorder.dir}
	step := func() {
		learned := []byte(nil)
		if recorder.NeedsKeyframe(recorded) {
			learned = s.save()
		}
		obs := h.observe(learned != nil)
		obs.Rebuild = learned != nil
		w, err := s.state.Cycle(obs)
		recorder.Cycle(recorded, learned, obs, w, err)
		recorder.Written(recorded, fleet.Written{Prefetch: []v1alpha1.PrefetchRequest{{ID: "m"}}})
	}
	h.arrive()
	step()
	if recorder.NeedsKeyframe(recorded) {
		t.Error("a keyframe is wanted although nothing was dropped")
	}
	for range maxWaiting {
		step()
	}
	if !recorder.NeedsKeyframe(recorded) {
		t.Error("no keyframe is wanted after cycles were dropped")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- recorder.Start(ctx) }()
	for len(recorder.entries) > 0 {
		time.Sleep(time.Millisecond)
	}
	step()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	s.replay()
}

// TestDifferencesAreFound replays what another version would have decided.
func TestDifferencesAreFound(t *testing.T) {
	h := newHistory(t, 11, 2)
	h.arrive()
	s := newSession(t, h, t.TempDir(), 1<<40)
	learned := s.save()
	obs := h.observe(true)
	obs.Rebuild = true
	w, err := s.state.Cycle(obs)
	if err != nil {
		t.Fatal(err)
	}
	w.Builds[0].Decision.Chosen.Name = "c-9"
	s.recorder.Cycle(recorded, learned, obs, w, nil)
	s.recorder.Digest(recorded, "other")
	s.stop()
	p := &Player{}
	if err := p.Play(s.dir); err != nil {
		t.Fatal(err)
	}
	if len(p.Differences) != 2 {
		t.Errorf("found the differences %q, want one in the decision and one in the digest", p.Differences)
	}
	const want = "2 differences, the first: 00000000.jsonl.gz entry 1: ns/c: the cycle of "
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "c-9") {
		t.Errorf("the error is %v, want it with %q and the other daemon", err, want)
	}
}

// TestAFileThatWasCutIsReplayed has the manager die while it writes.
func TestAFileThatWasCutIsReplayed(t *testing.T) {
	s := newSession(t, newHistory(t, 13, 2), t.TempDir(), 1<<40)
	for range 100 {
		s.happen()
		s.cycle()
	}
	s.stop()
	name := filepath.Join(s.dir, fileName(0))
	whole, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{whole.Size() - 1, whole.Size() / 2, 5, 0} {
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
		p := &Player{}
		if err := errors.Join(p.Play(s.dir), p.Err()); err != nil {
			t.Errorf("of %d bytes the replay ended with %v", size, err)
		}
		if len(p.Cut) != 1 || !strings.Contains(p.Summary(), "not written to their end: "+fileName(0)) {
			t.Errorf("of %d bytes the summary is %q", size, p.Summary())
		}
	}
}

// TestAFullDiskEndsTheRecording has files that can't be made.
func TestAFullDiskEndsTheRecording(t *testing.T) {
	h := newHistory(t, 17, 2)
	s := newSession(t, h, t.TempDir(), 1<<40)
	s.stop()
	recorder, err := Open(filepath.Join(s.dir, "lost"), 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(recorder.dir); err != nil {
		t.Fatal(err)
	}
	s.recorder = recorder
	s.cycle()
	if err := recorder.Start(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the recording ended with %v, want that there is no directory", err)
	}
	for range maxWaiting + 1 { // none waits, and none asks for a keyframe
		h.happen()
		s.cycle()
	}
	if recorder.NeedsKeyframe(recorded) || len(recorder.entries) > 0 {
		t.Errorf("after its end the recorder has %d entries, and wants a keyframe: %v",
			len(recorder.entries), recorder.NeedsKeyframe(recorded))
	}
}
