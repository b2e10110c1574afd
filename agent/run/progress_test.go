// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	bkclient "github.com/moby/buildkit/client"

	"github.com/openllb/hlb-operator/agent/buildlog"
)

func TestTheLogTellsStepsOutputAndEnd(t *testing.T) {
	file, err := buildlog.Create(t.TempDir(), "b.log")
	if err != nil {
		t.Fatal(err)
	}
	p := newProgressLog(file, testr.New(t))
	began, ended := time.Now(), time.Now().Add(time.Second)
	p.see(&bkclient.SolveStatus{
		Vertexes: []*bkclient.Vertex{{Digest: "sha256:1", Name: "make all", Started: &began}},
		Logs:     []*bkclient.VertexLog{{Vertex: "sha256:1", Stream: 1, Data: []byte("compiling\n"), Timestamp: began}},
	})
	p.see(&bkclient.SolveStatus{Vertexes: []*bkclient.Vertex{
		{Digest: "sha256:1", Name: "make all", Started: &began, Completed: &ended},
	}})
	p.end(errors.New("exit code 2"))
	data, err := os.ReadFile(file.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"make all", "compiling", "the build failed: exit code 2\n"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the log lacks %q:\n%s", want, data)
		}
	}
}

func TestWithoutALogFileNothingHappens(t *testing.T) {
	p := newProgressLog(nil, testr.New(t))
	p.see(&bkclient.SolveStatus{})
	p.end(nil)
}
