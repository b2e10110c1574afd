// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hack/images/localimages"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// docsNamespace is the namespace that the documentation works in.
const docsNamespace = "builds"

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// notHere are commands that are run elsewhere: the demo and the tests by make and CI, image builds where there is a
// container engine.
var notHere = regexp.MustCompile(`^(make |docker )`)

// TestDocsCommands runs the commands of the documentation, page by page in the order of reading, as they stand.
// Placeholders get values, the installation gets this checkout's images, and what would remove the operator is only
// tried.
func TestDocsCommands(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	must(t, err)
	must(t, cluster.DeleteNamespace(t.Context(), docsNamespace))
	t.Cleanup(func() {
		if err := cluster.DeleteNamespace(context.WithoutCancel(t.Context()), docsNamespace); err != nil {
			t.Error(err)
		}
	})
	serveDockerHub(t)
	done := map[string]bool{}
	for _, page := range []string{"README.md", "docs/install.md", "docs/first-build.md", "docs/operate.md",
		"docs/size-volumes.md", "docs/snapshots.md", "docs/troubleshoot.md", "docs/hlb.md"} {
		text, err := os.ReadFile(filepath.Join(root, page))
		must(t, err)
		for _, b := range shellBlock.FindAllStringSubmatch(string(text), -1) {
			for _, line := range strings.Split(strings.TrimSpace(b[1]), "\n") {
				if notHere.MatchString(line) || done[line] {
					continue // pages repeat how to install; once is enough
				}
				done[line] = true
				shell(t, root, page, line)
				if strings.Contains(line, "buildcache_minimal.yaml") {
					mirrorDockerHub(t)
				}
			}
		}
	}
	if len(done) < 20 {
		t.Errorf("only %d commands were found", len(done))
	}
}

// shell runs one line of a page.
func shell(t *testing.T, root, page, line string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "build.hlb")
	must(t, os.WriteFile(program, []byte("fs default() {\n\tscratch\n}\n"), 0o644))
	log := "../../../../dev/null" // until the page's build has one
	build := &v1alpha1.HLBBuild{}
	if err := cluster.Client.Get(t.Context(), client.ObjectKey{Namespace: docsNamespace, Name: "hello"},
		build); err == nil && build.Status.Log != nil {
		log = build.Status.Log.File
	}
	replaced := strings.NewReplacer(
		"config/default", "bin/install", "bcache NAME", "bcache small", "NAME", "hello", "DAEMON", "small-0", "LOGFILE",
		log, "FILE", program,
		"kubectl delete", "kubectl delete --dry-run=server",
		"--server-side -k config/namespaced", "--server-side --force-conflicts --dry-run=server -k config/namespaced",
	).Replace(line)
	cmd := exec.CommandContext(t.Context(), "bash", "-c", replaced)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cluster.Info.Kubeconfig, "PATH="+filepath.Dir(cluster.Info.Kubectl)+
		":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %s: %v\n%s", page, line, err, out)
	}
}

// serveDockerHub puts the one image of the samples that comes from Docker Hub into the local registry.
func serveDockerHub(t *testing.T) {
	t.Helper()
	builder, err := localimages.New(os.Stderr)
	must(t, err)
	image, err := builder.Image(t.Context(), "golang")
	must(t, err)
	_, err = localimages.Push(t.Context(), image, cluster.Info.Registry+"/library/golang:1.26")
	must(t, err)
}

// mirrorDockerHub makes the fleet of the documentation take Docker Hub's images from the local registry: there is no
// way to Docker Hub in a test.
func mirrorDockerHub(t *testing.T) {
	t.Helper()
	small := &v1alpha1.BuildCache{}
	must(t, cluster.Client.Get(t.Context(), client.ObjectKey{Namespace: docsNamespace, Name: "small"}, small))
	before := small.DeepCopy()
	small.Spec.BuildKit.Registries = []v1alpha1.RegistryHost{
		{Host: "docker.io", Scheme: "HTTPS", Mirrors: []string{cluster.Info.Registry}},
		{Host: cluster.Info.Registry, Scheme: "HTTP"},
	}
	must(t, cluster.Client.Patch(t.Context(), small, client.MergeFrom(before)))
	must(t,
		harness.Eventually(t.Context(), patience, "the mirror is in the configuration",
			func(ctx context.Context) (bool, error) {
				err := cluster.Client.Get(ctx, client.ObjectKeyFromObject(small), small)
				return small.Status.ObservedGeneration == small.Generation, err
			}))
}
