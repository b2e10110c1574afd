// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

type buildSpec = v1alpha1.HLBBuildSpec

func TestHLBBuildIsValidated(t *testing.T) {
	ns := envtestkit.Get(t).Namespace(t)
	git := func(url, path string) func(*buildSpec) {
		return func(s *buildSpec) {
			s.HLB.Inline, s.Source = nil, &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: url, Path: path}}
		}
	}
	outputs := func(targets []string, of ...string) func(*buildSpec) {
		return func(s *buildSpec) {
			s.HLB.Targets = targets
			for i, target := range of {
				s.Outputs = append(s.Outputs,
					v1alpha1.OutputSpec{Name: fmt.Sprint("o", i), Target: target, Image: fmt.Sprintf("h/r:%d", i)})
			}
		}
	}
	schedule := func(cron, zone string) func(*buildSpec) {
		return func(s *buildSpec) {
			s.Schedule = &v1alpha1.ScheduleSpec{CronSchedule: v1alpha1.CronSchedule{Cron: cron, TimeZone: zone}}
		}
	}
	secret := func(id, name, key string) v1alpha1.BuildSecret {
		return v1alpha1.BuildSecret{ID: id, SecretKeyRef: v1alpha1.SecretKeyReference{Name: name, Key: key}}
	}
	const (
		one      = "give exactly one source: git or configMap"
		plainURL = "name a Secret in secretRef for credentials"
		inside   = "stays inside it"
	)
	cases := map[string]struct {
		change func(*buildSpec)
		want   string
	}{
		"inline is accepted":          {func(*buildSpec) {}, ""},
		"a ConfigMap is accepted":     {func(s *buildSpec) { s.HLB.Inline, s.Source = nil, fromConfigMap() }, ""},
		"inline on files is accepted": {func(s *buildSpec) { s.Source = fromConfigMap() }, ""},
		"no program is refused":       {func(s *buildSpec) { s.HLB = nil }, "set hlb"},
		"no source is refused": {
			func(s *buildSpec) { s.HLB.Inline = nil }, "set source.git or source.configMap, or hlb.inline",
		},
		"an empty source is refused": {func(s *buildSpec) { s.Source = &v1alpha1.SourceSpec{} }, one},
		"two sources are refused": {func(s *buildSpec) {
			s.Source = fromConfigMap()
			s.Source.Git = &v1alpha1.GitSource{URL: "https://h/r"}
		}, one},
		"two programs are refused": {
			func(s *buildSpec) { s.HLB.Path, s.Source = "a.hlb", fromConfigMap() }, "give the program once",
		},
		"a program outside of the source is refused": {func(s *buildSpec) {
			s.HLB.Inline, s.HLB.Path, s.Source = nil, "../a.hlb", fromConfigMap()
		}, "stays inside it"},
		"an empty program is refused": {func(s *buildSpec) { s.HLB.Inline = ptr.To("") }, "spec.hlb.inline"},
		"256 KiB are accepted":        {func(s *buildSpec) { s.HLB.Inline = ptr.To(strings.Repeat("#", 262144)) }, ""},
		"a larger program is refused": {
			func(s *buildSpec) { s.HLB.Inline = ptr.To(strings.Repeat("#", 262145)) }, "spec.hlb.inline",
		},
		"a nameless cache is refused": {func(s *buildSpec) { s.CacheRef.Name = "" }, "spec.cacheRef.name"},

		"a schedule is accepted":                    {schedule("0 3 * * MON-FRI", "Europe/Berlin"), ""},
		"a named schedule is accepted":              {schedule("@daily", "UTC"), ""},
		"a schedule of six fields is refused":       {schedule("0 0 3 * * *", "UTC"), "cron has five fields"},
		"a schedule with its own zone is refused":   {schedule("TZ=UTC 0 3 * * *", "UTC"), "cron has five fields"},
		"the server's own time zone is refused":     {schedule("0 3 * * *", "Local"), "a name of the IANA database"},
		"a priority and a queue are accepted":       {func(s *buildSpec) { s.Priority, s.Queue = -1000, "team-a" }, ""},
		"a priority beyond the bounds is refused":   {func(s *buildSpec) { s.Priority = 1001 }, "spec.priority"},
		"a queue that is no label value is refused": {func(s *buildSpec) { s.Queue = "Team A" }, "spec.queue"},

		"a platform is accepted": {
			func(s *buildSpec) { s.Platforms = []string{"linux/arm64"} }, "",
		},
		"a platform with a variant is accepted": {
			func(s *buildSpec) { s.Platforms = []string{"linux/arm/v7"} }, "",
		},
		"a platform of another system is refused": {
			func(s *buildSpec) { s.Platforms = []string{"windows/amd64"} }, "spec.platforms",
		},
		"an architecture without a system is refused": {
			func(s *buildSpec) { s.Platforms = []string{"arm64"} }, "spec.platforms",
		},

		"git over https is accepted":         {git("https://git.example.com/a/b.git", "ci/build.hlb"), ""},
		"git over http is accepted":          {git("http://10.0.0.1:3000/a", ""), ""},
		"a URL with a password is refused":   {git("https://user:pass@h/r", ""), plainURL},
		"a URL with a user is refused":       {git("https://user@h/r", ""), plainURL},
		"git over ssh is refused":            {git("git@github.com:a/b.git", ""), plainURL},
		"an absolute path is refused":        {git("https://h/r", "/etc/passwd"), inside},
		"a path that climbs out is refused":  {git("https://h/r", "a/../../b"), inside},
		"a path with dots in it is accepted": {git("https://h/r", "a/..b/c"), ""},

		"outputs of listed targets are accepted": {outputs([]string{"a", "b"}, "a", "b", "a"), ""},
		"an output of another target is refused": {
			outputs([]string{"a"}, "a", "b"), "every outputs[].target must be listed in hlb.targets",
		},
		"an output of the default target": {outputs([]string{"default"}, ""), ""},
		"an output of the default, unlisted": {
			outputs([]string{"a"}, ""), "every outputs[].target must be listed in hlb.targets",
		},
		"the same image twice is refused": {func(s *buildSpec) {
			s.Outputs = []v1alpha1.OutputSpec{{Name: "a", Image: "h/r"}, {Name: "b", Image: "h/r"}}
		}, "must differ"},
		"one name twice is refused": {func(s *buildSpec) {
			s.Outputs = []v1alpha1.OutputSpec{{Name: "a", Image: "h/r"}, {Name: "a", Image: "h/s"}}
		}, "Duplicate"},
		"an output without an image is refused": {
			func(s *buildSpec) { s.Outputs = []v1alpha1.OutputSpec{{Name: "a"}} }, "image",
		},
		"an output without a name is refused": {
			func(s *buildSpec) { s.Outputs = []v1alpha1.OutputSpec{{Image: "h/r"}} }, "name",
		},
		"an upper-case repository is refused":     {image("Foo/BAR:Baz"), "lower case"},
		"an upper-case tag is accepted":           {image("registry.example.com:5000/team/app:RC1"), ""},
		"an upper-case host is accepted":          {image("Registry.example.com/team/app"), ""},
		"an upper-case path of a host is refused": {image("registry.example.com/Team/app:1"), "lower case"},
		"a digest to push to is refused": {
			image("h.example.com/r@sha256:" + strings.Repeat("0", 64)), "leave the digest out",
		},
		"the same target twice is refused": {
			func(s *buildSpec) { s.HLB.Targets = []string{"a", "a"} }, "Duplicate",
		},
		"a nameless target is refused": {
			func(s *buildSpec) { s.HLB.Targets = []string{""} }, "spec.hlb.targets",
		},
		"32 targets are accepted": {func(s *buildSpec) { s.HLB.Targets = numbered(32) }, ""},
		"33 targets are refused": {
			func(s *buildSpec) { s.HLB.Targets = numbered(33) }, "spec.hlb.targets",
		},
		"a cache key of 256 characters": {func(s *buildSpec) { s.CacheKey = strings.Repeat("k", 256) }, ""},
		"a longer cache key is refused": {
			func(s *buildSpec) { s.CacheKey = strings.Repeat("k", 257) }, "spec.cacheKey",
		},
		"secrets are accepted": {
			func(s *buildSpec) { s.Secrets = []v1alpha1.BuildSecret{secret("a", "s", "k"), secret("b", "s", "k")} }, "",
		},
		"two secrets of one id are refused": {
			func(s *buildSpec) { s.Secrets = []v1alpha1.BuildSecret{secret("a", "s", "k"), secret("a", "s", "l")} },
			"Duplicate",
		},
		"a secret without a key is refused": {
			func(s *buildSpec) { s.Secrets = []v1alpha1.BuildSecret{secret("a", "s", "")} }, "secretKeyRef.key",
		},
		"an ssh key without an id is refused": {
			func(s *buildSpec) { s.SSH = []v1alpha1.BuildSSH{{SecretRef: v1alpha1.LocalObjectReference{Name: "s"}}} },
			"ssh[0].id",
		},
		"one registry secret twice is refused": {
			func(s *buildSpec) { s.RegistrySecretRefs = []v1alpha1.LocalObjectReference{{Name: "s"}, {Name: "s"}} },
			"Duplicate",
		},
		"a day of building is accepted": {func(s *buildSpec) { s.TimeoutSeconds = 86400 }, ""},
		"more than a day is refused":    {func(s *buildSpec) { s.TimeoutSeconds = 86401 }, "spec.timeoutSeconds"},
		"no retry is accepted":          {func(s *buildSpec) { s.RetryLimit = ptr.To[int32](0) }, ""},
		"17 retries are refused":        {func(s *buildSpec) { s.RetryLimit = ptr.To[int32](17) }, "spec.retryLimit"},
		"65 arguments are refused":      {func(s *buildSpec) { s.HLB.Args = arguments(65) }, "spec.hlb.args"},
		"64 arguments are accepted":     {func(s *buildSpec) { s.HLB.Args = arguments(64) }, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			build := testbuild.HLBBuild(ns, "b")
			tc.change(&build.Spec)
			expectVerdict(t, offer(t, build), tc.want)
		})
	}
}

