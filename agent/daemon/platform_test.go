// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

func TestABuildIsForThePlatformItAsksFor(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))
	for _, platform := range []string{"linux/arm64", "linux/amd64"} { // no step runs, so both can be built anywhere
		job := inline("fs default() {\n\tscratch\n\tmkfile \"/arch\" 0o644 localArch\n}\n")
		job.Spec.Platforms = []string{platform}
		ref := registry.Ref("platform:" + platform[len("linux/"):])
		job.Spec.Outputs = []v1alpha1.OutputSpec{{Name: "app", Target: "default", Image: ref}}
		build(t, d, job)
		parsed, err := name.ParseReference(ref, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		image, err := remote.Image(parsed)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got := config.OS + "/" + config.Architecture; got != platform {
			t.Errorf("the image is for %s, want %s", got, platform)
		}
	}
}
