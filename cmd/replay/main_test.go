// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/openllb/hlb-operator/scheduler"
)

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
	if err := replay(&text, &out); err != nil || !strings.Contains(out.String(), "b runs on builds-0: HomeDaemon, cold, expected 40s") {
		t.Errorf("the same round gives %q (%v)", out.String(), err)
	}
	record.Decisions[0].Chosen.Name = "builds-9"
	text.Reset()
	out.Reset()
	if err := record.Write(&text); err != nil {
		t.Fatal(err)
	}
	if err := replay(&text, &out); err == nil || err.Error() != "1 of 1 decisions differ from the saved ones" {
		t.Errorf("a changed record gives %v", err)
	}
}