func fromConfigMap() *v1alpha1.SourceSpec {
	return &v1alpha1.SourceSpec{ConfigMap: &v1alpha1.LocalObjectReference{Name: "c"}}
}

func image(ref string) func(*buildSpec) {
	return func(s *buildSpec) { s.Outputs = []v1alpha1.OutputSpec{{Name: "a", Image: ref}} }
}

func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("t%d", i)
	}
	return names
}

func arguments(n int) map[string]string {
	args := map[string]string{}
	for _, name := range numbered(n) {
		args[name] = ""
	}
	return args
}

func TestHLBBuildDefaults(t *testing.T) {
	cluster := envtestkit.Get(t)
	build := &v1alpha1.HLBBuild{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace(t), Name: "b"},
		Spec: buildSpec{
			CacheRef: v1alpha1.CacheReference{Name: "cache"},
			HLB:      &v1alpha1.HLBSpec{},
			Source:   fromConfigMap(),
			Outputs:  []v1alpha1.OutputSpec{{Name: "app", Image: "h/r"}},
		},
	}
	if err := cluster.Client.Create(t.Context(), build); err != nil {
		t.Fatal(err)
	}
	want := testbuild.HLBBuild("", "").Spec
	want.HLB.Inline, want.Source = nil, fromConfigMap()
	want.Outputs = []v1alpha1.OutputSpec{{Name: "app", Target: "default", Image: "h/r"}}
	if diff := cmp.Diff(want, build.Spec); diff != "" {
		t.Errorf("defaults differ (-want +got):\n%s", diff)
	}
	if build.Status.ObservedGeneration != -1 {
		t.Errorf("observedGeneration of a new object is %d, want -1", build.Status.ObservedGeneration)
	}
}

