// SPDX-License-Identifier: Apache-2.0

package inputs_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

func secret(name string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

func ref(name string) *v1alpha1.LocalObjectReference {
	return &v1alpha1.LocalObjectReference{Name: name}
}

func build(spec *v1alpha1.HLBBuildSpec) *v1alpha1.HLBBuild {
	return &v1alpha1.HLBBuild{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "build"}, Spec: *spec}
}

// cacheWith is a BuildCache in namespace builders with a registry whose credentials a Secret there holds, if any.
func cacheWith(secret *v1alpha1.LocalObjectReference) *v1alpha1.BuildCache {
	c := &v1alpha1.BuildCache{ObjectMeta: metav1.ObjectMeta{Namespace: "builders", Name: "cache"}}
	c.Spec.Registry = &v1alpha1.RegistryCacheSpec{SecretRef: secret}
	return c
}

func TestEverythingThatABuildNamesIsGathered(t *testing.T) {
	c := fake.NewClientBuilder().WithObjects(
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "program"},
			Data:       map[string]string{"main.hlb": "p", "lib.hlb": "l"}, BinaryData: map[string][]byte{"bin": {0}},
		},
		secret("git", map[string]string{"username": "u", "password": "p"}),
		secret("docker", map[string]string{".dockerconfigjson": "{}"}),
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "builders", Name: "cache"},
			Data:       map[string][]byte{".dockerconfigjson": []byte("{c}")},
		},
		secret("cache", map[string]string{".dockerconfigjson": "{of the build's namespace}"}),
		secret("tokens", map[string]string{"a": "1", "b": "2"}),
		secret("key", map[string]string{"ssh-privatekey": "pem"}),
	).Build()
	spec := &v1alpha1.HLBBuildSpec{
		HLB:    &v1alpha1.HLBSpec{Path: "main.hlb"},
		Source: &v1alpha1.SourceSpec{ConfigMap: ref("program")},
		Secrets: []v1alpha1.BuildSecret{
			{ID: "x", SecretKeyRef: v1alpha1.SecretKeyReference{Name: "tokens", Key: "a"}},
		},
		SSH:                []v1alpha1.BuildSSH{{ID: "default", SecretRef: *ref("key")}},
		RegistrySecretRefs: []v1alpha1.LocalObjectReference{*ref("docker")},
	}
	got, err := inputs.Gather(t.Context(), c, build(spec), cacheWith(ref("cache")))
	if err != nil {
		t.Fatal(err)
	}
	want := &inputs.Inputs{
		Filename: "main.hlb", Program: []byte("p"),
		Files:   map[string][]byte{"main.hlb": []byte("p"), "lib.hlb": []byte("l"), "bin": {0}},
		Secrets: map[string][]byte{"x": []byte("1")}, SSHKeys: map[string][]byte{"default": []byte("pem")},
		Registries: [][]byte{[]byte("{}")}, CacheRegistry: []byte("{c}"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
}

func TestARepositoryHasItsOwnCredentials(t *testing.T) {
	c := fake.NewClientBuilder().WithObjects(secret("git", map[string]string{"username": "u", "password": "p"})).Build()
	git := &v1alpha1.GitSource{URL: "https://example.com/r", SecretRef: ref("git")}
	program := "p"
	cases := map[string]struct {
		hlb         v1alpha1.HLBSpec
		wantProgram []byte
		wantFile    string
	}{
		"a program of the repository":    {v1alpha1.HLBSpec{Path: "ci/build.hlb"}, nil, "ci/build.hlb"},
		"an inline program on its files": {v1alpha1.HLBSpec{Inline: &program}, []byte("p"), "build.hlb"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			spec := &v1alpha1.HLBBuildSpec{HLB: &tc.hlb, Source: &v1alpha1.SourceSpec{Git: git}}
			got, err := inputs.Gather(t.Context(), c, build(spec), cacheWith(nil))
			if err != nil {
				t.Fatal(err)
			}
			want := &inputs.Inputs{
				Filename: tc.wantFile, Program: tc.wantProgram,
				GitAuth: &inputs.BasicAuth{Username: "u", Password: "p"},
				Secrets: map[string][]byte{}, SSHKeys: map[string][]byte{},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("inputs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	program := "p"
	c := fake.NewClientBuilder().WithObjects(
		secret("half", map[string]string{"other": "hunter2"}),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "empty"}},
	).Build()
	cases := map[string]struct {
		spec                  v1alpha1.HLBBuildSpec
		wantReason, wantNamed string
	}{
		"a Secret": {v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Inline: &program},
			RegistrySecretRefs: []v1alpha1.LocalObjectReference{*ref("gone")}},
			v1alpha1.ReasonSecretNotFound, `no Secret "gone"`},
		"a Secret's key": {v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Inline: &program},
			SSH: []v1alpha1.BuildSSH{{ID: "a", SecretRef: *ref("half")}}},
			v1alpha1.ReasonSecretNotFound, `"half" has no key "ssh-privatekey"`},
		"a password": {v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{},
			Source: &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{SecretRef: ref("half")}}},
			v1alpha1.ReasonSecretNotFound, `"half" has no key "password"`},
		"a ConfigMap": {v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Inline: &program},
			Source: &v1alpha1.SourceSpec{ConfigMap: ref("gone")}},
			v1alpha1.ReasonSourceNotFound, `no ConfigMap "gone"`},
		"the program in its ConfigMap": {v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{},
			Source: &v1alpha1.SourceSpec{ConfigMap: ref("empty")}},
			v1alpha1.ReasonSourceNotFound, `"empty" has no key "build.hlb"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := inputs.Gather(t.Context(), c, build(&tc.spec), cacheWith(nil))
			var missing *inputs.Error
			if !errors.As(err, &missing) || missing.Reason != tc.wantReason ||
				!strings.Contains(missing.Message, tc.wantNamed) {
				t.Fatalf("got %v, want %s naming %s", err, tc.wantReason, tc.wantNamed)
			}
			if strings.Contains(missing.Message, "hunter2") {
				t.Errorf("the message quotes a secret: %s", missing.Message)
			}
		})
	}
}

func TestSecretsAreThoseOfThePolicy(t *testing.T) {
	const key = ".dockerconfigjson"
	content := map[string]string{key: "{}", "username": "u", "password": "p", "ssh-privatekey": "k"}
	labelled := secret("labelled", content)
	labelled.Labels = map[string]string{"use": "builds"}
	c := fake.NewClientBuilder().WithObjects(labelled,
		secret("plain", content),
		&corev1.Secret{ // the BuildCache's own needs no label
			ObjectMeta: metav1.ObjectMeta{Namespace: "builders", Name: "cache"},
			Data:       map[string][]byte{key: []byte("{c}")},
		},
	).Build()
	selected := &v1alpha1.SecretPolicy{From: v1alpha1.SecretsFromSelector, Selector: &metav1.LabelSelector{
		MatchLabels: map[string]string{"use": "builds"},
	}}
	bad := &v1alpha1.SecretPolicy{From: v1alpha1.SecretsFromSelector, Selector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Maybe"}},
	}}
	program := "p"
	uses := map[string]func(spec *v1alpha1.HLBBuildSpec, name string){
		"for a step": func(spec *v1alpha1.HLBBuildSpec, name string) {
			spec.Secrets = []v1alpha1.BuildSecret{
				{ID: "x", SecretKeyRef: v1alpha1.SecretKeyReference{Name: name, Key: "password"}},
			}
		},
		"for ssh": func(spec *v1alpha1.HLBBuildSpec, name string) {
			spec.SSH = []v1alpha1.BuildSSH{{ID: "x", SecretRef: *ref(name)}}
		},
		"for a registry": func(spec *v1alpha1.HLBBuildSpec, name string) {
			spec.RegistrySecretRefs = []v1alpha1.LocalObjectReference{*ref(name)}
		},
		"for git": func(spec *v1alpha1.HLBBuildSpec, name string) {
			spec.Source = &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{SecretRef: ref(name)}}
		},
	}
	cases := map[string]struct {
		policy      *v1alpha1.SecretPolicy
		name        string
		wantRefused bool
	}{
		"without a policy every one":    {nil, "plain", false},
		"every one":                     {&v1alpha1.SecretPolicy{From: v1alpha1.SecretsFromAll}, "plain", false},
		"one with the label":            {selected, "labelled", false},
		"one without the label":         {selected, "plain", true},
		"none where the policy is none": {bad, "labelled", true},
	}
	for use, name := range uses {
		for what, tc := range cases {
			t.Run(what+" "+use, func(t *testing.T) {
				spec := &v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Inline: &program}}
				name(spec, tc.name)
				cache := cacheWith(ref("cache"))
				cache.Spec.SecretPolicy = tc.policy
				_, err := inputs.Gather(t.Context(), c, build(spec), cache)
				var refused *inputs.Error
				got := errors.As(err, &refused) && refused.Reason == v1alpha1.ReasonSecretNotAllowed
				if got != tc.wantRefused || err != nil && !got {
					t.Errorf("got %v, want refused: %v", err, tc.wantRefused)
				}
			})
		}
	}
}

func TestTroubleWithTheAPIIsNotTheUsersFault(t *testing.T) {
	c := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("connection refused")
		},
	}).Build()
	_, err := inputs.Gather(t.Context(), c, build(&v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{},
		RegistrySecretRefs: []v1alpha1.LocalObjectReference{*ref("a")}}), cacheWith(nil))
	var missing *inputs.Error
	if err == nil || errors.As(err, &missing) {
		t.Errorf("got %v, want the API's own error", err)
	}
}
