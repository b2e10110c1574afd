// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestAHotKeyIsWantedTwice(t *testing.T) {
	f := observe(t)
	testbuild.WithKey("hot", envtestkit.Epoch, 60, 300)(&f.daemons[0])
	for i := range 300 { // 300 builds of a minute in half an hour keep more than four slots busy
		b := opened(fmt.Sprint("b", i), "hot")
		b.UID = types.UID(b.Name)
		f.builds = append(f.builds, b)
	}
	f.cycle()
	for range 2 { // it takes two sweeps
		f.now = f.now.Add(sweepInterval)
		f.cycle()
	}
	view, queue, _ := f.view()
	record := scheduler.NewRecord(view, queue[:1], &f.state.params, nil)
	if len(record.Keys) != 1 || record.Keys[0].Replicas < 2 {
		t.Errorf("the hot key's entry is %+v, want two copies or more", record.Keys)
	}
	newReplica := 0
	for _, d := range scheduler.Cycle(view, queue, &f.state.params) {
		if d.Action == scheduler.Run && d.Reason == scheduler.NewReplica {
			newReplica++
		}
	}
	if newReplica == 0 {
		t.Error("no build is placed to make the second copy")
	}
}

func TestKeysThatNobodyHasAreForgotten(t *testing.T) {
	f := observe(t)
	f.cycle()
	f.builds = []v1alpha1.HLBBuild{done("a", "k", "c-0", 9*time.Second, true)}
	f.cycle()
	f.builds, f.now = nil, f.now.Add(2*sweepInterval)
	f.cycle()
	if len(f.state.keys) != 0 || len(f.state.builds) != 0 {
		t.Errorf("still knows %d keys and %d builds", len(f.state.keys), len(f.state.builds))
	}
}
