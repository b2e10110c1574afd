// SPDX-License-Identifier: Apache-2.0

package buildkey_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildkey"
)

func TestDerive(t *testing.T) {
	text := "fs default() { scratch; }"
	git := func(url, path string, targets ...string) v1alpha1.HLBBuildSpec {
		return v1alpha1.HLBBuildSpec{
			Source: &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: url}},
			HLB:    &v1alpha1.HLBSpec{Path: path, Targets: targets},
		}
	}
	cases := map[string]struct {
		name, generateName string
		spec               v1alpha1.HLBBuildSpec
		mounts             []string
		want               string
	}{
		"an explicit key wins over everything": {
			spec: v1alpha1.HLBBuildSpec{
				CacheKey: "mine", Source: &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: "https://h/r"}},
			}, want: "mine"},
		"a repository's key is its path without scheme and suffix": {
			spec: git("https://Git.Example.com/Org/app.git", "", "default"),
			want: "git:git.example.com/Org/app//build.hlb@default"},
		"a platform has caches of its own": {
			spec: onPlatform(git("http://h/r", "", "default"), "linux/arm64"),
			want: "git:h/r//build.hlb@default linux/arm64"},
		"an explicit key is of all platforms": {
			spec: v1alpha1.HLBBuildSpec{CacheKey: "mine", Platforms: []string{"linux/arm64"}}, want: "mine"},
		"default ports and a trailing slash don't matter": {
			spec: git("https://git.example.com:443/Org/app/", "", "default"),
			want: "git:git.example.com/Org/app//build.hlb@default"},
		"the program's path matters": {
			spec: git("http://h/r", "./ci/build.hlb", "default"), want: "git:h/r//ci/build.hlb@default"},
		"targets matter in no order": {
			spec: git("http://h/r", "", "b", "a"), want: "git:h/r//build.hlb@a,b"},
		"a ConfigMap's key is its name and key": {
			spec: v1alpha1.HLBBuildSpec{
				Source: &v1alpha1.SourceSpec{ConfigMap: &v1alpha1.LocalObjectReference{Name: "c"}},
				HLB:    &v1alpha1.HLBSpec{Path: "k", Targets: []string{"t"}},
			}, want: "configmap:c/k@t"},
		"a folder of a repository is part of the program's path": {
			spec: inFolder(git("http://h/r", "ci/build.hlb", "default"), "app"),
			want: "git:h/r//app/ci/build.hlb@default"},
		"an inline program on a repository's files goes by its mounts": {
			spec: v1alpha1.HLBBuildSpec{
				Source: &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: "https://h/r"}},
				HLB:    &v1alpha1.HLBSpec{Inline: &text},
			}, mounts: []string{"go", "mod"}, want: "mounts:9007ca3757b40792"},
		"an inline program goes by its cache mounts": {
			name: "x", spec: v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Inline: &text}},
			mounts: []string{"go", "mod"}, want: "mounts:9007ca3757b40792"},
		"an inline program without cache mounts goes by its name": {
			name: "x", spec: v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Inline: &text}}, want: "build:x"},
		"a generated name goes by what was given": {
			name: "ci-x7k2p", generateName: "ci-", spec: v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Inline: &text}},
			want: "build:ci"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := &v1alpha1.HLBBuild{ObjectMeta: metav1.ObjectMeta{
				Name: tc.name, GenerateName: tc.generateName,
			}, Spec: tc.spec}
			if got := buildkey.Derive(b, tc.mounts); got != tc.want {
				t.Errorf("key is %q, want %q", got, tc.want)
			}
		})
	}
}

func TestKeysOfOtherNamespaces(t *testing.T) {
	b := &v1alpha1.HLBBuild{Spec: v1alpha1.HLBBuildSpec{CacheKey: "mine"}}
	b.Namespace, b.Spec.CacheRef.Namespace = "team", "builders"
	if got := buildkey.Derive(b, nil); got != "/team/mine" || buildkey.Namespace(got, "builders") != "team" {
		t.Errorf("the key is %q, of namespace %q", got, buildkey.Namespace(got, "builders"))
	}
	b.Namespace = "builders"
	if got := buildkey.Derive(b, nil); got != "mine" || buildkey.Namespace(got, "builders") != "builders" {
		t.Errorf("the key is %q, of namespace %q", got, buildkey.Namespace(got, "builders"))
	}
}

func TestMountOrderDoesNotMatter(t *testing.T) {
	text := "x"
	b := &v1alpha1.HLBBuild{Spec: v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Inline: &text}}}
	if a, z := buildkey.Derive(b, []string{"a", "z", "a"}), buildkey.Derive(b, []string{"z", "a"}); a != z {
		t.Errorf("%q differs from %q", a, z)
	}
	if a, z := buildkey.Derive(b, []string{"a", "z"}), buildkey.Derive(b, []string{"az"}); a == z {
		t.Error("two mounts have the key of one whose id is both put together")
	}
}

func TestLongKeysStayApart(t *testing.T) {
	long := strings.Repeat("ö", 400)
	b := &v1alpha1.HLBBuild{Spec: v1alpha1.HLBBuildSpec{
		Source: &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: "https://h/" + long}}, HLB: &v1alpha1.HLBSpec{},
	}}
	first := buildkey.Derive(b, nil)
	b.Spec.Source.Git.URL += "x"
	if second := buildkey.Derive(b, nil); first == second {
		t.Error("two long sources share a key")
	}
	if len(first) > 512 {
		t.Errorf("the key has %d bytes", len(first))
	}
}

func onPlatform(spec v1alpha1.HLBBuildSpec, platform string) v1alpha1.HLBBuildSpec {
	spec.Platforms = []string{platform}
	return spec
}

func inFolder(spec v1alpha1.HLBBuildSpec, path string) v1alpha1.HLBBuildSpec {
	spec.Source.Git.Path = path
	return spec
}
