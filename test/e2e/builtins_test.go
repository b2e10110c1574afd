// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/tar"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	corev1 "k8s.io/api/core/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hlb/builtin"
	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/gittest"
)

//go:embed testdata/builtins
var builtinPrograms embed.FS

// refusedHere are programs that servers refuse, in one line each. The first word of the name is where in the program
// the diagnostic is.
var refusedHere = map[string]string{
	"dockerLoad":                  `fs default() { scratch; dockerLoad "x"; }`,
	"download":                    `fs default() { scratch; download "x"; }`,
	"downloadTarball":             `fs default() { scratch; downloadTarball "x"; }`,
	"downloadOCITarball":          `fs default() { scratch; downloadOCITarball "x"; }`,
	"downloadDockerTarball":       `fs default() { scratch; downloadDockerTarball "x" "y"; }`,
	"localCwd":                    `fs default() { scratch; mkfile "/f" 0o644 localCwd; }`,
	"localEnv":                    `fs default() { scratch; mkfile "/f" 0o644 localEnv("HOME"); }`,
	"localRun":                    `fs default() { scratch; mkfile "/f" 0o644 string { localRun "id" with option { ignoreError; includeStderr; onlyStderr; shlex; }; }; }`,
	"forward":                     `fs default() { scratch; run "x" with option { forward "tcp://h:1" "/s" with option { uid 1; gid 1; mode 0o600; }; }; }`,
	"includePatterns of a secret": `fs default() { scratch; run "x" with option { secret "token" "/s" with includePatterns("a"); }; }`,
	"excludePatterns of a secret": `fs default() { scratch; run "x" with option { secret "token" "/s" with excludePatterns("a"); }; }`,
	"toLocal":                     `fs default() { scratch; cacheContext scratch with toLocal("x"); }`,
	"\"git@example.com:o/r.git\" is over ssh": `fs default() { git "git@example.com:o/r.git" "main"; }`,
	"local without a context":                 `fs default() { local "."; }`,
}

// builtinPieces are what the program of testdata/builtins is given, and makes.
type builtinPieces struct {
	args map[string]string
	// pushed is the start of the names of the images that it pushes.
	pushed string
	index  string // as the registry has it
}

// TestEveryBuiltinBuildsOrIsRefused runs one program with every builtin that makes sense in a cluster, and one for
// each of the others. A builtin that neither uses fails it.
func TestEveryBuiltinBuildsOrIsRefused(t *testing.T) {
	t.Parallel()
	used := map[*builtin.Func]bool{}
	programs := map[string]string{"build.hlb": builtinFile(t, "build.hlb"), "lib.hlb": builtinFile(t, "lib.hlb")}
	for _, sources := range []map[string]string{programs, refusedHere} {
		for name, text := range sources {
			info, found := lint.Program(name, []byte(text), syntax.Limits{})
			if found.HasErrors() {
				t.Fatalf("%s: %v", name, found)
			}
			for _, object := range info.Callees {
				used[object.Builtin] = true
			}
		}
	}
	for _, f := range builtin.All() {
		if !used[f] {
			t.Errorf("no program here uses %s", f.Signature())
		}
	}

	t.Run("one program builds with all that makes sense here", func(t *testing.T) { buildEveryBuiltin(t, programs) })
	t.Run("the others are refused", refuseBuiltins)
}

func builtinFile(t *testing.T, file string) string {
	t.Helper()
	text, err := builtinPrograms.ReadFile("testdata/builtins/" + file)
	must(t, err)
	return string(text)
}

