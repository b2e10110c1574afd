// SPDX-License-Identifier: Apache-2.0

//go:build integration

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// runSite is a working directory with a program that uses an image of a registry, and a daemon that the environment
// names.
type runSite struct {
	daemon   *buildkittest.Daemon
	registry *buildkittest.Registry
	programs string // folder of buildctl
	base     string // image of busybox
}

const runProgram = `
fs default() {
	scratch
	mkfile "/hello" 0o644 "hello\n"
}

fs checked() {
	image "%[1]s"
	run "echo about to fail; exit 7"
}

fs cached() {
	image "%[1]s"
	run "echo x > /x"
	cacheContext scratch with option { toImage "%[2]s/cache:1"; mode "max"; }
}

fs arch() {
	scratch
	mkfile "/arch" 0o644 localArch
}
`

func newRunSite(t *testing.T) *runSite {
	t.Helper()
	s := &runSite{registry: buildkittest.StartRegistry(t)}
	s.daemon = buildkittest.Start(t, buildkittest.Options{Registries: []string{s.registry.Address}})
	s.programs, _ = buildkittest.Programs(t)
	s.base = s.registry.Busybox()
	program := fmt.Sprintf(runProgram, s.base, s.registry.Address)
	t.Chdir(t.TempDir())
	t.Setenv("BUILDKIT_HOST", "unix://"+s.daemon.Socket)
	if err := os.WriteFile(defaultProgram, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRun(t *testing.T) {
	s := newRunSite(t)
	image := s.registry.Address + "/app:1"
	for name, tc := range map[string]struct {
		args           string
		code           int
		stdout, stderr string // parts
	}{
		"the default program is built on the daemon of the environment": {
			args: "run --progress plain", stderr: "of 1 steps cached",
		},
		"an image is pushed": {
			args: "run --progress plain --push " + image, stdout: image + " sha256:",
		},
		"a failed command gives its exit code, place and output": {
			args: "run --progress plain --target checked", code: 7,
			stderr: "build.hlb:9:2: step /bin/sh -c 'echo about to fail; exit 7' failed with exit code 7",
		},
		"also where nothing else is shown": {
			args: "run --progress quiet --target checked", code: 7, stderr: "about to fail\n",
		},
		"progress for programs": {args: "run --progress rawjson --target cached", stderr: `"vertexes":[`},
		"progress for a terminal needs one": {
			args: "run --progress tty", code: 2, stderr: "failed to get console",
		},
		"nothing is solved to print": {
			args:   "run --print --target cached --output type=oci,dest=a.tar,target=cached,name=a:1",
			stdout: "# parallel(single, export oci a:1 a.tar)\n# 1: single\n1: source docker-image://",
		},
		"what is printed has its cache contexts": {
			args:   "run --print --target cached",
			stdout: "\n#   export registry mode=\"max\" ref=\"" + s.registry.Address,
		},
		"several targets": {
			args: "run --progress quiet --target default,cached",
		},
		"a program that is refused": {
			args: "run --progress quiet --target nope", code: 1, stderr: "error[NO-TARGET]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := hlbHere(t, strings.Fields(tc.args)...)
			if code != tc.code || !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("exit code %d, want %d, %q and %q in\n%s\n---\n%s", code, tc.code, tc.stdout, tc.stderr,
					stdout, stderr)
			}
		})
	}
	if _, err := os.Stat("a.tar"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("--print has written an output: %v", err)
	}
}

// TestCachedStepsAreCounted: also one that is the whole result.
func TestCachedStepsAreCounted(t *testing.T) {
	newRunSite(t)
	for _, want := range []string{"0 of 1 steps cached", "1 of 1 steps cached", "1 of 1 steps cached"} {
		if code, _, stderr := hlbHere(t, "run", "--progress", "plain"); code != 0 || !strings.Contains(stderr, want) {
			t.Errorf("exit code %d, want %q in\n%s", code, want, stderr)
		}
	}
}

