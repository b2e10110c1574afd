// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// snapshotModules keeps a directory as an image: it mounts the image that the run before pushed, adds to it, and
// pushes it again.
const snapshotModules = `# The modules of the last run, or none at first.
fs modules() {
	image "BASE"
}

fs default() {
	snapshotModules
	dockerPush "OUT"
}

fs snapshotModules() {
	image "IMAGE"
	run "date +%s%N > /modules/$(date +%s%N); ls /modules | wc -l" with option {
		ignoreCache
		mount modules "/modules" as (target updated)
	}
	updated
}
`

func TestAScheduleKeepsASnapshotOfADirectory(t *testing.T) {
	t.Parallel() // it mostly waits
	out := cluster.Info.Registry + "/e2e-modules-" + stamp + ":latest"
	first := newBuild("modules-first",
		strings.NewReplacer("BASE", cluster.Images["busybox"], "OUT", out).Replace(snapshotModules))
	run(t, first)
	succeeded(t, first)
	before := layersOf(t, out)

	build := newBuild("modules", strings.NewReplacer("BASE", out, "OUT", out).Replace(snapshotModules))
	build.Spec.Schedule = &v1alpha1.ScheduleSpec{CronSchedule: v1alpha1.CronSchedule{Cron: "* * * * *"}}
	run(t, build)
	succeeded(t, build)
	eventually(t, build, "the clock has opened a run, and it has ended", func(b *v1alpha1.HLBBuild) bool {
		return b.Status.Run.Cause == v1alpha1.CauseScheduled && b.Status.Run.FinishedAt != nil
	})
	succeeded(t, build)
	if s := build.Status.Schedule; s == nil || s.LastTime == nil || s.NextTime == nil ||
		!s.NextTime.After(s.LastTime.Time) {
		t.Errorf("schedule is %+v", s)
	}
	after := layersOf(t, out)
	if len(after) <= len(before) {
		t.Fatalf("%d layers after the later runs, %d before", len(after), len(before))
	}
	for i, l := range before {
		if after[i] != l {
			t.Errorf("layer %d was pushed again, as another one", i)
		}
	}
}

// layersOf are the digests of an image's layers.
func layersOf(t *testing.T, image string) []v1.Hash {
	t.Helper()
	ref, err := name.ParseReference(image, name.Insecure)
	must(t, err)
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	must(t, err)
	manifest, err := img.Manifest()
	must(t, err)
	var out []v1.Hash
	for _, l := range manifest.Layers {
		out = append(out, l.Digest)
	}
	return out
}