func refuseBuiltins(t *testing.T) {
	builds := map[string]*v1alpha1.HLBBuild{}
	for name, text := range refusedHere {
		build := newBuild(fmt.Sprintf("refused-%x", digest.FromString(name).Encoded()[:8]), text)
		build.Spec.Secrets = []v1alpha1.BuildSecret{{
			ID: "token", SecretKeyRef: v1alpha1.SecretKeyReference{Name: "refused", Key: "token"},
		}}
		builds[name] = build
	}
	create(t, &corev1.Secret{ObjectMeta: objectMeta("refused"), StringData: map[string]string{"token": "x"}})
	for _, build := range builds {
		apply(t, build)
	}
	for name, build := range builds {
		t.Run(name, func(t *testing.T) {
			await(t, build)
			word, _, _ := strings.Cut(name, " ")
			column := int32(strings.Index(refusedHere[name], " "+word) + 2)
			f := failedWith(t, build, v1alpha1.ReasonCompileFailed)
			if len(f.Diagnostics) != 1 {
				t.Fatalf("diagnostics %+v, want one", f.Diagnostics)
			}
			if d := f.Diagnostics[0]; d.Code != "NOT-HERE" || d.Line != 1 || d.Column != column || d.Hint == "" {
				t.Errorf("diagnostic %+v, want NOT-HERE at 1:%d with a hint of what to do instead", d, column)
			}
		})
	}
}

func buildEveryBuiltin(t *testing.T, programs map[string]string) {
	pieces := makePieces(t)
	repo := gittest.Serve(t, cluster.Info.HostIP)
	files := map[string]string{
		"ci/data/keep.txt": "kept", "ci/data/skip.txt": "skipped", "ci/data/packed.tar": tarOf(t, "inside", "unpacked"),
		"data/keep.txt": "of the repository",
	}
	for name, text := range programs {
		files["ci/"+name] = text
	}
	repo.Commit("first", files)
	pieces.args["remote"] = repo.URL
	create(t, &corev1.Secret{ObjectMeta: objectMeta("builtins"), StringData: map[string]string{"token": "s3cret"}})
	create(t, sshSecret(t, "builtins-ssh"))
	granting := newFleet("granting", 1)
	granting.Spec.BuildKit.Isolation = v1alpha1.IsolationPrivileged // steps that are insecure want the node's devices
	granting.Spec.BuildKit.Entitlements = []v1alpha1.Entitlement{v1alpha1.EntitlementNetworkHost,
		v1alpha1.EntitlementSecurityInsecure}
	create(t, granting)

	build := newBuild("builtins", "")
	build.Spec.CacheRef.Name, build.Spec.HLB.Inline = granting.Name, nil
	build.Spec.HLB.Path = "ci/build.hlb"
	build.Spec.Source = &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: repo.URL}}
	build.Spec.HLB.Targets, build.Spec.HLB.Args = []string{"all"}, pieces.args
	build.Spec.Secrets = []v1alpha1.BuildSecret{{
		ID: "token", SecretKeyRef: v1alpha1.SecretKeyReference{Name: "builtins", Key: "token"},
	}}
	build.Spec.SSH = []v1alpha1.BuildSSH{{ID: "deploy", SecretRef: v1alpha1.LocalObjectReference{Name: "builtins-ssh"}}}
	run(t, build)
	succeeded(t, build)
	checkResult(t, pieces)
	checkPacked(t, pieces)
	for _, tag := range []string{"flow", "wrapped"} {
		if _, err := remote.Get(reference(t, pieces.pushed+"-context:"+tag)); err != nil {
			t.Errorf("build cache that the program exports: %v", err)
		}
	}
}

// makePieces pushes a front end and an index, and serves a page.
func makePieces(t *testing.T) *builtinPieces {
	t.Helper()
	const content = "from the web"
	listener, err := net.Listen("tcp", net.JoinHostPort(cluster.Info.HostIP, "0"))
	must(t, err)
	web := &httptest.Server{Listener: listener,
		Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, content) //nolint:errcheck // the build sees what arrives
		})}}
	web.Start()
	t.Cleanup(web.Close)

	p := &builtinPieces{pushed: cluster.Info.Registry + "/e2e-builtins-" + stamp}
	front := p.pushed + "-front:1"
	must(t, remote.Write(reference(t, front), frontendImage(t)))
	base, err := remote.Image(reference(t, cluster.Images["busybox"]))
	must(t, err)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: base, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	})
	must(t, remote.WriteIndex(reference(t, p.pushed+"-index:1"), index))
	raw, err := index.RawManifest()
	must(t, err)
	p.index = string(raw)
	p.args = map[string]string{
		"base": cluster.Images["busybox"], "front": front, "index": p.pushed + "-index:1", "registry": p.pushed,
		"page": web.URL + "/page", "sum": digest.FromString(content).String(),
	}
	return p
}

