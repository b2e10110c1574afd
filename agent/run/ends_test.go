// SPDX-License-Identifier: Apache-2.0

package run

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
)

// endOf is the end of a build's attempt, with so many bytes of details.
func endOf(n, bytes int) report {
	return report{
		Build: types.NamespacedName{Namespace: "ns", Name: fmt.Sprintf("b%03d", n)},
		Claimed: attempt.Claimed{
			ID:      attempt.ID{UID: types.UID(fmt.Sprint(n)), Run: "g1", Attempt: 1},
			Session: attempt.Session{Daemon: types.NamespacedName{Namespace: "ns", Name: "cache-0"}, ID: "pod/a"},
		},
		End:     attempt.End{At: metav1.NewMicroTime(start)},
		Details: &details{Outputs: []v1alpha1.OutputStatus{{Image: strings.Repeat("i", bytes), Digest: "d"}}},
	}
}

func TestEndsAreKeptUntilTheyAreForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ends.json")
	e, err := OpenEnds(path)
	if err != nil {
		t.Fatal(err)
	}
	failed, lost := endOf(2, 3), endOf(1, 3)
	failed.End.Failure = &v1alpha1.FailureStatus{Reason: "SolveFailed", Message: "no"}
	lost.End.Lost = &attempt.Cause{Reason: "DiskFull", Message: "full"}
	for _, r := range []report{endOf(3, 3), failed, lost, failed} {
		if err := e.keep(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.forget(endOf(3, 3).Claimed); err != nil {
		t.Fatal(err)
	}
	again, err := OpenEnds(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]report{lost, failed}, again.all()); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	if !again.has(lost.Claimed) || again.has(endOf(3, 3).Claimed) {
		t.Error("the wrong ends are kept")
	}
}

func TestEndsAreBounded(t *testing.T) {
	e, err := OpenEnds(filepath.Join(t.TempDir(), "ends.json"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range endsLimit + 1 {
		bytes := 10
		if n >= endsLimit-1 {
			bytes = endsLength / 2 // one of the two does not fit
		}
		if err := e.keep(endOf(n, bytes)); err != nil {
			t.Fatal(err)
		}
	}
	all := e.all()
	if len(all) != endsLimit || all[0].Build.Name != "b001" {
		t.Errorf("%d ends are kept, from %s on", len(all), all[0].Build.Name)
	}
	if all[endsLimit-1].Details == nil || all[endsLimit-2].Details != nil {
		t.Error("not the oldest ends have lost their details")
	}
}

func TestADamagedFileIsBegunAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ends.json")
	if err := os.WriteFile(path, []byte(`[{"build":`), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := OpenEnds(path)
	if err == nil || len(e.all()) > 0 {
		t.Errorf("%d ends, error %v", len(e.all()), err)
	}
	if err := e.keep(endOf(1, 3)); err != nil {
		t.Error(err)
	}
}
