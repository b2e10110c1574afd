// SPDX-License-Identifier: Apache-2.0

package mountpolicy_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
)

func policies(ids ...string) []v1alpha1.MountPolicy {
	var out []v1alpha1.MountPolicy
	for _, id := range ids {
		out = append(out, v1alpha1.MountPolicy{ID: id})
	}
	return out
}

func TestOnePolicyApplies(t *testing.T) {
	cases := map[string]struct {
		policies []string
		id, want string
	}{
		"no policies, none applies":                        {nil, "a", ""},
		"an id applies to itself":                          {[]string{"a"}, "a", "a"},
		"an id does not apply to what begins with it":      {[]string{"a"}, "ab", ""},
		"an exact id beats a pattern, wherever it stands":  {[]string{"*", "go*", "go-build"}, "go-build", "go-build"},
		"an exact id beats an equally long prefix":         {[]string{"go-build*", "go-build"}, "go-build", "go-build"},
		"a longer prefix beats a shorter one":              {[]string{"*", "g*", "go-*"}, "go-build", "go-*"},
		"only text before the first star counts":           {[]string{"go*", "*-build-cache"}, "go-build-cache", "go*"},
		"among equal prefixes the first wins":              {[]string{"go*d", "go*"}, "go-build", "go*d"},
		"among equal prefixes a later one may match alone": {[]string{"go*x", "go*"}, "go-build", "go*"},
		"a star stands for nothing too":                    {[]string{"go*"}, "go", "go*"},
		"a star stands for slashes":                        {[]string{"/root/*"}, "/root/.cache/go-build", "/root/*"},
		"the ends of a pattern do not overlap":             {[]string{"aba*ba"}, "aba", ""},
		"several stars take text between them":             {[]string{"a*b*c"}, "axxbyyc", "a*b*c"},
		"the parts must come in order":                     {[]string{"a*b*c*d"}, "acbd", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := ""
			if p := mountpolicy.For(policies(tc.policies...), tc.id); p != nil {
				got = p.ID
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestPatternsMatchAsRegularExpressionsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*]{0,8}\*[ab*]{0,4}`).Draw(t, "pattern")
		id := rapid.StringMatching(`[ab]{0,12}`).Draw(t, "id")
		want := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$").
			MatchString(id)
		if got := mountpolicy.For(policies(pattern), id) != nil; got != want {
			t.Errorf("%q applies to %q: %v, want %v", pattern, id, got, want)
		}
	})
}

func TestIDsAreThoseOfPrograms(t *testing.T) {
	cases := map[string]struct {
		known, want string
		ofProgram   bool
	}{
		"a program's mount":                {"ns/go-build", "go-build", true},
		"one of a path":                    {"ns//root/.cache", "/root/.cache", true},
		"one that began with a state":      {"ns/go:0123456789abcdefghijklmno", "go", true},
		"one whose id has a colon":         {"ns/go:1.26", "go:1.26", true},
		"one of another served namespace":  {"b/go", "go", true},
		"another namespace's":              {"other/go", "", false},
		"one of no program":                {"seed", "", false},
		"a namespace that begins the same": {"ns-2/go", "", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			namespace, got, ok := mountpolicy.Written([]string{"ns", "b"}, tc.known)
			if got != tc.want || ok != tc.ofProgram || ok && namespace != tc.known[:strings.Index(tc.known, "/")] {
				t.Errorf("got %q of %q, %v; want %q, %v", got, namespace, ok, tc.want, tc.ofProgram)
			}
		})
	}
	if _, id, ok := mountpolicy.Written([]string{"ns"}, mountpolicy.Scoped("ns", "/x")); !ok || id != "/x" {
		t.Errorf("the scoped id is read back as %q, %v", id, ok)
	}
}

func TestSharingOfAPolicy(t *testing.T) {
	sharing := mountpolicy.Sharing("ns",
		[]v1alpha1.MountPolicy{{
			ID: "apt", Sharing: v1alpha1.MountLocked,
		}, {ID: "*", Sharing: v1alpha1.MountShared}, {ID: "go"}})
	for id, want := range map[string]string{"ns/apt": "locked", "ns/npm": "shared", "ns/go": "", "other/apt": ""} {
		if mode, ok := sharing(id); mode != want || ok != (want != "") {
			t.Errorf("%s is %q, %v; want %q", id, mode, ok, want)
		}
	}
}
