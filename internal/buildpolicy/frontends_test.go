// SPDX-License-Identifier: Apache-2.0

package buildpolicy_test

import (
	"strings"
	"testing"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildpolicy"
)

func TestFrontends(t *testing.T) {
	const (
		sum   = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		other = "@sha256:1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014"
	)
	cases := map[string]struct {
		allowed []string
		image   string
		want    bool
	}{
		"none is allowed by default": {nil, "docker/dockerfile:1", false},
		"a repository allows all of its tags": {
			[]string{"docker/dockerfile"}, "docker/dockerfile:1", true,
		},
		"and its digests": {
			[]string{"docker/dockerfile"}, "docker/dockerfile" + sum, true,
		},
		"no other repository": {
			[]string{"docker/dockerfile"}, "docker/dockerfile-upstream:1", false,
		},
		"no repository below it": {
			[]string{"docker/dockerfile"}, "docker/dockerfile/x:1", false,
		},
		"the default registry may be named or not": {
			[]string{"docker.io/docker/dockerfile"}, "docker/dockerfile:1", true,
		},
		"another registry is another repository": {
			[]string{"docker/dockerfile"}, "r.example.com/docker/dockerfile", false,
		},
		"a port is part of the registry": {
			[]string{"r.example.com/f"}, "r.example.com:5000/f", false,
		},
		"a tag allows itself": {[]string{"r.example.com/f:1"}, "r.example.com/f:1", true},
		"a tag allows no other": {
			[]string{"r.example.com/f:1"}, "r.example.com/f:2", false,
		},
		"a tag allows no digest that is written behind it": {
			[]string{"r.example.com/f:1"}, "r.example.com/f:1" + sum, false,
		},
		"the tag latest may be named or not": {
			[]string{"r.example.com/f:latest"}, "r.example.com/f", true,
		},
		"a digest allows itself": {
			[]string{"r.example.com/f" + sum}, "r.example.com/f:1" + sum, true,
		},
		"a digest allows no other": {
			[]string{"r.example.com/f" + sum}, "r.example.com/f" + other, false,
		},
		"a digest allows no tag": {
			[]string{"r.example.com/f" + sum}, "r.example.com/f:1", false,
		},
		"what can't be parsed is refused": {[]string{"*", "docker/dockerfile"}, "UPPER", false},
		"everything of a registry": {
			[]string{"r.example.com/*"}, "r.example.com/team/f:1", true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			spec := &v1alpha1.BuildCacheSpec{AllowedFrontends: tc.allowed}
			err := buildpolicy.New(spec, "ns").Check(buildpolicy.Frontend, tc.image)
			if (err == nil) != tc.want {
				t.Errorf("got %v, want allowed %v", err, tc.want)
			}
			if err != nil && tc.image != "UPPER" && !strings.Contains(err.Error(), "spec.allowedFrontends") {
				t.Errorf("%q does not say what to change", err)
			}
		})
	}
}
