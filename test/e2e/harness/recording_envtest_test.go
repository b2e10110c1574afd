// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/openllb/hlb-operator/controllers/placement"
	"github.com/openllb/hlb-operator/controllers/watches"
	"github.com/openllb/hlb-operator/fleet/record"
	"github.com/openllb/hlb-operator/hack/cluster/localcluster"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// place runs the scheduling loop as the manager in pod, which records it, until the result is called.
func place(t *testing.T, w *fleettest.World, c *Cluster, pod string) (stop func()) {
	t.Helper()
	mgr, err := ctrl.NewManager(envtestkit.Get(t).Config, ctrl.Options{
		Scheme: w.Client.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
	})
	w.Must(err)
	recorder, err := record.Open(filepath.Join(c.recording.dir(), pod), recordingLimit)
	w.Must(err)
	ctx, cancel := context.WithCancel(context.Background())
	loop := &placement.Reconciler{
		Client: mgr.GetClient(), Events: w.Events, Clock: clock.RealClock{},
		Params: scheduler.DefaultParams(), Recorder: recorder,
	}
	w.Must(mgr.Add(recorder), watches.AddIndexes(ctx, mgr.GetFieldIndexer()), loop.SetupWithManager(mgr))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return func() {
		t.Helper()
		cancel()
		w.Must(<-ended)
	}
}

// TestARecordingIsReplayedToItsEnd has one manager record, beside another that has never led.
func TestARecordingIsReplayedToItsEnd(t *testing.T) {
	w := fleettest.New(t)
	var log bytes.Buffer
	c := &Cluster{Local: &localcluster.Cluster{Dir: t.TempDir()}, Client: w.Client, Log: &log}
	w.Must(c.RecordPlacement(), os.Mkdir(filepath.Join(c.recording.dir(), "other"), 0o700))
	w.Fleet(1, 1)
	build := w.Build("b", testbuild.WithCacheKey("app"))
	stop := place(t, w, c, "leader")
	w.Must(Eventually(t.Context(), time.Minute, "the build is placed", func(context.Context) (bool, error) {
		return fleettest.Read(w, build).Status.Placement != nil, nil
	}))

	daemon := client.ObjectKey{Namespace: w.NS, Name: "cache-0"}
	w.Must(c.Replay(t.Context(), daemon))
	for _, want := range []string{"manager other has not led", "manager leader: ", "with 1 decisions about builds"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, &log)
		}
	}

	stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.Replay(ctx, daemon); err == nil || !strings.Contains(err.Error(), "until a round is recorded") {
		t.Errorf("without a manager the replay ended with %v", err)
	}
}
