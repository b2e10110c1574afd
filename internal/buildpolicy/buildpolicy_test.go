// SPDX-License-Identifier: Apache-2.0

package buildpolicy_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildpolicy"
)

const snapshot = ":mount-a-0123456789abcdef-20261124T120000Z-01234567"

// strict allows some of everything.
func strict() *v1alpha1.BuildCacheSpec {
	return &v1alpha1.BuildCacheSpec{
		AllowedFrontends: []string{"docker.io/docker/dockerfile"},
		AllowedSources: &v1alpha1.AllowedSources{
			Images: []string{"docker.io/library/*", "r.example.com/base:1", "r.example.com:5000/*", "team/*"},
			Git:    []string{"github.com/team/*", "git.example.com/one.git"},
			HTTP:   []string{"dl.example.com/*", "proxy.example.com:8080/mod/*"},
		},
		AllowedPushes: &v1alpha1.AllowedPushes{Images: []string{"r.example.com/team/*"}},
		Registry:      &v1alpha1.RegistryCacheSpec{Repository: "r.example.com:5000/team/cache"},
	}
}

func TestCheck(t *testing.T) {
	open := &v1alpha1.BuildCacheSpec{Registry: strict().Registry}
	none := &v1alpha1.BuildCacheSpec{
		AllowedSources: &v1alpha1.AllowedSources{}, AllowedPushes: &v1alpha1.AllowedPushes{},
	}
	cases := map[string]struct {
		spec *v1alpha1.BuildCacheSpec
		use  buildpolicy.Use
		what string
		want string // in the refusal, empty for none
	}{
		"any image by default":         {open, buildpolicy.Image, "evil.example.com/x", ""},
		"any push by default":          {open, buildpolicy.Push, "evil.example.com/x", ""},
		"any repository by default":    {open, buildpolicy.Git, "https://evil.example.com/x", ""},
		"any file by default":          {open, buildpolicy.HTTP, "https://evil.example.com/x", ""},
		"any type of cache by default": {open, buildpolicy.CacheType, "s3", ""},
		"but nothing of the operator's": {
			open, buildpolicy.Image, "r.example.com:5000/team/cache" + snapshot, "tag of the operator",
		},
		"nor a push over it": {
			open, buildpolicy.Push, "R.example.com:5000/team/cache" + snapshot, "tag of the operator",
		},
		"nor as a front end": {
			&v1alpha1.BuildCacheSpec{Registry: open.Registry, AllowedFrontends: []string{"*"}}, buildpolicy.Frontend,
			"r.example.com:5000/team/cache" + snapshot, "tag of the operator",
		},
		"nor another namespace's cache": {
			open, buildpolicy.Cache, "r.example.com:5000/team/cache:cache-b-0123456789abcdef", "tag of the operator",
		},
		"its own cache": {
			open, buildpolicy.Cache, "r.example.com:5000/team/cache:cache-ns-0123456789abcdef", "",
		},
		"empty lists have no image":   {none, buildpolicy.Image, "alpine", "spec.allowedSources.images"},
		"nor a repository":            {none, buildpolicy.Git, "https://h/r", "spec.allowedSources.git"},
		"nor a file":                  {none, buildpolicy.HTTP, "https://h/r", "spec.allowedSources.http"},
		"nor a push":                  {none, buildpolicy.Push, "r.example.com/x", "spec.allowedPushes.images"},
		"nor a cache":                 {none, buildpolicy.Cache, "r.example.com/x:c", "spec.allowedSources.images"},
		"nor a cache elsewhere":       {none, buildpolicy.CacheType, "s3", "in no registry"},
		"an image below a path":       {strict(), buildpolicy.Image, "alpine:3", ""},
		"by another name of the host": {strict(), buildpolicy.Image, "index.docker.io/library/alpine", ""},
		"one of the default registry": {strict(), buildpolicy.Image, "docker.io/team/x", ""},
		"not beside the path":         {strict(), buildpolicy.Image, "library2/alpine", "spec.allowedSources.images"},
		"a tag":                       {strict(), buildpolicy.Image, "r.example.com/base:1", ""},
		"not another one": {
			strict(), buildpolicy.Image, "r.example.com/base:2", "spec.allowedSources.images",
		},
		"not the host without its port": {
			strict(), buildpolicy.Image, "r.example.com/x", "spec.allowedSources.images",
		},
		"what may run may be read":     {strict(), buildpolicy.Image, "docker/dockerfile:1", ""},
		"what may be read may not run": {strict(), buildpolicy.Frontend, "alpine", "spec.allowedFrontends"},
		"a repository below a path":    {strict(), buildpolicy.Git, "https://github.com/team/app.git", ""},
		"over ssh":                     {strict(), buildpolicy.Git, "git@github.com:team/app.git", ""},
		"with a user and the port":     {strict(), buildpolicy.Git, "https://me@GitHub.com:443/team/app", ""},
		"without a scheme":             {strict(), buildpolicy.Git, "github.com/team/app", ""},
		"one repository":               {strict(), buildpolicy.Git, "https://git.example.com/one", ""},
		"not one below it": {
			strict(), buildpolicy.Git, "https://git.example.com/one/two", "spec.allowedSources.git",
		},
		"not by a path that leads out": {
			strict(), buildpolicy.Git, "https://github.com/team/../evil/app", "spec.allowedSources.git",
		},
		"not by an escaped one": {
			strict(), buildpolicy.Git, "https://github.com/team/%2e%2e/evil/app", "spec.allowedSources.git",
		},
		"not a host that ends alike": {
			strict(), buildpolicy.Git, "https://evilgithub.com/team/app", "spec.allowedSources.git",
		},
		"not a user that looks like a host": {
			strict(), buildpolicy.Git, "https://github.com@evil.example.com/team/app", "spec.allowedSources.git",
		},
		"a file":               {strict(), buildpolicy.HTTP, "http://dl.example.com/a?b", ""},
		"a file behind a port": {strict(), buildpolicy.HTTP, "http://proxy.example.com:8080/mod/a", ""},
		"not another port": {
			strict(), buildpolicy.HTTP, "https://dl.example.com:8443/a", "spec.allowedSources.http",
		},
		"a push below a path": {strict(), buildpolicy.Push, "r.example.com/team/a:1", ""},
		"not elsewhere":       {strict(), buildpolicy.Push, "r.example.com/other/a", "spec.allowedPushes.images"},
		"nothing else":        {strict(), buildpolicy.Use("x"), "y", "nothing can be used"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			err := buildpolicy.New(tc.spec, "ns").Check(tc.use, tc.what)
			var refused *buildpolicy.Error
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && (!errors.As(err, &refused) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want a refusal with %q", err, tc.want)
			}
		})
	}
}

