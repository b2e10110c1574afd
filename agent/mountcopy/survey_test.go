// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestASurveyFindsMountsWithoutAnyName(t *testing.T) {
	folder := t.TempDir()
	at := func(name string) string { return filepath.Join(folder, name) }
	err := errors.Join(os.MkdirAll(at("0"), 0o755), os.MkdirAll(at("1/folder"), 0o755), os.MkdirAll(at("2"), 0o700),
		os.Mkdir(at("3"), 0o755), os.WriteFile(at("3/.f"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	step := &Step{Mode: ModeSurvey, Mount: folder}
	res, err := talk(t.Context(), step, func(p *Peer) (Result, error) { return p.Digest() })
	want := Result{Outcome: Unchanged, EmptyMounts: []string{"0", "2"}}
	if diff := gocmp.Diff(want, res); err != nil || diff != "" {
		t.Errorf("the survey (-want +got): %v\n%s", err, diff)
	}
}
