// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
	"github.com/openllb/hlb-operator/test/kit/gittest"
)

// create makes an object for the length of the test.
func create(t *testing.T, o client.Object) {
	t.Helper()
	must(t, cluster.Client.Create(t.Context(), o))
	kind := fmt.Sprintf("%T", o)
	kind = strings.ToLower(kind[strings.LastIndex(kind, ".")+1:])
	t.Cleanup(func() {
		_, err := cluster.Kubectl(contextFor(t), "", "-n", namespace, "delete", kind, o.GetName(), "--ignore-not-found")
		if err != nil {
			t.Error(err)
		}
	})
}

func objectMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: namespace}
}

// shown is a program that fails on purpose to show what it read: the log tail is the only thing of a step that status
// shows.
const shown = `fs default() { image "IMAGE"; run "cat /in/words; exit 1" with option { mount local(".") "/in"; }; }`

func TestAProgramAndItsFilesFromAConfigMap(t *testing.T) {
	program := *newBuild("", shown).Spec.HLB.Inline
	create(t, &corev1.ConfigMap{
		ObjectMeta: objectMeta("program"), Data: map[string]string{"main.hlb": program, "words": "from the context"},
	})
	build := newBuild("configmap", "")
	build.Spec.HLB.Inline, build.Spec.HLB.Path = nil, "main.hlb"
	build.Spec.Source = &v1alpha1.SourceSpec{ConfigMap: &v1alpha1.LocalObjectReference{Name: "program"}}
	run(t, build)
	f := failedWith(t, build, v1alpha1.ReasonSolveFailed)
	if !strings.Contains(f.LogTail, "from the context") {
		t.Errorf("the step printed %q", f.LogTail)
	}
	if f.Source == nil || f.Source.File != "main.hlb" {
		t.Errorf("the failure is at %+v, want main.hlb", f.Source)
	}
}

func TestAProgramFromGit(t *testing.T) {
	repo := gittest.Serve(t, cluster.Info.HostIP)
	program := *newBuild("", shown).Spec.HLB.Inline
	repo.Commit("first", map[string]string{"ci/build.hlb": program, "ci/words": "from the repository"})
	build := newBuild("git", "")
	build.Spec.HLB.Inline, build.Spec.HLB.Path = nil, "ci/build.hlb"
	build.Spec.Source = &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: repo.URL}}
	run(t, build)
	f := failedWith(t, build, v1alpha1.ReasonSolveFailed)
	if !strings.Contains(f.LogTail, "from the repository") {
		t.Errorf("the step printed %q", f.LogTail)
	}
	if build.Status.Run.Key == "" || !strings.HasPrefix(build.Status.Run.Key, "git:") {
		t.Errorf("the key is %q", build.Status.Run.Key)
	}
}

// TestAnInlineProgramOnFilesOfARepository reads a folder of a repository by a program that lies elsewhere.
func TestAnInlineProgramOnFilesOfARepository(t *testing.T) {
	repo := gittest.Serve(t, cluster.Info.HostIP)
	repo.Commit("first", map[string]string{"app/words": "from the folder", "words": "wrong place"})
	build := newBuild("apart", shown)
	build.Spec.Source = &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: repo.URL, Path: "app"}}
	run(t, build)
	if f := failedWith(t, build, v1alpha1.ReasonSolveFailed); !strings.Contains(f.LogTail, "from the folder") {
		t.Errorf("the step printed %q", f.LogTail)
	}
}

func TestInlineHasNoContext(t *testing.T) {
	build := newBuild("nocontext", shown)
	run(t, build)
	f := failedWith(t, build, v1alpha1.ReasonCompileFailed)
	if !strings.Contains(f.Message+diagnosticsText(f), "context") {
		t.Errorf("failure is %+v, want a word about spec.source", f)
	}
}

func TestASecretIsMountedAndNotShown(t *testing.T) {
	const value = "s3cr3t-value-of-the-test"
	create(t, &corev1.Secret{ObjectMeta: objectMeta("token"), StringData: map[string]string{"token": value}})
	// The step compares lengths: the value must not stand in the program either.
	build := newBuild("secret",
		fmt.Sprintf(`fs default() { image "IMAGE"; run "test $(wc -c < /token) = %d" with secret("token", "/token"); }`,
			len(value)))
	build.Spec.Secrets = []v1alpha1.BuildSecret{{
		ID: "token", SecretKeyRef: v1alpha1.SecretKeyReference{Name: "token", Key: "token"},
	}}
	run(t, build)
	succeeded(t, build)
	where := build.Status.Placement.Daemon
	for what, text := range map[string]string{
		"the object":         kubectl(t, "get", "hb/secret", "-o", "yaml"),
		"the agent's output": kubectl(t, "logs", harness.Pod(where), "-c", "agent"),
		"the events":         kubectl(t, "get", "events", "-o", "yaml"),
		"the log file":       kubectl(t, "exec", harness.Pod(where), "-c", "buildkitd", "--", "cat", logPath(build)),
		"the argument lists": kubectl(t, "exec", harness.Pod(where), "-c", "buildkitd", "--", "ps", "-o", "args"),
	} {
		if strings.Contains(text, value) {
			t.Errorf("the secret stands in %s", what)
		}
	}
}

func TestCredentialsOfARegistry(t *testing.T) {
	auth := base64.StdEncoding.EncodeToString([]byte(cluster.Info.User + ":" + cluster.Info.Password))
	create(t, &corev1.Secret{
		ObjectMeta: objectMeta("registry"), Type: corev1.SecretTypeDockerConfigJson,
		StringData: map[string]string{
			corev1.DockerConfigJsonKey: fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, cluster.Info.RegistryAuth, auth),
		},
	})
	build := newBuild("private", `fs default() { scratch; mkfile "/f" 0o644 "private"; }`)
	build.Spec.Outputs = []v1alpha1.OutputSpec{{
		Name: "app", Target: "default", Image: cluster.Info.RegistryAuth + "/e2e-private:latest",
	}}
	run(t, build)
	failedWith(t, build, v1alpha1.ReasonExportFailed)
	edit(t, build, func(s *v1alpha1.HLBBuildSpec) {
		s.RegistrySecretRefs = []v1alpha1.LocalObjectReference{{Name: "registry"}}
	})
	await(t, build)
	succeeded(t, build)
}

func TestArgumentsAndTargets(t *testing.T) {
	build := newBuild("args", `fs greet(string who) { image "IMAGE"; run "echo hello ${who}; exit 1"; }`)
	build.Spec.HLB.Targets = []string{"greet"}
	build.Spec.HLB.Args = map[string]string{"who": "argument"}
	run(t, build)
	if f := failedWith(t, build, v1alpha1.ReasonSolveFailed); !strings.Contains(f.LogTail, "hello argument") {
		t.Errorf("the step printed %q", f.LogTail)
	}
}