// checkResult compares the image that the program pushes with what each of its steps should have left in it.
func checkResult(t *testing.T, p *builtinPieces) {
	t.Helper()
	image := pulled(t, p.pushed+"-result:1")
	base, err := pulled(t, cluster.Images["busybox"]).RawManifest()
	must(t, err)
	baseConfig, err := pulled(t, cluster.Images["busybox"]).RawConfigFile()
	must(t, err)
	digested, err := pulled(t, p.pushed+"-digested:1").Digest()
	must(t, err)
	want := map[string]string{
		"job/web": "from the web", "job/run": "V run /tmp\n", "job/who": "nobody\n440:65534:65534\n660:65534:65534\n",
		"job/token": absent,
		"job/repo":  "of the repository", "job/local/keep.txt": "kept", "job/local/skip.txt": absent,
		"job/unpacked/inside": "unpacked",
		"job/made":            "me\n", "job/text": "a:\"b\" hi you linux/amd64 imported", "job/manifest": string(base),
		"job/config": string(baseConfig),
		"job/index":  p.index, "job/digests": digest.FromString(p.index).String() + "\n" + digested.String(),
		"merged": "merged", "job/new": "new", "job/old": absent,
	}
	if diff := cmp.Diff(want, filesOf(t, image, want)); diff != "" {
		t.Errorf("files of the result (-want +got):\n%s", diff)
	}
	config, err := image.ConfigFile()
	must(t, err)
	c := config.Config
	got := fmt.Sprintf("%v %v %v %v %v %s %s %s", c.Entrypoint, c.Cmd, c.Labels, c.ExposedPorts, c.Volumes,
		c.StopSignal, c.User, c.WorkingDir)
	if want := "[/bin/e] [c] map[l:2] map[80/tcp:{}] map[/v:{}] SIGTERM nobody /job"; got != want {
		t.Errorf("config is %s, want %s", got, want)
	}
}

// checkPacked looks for what stargz promises: a table of contents of every layer.
func checkPacked(t *testing.T, p *builtinPieces) {
	t.Helper()
	image := pulled(t, p.pushed+"-packed:1")
	if diff := cmp.Diff(map[string]string{"job/packed": "packed\n"},
		filesOf(t, image, map[string]string{"job/packed": ""})); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	manifest, err := image.Manifest()
	must(t, err)
	for _, l := range manifest.Layers {
		if l.Annotations["containerd.io/snapshot/stargz/toc.digest"] == "" {
			t.Errorf("layer %s is no eStargz: %v", l.Digest, l.Annotations)
		}
	}
}

func reference(t *testing.T, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref, name.Insecure)
	must(t, err)
	return r
}

func pulled(t *testing.T, ref string) v1.Image {
	t.Helper()
	image, err := remote.Image(reference(t, ref))
	must(t, err)
	return image
}

// absent stands for the content of a file that is not there.
const absent = "(no such file)"

// filesOf returns the content of the files that names has as keys, out of all layers of an image.
func filesOf(t *testing.T, image v1.Image, names map[string]string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for name := range names {
		got[name] = absent
	}
	layers := mutate.Extract(image)
	defer layers.Close()
	for r := tar.NewReader(layers); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		must(t, err)
		if _, wanted := got[h.Name]; wanted {
			text, err := io.ReadAll(r)
			must(t, err)
			got[h.Name] = string(text)
		}
	}
}
