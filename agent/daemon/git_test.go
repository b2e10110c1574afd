// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

func TestGitSource(t *testing.T) {
	t.Parallel()
	url := gitServer(t, map[string]string{
		"ci/build.hlb": "import files from \"./files.hlb\"\n\nfs default() {\n\tfiles.all\n\tmkdir \"/done\" 0o755\n}\n",
		"ci/files.hlb": "export all\n\nfs all() {\n\tscratch\n\tcopy local(\"..\") \"/app/main.go\" \"/main.go\"\n}\n",
		"app/main.go":  "package main\n",
	})
	d := dial(t, buildkittest.Start(t, buildkittest.Options{}))
	job := inline("")
	job.Spec.Source = &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: url, Ref: "main"}}
	job.Inputs = &inputs.Inputs{Filename: "ci/build.hlb", Secrets: map[string][]byte{}}

	var source *daemon.SourceError
	_, err := d.Build(t.Context(), job)
	if !errors.As(err, &source) || daemon.IsLost(err) {
		t.Errorf("without credentials: got %v, want a SourceError", err)
	}
	job.Inputs.GitAuth = &inputs.BasicAuth{Username: "me", Password: "s3cret"}
	if out := build(t, d, job); out.Total != 2 {
		t.Errorf("%s steps, want 2: a copy and a mkdir", cached(out))
	}
	job.Inputs.Filename = "none.hlb"
	if _, err := d.Build(t.Context(), job); !errors.As(err, &source) ||
		!strings.Contains(err.Error(), "there is no such file") {
		t.Errorf("a missing program: got %v", err)
	}
	job.Spec.Source.Git.Ref = "gone"
	if _, err := d.Build(t.Context(), job); !errors.As(err, &source) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a missing branch: got %v", err)
	}
}

func TestGitContextOfASubfolder(t *testing.T) {
	t.Parallel()
	url := gitServer(t, map[string]string{"app/main.go": "package main\n", "README": "hi\n"})
	d := dial(t, buildkittest.Start(t, buildkittest.Options{}))
	job := inline("fs default() {\n\tscratch\n\tcopy local(\".\") \"/main.go\" \"/main.go\"\n}\n")
	job.Spec.Source = &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: url, Path: "app"}}
	job.Inputs.GitAuth = &inputs.BasicAuth{Username: "me", Password: "s3cret"}
	if out := build(t, d, job); out.Total != 1 {
		t.Errorf("%s steps, want the one copy", cached(out))
	}
}

// TestProgramOfASubfolder has the source be a folder of the repository: its program, modules and local paths start
// there.
func TestProgramOfASubfolder(t *testing.T) {
	t.Parallel()
	url := gitServer(t, map[string]string{
		"app/ci/build.hlb": "import files from \"./files.hlb\"\n\nfs default() {\n\tfiles.all\n}\n",
		"app/ci/files.hlb": "export all\n\nfs all() {\n\tscratch\n\tcopy local(\"..\") \"/main.go\" \"/main.go\"\n}\n",
		"app/main.go":      "package main\n", "ci/build.hlb": "fs default() {\n\tscratch\n}\n",
	})
	d := dial(t, buildkittest.Start(t, buildkittest.Options{}))
	job := inline("")
	job.Spec.Source = &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: url, Path: "app"}}
	auth := &inputs.BasicAuth{Username: "me", Password: "s3cret"}
	job.Inputs = &inputs.Inputs{Filename: "ci/build.hlb", Secrets: map[string][]byte{}, GitAuth: auth}
	if out := build(t, d, job); out.Total != 1 {
		t.Errorf("%s steps, want the one copy", cached(out))
	}
}
