// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/fleet/record"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestARecordingIsReplayed(t *testing.T) {
	dir := t.TempDir()
	recorder, err := record.Open(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	name := types.NamespacedName{Namespace: "ns", Name: "c"}
	state := fleet.New(scheduler.DefaultParams())
	b := testbuild.HLBBuild("ns", "b", testbuild.WithCache("c"), testbuild.WithCacheKey("app"))
	status.Open(b, buildrun.New(b), envtestkit.Epoch)
	obs := fleet.Observation{
		Now: envtestkit.Epoch, Full: true, Rebuild: true, Cache: testbuild.BuildCache("ns", "c"),
		Daemons: []*v1alpha1.BuildDaemon{testbuild.BuildDaemon("ns", "c", 0, testbuild.Serving)},
		Builds:  []*v1alpha1.HLBBuild{b},
	}
	learned, err := state.Save()
	if err != nil {
		t.Fatal(err)
	}
	writes, err := state.Cycle(obs)
	recorder.Cycle(name, learned, obs, writes, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := recorder.Start(ended); err != nil { // writes what waits
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(dir, &out); err != nil {
		t.Fatal(err)
	}
	const want = " ns/c b runs on c-0: HomeDaemon, cold"
	if got := out.String(); !strings.Contains(got, want) || !strings.Contains(got, "1 cycles replayed from 20") {
		t.Errorf("printed %q, want a line with %q", got, want)
	}
	if err := run(t.TempDir(), &out); err == nil || !strings.Contains(err.Error(), "no recording") {
		t.Errorf("an empty directory gives %v", err)
	}
}

func TestReplayTellsWhatDiffers(t *testing.T) {
	v, err := scheduler.NewView([]scheduler.Daemon{{ID: 1, Name: "builds-0", Phase: scheduler.Ready, Slots: 1}}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := scheduler.DefaultParams()
	queue := []scheduler.Request{{UID: "b", Keys: []scheduler.KeyUse{{ID: 7}}, WarmSeconds: 10, ColdSeconds: 40}}
	record := scheduler.NewRecord(v, queue, &p, scheduler.Cycle(v, queue, &p))
	var text, out bytes.Buffer
	if err := record.Write(&text); err != nil {
		t.Fatal(err)
	}
	if err := replayRound(&text, &out); err != nil ||
		!strings.Contains(out.String(), "b runs on builds-0: HomeDaemon, cold, expected 40s") {
		t.Errorf("the same round gives %q (%v)", out.String(), err)
	}
	record.Decisions[0].Chosen.Name = "builds-9"
	text.Reset()
	out.Reset()
	if err := record.Write(&text); err != nil {
		t.Fatal(err)
	}
	if err := replayRound(&text, &out); err == nil || err.Error() != "1 of 1 decisions differ from the saved ones" {
		t.Errorf("a changed record gives %v", err)
	}
}
