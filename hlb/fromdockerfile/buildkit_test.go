// SPDX-License-Identifier: Apache-2.0

package fromdockerfile

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/solver/pb"
)

// isDockerfile tells Dockerfiles from other texts of tests; those for Windows and formats of Sprintf are none.
var (
	isDockerfile = regexp.MustCompile(`(?im)^\s*FROM\s+\S`)
	isOther      = regexp.MustCompile(`%[sdvq]|nanoserver|servercore|(?i)windows|escape=` + "`")
)

// buildKitDockerfiles reads the Dockerfiles of BuildKit's integration tests from its source, by their places.
func buildKitDockerfiles(t *testing.T) map[string]string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/buildkit")
	dir, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "frontend/dockerfile/*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	found := map[string]string{}
	for _, file := range files {
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err == nil && isDockerfile.MatchString(text) && !isOther.MatchString(text) {
				pos := fset.Position(lit.Pos())
				found[filepath.Base(pos.Filename)+":"+strconv.Itoa(pos.Line)] = text
			}
			return true
		})
	}
	return found
}

// refusal is why BuildKit itself refuses a Dockerfile, nil if it doesn't: some of its tests are about errors.
func refusal(t *testing.T, dockerfile string, with images) error {
	t.Helper()
	caps := pb.Caps.CapSet(pb.Caps.All())
	_, err := dockerfile2llb.Dockerfile2LLB(t.Context(), []byte(dockerfile), dockerfile2llb.ConvertOpt{
		MetaResolver: with, TargetPlatform: &amd64, LLBCaps: &caps,
	})
	return err
}

// TestDockerfilesOfBuildKit: each Dockerfile of BuildKit's integration tests converts to the LLB that BuildKit makes of
// it, or what HLB lacks is named.
func TestDockerfilesOfBuildKit(t *testing.T) {
	var total, equal, named, refused int
	with := plainImages()
	for place, dockerfile := range buildKitDockerfiles(t) {
		total++
		t.Run(place, func(t *testing.T) {
			if why := refusal(t, dockerfile, with); why != nil {
				refused++
				_, err := Convert(t.Context(), []byte(dockerfile), Options{Platform: &amd64, Config: with.load})
				if err == nil {
					t.Errorf("BuildKit refuses this: %v\n%s", why, dockerfile)
				}
				t.Logf("refused: %v", err)
				return
			}
			res := convertEqual(t, dockerfile, with, Options{Config: with.load})
			if len(res.Problems) > 0 {
				named++
				t.Log(res.Problems)
				return
			}
			equal++
		})
	}
	t.Logf("%d Dockerfiles: %d equal, %d with named problems, %d that BuildKit refuses", total, equal, named, refused)
	if equal < 269 || named > 15 {
		t.Errorf("%d equal, %d with problems: fewer than before", equal, named)
	}
}