// permits evaluates a policy as BuildKit does.
func permits(t interface{ Helper() }, p *spb.Policy, identifier string, attrs map[string]string) bool {
	t.Helper()
	allowed := true
	for _, r := range p.GetRules() {
		matched := regexp.MustCompile(r.Selector.Identifier).MatchString(identifier)
		for _, c := range r.Selector.Constraints {
			matched = matched && regexp.MustCompile(c.Value).MatchString(attrs[c.Key])
		}
		if matched {
			allowed = r.Action == spb.PolicyAction_ALLOW
		}
	}
	return allowed
}

func TestFrontEndsAreBoundByTheSamePolicy(t *testing.T) {
	cases := map[string]bool{
		"docker-image://docker.io/library/alpine:3":                   true,
		"docker-image://docker.io/library/alpine@sha256:00":           true,
		"docker-image://DOCKER.IO/library/alpine:3":                   true,
		"docker-image://docker.io/docker/dockerfile:1":                true,
		"docker-image://docker.io/docker/dockerfile-upstream:1":       false,
		"docker-image://r.example.com/base:1":                         true,
		"docker-image://r.example.com/base:1@sha256:00":               false,
		"docker-image://r.example.com/base:12":                        false,
		"docker-image://evil.example.com/docker.io/library/alpine":    false,
		"docker-image://r.example.com:5000/x:y":                       true,
		"docker-image://r.example.com:5000/team/cache:main":           true,
		"docker-image://r.example.com:5000/team/cache" + snapshot:     false,
		"docker-image://R.Example.com:5000/team/cache" + snapshot:     false,
		"docker-image://r.example.com:5000/team/cache@sha256:00":      false,
		"docker-image://r.example.com:5000/team/cache:main@sha256:00": false,
		"docker-image+blob://r.example.com:5000/team/cache@sha256:00": false,
		"git://github.com/team/app#main":                              true,
		"git://git@github.com/team/app.git#main:sub":                  true,
		"git://github.com/team/../evil/app":                           false,
		"git://github.com/team/%2e%2e/evil":                           false,
		"git://github.com/evil/app#github.com/team/x":                 false,
		"git://git.example.com/one.git#main":                          true,
		"git://git.example.com/one/two#main":                          false,
		"https://dl.example.com/a/b?c=/../d":                          true,
		"https://dl.example.com.evil.example.com/a":                   false,
		"https://dl.example.com@evil.example.com/a":                   false,
		"http://proxy.example.com:8080/mod/a":                         true,
		"http://proxy.example.com:8080/other":                         false,
		"local://context":                                             true,
	}
	policy := buildpolicy.New(strict(), "ns").SourcePolicy()
	for identifier, want := range cases {
		if got := permits(t, policy, identifier, nil); got != want {
			t.Errorf("%s is permitted: %v, want %v", identifier, got, want)
		}
	}
	bundle := map[string]string{"git.bundle": "docker-image+blob://evil.example.com/x"}
	if permits(t, policy, "git://github.com/team/app", bundle) {
		t.Error("a repository out of a registry is permitted")
	}
}