func TestBuildDaemonSpecIsKept(t *testing.T) {
	cluster := envtestkit.Get(t)
	daemon := testbuild.BuildDaemon(cluster.Namespace(t), "c", 0)
	if err := cluster.Client.Create(t.Context(), daemon); err != nil {
		t.Fatal(err)
	}
	if daemon.Status.ObservedGeneration != -1 {
		t.Errorf("observedGeneration of a new object is %d, want -1", daemon.Status.ObservedGeneration)
	}
	relabelled := daemon.DeepCopy()
	relabelled.Labels["x"] = "y"
	expectVerdict(t, cluster.Client.Update(t.Context(), relabelled, client.DryRunAll), "")
	daemon.Spec.Ordinal = 1
	expectVerdict(t, cluster.Client.Update(t.Context(), daemon, client.DryRunAll),
		"stands for one daemon of its BuildCache for good")
	expectVerdict(t,
		offer(t, testbuild.BuildDaemon(daemon.Namespace, "c", -1, func(d *v1alpha1.BuildDaemon) { d.Name = "c-x" })),
		"spec.ordinal")
	expectVerdict(t,
		offer(t, testbuild.BuildDaemon(daemon.Namespace, "", 2, func(d *v1alpha1.BuildDaemon) { d.Name = "c-y" })),
		"spec.cacheRef.name")
}
