// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

var served = []string{"ns"}

const day = 24 * time.Hour

func TestExpired(t *testing.T) {
	app, mount := cacheref.Tag("ns", "app"), cacheref.MountTag("ns", "go", noon.Add(-9*day), "c-0")
	cases := map[string]struct {
		tag  Tag
		used map[string]time.Time
		want bool
	}{
		"an old cache of a key that is not used": {tag: Tag{app, noon.Add(-9 * day)}, want: true},
		"an old cache of a key that is used stays": {
			tag: Tag{app, noon.Add(-9 * day)}, used: map[string]time.Time{app: noon.Add(-day)},
		},
		"a key's last use is long ago, too": {
			tag: Tag{app, noon.Add(-9 * day)}, used: map[string]time.Time{app: noon.Add(-8 * day)}, want: true,
		},
		"a new cache stays":                           {tag: Tag{app, noon.Add(-day)}},
		"an old snapshot of a mount that is not used": {tag: Tag{mount, noon.Add(-9 * day)}, want: true},
		"an old snapshot of a mount that is used stays": {
			tag: Tag{mount, noon.Add(-9 * day)}, used: map[string]time.Time{cacheref.MountSubject("ns", "go"): noon},
		},
		"another namespace's tag is none of ours": {tag: Tag{cacheref.Tag("other", "app"), noon.Add(-9 * day)}},
		"a release is none of ours":               {tag: Tag{"v1.0.0", noon.Add(-999 * day)}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var want []string
			if tc.want {
				want = []string{tc.tag.Name}
			}
			got := Expired(Input{Namespace: "ns", Served: served, Tags: []Tag{tc.tag}, Used: tc.used, Now: noon}, 7*day)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// build is one of a BuildCache, with a key and a mount, that ended a day ago or has not.
func build(cache, key, mount string, ended bool) v1alpha1.HLBBuild {
	b := v1alpha1.HLBBuild{Spec: v1alpha1.HLBBuildSpec{CacheRef: v1alpha1.CacheReference{Name: cache}}}
	b.Namespace, b.Status.Run = "ns", &v1alpha1.RunStatus{Key: key}
	b.Status.Mounts = []v1alpha1.BuildMount{{ID: "ns/" + mount}}
	if ended {
		at := metav1.NewMicroTime(noon.Add(-day))
		b.Status.Run.FinishedAt = &at
	}
	return b
}

func TestOrphanedTagsAreTheOnesOfTheDeletedBuildCacheAlone(t *testing.T) {
	daemons := []v1alpha1.BuildDaemon{{Status: v1alpha1.BuildDaemonStatus{
		Keys:   []v1alpha1.KeyUse{{Key: "app", LastUsed: metav1.NewTime(noon)}},
		Mounts: []v1alpha1.MountUse{{ID: "ns/go"}, {ID: "elsewhere/npm"}},
	}}}
	w := Input{Namespace: "ns", Served: served, Now: noon}
	w.Gather("mine", daemons,
		[]v1alpha1.HLBBuild{build("mine", "shared", "npm", true), build("other", "shared", "go", true), {}})
	app, npm := cacheref.Tag("ns", "app"), cacheref.MountTag("ns", "npm", noon, "mine-0")
	for _, tag := range []string{app, npm, cacheref.Tag("ns", "shared"), cacheref.MountTag("ns", "go", noon, "other-0"),
		cacheref.Tag("ns", "unknown"), "latest"} {
		w.Tags = append(w.Tags, Tag{tag, noon})
	}
	if diff := cmp.Diff([]string{app, npm}, Orphaned(w)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestTagsOfOtherServedNamespaces(t *testing.T) {
	foreign := build("c", "/team/app", "m", true)
	foreign.Namespace, foreign.Spec.CacheRef.Namespace = "team", "ns"
	foreign.Status.Mounts = []v1alpha1.BuildMount{{ID: "team/go"}}
	kept := build("c", "kept", "m", true) // names a BuildCache of the same name in its own namespace
	kept.Namespace = "team"
	w := Input{Namespace: "ns", Served: []string{"ns", "team"}, Now: noon}
	w.Gather("c", []v1alpha1.BuildDaemon{{Status: v1alpha1.BuildDaemonStatus{
		Keys: []v1alpha1.KeyUse{{Key: "/team/lib"}}, Mounts: []v1alpha1.MountUse{{ID: "elsewhere/x"}},
	}}}, []v1alpha1.HLBBuild{foreign, kept})
	want := []string{
		cacheref.Tag("team", "/team/app"), cacheref.Tag("team", "/team/lib"),
		cacheref.MountTag("team", "go", noon, "c-0"),
	}
	for _, tag := range append(want, cacheref.Tag("team", "kept"), cacheref.MountTag("elsewhere", "x", noon, "c-0")) {
		w.Tags = append(w.Tags, Tag{tag, noon})
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, Orphaned(w)); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestLastUses(t *testing.T) {
	w := Input{Namespace: "ns", Served: served, Now: noon}
	w.Gather("c", []v1alpha1.BuildDaemon{
		{
			Status: v1alpha1.BuildDaemonStatus{
				Keys: []v1alpha1.KeyUse{{Key: "ended", LastUsed: metav1.NewTime(noon.Add(-time.Hour))}},
			},
		},
		{
			Status: v1alpha1.BuildDaemonStatus{
				Keys: []v1alpha1.KeyUse{{Key: "ended", LastUsed: metav1.NewTime(noon.Add(-9 * day))}},
			},
		},
	}, []v1alpha1.HLBBuild{build("c", "ended", "m", true), build("c", "runs", "m", false)})
	want := map[string]time.Time{
		cacheref.Tag("ns", "ended"): noon.Add(-time.Hour), cacheref.Tag("ns", "runs"): noon,
		cacheref.MountSubject("ns", "m"): noon,
	}
	if diff := cmp.Diff(want, w.Used); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
}

// TestForeignTagsAreNeverPlanned: whatever else is in the repository, and whatever is believed about uses, no tag
// goes that the operator has not made for the namespace.
func TestForeignTagsAreNeverPlanned(t *testing.T) {
	name := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,12}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		other := name.Filter(func(s string) bool { return s != "ns" }).Draw(t, "other")
		foreign := rapid.OneOf(
			rapid.StringMatching(`[A-Za-z0-9_][-A-Za-z0-9_.]{0,40}`), // anybody's
			rapid.StringMatching(`(cache|mount)-ns-[0-9a-f]{0,15}`),  // nearly ours
			rapid.Map(rapid.String(), func(key string) string { return cacheref.Tag(other, key) }),
			rapid.Map(rapid.String(), func(id string) string { return cacheref.MountTag(other, id, noon, "d") }),
		).Draw(t, "foreign")
		own := cacheref.Tag("ns", rapid.String().Draw(t, "key"))
		w := Input{Namespace: "ns", Served: served, Now: noon, Tags: []Tag{{Name: foreign}, {Name: own}},
			Used: map[string]time.Time{foreign: {}, own: {}}}
		for _, plan := range [][]string{Expired(w, time.Second), Orphaned(w)} {
			if !slices.Contains(plan, own) {
				t.Errorf("the plan %v lacks %s", plan, own)
			}
			if slices.Contains(plan, foreign) && !strings.HasPrefix(foreign, "cache-ns-") &&
				!strings.HasPrefix(foreign, "mount-ns-") {
				t.Errorf("the plan %v has the foreign tag %s", plan, foreign)
			}
			if len(foreign) < len(own) && slices.Contains(plan, foreign) {
				t.Errorf("the plan %v has %s, which is nearly ours", plan, foreign)
			}
		}
	})
}

func TestTagsOfWhatIsNotListedStay(t *testing.T) {
	app, mount := cacheref.Tag("ns", "app"), cacheref.MountTag("ns", "go", noon.Add(-99*day), "c-0")
	used := func(days int) v1alpha1.KeyUse {
		return v1alpha1.KeyUse{Key: "other", LastUsed: metav1.NewTime(noon.Add(-time.Duration(days) * day))}
	}
	held := []v1alpha1.MountUse{{ID: "ns/other", Bytes: 1 << 20}}
	cases := map[string]struct {
		status v1alpha1.BuildDaemonStatus
		want   []string
	}{
		"all keys and mounts are listed": {v1alpha1.BuildDaemonStatus{
			Keys: []v1alpha1.KeyUse{used(1)}, KeysTotal: 1, Mounts: held, MountsTotal: 1,
		}, []string{app, mount}},
		"an unlisted key may have been used as late as the last one listed": {v1alpha1.BuildDaemonStatus{
			Keys: []v1alpha1.KeyUse{used(1), used(6)}, KeysTotal: 3,
		}, []string{mount}},
		"an unlisted key was not used after the last one listed": {v1alpha1.BuildDaemonStatus{
			Keys: []v1alpha1.KeyUse{used(1), used(8)}, KeysTotal: 3,
		}, []string{app, mount}},
		"no key is listed": {v1alpha1.BuildDaemonStatus{KeysTotal: 1}, []string{mount}},
		"an unlisted mount with content": {v1alpha1.BuildDaemonStatus{
			Mounts: held, MountsTotal: 2, GC: &v1alpha1.GCStatus{MountsBytes: 3 << 20},
		}, []string{app}},
		"an unlisted mount without content": {v1alpha1.BuildDaemonStatus{
			Mounts: held, MountsTotal: 2, GC: &v1alpha1.GCStatus{MountsBytes: 1<<20 + 4096},
		}, []string{app, mount}},
		"an unlisted mount of unknown size": {v1alpha1.BuildDaemonStatus{Mounts: held, MountsTotal: 2}, []string{app}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			old := noon.Add(-99 * day)
			in := Input{Namespace: "ns", Served: served, Tags: []Tag{{app, old}, {mount, old}},
				Now: noon}
			in.Gather("cache", []v1alpha1.BuildDaemon{{Status: tc.status}}, nil)
			want := slices.Sorted(slices.Values(tc.want))
			if diff := cmp.Diff(want, Expired(in, 7*day)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}