func TestWithoutListsOnlyTheOperatorsOwnIsDenied(t *testing.T) {
	if p := buildpolicy.New(&v1alpha1.BuildCacheSpec{}, "ns").SourcePolicy(); p != nil {
		t.Errorf("got %v, want no policy", p)
	}
	p := buildpolicy.New(&v1alpha1.BuildCacheSpec{
		Registry: &v1alpha1.RegistryCacheSpec{Repository: "team/cache"},
		BuildKit: v1alpha1.BuildKitSpec{Registries: []v1alpha1.RegistryHost{
			{Host: "m.example.com", Mirrors: []string{"docker.io"}},
		}},
	}, "ns").SourcePolicy()
	for identifier, want := range map[string]bool{
		"docker-image://docker.io/library/alpine:3":             true,
		"docker-image://docker.io/team/cache:main":              true,
		"docker-image://docker.io/team/cache" + snapshot:        false,
		"docker-image://team/cache" + snapshot:                  false,
		"docker-image://registry-1.docker.io/team/cache:cache-": false,
		"docker-image://m.example.com/team/cache" + snapshot:    false,
		"docker-image://x.example.com/team/cache" + snapshot:    true,
		"https://anything.example.com/a":                        true,
	} {
		if got := permits(t, p, identifier, nil); got != want {
			t.Errorf("%s is permitted: %v, want %v", identifier, got, want)
		}
	}
}

// TestBuildKitsPolicyIsNoLooser compares both forms of a policy on what programs and front ends may write.
func TestBuildKitsPolicyIsNoLooser(t *testing.T) {
	one := rapid.SampledFrom[[]string]
	host := one([]string{"docker.io", "index.docker.io", "r.example.com", "r.example.com:5000", "localhost"})
	path := rapid.SampledFrom([]string{"a", "a/b", "a/b/c", "library/a", "team/cache", "a.b", "axb"})
	tag := rapid.SampledFrom([]string{"", ":1", ":12", ":latest", ":cache-x", snapshot})
	sum := one([]string{"", "@sha256:" + strings.Repeat("0", 64), "@sha256:" + strings.Repeat("1", 64)})
	image := rapid.Custom(func(t *rapid.T) string {
		return host.Draw(t, "host") + "/" + path.Draw(t, "path") + tag.Draw(t, "tag") + sum.Draw(t, "digest")
	})
	pattern := rapid.OneOf(image, rapid.Custom(func(t *rapid.T) string { return host.Draw(t, "host") + "/*" }),
		rapid.Custom(func(t *rapid.T) string { return host.Draw(t, "host") + "/" + path.Draw(t, "path") + "/*" }))
	urlHost := rapid.SampledFrom([]string{"h.example.com", "H.example.com", "h.example.com:443", "h.example.com:8443",
		"me@h.example.com", "hXexample.com", "h.example.com.evil.com"})
	urlPath := rapid.StringMatching(`(/(a|b|a\.git|\.\.|%2e%2e|\.)){1,3}(\?/a)?`)
	urlPattern := one([]string{"h.example.com/*", "h.example.com/a/*", "h.example.com/a", "h.example.com:8443/a"})
	rapid.Check(t, func(t *rapid.T) {
		p := buildpolicy.New(&v1alpha1.BuildCacheSpec{
			AllowedSources: &v1alpha1.AllowedSources{
				Images: rapid.SliceOfN(pattern, 0, 3).Draw(t, "images"),
				Git:    rapid.SliceOfN(urlPattern, 0, 2).Draw(t, "git"),
				HTTP:   rapid.SliceOfN(urlPattern, 0, 2).Draw(t, "http"),
			},
			Registry: &v1alpha1.RegistryCacheSpec{Repository: host.Draw(t, "cache") + "/team/cache"},
		}, "ns")
		for use, what := range map[buildpolicy.Use]string{
			buildpolicy.Image: image.Draw(t, "image"),
			buildpolicy.Git:   "https://" + urlHost.Draw(t, "h") + urlPath.Draw(t, "p"),
			buildpolicy.HTTP:  "https://" + urlHost.Draw(t, "h") + urlPath.Draw(t, "p"),
		} {
			identifier := map[buildpolicy.Use]string{
				buildpolicy.Image: "docker-image://" + what, buildpolicy.HTTP: what,
				buildpolicy.Git: "git://" + strings.TrimPrefix(what, "https://"),
			}[use]
			if err := p.Check(use, what); err != nil && permits(t, p.SourcePolicy(), identifier, nil) {
				t.Fatalf("BuildKit may fetch %s, which is refused: %v", identifier, err)
			}
		}
	})
}