func TestRunOutputs(t *testing.T) {
	newRunSite(t)
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	code, _, stderr := hlbHere(t, "run", "--progress", "quiet", "-o", "out", "-o", "type=tar,dest=sub/app.tar",
		"-o", "type=oci,dest=oci.tar,name=app:1", "-o", "type=docker,dest=docker.tar,name=app:1")
	if code != 0 {
		t.Fatal(stderr)
	}
	if got := read("out/hello"); got != "hello\n" {
		t.Errorf("%q in the directory", got)
	}
	for file, want := range map[string]string{
		"sub/app.tar": "hello", "oci.tar": "index.json", "docker.tar": "manifest.json",
	} {
		if names := tarNames(t, strings.NewReader(read(file))); !strings.Contains(names, want) {
			t.Errorf("%s has %s, want %s", file, names, want)
		}
	}
	code, stdout, stderr := hlbHere(t, "run", "--progress", "quiet", "-o", "-")
	if code != 0 || !strings.Contains(tarNames(t, strings.NewReader(stdout)), "hello") {
		t.Errorf("%d, %q, %s", code, stdout, stderr)
	}
}

func tarNames(t *testing.T, r io.Reader) string {
	t.Helper()
	var names []string
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return strings.Join(names, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

func TestRunPlatform(t *testing.T) {
	newRunSite(t)
	code, _, stderr := hlbHere(t, "run", "--progress", "quiet", "--target", "arch", "--platform", "linux/s390x", "-o",
		"type=oci,dest=a.tar")
	if code != 0 {
		t.Fatal(stderr)
	}
	text, err := os.ReadFile("a.tar")
	if err != nil || !bytes.Contains(text, []byte(`"architecture":"s390x"`)) {
		t.Errorf("%v, or the image is not for s390x", err)
	}
	code, _, stderr = hlbHere(t, "run", "--platform", "a/b/c/d/e")
	if code != 2 || !strings.Contains(stderr, "platform") {
		t.Errorf("%d, %s", code, stderr)
	}
}

func TestRunMetadata(t *testing.T) {
	s := newRunSite(t)
	image := s.registry.Address + "/app:2"
	code, _, stderr := hlbHere(t, "run", "--progress", "quiet", "--target", "cached", "--push", image,
		"--metadata-file", "m.json")
	if code != 0 {
		t.Fatal(stderr)
	}
	text, err := os.ReadFile("m.json")
	if err != nil {
		t.Fatal(err)
	}
	var got metadata
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Outputs) != 1 || got.Outputs[0].Digest.Validate() != nil || len(got.Caches) != 1 ||
		got.Caches[0].Manifest.Validate() != nil {
		t.Fatalf("%s lacks digests", text)
	}
	got.Outputs[0].Digest, got.Caches[0].Manifest = "", ""
	want := metadata{
		Outputs: []outputJSON{{Target: "cached", Ref: image}},
		Steps:   stepsJSON{Total: 1},
		Caches: []cacheExportJSON{{
			Type: "registry", Attrs: map[string]string{"mode": "max", "ref": s.registry.Address + "/cache:1"},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRunByHelpers reaches a daemon by each of the client's helpers. The programs that they start are stand-ins, which
// check their arguments and run the same `buildctl dial-stdio` here.
func TestRunByHelpers(t *testing.T) {
	s := newRunSite(t)
	bin := t.TempDir()
	for name, want := range map[string]string{
		"docker":  "exec -i box buildctl dial-stdio",
		"podman":  "exec -i box buildctl dial-stdio",
		"nerdctl": "exec -i box buildctl dial-stdio",
		"kubectl": "--context= --namespace=ns exec --container=buildkitd -i box -- buildctl dial-stdio",
		"ssh":     "-l me -- box buildctl dial-stdio",
	} {
		script := fmt.Sprintf("#!/bin/sh\n[ \"$*\" = %q ] || { echo \"got $*\" >&2; exit 1; }\n"+
			"exec %s/buildctl --addr unix://%s dial-stdio\n", want, s.programs, s.daemon.Socket)
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, addr := range []string{
		"docker-container://box", "podman-container://box", "nerdctl-container://box",
		"kube-pod://box?namespace=ns&container=buildkitd", "ssh://me@box",
	} {
		t.Run(addr, func(t *testing.T) {
			code, _, stderr := hlbHere(t, "run", "--progress", "plain", "--addr", addr)
			if code != 0 {
				t.Error(stderr)
			}
		})
	}
}
